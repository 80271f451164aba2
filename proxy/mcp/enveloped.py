"""Read one POST of the envelope era, refuse it as the era has it, and keep of it what a handshake server understands.

The envelope, the answers of an earlier round and their state end here; whatever else the parameters carry keeps its
very bytes. Headers are checked against the body, as who stands in front of us may have acted on them.

Source: PROTOCOL.md 2.1 to 2.5, 2.9.
"""

import base64
import binascii
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import orjson

from proxy.core.errors import InvalidInput
from proxy.core.hop import RawHeaders, list_members, values_of
from proxy.core.mismatch import describe, quote
from proxy.mcp.ask import modes_declared
from proxy.mcp.jsonrpc import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    UNSUPPORTED_REVISION,
    Malformed,
    Notification,
    Request,
    RequestId,
    error_message,
    members,
    parse,
    read_value,
)
from proxy.mcp.mrtr import arguments_digest
from proxy.mcp.revisions import R2026_07_28, Mode

META: Final = "io.modelcontextprotocol/"
"""Begin of the protocol's own keys in `_meta`. Source: PROTOCOL.md 2.2."""

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""Severities of a log line, the least first. Source: MCP 2026-07-28, schema LoggingLevel; RFC 5424 section 6.2.1."""

DISCOVER: Final = "server/discover"
LISTEN: Final = "subscriptions/listen"

MAY_ASK: Final[Mapping[str, str]] = MappingProxyType(
    {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
)
"""Methods that may be answered by a question, and the parameter that `Mcp-Name` mirrors.

Source: PROTOCOL.md 2.3; 2.5, rule 1.
"""

METHODS: Final = frozenset(
    {
        *MAY_ASK,
        DISCOVER,
        LISTEN,
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "completion/complete",
    }
)
"""All requests of the era. Source: MCP 2026-07-28, schema ClientRequest."""

_ENVELOPE_KEYS: Final = frozenset(
    f"{META}{key}" for key in ("protocolVersion", "clientCapabilities", "clientInfo", "logLevel", "subscriptionId")
)
_ROUND_KEYS: Final = frozenset({"inputResponses", "requestState"})

_ONCE: Final = ("MCP-Protocol-Version", "Mcp-Method", "Mcp-Name")
"""Header fields that must not come twice. Source: PROTOCOL.md 2.3."""

_ACCEPTED: Final = (
    frozenset({b"application/json", b"application/*", b"*/*"}),
    frozenset({b"text/event-stream", b"text/*", b"*/*"}),
)
"""The two kinds of reply, each as a client may say that it takes it. Source: RFC 9110 section 12.5.1."""

_SENTINEL: Final = ("=?base64?", "?=")
"""Around a header value that is no plain text. Source: PROTOCOL.md 2.3."""

_STATUS: Final[Mapping[int, int]] = MappingProxyType({METHOD_NOT_FOUND: 404})


@dataclass(frozen=True, slots=True, kw_only=True)
class Enveloped:
    """One request, read."""

    id: RequestId
    method: str
    name: str
    """What `Mcp-Name` mirrors; empty where the method has nothing of the kind."""
    params: bytes
    """For a server of the handshake era."""
    modes: frozenset[Mode]
    """How the client can be asked in this request."""
    client_name: str
    log_level: str
    """From which severity on log lines are wanted; empty: none."""
    progress_token: bytes | None
    """As JSON."""
    answers: Mapping[str, bytes]
    """What came back for each question of the round before, as JSON."""
    state: str | None
    """The `requestState` that came back; None in a call that begins."""
    digest: bytes
    """Binds a state to method, name and arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """A POST that is refused: the JSON-RPC error, and the id of the request where one could be read."""

    code: int
    text: str
    id: RequestId | None = None
    data: object = None
    status: int = 400

    def message(self) -> bytes:
        """The reply."""
        return error_message(self.id, self.code, self.text, self.data)


class _Refused(Exception):
    """One rule that a request breaks."""

    def __init__(self, code: int, text: str, data: object = None) -> None:
        super().__init__(text)
        self.code, self.text, self.data = code, text, data


def read_enveloped(headers: RawHeaders, body: bytes) -> Enveloped | Notification | Misfit:
    """Read the body of a POST and hold it against its headers; never raises, whatever a client sends."""
    if {value.partition(b";")[0].strip() for value in list_members(headers, b"content-type")} != {b"application/json"}:
        return Misfit(code=INVALID_REQUEST, text="expected Content-Type to be application/json")
    taken = {value.partition(b";")[0].strip() for value in list_members(headers, b"accept")}
    if not all(taken & kind for kind in _ACCEPTED):
        text = "expected Accept to list application/json and text/event-stream"
        return Misfit(code=INVALID_REQUEST, text=text, status=406)
    match parse(body):
        case Malformed(code, text, request_id):
            return Misfit(code=code, text=text, id=request_id)
        case Notification() as note:
            return note
        case Request() as request:
            return _read(headers, request)
        case _:
            return Misfit(code=INVALID_REQUEST, text="expected a request or a notification")


