"""What a raw MCP client of the soak says and reads, in either era, and what it does with each question.

Pure. Every item carries its number of the ledger in its text, so whatever way it comes, it is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

WAIT_TOOL: Final = "lighthouse_wait_for_messages"
RESPOND_TOOL: Final = "lighthouse_respond_to_elicitation"
"""Source: BRIDGE.md 3."""

HANDSHAKE: Final = "2025-11-25"
ENVELOPE: Final = "2026-07-28"
"""The revisions that the clients speak. Source: PROTOCOL.md 1."""

REVISION_HEADER: Final = "MCP-Protocol-Version"
SESSION_HEADER: Final = "Mcp-Session-Id"

CREATE: Final = "elicitation/create"
CLIENT: Final[Mapping[str, str]] = {"name": "bench", "version": "1"}
CAPABILITIES: Final[Mapping[str, object]] = {"elicitation": {"form": {}}}

_META: Final = "io.modelcontextprotocol/"
_ASKED: Final = "elicitation_request"
_ANSWERED: Final = "elicitation_answered"
"""`event_type` of a question that is left to the agent, and of one that was answered while the wait went on."""


class UnexpectedError(Exception):
    """The sidecar said what this client did not expect."""


class Fate(StrEnum):
    """What a client does with one question."""

    ACCEPT = "accept"
    DECLINE = "decline"
    CANCEL = "cancel"
    LATE = "late"
    """Accept, after the wait is over."""
    LEAVE = "leave"
    """Nothing at all."""


_FATES: Final = {1: Fate.DECLINE, 2: Fate.CANCEL, 3: Fate.LATE, 4: Fate.LATE, 5: Fate.LEAVE, 6: Fate.LEAVE}


def fate_of(number: int) -> Fate:
    """What becomes of the question with this number: of twenty, two are left, two answered late, two refused."""
    return _FATES.get(number % 20, Fate.ACCEPT)


def answer_of(fate: Fate) -> dict[str, object]:
    """The answer as a result of `elicitation/create`."""
    if fate in {Fate.DECLINE, Fate.CANCEL}:
        return {"action": fate.value}
    return {"action": "accept", "content": {"ok": True}}


def respond_arguments(elicitation_id: str, fate: Fate) -> dict[str, object]:
    """The same answer as arguments of the respond tool."""
    answer = answer_of(fate)
    said = {"elicitation_id": elicitation_id, "response_type": answer["action"]}
    return {**said, "data": answer["content"]} if "content" in answer else said


def wait_arguments(agent: str, *, since: int, wait_s: int) -> dict[str, object]:
    """The arguments of the wait tool."""
    return {"agent_id": agent, "since_sequence": since, "timeout_seconds": wait_s}


def tool_params(name: str, arguments: Mapping[str, object]) -> dict[str, object]:
    """The parameters of a `tools/call`."""
    return {"name": name, "arguments": arguments}


def request(method: str, params: Mapping[str, object], request_id: int | None, *, is_modern: bool) -> dict[str, object]:
    """One request, or one notification where it has no id."""
    said: dict[str, object] = {"jsonrpc": "2.0", "method": method, "params": params}
    if request_id is not None:
        said["id"] = request_id
    if is_modern:
        meta = {"protocolVersion": ENVELOPE, "clientInfo": CLIENT, "clientCapabilities": CAPABILITIES}
        said["params"] = {**params, "_meta": {f"{_META}{key}": value for key, value in meta.items()}}
    return said


INITIALIZE: Final[Mapping[str, object]] = {
    "protocolVersion": HANDSHAKE,
    "capabilities": CAPABILITIES,
    "clientInfo": CLIENT,
}


def headers_for(method: str, params: Mapping[str, object], session: str, *, is_modern: bool) -> dict[str, str]:
    """The headers of one POST."""
    told = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    if is_modern:
        told |= {REVISION_HEADER: ENVELOPE, "Mcp-Method": method}
        return told | {"Mcp-Name": str(params["name"])} if "name" in params else told
    return told | {REVISION_HEADER: HANDSHAKE, SESSION_HEADER: session} if session else told


class _Params(msgspec.Struct):
    message: str = ""


class _Request(msgspec.Struct):
    params: _Params = msgspec.field(default_factory=_Params)


class _Text(msgspec.Struct):
    text: str = ""


class Result(msgspec.Struct):
    """The result of a tool, or what it needs before there is one."""

    content: list[_Text] = []
    is_error: bool = msgspec.field(name="isError", default=False)
    requests: dict[str, _Request] = msgspec.field(name="inputRequests", default_factory=dict)
    state: str = msgspec.field(name="requestState", default="")


class Message(msgspec.Struct):
    """One message of the server."""

    id: int | str | None = None
    method: str = ""
    params: _Params = msgspec.field(default_factory=_Params)
    result: Result | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


class _Said(msgspec.Struct):
    message: str = ""
    to_agent: str = ""
    elicitation_id: str = ""
    elicitation_type: str = ""
    response_type: str = ""
    error: str = ""


class _WaitItem(msgspec.Struct):
    sequence: int
    event_type: str = ""
    data: _Said = msgspec.field(default_factory=_Said)


class _WaitReply(msgspec.Struct):
    events: list[_WaitItem]


_MESSAGE: Final = msgspec.json.Decoder(Message)
_WAIT: Final = msgspec.json.Decoder(_WaitReply)


def read_message(raw: bytes) -> Message:
    """Read one message.

    Raises:
        UnexpectedError: it is none.
    """
    try:
        return _MESSAGE.decode(raw)
    except msgspec.DecodeError as error:
        raise UnexpectedError(f"{error}: {raw[:200]!r}") from error


def number_in(text: str) -> int | None:
    """The number of the item that a text belongs to, if it is one."""
    kind, _, number = text.partition(" ")
    return int(number) if kind == "item" and number.isdecimal() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One item of a wait for the agent that waits."""

    number: int
    elicitation_id: str
    """Of a question that is left to the agent; empty for a message and for what was answered meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a wait told."""

    cursor: int
    seen: tuple[Seen, ...]
    failed: tuple[str, ...]
    """Answers that did not reach their question."""


def read_wait(result: Result, agent: str) -> Told:
    """Read the result of a wait.

    Raises:
        UnexpectedError: not the promised shape.
    """
    text = result.content[0].text if result.content else ""
    try:
        items = _WAIT.decode(text).events
    except msgspec.DecodeError as error:
        raise UnexpectedError(f"{error}: {text[:200]!r}") from error
    seen = [one for item in items if (one := _seen(item, agent)) is not None]
    failed = [item.data.error for item in items if item.data.error]
    return Told(cursor=max((item.sequence for item in items), default=0), seen=tuple(seen), failed=tuple(failed))


def _seen(item: _WaitItem, agent: str) -> Seen | None:
    """The Bridge's own note of a question, which everybody reads in the legacy stream, is no delivery."""
    is_message = item.data.to_agent == agent and not item.data.elicitation_type
    number = number_in(item.data.message)
    if number is None or not (is_message or item.event_type in {_ASKED, _ANSWERED}):
        return None
    return Seen(number=number, elicitation_id=item.data.elicitation_id if item.event_type == _ASKED else "")


def asked_in(result: Result) -> dict[str, int]:
    """What a result asks before it goes on: the number of each item by its key."""
    numbers = {key: number_in(asked.params.message) for key, asked in result.requests.items()}
    return {key: number for key, number in numbers.items() if number is not None}
