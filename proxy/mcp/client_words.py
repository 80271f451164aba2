"""What a client says to an MCP server and reads of it, in both eras.

What a server says is narrowed here and nowhere else. A result or a parameter that nobody has to understand stays the
bytes it came as.

Source: PROTOCOL.md 1.1, 2.2, 2.5, 2.6, 2.9 and 3.1.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import msgspec
import orjson

from proxy import __version__
from proxy.core.elicitation import AnswerKind
from proxy.core.errors import BadBridgeReply, InvalidInput
from proxy.core.mismatch import describe, quote
from proxy.mcp.ask import METHOD, Answered, CannotBeAsked, FormQuestion, Question, Reply, UrlQuestion
from proxy.mcp.calling import Outgoing, ServerAsk
from proxy.mcp.jsonrpc import (
    HEADER_MISMATCH,
    INVALID_REQUEST,
    MISSING_CLIENT_CAPABILITY,
    UNSUPPORTED_REVISION,
    Batch,
    Malformed,
    Notification,
    Request,
    RequestId,
    Response,
    error_message,
    members,
    notification_message,
    parse,
    read_error,
    read_value,
    request_message,
    result_message,
)
from proxy.mcp.revisions import R2025_11_25, R2026_07_28, Mode, Revision, negotiated

INITIALIZE: Final = "initialize"
"""Source: MCP 2025-11-25, basic/lifecycle."""

DISCOVER: Final = "server/discover"
"""Source: PROTOCOL.md 2.1."""

INITIALIZED: Final = notification_message("notifications/initialized")
"""Ends a handshake. Source: MCP 2025-11-25, basic/lifecycle."""

MAX_INPUT_REQUESTS: Final = 100
"""Most questions of one round. Source: ours; nobody answers more at once."""

_META: Final = "_meta"
_META_PREFIX: Final = "io.modelcontextprotocol/"

_SESSION_ID: Final = re.compile(r"[!-~]{1,1000}", re.ASCII)
"""Source: MCP 2025-11-25, basic/transports, "Session Management"; length ours."""

_KNOWS_THE_ERA: Final = frozenset({HEADER_MISMATCH, MISSING_CLIENT_CAPABILITY})
"""Errors that only a server of the envelope era has. Source: PROTOCOL.md 2.9."""

_LEGACY_CODES: Final = range(-32019, -31999)
"""What servers of the handshake era say in words of their own. Source: PROTOCOL.md 2.4, -32000 to -32019."""

_BATCH: Final = msgspec.json.Decoder(list[msgspec.Raw])


@dataclass(frozen=True, slots=True)
class InputRequired:
    """A result that asks before it is complete."""

    asks: tuple[ServerAsk, ...]
    """Empty where the server only wants to be asked again."""
    state: bytes | None
    """The request state as the JSON that came, to go back unchanged; None where none was given."""


Readable = Request | Notification | Response


@contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except InvalidInput as error:
        raise BadBridgeReply(f"{what} of the MCP server: {error.detail}") from error


def read_messages(text: bytes) -> tuple[Readable, ...]:
    """Read what came in one body or one event: a message, or before 2025-06-18 several.

    Raises:
        BadBridgeReply: it is no message, or one of them is none.
    """
    message = parse(text)
    found = [parse(bytes(raw)) for raw in _BATCH.decode(text)] if isinstance(message, Batch) else [message]
    return tuple(_readable(each) for each in found)


def _readable(message: Readable | Batch | Malformed) -> Readable:
    if isinstance(message, Batch | Malformed):
        text = message.text if isinstance(message, Malformed) else "expected a message, got a batch in a batch"
        raise BadBridgeReply(f"message of the MCP server: {text}")
    return message


# The handshake.


def capabilities(modes: AbstractSet[Mode]) -> dict[str, object]:
    """What is declared for a client that can be asked in these modes."""
    declared: dict[str, object] = {mode.value: {} for mode in Mode if mode in modes}
    return {"elicitation": declared} if declared else {}


def _client_info(call: Outgoing) -> dict[str, object]:
    return {"name": call.client_name, "version": __version__}


def write_initialize(request_id: RequestId, call: Outgoing) -> bytes:
    """The request that begins a handshake; it offers the latest revision that has one."""
    params = {
        "protocolVersion": R2025_11_25.name,
        "capabilities": capabilities(call.modes),
        "clientInfo": _client_info(call),
    }
    return request_message(request_id, INITIALIZE, params)


def read_initialized(result: bytes) -> Revision:
    """The revision that a handshake ended with, by its result.

    Raises:
        BadBridgeReply: it names none, or none that has a handshake.
    """
    with _reading("result of initialize"):
        version = read_value(members(result).get("protocolVersion", b"null"))
    agreed = negotiated(version) if isinstance(version, str) else None
    if agreed is None:
        raise BadBridgeReply(f"expected initialize to end with a handshake revision, got {describe(version)}")
    return agreed


def read_session_id(header: str | None) -> str | None:
    """The id of a session as its header has it; None where the server keeps no sessions.

    Raises:
        BadBridgeReply: it is no id.
    """
    if header is not None and not _SESSION_ID.fullmatch(header):
        raise BadBridgeReply(f"expected the id of an MCP session to be visible ASCII, got {quote(header)}")
    return header


# The envelope.


def dress(call: Outgoing, extra: Mapping[str, bytes] = MappingProxyType({})) -> bytes:
    """The parameters of a request with its envelope around them; `extra` members are JSON and replace equal ones.

    Raises:
        InvalidInput: the parameters of the call, or their `_meta`, are no JSON object.
    """
    found = members(call.params)
    envelope = {
        "protocolVersion": orjson.dumps(R2026_07_28.name),
        "clientInfo": orjson.dumps(_client_info(call)),
        "clientCapabilities": orjson.dumps(capabilities(call.modes)),
    }
    meta = members(found.get(_META, b"{}")) | {_META_PREFIX + name: raw for name, raw in envelope.items()}
    return _object({**found, **extra, _META: _object(meta)})


def _object(found: Mapping[str, bytes]) -> bytes:
    return b"{%b}" % b",".join(orjson.dumps(name) + b":" + raw for name, raw in found.items())


def retry_members(asked: InputRequired, replies: Mapping[str, Reply]) -> dict[str, bytes]:
    """What the next round has beyond the request itself. Source: PROTOCOL.md 2.5, rule 4."""
    found: dict[str, bytes] = {}
    if asked.asks:
        responses = {ask.key: input_response(replies[ask.key]) for ask in asked.asks}
        found["inputResponses"] = orjson.dumps(responses, default=dict)
    if asked.state is not None:
        found["requestState"] = asked.state
    return found


def input_response(reply: Reply) -> dict[str, object]:
    """One value of `inputResponses`; what could not be asked is a cancel, as the era has no errors there."""
    if not isinstance(reply, Answered):
        return {"action": AnswerKind.CANCEL.value}
    content = {} if reply.content is None else {"content": dict(reply.content)}
    return {"action": reply.kind.value, **content}


def write_reply(request_id: RequestId, reply: Reply) -> bytes:
    """The response to a question that came as a request of the server's own."""
    if isinstance(reply, CannotBeAsked):
        return error_message(request_id, reply.code, reply.text)
    return result_message(request_id, input_response(reply))


