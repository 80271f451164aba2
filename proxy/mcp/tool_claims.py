"""Whom an MCP message names as the agent that calls tools, and which limits its calls come under.

Read as the most lenient server would read it: calls in a batch count, and what stands twice counts twice. A message
that nobody can read is the server's to refuse.

Source: BRIDGE.md 3 (arguments of the tools); ARCHITECTURE.md 4.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proxy.core.errors import InvalidInput
from proxy.core.identity import NO_CLAIMS, Claims
from proxy.core.lenient_json import Members, objects_in, parse_lenient
from proxy.core.limits import ANSWERS, QUESTIONS, WAITS, LimitName
from proxy.mcp.hidden import MAX_TRIED_BYTES, is_looked_at
from proxy.mcp.inbound import ToolNames
from proxy.mcp.jsonrpc import Message, Request, members, read_value

SPEAKERS: Final = ("agent_id", "from_agent", "responding_agent")
"""Arguments that say who calls."""

_ABOUT_OTHERS: Final = frozenset(
    {"lighthouse_query_events", "query_events", "lighthouse_validate_session", "validate_session"}
)
"""Tools whose `agent_id` says whom it is about."""

ASKING: Final = frozenset({"lighthouse_elicit_information", "elicit_information"})
"""Tools that put a question."""

_CALL: Final = "tools/call"


@dataclass(frozen=True, slots=True)
class ToolUse:
    """What the tools that a message calls say of their caller."""

    claims: Claims = NO_CLAIMS
    limits: tuple[LimitName, ...] = ()
    """One for each call that comes under one."""


_NONE: Final = ToolUse()


def read_tools(message: Message, body: bytes, names: ToolNames) -> ToolUse:
    """What a message says; `message` is `body` as it was parsed."""
    if not is_looked_at(body):
        return _NONE
    if isinstance(message, Request):
        return _read_call(message, body, names) if message.method == _CALL else _NONE
    return _read_leniently(body, names)


def _read_call(message: Request, body: bytes, names: ToolNames) -> ToolUse:
    try:
        params = members(message.params or b"{}")
        arguments = members(params.get("arguments", b"{}"))
        tool = read_value(params.get("name", b"null"))
        said = [read_value(arguments[name]) for name in SPEAKERS if name in arguments]
    except InvalidInput:
        return _read_leniently(body, names)
    return _use([tool], said, names, is_retry="requestState" in params)


def _read_leniently(body: bytes, names: ToolNames) -> ToolUse:
    if len(body) > MAX_TRIED_BYTES:
        return ToolUse(Claims(is_readable=False))
    try:
        value = parse_lenient(body)
    except RecursionError:
        return ToolUse(Claims(is_readable=False))
    except ValueError:
        return _NONE
    uses = [_use_of(message, names) for message in objects_in(value) if _CALL in message.all("method")]
    return ToolUse(
        Claims(
            tuple(name for use in uses for name in use.claims.named),
            is_readable=all(use.claims.is_readable for use in uses),
        ),
        tuple(limit for use in uses for limit in use.limits),
    )


def _use_of(message: Members, names: ToolNames) -> ToolUse:
    params = [member for one in message.all("params") if isinstance(one, Members) for member in one]
    tools = [value for name, value in params if name == "name"]
    arguments = [value for name, value in params if name == "arguments" and isinstance(value, Members)]
    said = [value for one in arguments for name in SPEAKERS for value in one.all(name)]
    return _use(tools, said, names, is_retry=any(name == "requestState" for name, _ in params))


def _use(called: list[object], said: list[object], names: ToolNames, *, is_retry: bool) -> ToolUse:
    tools = [tool for tool in called if isinstance(tool, str)]
    known: Mapping[LimitName, frozenset[str]] = {QUESTIONS: ASKING, ANSWERS: names.respond}
    limits = [limit for limit, those in known.items() if any(tool in those for tool in tools)]
    if not is_retry and any(tool in names.wait for tool in tools):  # a retry goes on with a wait that was counted
        limits.append(WAITS)
    if all(tool in _ABOUT_OTHERS for tool in tools):  # nothing at all is called where there is no name
        return ToolUse(limits=tuple(limits))
    named = [value for value in said if value is not None and value != ""]
    texts = tuple(value for value in named if isinstance(value, str))
    return ToolUse(Claims(texts, is_readable=len(texts) == len(named)), tuple(limits))
