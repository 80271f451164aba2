"""Read and write JSON-RPC 2.0, one message at a time.

`params`, `result` and `error` stay the bytes they came as; nobody decodes them who does not ask for it.
A message with a member twice is refused, as two readers could take it for two different messages.

Source: JSON-RPC 2.0 sections 4 to 6; MCP 2025-11-25 basic, "Messages"; RFC 8259 sections 4 and 8.1.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import orjson

from proxy.core.errors import InvalidInput, SidecarError
from proxy.core.mismatch import describe, quote

RequestId = str | int
"""Id of a JSON-RPC request; a number with a fraction, a boolean and null are none. Source: MCP basic, "Requests"."""

PARSE_ERROR: Final = -32700
"""Source: JSON-RPC 2.0 section 5.1."""
INVALID_REQUEST: Final = -32600
"""Source: JSON-RPC 2.0 section 5.1."""
METHOD_NOT_FOUND: Final = -32601
"""Source: JSON-RPC 2.0 section 5.1."""
INVALID_PARAMS: Final = -32602
"""Source: JSON-RPC 2.0 section 5.1."""
INTERNAL_ERROR: Final = -32603
"""Source: JSON-RPC 2.0 section 5.1."""
HEADER_MISMATCH: Final = -32020
"""Source: PROTOCOL.md 2.4, MCP 2026-07-28."""
MISSING_CLIENT_CAPABILITY: Final = -32021
"""Source: PROTOCOL.md 2.4, MCP 2026-07-28."""
UNSUPPORTED_REVISION: Final = -32022
"""Source: PROTOCOL.md 2.4, MCP 2026-07-28."""
URL_ELICITATION_REQUIRED: Final = -32042
"""Source: PROTOCOL.md 1.1; only MCP 2025-11-25."""

OWN_CODE_BASE: Final = 1000
"""An own code is this plus the HTTP status of the same error.

Source: ours; PROTOCOL.md 2.4 wants own codes outside of -32768 to -32000.
"""
INVALID_INPUT: Final = OWN_CODE_BASE + 400
REMOVED: Final = OWN_CODE_BASE + 410
ANSWER_INVALID: Final = OWN_CODE_BASE + 422
RATE_LIMITED: Final = OWN_CODE_BASE + 429
UNAVAILABLE: Final = OWN_CODE_BASE + 503

MAX_MEMBERS: Final = 50_000
"""Most members of one object that is looked into.

Source: ours; each costs two microseconds on the event loop and some hundred bytes, and a body has room for millions.
"""

_LEAST_MEMBER_BYTES: Final = 5
"""`"":0,`"""

_OPENS_ARRAY: Final = re.compile(rb"[ \t\r\n]*+\[")
_EMPTY_ARRAY: Final = re.compile(rb"[ \t\r\n]*+\[[ \t\r\n]*+\]")
_LINE_ENDS_TO_BLANKS: Final = bytes.maketrans(b"\r\n", b"  ")
_STRUCTURED: Final = (b"{", b"[")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A call that wants a response."""

    id: RequestId
    method: str
    params: bytes | None
    raw: bytes


@dataclass(frozen=True, slots=True)
class Notification:
    """A call without response."""

    method: str
    params: bytes | None
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """The response to a request: a result or an error, never both."""

    id: RequestId | None
    """None where the peer could not tell which request its error belongs to."""
    result: bytes | None
    error: bytes | None
    raw: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Several messages at once, looked at no closer. Source: PROTOCOL.md 3.1, only MCP 2025-03-26."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class Malformed:
    """No message: the code to answer with, why, and the id of the request where one could be read."""

    code: int
    text: str
    id: RequestId | None = None


Message = Request | Notification | Response | Batch | Malformed


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """What is known of a message without looking at what it carries."""

    id: RequestId | msgspec.UnsetType | None = msgspec.UNSET
    method: str | msgspec.UnsetType = msgspec.UNSET
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET

    @property
    def is_response(self) -> bool:
        """Whether this can only be the response to a request of ours or of the peer behind us."""
        return self.method is msgspec.UNSET and not (self.result is msgspec.UNSET and self.error is msgspec.UNSET)


@dataclass(frozen=True, slots=True)
class ErrorObject:
    """The `error` of a response; `message` is the peer's text, for people only."""

    code: int
    message: str
    data: bytes | None


