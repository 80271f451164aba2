"""Say what one message from an MCP client is to us: a wait, an answer, an opening, or nothing of ours.

Only the envelope and, for the tools that are ours by name, the arguments are looked at; everything else is relayed
as the bytes that came.

Source: PROTOCOL.md 3.5, 4.2.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from proxy.core.answers import GivenAnswer
from proxy.core.ids import AgentId
from proxy.core.legacy import WaitAsk
from proxy.mcp.ask import modes_declared
from proxy.mcp.correlation import read_cancelled
from proxy.mcp.jsonrpc import Message, Notification, Request, RequestId
from proxy.mcp.revisions import Mode
from proxy.mcp.tools import (
    ToolCall,
    parse_respond_arguments,
    parse_send_arguments,
    parse_wait_arguments,
    read_tool_call,
)

LOOKED_AT: Final = (b'"tools/call"', b'"initialize"', b'"notifications/cancelled"')
"""A body without any of these is nothing of ours. Source: ours; a search costs less than a parse."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolNames:
    """Names of the legacy tools, as the operator configured them."""

    wait: frozenset[str]
    respond: frozenset[str]
    send: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitCall:
    """The legacy wait as a tool call."""

    id: RequestId
    call: ToolCall
    ask: WaitAsk


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerCall:
    """An answer by the respond tool or the legacy send tool."""

    id: RequestId
    given: GivenAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """An `initialize`: what the client offers and can do."""

    id: RequestId
    revision: str
    modes: frozenset[Mode]
    client_name: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """The client no longer wants the response to this request of its own."""

    request_id: RequestId


Inbound = WaitCall | AnswerCall | Opening | Cancel


class _Opening(msgspec.Struct):
    protocol: str = msgspec.field(name="protocolVersion", default="")
    capabilities: dict[str, msgspec.Raw] = {}
    client: dict[str, object] = msgspec.field(name="clientInfo", default_factory=dict)


_OPENING: Final = msgspec.json.Decoder(_Opening)


def classify(
    message: Message, names: ToolNames, *, default_timeout_s: int, answering_agent: AgentId | None
) -> Inbound | None:
    """What the message is to us; None when it has to be relayed.

    `answering_agent` is the agent of this MCP session, as the respond tool does not name one.

    Raises:
        InvalidInput: an answer to an elicitation that cannot be read.
    """
    match message:
        case Request(id=request_id, method="tools/call", params=params):
            return _tool_call(request_id, params, names, default_timeout_s, answering_agent)
        case Request(id=request_id, method="initialize", params=params):
            return _opening(request_id, params)
        case Notification(method="notifications/cancelled", params=params):
            cancelled = read_cancelled(params)
            return None if cancelled is None else Cancel(cancelled)
        case _:
            return None


def _tool_call(  # noqa: PLR0917  # what classify was given
    request_id: RequestId,
    params: bytes | None,
    names: ToolNames,
    default_timeout_s: int,
    answering_agent: AgentId | None,
) -> WaitCall | AnswerCall | None:
    call = read_tool_call(params)
    if call is None:
        return None
    if call.name in names.wait:
        ask = parse_wait_arguments(call.arguments, default_timeout_s=default_timeout_s)
        return None if ask is None else WaitCall(id=request_id, call=call, ask=ask)
    given = None
    if call.name in names.respond and answering_agent is not None:
        given = parse_respond_arguments(call.arguments, answering_agent)
    elif call.name in names.send:
        given = parse_send_arguments(call.arguments)
    return None if given is None else AnswerCall(id=request_id, given=given)


def _opening(request_id: RequestId, params: bytes | None) -> Opening | None:
    try:
        opening = _OPENING.decode(params or b"{}")
        elicitation = _capability(opening.capabilities)
    except (msgspec.DecodeError, RecursionError):
        return None
    name = opening.client.get("name")
    return Opening(
        id=request_id,
        revision=opening.protocol,
        modes=modes_declared(elicitation),
        client_name=name if isinstance(name, str) else "",
    )


def _capability(capabilities: Mapping[str, msgspec.Raw]) -> object:
    raw = capabilities.get("elicitation")
    return None if raw is None else msgspec.json.decode(raw)
