"""A client of the handshake era before a server of the envelope era: what each message becomes on its way.

Only the members that belong to an era are touched; whatever else a message carries keeps its very bytes.

Source: PROTOCOL.md 2.1, 2.2, 2.4, 2.6 and 4.2 (A2 x B3).
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import orjson

from proxy.core.errors import BadBridgeReply, InvalidInput
from proxy.core.hop import RawHeaders, end_to_end
from proxy.core.mismatch import describe
from proxy.mcp.enveloped import LEVELS, META, written
from proxy.mcp.jsonrpc import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    MISSING_CLIENT_CAPABILITY,
    UNSUPPORTED_REVISION,
    Request,
    Response,
    envelope_of,
    error_message,
    members,
    read_error,
    read_value,
    result_message,
)
from proxy.mcp.revisions import Revision

RESOURCE_NOT_FOUND: Final = -32002
"""Only in the handshake era. Source: PROTOCOL.md 2.1; MCP 2025-11-25, "Resources", error handling."""

DEFAULT_LEVEL: Final = "info"
"""From where on log lines are asked for until the client says otherwise.

Source: ours; without a request a server of the handshake era chooses itself, one of the envelope era must be silent.
"""

_NOT_OF_A_CLIENT: Final = frozenset({"inputResponses", "requestState", "task"})
"""Members of parameters that would go on with another call, or run it as a task that the server does not have.

Source: PROTOCOL.md 2.5, rule 4; MCP 2025-11-25, "Tasks" (a receiver without tasks ignores the augmentation).
"""

_ENVELOPE_MEMBERS: Final = frozenset({"resultType", "ttlMs", "cacheScope"})
"""Source: PROTOCOL.md 2.6, "Downward, strip all three"."""

_CAPABILITIES: Final = frozenset({"tools", "prompts", "resources", "completions", "logging", "experimental"})
"""What a server can have in either era. Source: MCP 2025-11-25 and 2026-07-28, `ServerCapabilities`."""

_SUBSCRIBED: Final = frozenset({"listChanged", "subscribe"})
"""Promises of notifications that belong to no call. Source: PROTOCOL.md 2.1, `subscriptions/listen`."""

_UNKNOWN_SERVER: Final = b'{"name":"unknown","version":""}'

_PASSED_NOTES: Final = frozenset({"notifications/progress", "notifications/message"})
"""Source: PROTOCOL.md 2.7, what a stream carries before its response."""

_OTHER_CODE: Final = MappingProxyType(
    {
        HEADER_MISMATCH: INTERNAL_ERROR,
        UNSUPPORTED_REVISION: INTERNAL_ERROR,
        MISSING_CLIENT_CAPABILITY: INVALID_REQUEST,
    }
)
"""Codes that only the envelope era has; the first two are nothing that this client could mend.

Source: ours; PROTOCOL.md 2.4 reserves them for the envelope era.
"""

_NOT_PASSED: Final = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"last-event-id",
        b"origin",
    }
)
"""Header fields of this one message; Host and Origin have been checked here. Source: PROTOCOL.md 3.4."""


class Fate(StrEnum):
    """What becomes of a request."""

    RELAY = "relay"
    """It goes to the server."""
    EMPTY = "empty"
    """It is answered here, with an empty result."""
    LEVEL = "level"
    """It sets the level of log lines, which each later request carries."""
    UNKNOWN = "unknown"
    """No server that this client can know has such a method."""


_FATES: Final = MappingProxyType(
    {
        "ping": Fate.EMPTY,
        "logging/setLevel": Fate.LEVEL,
        "resources/subscribe": Fate.UNKNOWN,
        "resources/unsubscribe": Fate.UNKNOWN,
        "server/discover": Fate.UNKNOWN,
        "subscriptions/listen": Fate.UNKNOWN,
    }
)
"""The first four are gone in the envelope era, the last two are not yet in the handshake era.

