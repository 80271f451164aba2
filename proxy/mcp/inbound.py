"""Say what one message from an MCP client is to us: a wait, an answer, an opening, or nothing of ours.

Only the envelope and, for the tools that are ours by name, the arguments are looked at; everything else is relayed
as the bytes that came.

Source: PROTOCOL.md 3.5, 4.2.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

from proxy.core.answers import GivenAnswer
from proxy.core.errors import InvalidInput
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import WaitAsk
from proxy.mcp.ask import modes_declared
from proxy.mcp.correlation import is_own_id, read_cancelled
from proxy.mcp.jsonrpc import Message, Notification, Request, RequestId, Response
from proxy.mcp.revisions import Mode
from proxy.mcp.tools import (
    ToolCall,
    named_elicitation,
    parse_respond_arguments,
    parse_send_arguments,
    parse_wait_arguments,
    read_tool_call,
)

LOOKED_AT: Final = (
    b'"tools/call"',
    b'"tools\\/call"',
    b'"initialize"',
    b'"notifications/cancelled"',
    b'"notifications\\/cancelled"',
    b'"esc-',
    b"\\u00",
)
"""A body without any of these is nothing of ours; some writers escape the slash, and any letter may be escaped.

Source: ours; a search costs less than a parse.
"""


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


class AnswerTool(StrEnum):
    """By which tool an answer came; each has a reply of its own."""

    RESPOND = "respond"
    SEND = "send"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerCall:
    """An answer by the respond tool or the legacy send tool."""

    id: RequestId
    given: GivenAnswer
    tool: AnswerTool


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableAnswer:
    """A call that names an elicitation, but its answer cannot be read."""

    id: RequestId
    elicitation_id: ElicitationId
    error: InvalidInput


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


@dataclass(frozen=True, slots=True)
class ToQuestion:
    """A response to a request that only a sidecar can have sent; whether it was this one is for others to say."""

    response: Response


Inbound = ToQuestion | WaitCall | AnswerCall | UnreadableAnswer | Opening | Cancel

AnswersAs = Callable[[ElicitationId], AgentId | None]
"""Which agent of this client answers this elicitation, as the respond tool does not say."""


class _Opening(msgspec.Struct):
    protocol: str = msgspec.field(name="protocolVersion", default="")
    capabilities: dict[str, msgspec.Raw] = {}
    client: dict[str, object] = msgspec.field(name="clientInfo", default_factory=dict)


_OPENING: Final = msgspec.json.Decoder(_Opening)


def classify(message: Message, names: ToolNames, *, default_timeout_s: int, answers_as: AnswersAs) -> Inbound | None:
    """What the message is to us; None when it has to be relayed."""
    match message:
        case Request(id=request_id, method="tools/call", params=params):
            call = read_tool_call(params)
            if call is None:
                return None
            return _called(request_id, call, names, default_timeout_s=default_timeout_s, answers_as=answers_as)
        case Request(id=request_id, method="initialize", params=params):
            return _opening(request_id, params)
        case Notification(method="notifications/cancelled", params=params):
            return _cancel(params)
        case Response(id=request_id) if is_own_id(request_id):
            return ToQuestion(message)
        case _:
            return None


def _called(
    request_id: RequestId, call: ToolCall, names: ToolNames, *, default_timeout_s: int, answers_as: AnswersAs
) -> Inbound | None:
    if call.name in names.wait:
        ask = parse_wait_arguments(call.arguments, default_timeout_s=default_timeout_s)
        return None if ask is None else WaitCall(id=request_id, call=call, ask=ask)
    # Of our tools only a wait is ever suspended by us.
    return None if call.retry else _answer(request_id, call, names, answers_as)


def _cancel(params: bytes | None) -> Cancel | None:
    cancelled = read_cancelled(params)
    return None if cancelled is None else Cancel(cancelled)


def _answer(
    request_id: RequestId, call: ToolCall, names: ToolNames, answers_as: AnswersAs
) -> AnswerCall | UnreadableAnswer | None:
    tool = _answer_tool(call.name, names)
    if tool is None:
        return None
    is_send = tool is AnswerTool.SEND
    named = named_elicitation(call.arguments, inside="event_data" if is_send else "")
    try:
        given = parse_send_arguments(call.arguments) if is_send else _responded(call.arguments, named, answers_as)
    except InvalidInput as error:
        return None if named is None else UnreadableAnswer(id=request_id, elicitation_id=named, error=error)
    return None if given is None else AnswerCall(id=request_id, given=given, tool=tool)


def _answer_tool(name: str, names: ToolNames) -> AnswerTool | None:
    if name in names.respond:
        return AnswerTool.RESPOND
    return AnswerTool.SEND if name in names.send else None


def _responded(arguments: bytes, named: ElicitationId | None, answers_as: AnswersAs) -> GivenAnswer | None:
    agent_id = None if named is None else answers_as(named)
    return None if agent_id is None else parse_respond_arguments(arguments, agent_id)


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