def _read(headers: RawHeaders, request: Request) -> Enveloped | Misfit:
    try:
        return _enveloped(headers, request)
    except InvalidInput as flaw:
        return Misfit(code=INVALID_PARAMS, text=flaw.detail, id=request.id)
    except _Refused as no:
        return Misfit(code=no.code, text=no.text, id=request.id, data=no.data, status=_STATUS.get(no.code, 400))


def _enveloped(headers: RawHeaders, request: Request) -> Enveloped:
    params = members(request.params or b"{}")
    meta = members(params.get("_meta", b"{}"))
    version, capabilities = _envelope(meta)
    name = _check_headers(headers, request.method, params, version)
    if version != R2026_07_28.name:
        told = {"supported": [R2026_07_28.name], "requested": version}
        raise _Refused(UNSUPPORTED_REVISION, "Unsupported protocol version", told)
    if request.method not in METHODS:
        raise _Refused(METHOD_NOT_FOUND, f"Method not found: {quote(request.method)}")
    state = _state(params) if request.method in MAY_ASK else None
    info = read_value(meta.get(f"{META}clientInfo", b"null"))
    return Enveloped(
        id=request.id,
        method=request.method,
        name=name,
        params=_stripped(params, meta),
        modes=modes_declared(capabilities.get("elicitation")),
        client_name=_client_name(info),
        log_level=_level(read_value(meta.get(f"{META}logLevel", b"null"))),
        progress_token=meta.get("progressToken"),
        answers={} if state is None else members(params.get("inputResponses", b"{}")),
        state=state,
        digest=_digest(request.method, name, params),
    )


def _envelope(meta: Mapping[str, bytes]) -> tuple[str, Mapping[str, object]]:
    """Revision and capabilities that the request says of itself."""
    for key in (f"{META}protocolVersion", f"{META}clientCapabilities"):
        if key not in meta:
            raise InvalidInput(f"expected params._meta to have {key}")
    version = read_value(meta[f"{META}protocolVersion"])
    capabilities = read_value(meta[f"{META}clientCapabilities"])
    if not isinstance(version, str):
        raise InvalidInput(f"expected {META}protocolVersion to be text, got {describe(version)}")
    if not isinstance(capabilities, dict):
        raise InvalidInput(f"expected {META}clientCapabilities to be an object, got {describe(capabilities)}")
    return version, capabilities


def _check_headers(headers: RawHeaders, method: str, params: Mapping[str, bytes], version: str) -> str:
    """The name that the request is about, once all that is mirrored agrees with it."""
    told = {field: values_of(headers, field.lower().encode()) for field in _ONCE}
    for field, values in told.items():
        if len(values) > 1:
            raise _Refused(HEADER_MISMATCH, f"expected {field} once, got it {len(values)} times")
    key = MAY_ASK.get(method)
    name = "" if key is None else read_value(params.get(key, b"null"))
    if not isinstance(name, str):
        raise InvalidInput(f"expected params.{key} to be text, got {describe(name)}")
    expected = {"MCP-Protocol-Version": version, "Mcp-Method": method, **({} if key is None else {"Mcp-Name": name})}
    for field, value in expected.items():
        if [_plain(text) for text in told[field]] != [value]:
            raise _Refused(HEADER_MISMATCH, f"expected {field} to say what the body does")
    return name


def _plain(value: bytes) -> str | None:
    text, (begin, end) = value.decode("utf-8", "surrogateescape"), _SENTINEL
    if not (text.startswith(begin) and text.endswith(end)):
        return text
    try:
        return base64.b64decode(text.removeprefix(begin).removesuffix(end), validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def _state(params: Mapping[str, bytes]) -> str | None:
    state = read_value(params.get("requestState", b"null"))
    if state is not None and not isinstance(state, str):
        raise InvalidInput(f"expected requestState to be text, got {describe(state)}")
    return state


def _client_name(info: object) -> str:
    name = info.get("name") if isinstance(info, dict) else None
    return name if isinstance(name, str) else ""


def _level(level: object) -> str:
    return level if isinstance(level, str) and level in LEVELS else ""


def _stripped(params: Mapping[str, bytes], meta: Mapping[str, bytes]) -> bytes:
    kept = written(meta, without=_ENVELOPE_KEYS)
    ends_here = {"_meta"} if kept == b"{}" else set()
    return written({**params, "_meta": kept}, without=_ROUND_KEYS | ends_here)


def written(found: Mapping[str, bytes], *, without: AbstractSet[str] = frozenset()) -> bytes:
    """An object of these members but for some; each value as the bytes it came as."""
    pairs = (orjson.dumps(name) + b":" + value for name, value in found.items() if name not in without)
    return b"{" + b",".join(pairs) + b"}"


def _digest(method: str, name: str, params: Mapping[str, bytes]) -> bytes:
    """The arguments count, however they are written: a retry may be put together anew."""
    raw = params.get("arguments", b"{}")
    try:
        arguments = orjson.dumps(read_value(raw), option=orjson.OPT_SORT_KEYS)
    except (InvalidInput, orjson.JSONEncodeError):  # beyond what can be put in order
        arguments = raw
    return arguments_digest(method, name, arguments)