Source: PROTOCOL.md 2.1; subscriptions are not promised in the answer to `initialize`.
"""


def fate_of(method: str) -> Fate:
    """What becomes of a request with this method, apart from `initialize`."""
    return _FATES.get(method, Fate.RELAY)


def welcome(discovered: bytes, revision: Revision) -> bytes:
    """The result of `initialize`, made of the result of `server/discover`.

    Raises:
        BadBridgeReply: that is not what it has to be.
    """
    try:
        found = members(discovered)
        capabilities = _capabilities(found.get("capabilities", b"{}"))
        info = members(found.get("_meta", b"{}")).get(f"{META}serverInfo", _UNKNOWN_SERVER)
    except InvalidInput as flaw:
        raise BadBridgeReply(f"expected the result of server/discover: {flaw.detail}") from flaw
    said = {
        "protocolVersion": orjson.dumps(revision.name),
        "capabilities": capabilities,
        "serverInfo": info if info.startswith(b"{") else _UNKNOWN_SERVER,
    }
    if "instructions" in found:
        said["instructions"] = found["instructions"]
    return written(said)


def _capabilities(raw: bytes) -> bytes:
    return written(
        {name: _without(value, _SUBSCRIBED) for name, value in members(raw).items() if name in _CAPABILITIES}
    )


def outgoing_params(params: bytes | None, *, level: str) -> bytes:
    """The parameters of a client's request, free of what an era brings along; log lines are asked for from `level` on.

    Raises:
        InvalidInput: they are not an object, or one with a member twice.
    """
    found = members(params or b"{}")
    meta = {name: value for name, value in members(found.get("_meta", b"{}")).items() if not name.startswith(META)}
    meta[f"{META}logLevel"] = orjson.dumps(level)
    return written({**found, "_meta": written(meta)}, without=_NOT_OF_A_CLIENT)


def read_level(params: bytes | None) -> str:
    """The level that a `logging/setLevel` sets.

    Raises:
        InvalidInput: it names none.
    """
    level = read_value(members(params or b"{}").get("level", b"null"))
    if not isinstance(level, str) or level not in LEVELS:
        raise InvalidInput(f"expected level to be one of {', '.join(LEVELS)}, got {describe(level)}")
    return level


def reply_message(request: Request, response: Response) -> bytes:
    """The server's response as the client's request gets it.

    Raises:
        BadBridgeReply: it is no result of the envelope era, or an error that cannot be read.
    """
    try:
        if response.error is not None:
            return _error(request, response.error)
        return result_message(request.id, _plain_result(response.result or b"null"))
    except InvalidInput as flaw:
        raise BadBridgeReply(f"expected the response to {request.method}: {flaw.detail}") from flaw


def _plain_result(result: bytes) -> bytes:
    kind = members(result).get("resultType", b'"complete"')
    if kind != b'"complete"':
        raise InvalidInput(f"expected a complete result, got {describe(read_value(kind))}")
    return _without(result, _ENVELOPE_MEMBERS)


def _error(request: Request, raw: bytes) -> bytes:
    error = read_error(raw)
    code = _OTHER_CODE.get(error.code, error.code)
    if code == INVALID_PARAMS and request.method == "resources/read" and _is_about(error.data, request.params):
        code = RESOURCE_NOT_FOUND
    return error_message(request.id, code, error.message, error.data)


def _is_about(data: bytes | None, params: bytes | None) -> bool:
    """Whether the data of an error names the resource that was asked for. Source: SEP-2164."""
    try:
        named = read_value(members(data or b"{}").get("uri", b"null"))
        return isinstance(named, str) and read_value(members(params or b"{}").get("uri", b"null")) == named
    except InvalidInput:
        return False


def passes(note: bytes) -> bool:
    """Whether a notification of the server belongs on the stream of the call it came with."""
    envelope = envelope_of(note)
    return envelope is not None and envelope.method in _PASSED_NOTES


def passed_headers(headers: RawHeaders) -> Mapping[str, str]:
    """The header fields of a client's POST that go along: credentials, trace context and what a deployment adds."""
    passed: dict[str, str] = {}
    for raw_name, raw_value in end_to_end(headers):
        lowered = raw_name.lower()
        if lowered in _NOT_PASSED or lowered.startswith(b"mcp-"):
            continue
        name, value = lowered.decode("ascii", "replace"), raw_value.decode("utf-8", "surrogateescape")
        between = "; " if name == "cookie" else ", "  # RFC 9110 section 5.3; RFC 6265 section 5.4
        passed[name] = f"{passed[name]}{between}{value}" if name in passed else value
    return passed


def _without(raw: bytes, names: AbstractSet[str]) -> bytes:
    """An object without these members; the bytes that came where it has none of them, or is no object."""
    if not raw.startswith(b"{"):
        return raw
    found = members(raw)
    return raw if names.isdisjoint(found) else written(found, without=names)
