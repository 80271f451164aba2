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
from proxy.core.ids import MAX_SEQUENCE, AgentId, ElicitationId, Sequence, parse_agent_id, parse_elicitation_id
from proxy.core.legacy import WaitAsk
from proxy.mcp.ask import modes_declared
from proxy.mcp.jsonrpc import members, read_value
from proxy.mcp.mrtr import is_ours
from proxy.mcp.revisions import Mode

ProgressToken = str | int
"""Source: MCP, basic/utilities/progress."""

META: Final = "io.modelcontextprotocol/"
"""Begin of the protocol's own keys in `_meta`. Source: PROTOCOL.md 2.2."""

_STATE, _RESPONSES, _TASK = "requestState", "inputResponses", "task"
"""Members of a call that goes on with what was begun, or is to run as a task of the server.

Source: PROTOCOL.md 2.5; MCP 2025-11-25, tasks.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A call that comes again with the answers to what a result of ours asked for."""

    state: str
    """Looks like one of ours; whether it is, only its seal can tell."""
    responses: bytes
    """A JSON object as it came; empty where there was none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """One `tools/call` as far as it is looked at: `arguments` stay the bytes that came."""

    name: str
    arguments: bytes
    progress_token: ProgressToken | None = None
    modes: frozenset[Mode] = frozenset()
    """How the client can be asked; only a call of the envelope era says it."""
    client_name: str = ""
    """The client's own word, as well only in the envelope era."""
    retry: Retry | None = None


def read_tool_call(params: bytes | None) -> ToolCall | None:
    """The name and the arguments of a `tools/call`; None when it cannot be read or only its server can answer it."""
    try:
        found = members(params or b"")
        name = read_value(found.get("name", b"null"))
        meta = members(found.get("_meta", b"{}"))
        token = read_value(meta.get("progressToken", b"null"))
        capabilities = _read_object(meta, f"{META}clientCapabilities")
        client = _read_object(meta, f"{META}clientInfo")
        state = read_value(found.get(_STATE, b"null"))
    except InvalidInput:
        return None
    retry = Retry(state=state, responses=found.get(_RESPONSES, b"")) if isinstance(state, str) else None
    goes_on = _STATE in found or _RESPONSES in found
    is_servers = _TASK in found or (goes_on and not is_ours(state))
    if not isinstance(name, str) or is_servers:
        return None
    client_name = client.get("name")
    return ToolCall(
        name=name,
        arguments=found.get("arguments", b"{}"),
        progress_token=_progress_token(token),
        modes=modes_declared(capabilities.get("elicitation")),
        client_name=client_name if isinstance(client_name, str) else "",
        retry=retry,
    )


def _read_object(meta: Mapping[str, bytes], key: str) -> Mapping[str, object]:
    value = read_value(meta.get(key, b"null"))
    return value if isinstance(value, dict) else {}


def _progress_token(value: object) -> ProgressToken | None:
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None


def parse_wait_arguments(arguments: bytes, *, default_timeout_s: int) -> WaitAsk | None:
    """Read the arguments of the wait tool; None when only the tool itself can say what is wrong with them.

    Numbers in text are numbers to the tool as well. Source: BRIDGE.md 3.
    """
    given = _object(arguments)
    if given is None:
        return None
    since_given = given.get("since_sequence")
    since = 0 if since_given is None else _whole(since_given)
    timeout = _whole(given.get("timeout_seconds", default_timeout_s))
    if since is None or timeout is None or not 0 <= since <= MAX_SEQUENCE:
        return None
    try:
        agent_id = parse_agent_id(given.get("agent_id"))
    except InvalidInput:
        return None
    return WaitAsk(agent_id=agent_id, since=Sequence(since), timeout_s=timeout)


def parse_respond_arguments(arguments: bytes, agent_id: AgentId) -> GivenAnswer | None:
    """Read the arguments of the respond tool, which names no agent.

    Raises:
        InvalidInput: as `proxy.core.answers.parse_respond`.
    """
    given = _object(arguments)
    if given is None:
        return None
    return parse_respond(_written({**given, "responding_agent": agent_id}))


def parse_send_arguments(arguments: bytes) -> GivenAnswer | None:
    """Read the arguments of the legacy send tool as an answer; None when they name no elicitation.

    Raises:
        InvalidInput: as `proxy.core.answers.parse_stored_answer`.
    """
    given = _object(arguments)
    if given is None:
        return None
    return parse_stored_answer(_written({"agent_id": given.get("agent_id"), "data": given.get("event_data")}))


def named_elicitation(arguments: bytes, *, inside: str = "") -> ElicitationId | None:
    """The `elicitation_id` among the arguments of a tool, or `inside` of one of them, if there is one."""
    given = _object(arguments) or {}
    place = given.get(inside) if inside else given
    if not isinstance(place, dict):
        return None
    try:
        return parse_elicitation_id(place.get("elicitation_id"))
    except InvalidInput:
        return None


def tool_result(reply: bytes, *, is_error: bool = False) -> dict[str, object]:
    """A legacy reply (JSON bytes) as the result of a tool. Source: BRIDGE.md 3.

    It is indented token by token, so that no number changes; what is nested too deeply for that stays in one line.
    """
    try:
        shown = msgspec.json.format(reply, indent=2)
    except (msgspec.DecodeError, RecursionError):
        shown = reply
    text = shown.decode("utf-8", "replace")
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


def _written(value: Mapping[str, object]) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise InvalidInput("expected arguments that are nested less deeply") from error


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