class _Name:
    """The name of one member; never equal to another, so that a dict keeps twins apart."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _as_name(_kind: type, text: object) -> _Name:
    return _Name(str(text))


class _Tally:
    """Makes the names of one object, up to a bound."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_MEMBERS

    def __call__(self, _kind: type, text: object) -> _Name:
        self.left -= 1
        if self.left < 0:
            raise ValueError(f"an object has more than {MAX_MEMBERS} members")
        return _Name(str(text))


_ENVELOPE: Final = msgspec.json.Decoder(Envelope)
_MEMBERS: Final = msgspec.json.Decoder(dict[_Name, msgspec.Raw], dec_hook=_as_name)
_SYNTAX: Final = msgspec.json.Decoder(msgspec.Raw)
_ID: Final[msgspec.json.Decoder[RequestId | None]] = msgspec.json.Decoder(RequestId | None)
_TEXT: Final = msgspec.json.Decoder(str)


def envelope_of(body: bytes) -> Envelope | None:
    """Id and method of a message, in well under a microsecond for each kilobyte; None where `parse` has to say more.

    Of twins the last counts, as in both SDKs; `parse` before acting on what is inside.
    """
    try:
        return _ENVELOPE.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def members(text: bytes) -> dict[str, bytes]:
    """The members of one JSON object, each value as the bytes it came as.

    Raises:
        InvalidInput: not a JSON object, nested too deeply, too many members, or one that comes twice.
    """
    found = _read_members(text)
    if isinstance(found, Malformed):
        raise InvalidInput(found.text)
    return found


def _decoder_for(text: bytes) -> "msgspec.json.Decoder[dict[_Name, msgspec.Raw]]":
    """Only a text that is long enough for too many members is worth the count."""
    if len(text) <= MAX_MEMBERS * _LEAST_MEMBER_BYTES:
        return _MEMBERS
    return msgspec.json.Decoder(dict[_Name, msgspec.Raw], dec_hook=_Tally())


def _read_members(text: bytes) -> dict[str, bytes] | Malformed:
    flaw = _utf8_flaw(text)
    if flaw:
        return flaw
    try:
        pairs = _decoder_for(text).decode(text)
    except msgspec.ValidationError as error:
        return Malformed(INVALID_REQUEST, f"expected one JSON object: {error}")
    except (msgspec.DecodeError, RecursionError) as error:
        return Malformed(PARSE_ERROR, f"expected JSON: {error}")
    found: dict[str, bytes] = {}
    for name, raw in pairs.items():
        if name.text in found:
            return Malformed(INVALID_REQUEST, f"expected every member once, got {quote(name.text)} twice")
        found[name.text] = bytes(raw)
    return found


def _utf8_flaw(text: bytes) -> Malformed | None:
    if text.isascii():
        return None
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return Malformed(PARSE_ERROR, f"expected UTF-8, got another byte at {error.start}")
    return None


def parse(body: bytes) -> Message:
    """Read one message, or say why it is none. Never raises, whatever a peer sends."""
    if _OPENS_ARRAY.match(body):
        return _parse_batch(body)
    found = _read_members(body)
    if isinstance(found, Malformed):
        return found
    request_id: RequestId | None = None
    if "id" in found:
        try:
            request_id = read_id(found["id"])
        except InvalidInput:
            return _refuse("id to be text or a whole number", found["id"])
    if found.get("jsonrpc") != b'"2.0"':
        return _refuse('jsonrpc to be "2.0"', found.get("jsonrpc", b"nothing"), request_id)
    if "method" in found:
        return _parse_call(found, request_id, body)
    return _parse_response(found, request_id, body)


def _refuse(expected: str, got: bytes, request_id: RequestId | None = None) -> Malformed:
    return Malformed(
        INVALID_REQUEST, f"expected {expected}, got {quote(got[:320].decode(errors='replace'))}", request_id
    )


def _parse_batch(body: bytes) -> Batch | Malformed:
    flaw = _utf8_flaw(body)
    if flaw:
        return flaw
    try:
        _SYNTAX.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        return Malformed(PARSE_ERROR, f"expected JSON: {error}")
    if _EMPTY_ARRAY.match(body):
        return Malformed(INVALID_REQUEST, "expected a message, got an empty batch")
    return Batch(body)