def read_discovered(response: Response) -> bool:
    """Whether the response to `server/discover` says that the server speaks 2026-07-28."""
    if response.error is not None:
        return is_refusal_of(response, *_KNOWS_THE_ERA)
    try:
        supported = read_value(members(response.result or b"null").get("supportedVersions", b"null"))
    except InvalidInput:
        return False
    return isinstance(supported, list) and R2026_07_28.name in supported


def is_refusal_of(response: Response, *codes: int) -> bool:
    """Whether a response is an error with one of these codes."""
    if response.error is None:
        return False
    try:
        return read_error(response.error).code in codes
    except InvalidInput:
        return False


def is_of_another_era(response: Response) -> bool:
    """Whether a response says that the server, or its session, is no longer what it was.

    Nothing that is in order is answered so, but a server that was restarted in the other era, or without the session,
    answers so: "Missing session ID", "Server not initialized", "Unsupported protocol version".

    Source: PROTOCOL.md 2.9 and 4.2, A3 x B0.
    """
    return is_refusal_of(response, UNSUPPORTED_REVISION, INVALID_REQUEST, *_LEGACY_CODES)


def read_input_required(result: bytes, number: int) -> InputRequired | None:
    """What a result asks; None where it is complete. `number` tells the rounds of all requests apart.

    Raises:
        BadBridgeReply: it cannot be read, or asks what was not declared or is no question.
    """
    with _reading("result"):
        found = members(result)
        if read_value(found.get("resultType", b"null")) != "input_required":
            return None
        requests = members(found.get("inputRequests", b"{}"))
        if len(requests) > MAX_INPUT_REQUESTS:
            raise InvalidInput(f"expected at most {MAX_INPUT_REQUESTS} input requests, got {len(requests)}")
        asks = tuple(_read_input_request(key, raw, number) for key, raw in requests.items())
        state = found.get("requestState")
        if state is not None and not isinstance(read_value(state), str):
            raise InvalidInput("expected requestState to be text")
        if not asks and state is None:
            raise InvalidInput("expected input requests or a request state, got neither")
        return InputRequired(asks, state)


def _read_input_request(key: str, raw: bytes, number: int) -> ServerAsk:
    found = members(raw)
    method = read_value(found.get("method", b"null"))
    if method != METHOD:
        raise InvalidInput(f"expected only {METHOD}, which is all that was declared, got {describe(method)}")
    return ServerAsk(key=key, question=read_question(found.get("params", b"{}"), salt=f"{number} {key}"))


# Questions.


def mode_of(question: Question) -> Mode:
    """How a question wants to be shown."""
    return Mode.FORM if isinstance(question, FormQuestion) else Mode.URL


def read_question(params: bytes, *, salt: str) -> Question:
    """Read the parameters of a question.

    A link that came without an id gets one made of its text and `salt`, which tells equal links apart.

    Raises:
        InvalidInput: they are no question of any revision.
    """
    found = members(params)
    match read_value(found.get("mode", b'"form"')):
        case "form":
            schema = read_value(found.get("requestedSchema", b"null"))
            if not isinstance(schema, dict):
                raise InvalidInput(f"expected requestedSchema to be an object, got {describe(schema)}")
            return FormQuestion(_text(found, "message"), schema)
        case "url":
            url = _text(found, "url")
            given = _text(found, "elicitationId") if "elicitationId" in found else ""
            return UrlQuestion(_text(found, "message"), url, given or _minted(salt, url))
        case other:
            raise InvalidInput(f"expected mode to be form or url, got {describe(other)}")


def _text(found: Mapping[str, bytes], name: str) -> str:
    value = read_value(found.get(name, b"null"))
    if not isinstance(value, str):
        raise InvalidInput(f"expected {name} to be text, got {describe(value)}")
    return value


def _minted(salt: str, url: str) -> str:
    # It only has to be another one for every question; nobody is let in by it.
    return hashlib.sha256(f"{salt}\0{url}".encode()).hexdigest()[:32]
