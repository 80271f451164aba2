"""A client of the envelope era before a server of the handshake era: what each of the server's words becomes.

Only what the era demands is added or changed; whatever else a result carries keeps its very bytes.

Source: PROTOCOL.md 2.1, 2.4, 2.6 to 2.8 and 4.2 (A3 x B2).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import msgspec

from proxy.core.errors import BadBridgeReply, InvalidInput, InvalidState, SidecarError
from proxy.core.mismatch import quote
from proxy.mcp.ask import UrlQuestion
from proxy.mcp.enveloped import DISCOVER, LEVELS, META, written
from proxy.mcp.jsonrpc import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_CLIENT_CAPABILITY,
    PARSE_ERROR,
    UNSUPPORTED_REVISION,
    URL_ELICITATION_REQUIRED,
    ErrorObject,
    Notification,
    RequestId,
    Response,
    error_message,
    fault_message,
    members,
    notification_message,
    parse,
    read_error,
    read_value,
    result_message,
)
from proxy.mcp.mrtr import state_refused
from proxy.mcp.revisions import R2026_07_28

CACHEABLE: Final = frozenset(
    {DISCOVER, "tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"}
)
"""Results that have cache hints. Source: PROTOCOL.md 2.6, "strictness of real modern clients"."""

RESOURCE_NOT_FOUND: Final = -32002
"""Only in the handshake era; in the envelope era it is -32602. Source: PROTOCOL.md 2.1."""

UNKNOWN_SERVER: Final = b'{"name":"unknown","version":""}'

_COMPLETE: Final = MappingProxyType({"resultType": b'"complete"'})
_NEVER_CACHED: Final = MappingProxyType({"ttlMs": b"0", "cacheScope": b'"private"'})

_CAPABILITIES: Final = frozenset(
    {"completions", "experimental", "extensions", "logging", "prompts", "resources", "tools"}
)
"""What a server can have in this era. Source: MCP 2026-07-28, schema ServerCapabilities."""

_ANNOUNCED: Final = frozenset({"listChanged", "subscribe"})
"""Promises of notifications that nobody here could keep. Source: PROTOCOL.md 2.1."""

_STATUS: Final[Mapping[int, int]] = MappingProxyType(
    {
        PARSE_ERROR: 400,
        INVALID_REQUEST: 400,
        INVALID_PARAMS: 400,
        HEADER_MISMATCH: 400,
        MISSING_CLIENT_CAPABILITY: 400,
        UNSUPPORTED_REVISION: 400,
        METHOD_NOT_FOUND: 404,
    }
)
"""HTTP status by JSON-RPC code; all others are 200. Source: PROTOCOL.md 2.4."""

_RESERVED: Final = range(-32099, -32019)
"""Codes that only the specification defines now; before, every server could. Source: PROTOCOL.md 2.4."""


class _Link(msgspec.Struct, frozen=True):
    url: str
    message: str = ""
    elicitation_id: str = msgspec.field(name="elicitationId", default="")


class _Links(msgspec.Struct, frozen=True):
    elicitations: list[_Link]


class _Annotations(msgspec.Struct, frozen=True):
    read_only: bool = msgspec.field(name="readOnlyHint", default=False)
    idempotent: bool = msgspec.field(name="idempotentHint", default=False)


class _Tool(msgspec.Struct, frozen=True):
    name: str
    annotations: _Annotations | None = None


class _Tools(msgspec.Struct, frozen=True):
    tools: list[_Tool]
    next_cursor: str | None = msgspec.field(name="nextCursor", default=None)


_LINKS: Final = msgspec.json.Decoder(_Links)
_TOOLS: Final = msgspec.json.Decoder(_Tools)


# Results


def discovered(initialized: bytes) -> bytes:
    """The result of `server/discover`, made of that of `initialize`.

    Raises:
        BadBridgeReply: that is not one.
    """
    try:
        found = members(initialized)
        capabilities = _capabilities(members(found.get("capabilities", b"{}")))
    except InvalidInput as flaw:
        raise _unreadable("initialize", flaw) from flaw
    said = {
        "supportedVersions": b'["%b"]' % R2026_07_28.name.encode(),
        "capabilities": capabilities,
        **({"instructions": found["instructions"]} if "instructions" in found else {}),
        "_meta": written({f"{META}serverInfo": server_info(initialized)}),
    }
    return written({**_COMPLETE, **said, **_NEVER_CACHED})


def _capabilities(found: Mapping[str, bytes]) -> bytes:
    return written(
        {
            name: written(members(value), without=_ANNOUNCED) if value.startswith(b"{") else value
            for name, value in found.items()
            if name in _CAPABILITIES
        }
    )


def server_info(initialized: bytes) -> bytes:
    """Who the server says it is, as JSON."""
    try:
        info = members(initialized).get("serverInfo", UNKNOWN_SERVER)
    except InvalidInput:
        return UNKNOWN_SERVER
    return info if info.startswith(b"{") else UNKNOWN_SERVER


def dressed(method: str, result: bytes) -> bytes:
    """A result with what the era demands in front, and all its own bytes behind.

    Raises:
        BadBridgeReply: it is no object.
    """
    added = {**_COMPLETE, **(_NEVER_CACHED if method in CACHEABLE else {})}
    try:
        found = members(result)
    except InvalidInput as flaw:
        raise _unreadable(method, flaw) from flaw
    if not found.keys().isdisjoint(added):  # of such twins each reader would take another one
        return written({**added, **{name: value for name, value in found.items() if name not in added}})
    opened = written(added)[:-1]
    rest = result[result.index(b"{") + 1 :]
    return opened + (b"," if found else b"") + rest


def _unreadable(method: str, flaw: InvalidInput) -> BadBridgeReply:
    return BadBridgeReply(f"expected the result of {method}: {flaw.detail}")


# Replies


def reply_of(method: str, request_id: RequestId, response: Response) -> tuple[int, bytes]:
    """HTTP status and JSON-RPC message that bring a server's response to the client.

    Raises:
        BadBridgeReply: it can be read by no client.
    """
    if response.error is None:
        return 200, result_message(request_id, dressed(method, response.result or b"null"))
    try:
        error = read_error(response.error)
    except InvalidInput as flaw:
        raise BadBridgeReply(f"expected the error of {method}: {flaw.detail}") from flaw
    return _error_reply(request_id, _translated(error, response))


def _translated(error: ErrorObject, response: Response) -> ErrorObject:
    if links_of(response):
        needed = b'{"requiredCapabilities":{"elicitation":{"url":{}}}}'
        return ErrorObject(MISSING_CLIENT_CAPABILITY, error.message, needed)
    if error.code == RESOURCE_NOT_FOUND:
        return ErrorObject(INVALID_PARAMS, error.message, error.data)
    if error.code in _RESERVED:
        return ErrorObject(INTERNAL_ERROR, error.message, error.data)
    return error


def _error_reply(request_id: RequestId, error: ErrorObject) -> tuple[int, bytes]:
    message = error_message(request_id, error.code, error.message, error.data)
    return _STATUS.get(error.code, 200), message


def fault_reply(request_id: RequestId, fault: SidecarError) -> tuple[int, bytes]:
    """HTTP status and JSON-RPC message that tell the client of an error of ours.

    What it said wrong is a bad request; everything else is status 200. Source: PROTOCOL.md 2.4, 3.7.
    """
    if isinstance(fault, InvalidState):
        return fault.status, state_refused(fault, request_id)
    if isinstance(fault, InvalidInput):
        return 400, error_message(request_id, INVALID_PARAMS, fault.detail)
    return 200, fault_message(request_id, fault)


# Links


def links_of(response: Response) -> list[UrlQuestion]:
    """The links that have to be opened before the request can be served; empty where it failed for another reason.

    Source: MCP 2025-11-25, "URL elicitation required error"; it does not exist in the envelope era.
    """
    if response.error is None:
        return []
    try:
        error = read_error(response.error)
        needed = _LINKS.decode(error.data or b"null") if error.code == URL_ELICITATION_REQUIRED else _Links([])
    except (InvalidInput, msgspec.DecodeError, RecursionError):
        return []
    return [UrlQuestion(link.message, link.url, link.elicitation_id) for link in needed.elicitations]


# Notifications


def note_for(note: bytes, *, progress_token: bytes | None, log_level: str) -> bytes | None:
    """A server's notification as it stands in the reply to a request; None where it has no place there.

    A retry may have another progress token than the request that the server still works on.

    Source: PROTOCOL.md 2.1 (log lines only on demand), 2.7.
    """
    match parse(note):
        case Notification(method="notifications/progress", params=params) if progress_token is not None:
            return _with_token(note, params or b"{}", progress_token)
        case Notification(method="notifications/message", params=params) if log_level:
            return note if _is_loud_enough(params or b"{}", log_level) else None
        case _:
            return None


def _with_token(note: bytes, params: bytes, token: bytes) -> bytes | None:
    try:
        found = members(params)
    except InvalidInput:
        return None
    if found.get("progressToken") == token:
        return note
    return notification_message("notifications/progress", written({**found, "progressToken": token}))


def _is_loud_enough(params: bytes, wanted: str) -> bool:
    try:
        level = read_value(members(params).get("level", b"null"))
    except InvalidInput:
        return False
    return isinstance(level, str) and level in LEVELS and LEVELS.index(level) >= LEVELS.index(wanted)


def acknowledged(request_id: RequestId) -> bytes:
    """The first message of a subscription to which nothing will come. Source: PROTOCOL.md 2.7."""
    said = {"notifications": {}, "_meta": {f"{META}subscriptionId": request_id}}
    return notification_message("notifications/subscriptions/acknowledged", said)


def subscription_over(request_id: RequestId) -> bytes:
    """The last message of a subscription that we end. Source: PROTOCOL.md 2.7."""
    return result_message(request_id, {"resultType": "complete", "_meta": {f"{META}subscriptionId": request_id}})


# Tools


@dataclass(frozen=True, slots=True)
class ToolsPage:
    """What one page of `tools/list` says of a tool."""

    is_repeatable: bool | None
    """It may be called twice; None where the tool is not on this page."""
    next_cursor: str | None


def read_tools_page(listed: bytes, name: str) -> ToolsPage:
    """Look for the tool on one page. Source: MCP 2025-11-25, schema ToolAnnotations.

    Raises:
        BadBridgeReply: that is no list of tools.
    """
    try:
        page = _TOOLS.decode(listed)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadBridgeReply(f"expected the result of tools/list: {quote(str(error))}") from error
    for tool in page.tools:
        if tool.name == name:
            hints = tool.annotations or _Annotations()
            return ToolsPage(hints.read_only or hints.idempotent, None)
    return ToolsPage(None, page.next_cursor)