def _parse_call(found: Mapping[str, bytes], request_id: RequestId | None, body: bytes) -> Message:
    if "result" in found or "error" in found:
        return Malformed(INVALID_REQUEST, "expected a call or a response, got both in one message", request_id)
    try:
        method = _TEXT.decode(found["method"])
    except msgspec.ValidationError:
        return _refuse("method to be text", found["method"], request_id)
    params = found.get("params")
    if params == b"null":
        params = None  # not allowed, but it can mean nothing else than that there are none
    if params is not None and not params.startswith(_STRUCTURED):
        return _refuse("params to be an object", params, request_id)
    if "id" not in found:
        return Notification(method, params, body)
    if request_id is None:
        return Malformed(INVALID_REQUEST, "expected the id of a request to be text or a whole number, got null")
    return Request(id=request_id, method=method, params=params, raw=body)


def _parse_response(found: Mapping[str, bytes], request_id: RequestId | None, body: bytes) -> Message:
    result, error = found.get("result"), found.get("error")
    if (result is None) == (error is None):
        return Malformed(INVALID_REQUEST, "expected either a method, a result or an error", request_id)
    if request_id is None and error is None:
        return Malformed(INVALID_REQUEST, "expected the id of a result to be text or a whole number, got none")
    return Response(id=request_id, result=result, error=error, raw=body)


def read_id(raw: bytes) -> RequestId | None:
    """Decode the id of a request; null is None.

    Raises:
        InvalidInput: anything else than text, a whole number or null.
    """
    try:
        return _ID.decode(raw)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"expected an id: {error}") from error


def read_value(raw: bytes) -> object:
    """Decode a part of a message.

    Raises:
        InvalidInput: it holds a number beyond a double, or is nested too deeply.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"expected JSON: {error}") from error


def read_error(error: bytes) -> ErrorObject:
    """Read the `error` of a response; a missing message is empty.

    Raises:
        InvalidInput: not an object with a whole number as its code.
    """
    found = members(error)
    code, message = read_value(found.get("code", b"null")), read_value(found.get("message", b"null"))
    if isinstance(code, bool) or not isinstance(code, int):
        raise InvalidInput(f"expected the code of an error to be a whole number, got {describe(code)}")
    return ErrorObject(code, message if isinstance(message, str) else "", found.get("data"))


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"JSON has no {type(value).__name__}")


def _text(value: object) -> bytes:
    """JSON text in one line; bytes are taken for JSON and keep their every token.

    A line end in JSON can only stand between tokens, where a blank is the same to every reader.
    """
    if isinstance(value, bytes):
        return value.translate(_LINE_ENDS_TO_BLANKS) if b"\n" in value or b"\r" in value else value
    return orjson.dumps(value, default=_plain)


def _id_text(request_id: RequestId | None) -> bytes:
    # A peer's whole number may be beyond the 64 bits that the JSON library writes.
    return b"%d" % request_id if isinstance(request_id, int) else orjson.dumps(request_id)


def result_message(request_id: RequestId, result: bytes | Mapping[str, object]) -> bytes:
    """A response with a result, in one line; bytes are put in as they are.

    Raises:
        orjson.JSONEncodeError: `result` is nested more than 254 deep, or holds what JSON cannot carry.
    """
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (_id_text(request_id), _text(result))


def error_message(request_id: RequestId | None, code: int, message: str, data: object = None) -> bytes:
    """A response with an error, in one line; `data` None is left out, bytes are put in as they are."""
    error = b'{"code":%d,"message":%b' % (code, orjson.dumps(message))
    tail = b"" if data is None else b',"data":' + _text(data)
    return b'{"jsonrpc":"2.0","id":%b,"error":%b%b}}' % (_id_text(request_id), error, tail)


def fault_message(request_id: RequestId, fault: SidecarError) -> bytes:
    """A response that tells one of our errors: its own code, the stable name and when a retry may help.

    Source: ARCHITECTURE.md 3.5.
    """
    data = {"code": fault.code, "retryable": fault.retryable, **fault.extra}
    if fault.retry_after_s is not None:
        data["retryAfterMs"] = round(fault.retry_after_s * 1000)
    return error_message(request_id, OWN_CODE_BASE + fault.status, fault.detail, data)


def request_message(request_id: RequestId, method: str, params: bytes | Mapping[str, object] | None = None) -> bytes:
    """A request, in one line."""
    return b'{"jsonrpc":"2.0","id":%b,"method":%b%b}' % (_id_text(request_id), orjson.dumps(method), _tail(params))


def notification_message(method: str, params: bytes | Mapping[str, object] | None = None) -> bytes:
    """A notification, in one line."""
    return b'{"jsonrpc":"2.0","method":%b%b}' % (orjson.dumps(method), _tail(params))


def _tail(params: bytes | Mapping[str, object] | None) -> bytes:
    return b"" if params is None else b',"params":' + _text(params)
