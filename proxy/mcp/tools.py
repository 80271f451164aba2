"""The legacy tools as MCP calls: read their arguments, write their results.

A call that cannot be read as one of ours is not ours to refuse: it reads as None and is relayed, so that the tool's
own words reach the agent. Results have the shape of the legacy Bridge's tools: JSON text, repeated in
`structuredContent.result`, because their output schema asks for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import orjson

from proxy.core.answers import GivenAnswer, parse_respond, parse_stored_answer
from proxy.core.errors import InvalidInput
from proxy.core.ids import MAX_SEQUENCE, AgentId, Sequence, parse_agent_id
from proxy.core.legacy import WaitAsk

ProgressToken = str | int
"""Source: MCP, basic/utilities/progress."""


class _Meta(msgspec.Struct):
    progress_token: str | int | None = msgspec.field(name="progressToken", default=None)


class _Call(msgspec.Struct):
    name: str
    arguments: msgspec.Raw = msgspec.Raw(b"{}")
    meta: _Meta | None = msgspec.field(name="_meta", default=None)


_CALL: Final = msgspec.json.Decoder(_Call)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One `tools/call` as far as it is looked at: `arguments` stay the bytes that came."""

    name: str
    arguments: bytes
    progress_token: ProgressToken | None = None


def read_tool_call(params: bytes | None) -> ToolCall | None:
    """The name and the arguments of a `tools/call`; None when it cannot be read."""
    try:
        call = _CALL.decode(params or b"")
    except (msgspec.DecodeError, RecursionError):
        return None
    token = call.meta.progress_token if call.meta else None
    return ToolCall(name=call.name, arguments=bytes(call.arguments), progress_token=token)


def parse_wait_arguments(arguments: bytes, *, default_timeout_s: int) -> WaitAsk | None:
    """Read the arguments of the wait tool; None when only the tool itself can say what is wrong with them.

    Numbers in text are numbers to the tool as well. Source: BRIDGE.md 3.
    """
    given = _object(arguments)
    if given is None:
        return None
    since = _whole(given.get("since_sequence") or 0)
    timeout = _whole(given.get("timeout_seconds", default_timeout_s))
    if since is None or timeout is None or not 0 <= since <= MAX_SEQUENCE:
        return None
    try:
        agent_id = parse_agent_id(given.get("agent_id"))
    except InvalidInput:
        return None
    return WaitAsk(agent_id=agent_id, since=Sequence(since), timeout_s=timeout)


def parse_respond_arguments(arguments: bytes, agent_id: AgentId) -> GivenAnswer | None:
    """Read the arguments of the respond tool, given by the agent of this MCP session.

    Raises:
        InvalidInput: as `proxy.core.answers.parse_respond`.
    """
    given = _object(arguments)
    if given is None:
        return None
    return parse_respond(orjson.dumps({**given, "responding_agent": agent_id}))


def parse_send_arguments(arguments: bytes) -> GivenAnswer | None:
    """Read the arguments of the legacy send tool as an answer; None when they name no elicitation.

    Raises:
        InvalidInput: as `proxy.core.answers.parse_stored_answer`.
    """
    given = _object(arguments)
    if given is None:
        return None
    return parse_stored_answer(orjson.dumps({"agent_id": given.get("agent_id"), "data": given.get("event_data")}))


def tool_result(reply: bytes, *, is_error: bool = False) -> dict[str, object]:
    """A legacy reply (JSON bytes) as the result of a tool. Source: BRIDGE.md 3."""
    text = orjson.dumps(orjson.loads(reply), option=orjson.OPT_INDENT_2).decode()
    return {
        "content": [{"type": "text", "text": text}],
        "structuredContent": {"result": text},
        "isError": is_error,
    }


def _object(arguments: bytes) -> Mapping[str, object] | None:
    try:
        value = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _whole(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    text = value.strip() if isinstance(value, str) else ""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None
