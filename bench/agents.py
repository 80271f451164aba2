"""A simulated agent: it always waits with its cursor kept, asks when told to, and answers what it is asked.

It speaks as an unchanged legacy agent does, `GET /event/wait` in an endless loop. Only the asking differs by arm: a
stored message with an addressee on the legacy way, an elicitation on the other.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from bench.http_client import BadReplyError, Client, Reply, encode
from bench.ledger import Item, Ledger

Style = Literal["message", "question"]
"""How an item travels: as a stored message, or as an elicitation."""

WAIT_S: Final = 60
"""Length of one wait. Source: BRIDGE.md 2.3, default of the legacy call."""

RETRY_S: Final = 0.1
"""Pause after a wait that failed. Source: ours; long enough not to flood, short enough to see the Bridge return."""

SCHEMA: Final = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
TAKEN: Final = (b'"stored"', b'"elicitation_id"', b'"success"')
"""What the reply to a taken message, question or answer says. Source: BRIDGE.md 2.2 and 2.5."""
CALL_ERRORS: Final = (OSError, TimeoutError, BadReplyError)


class _Said(msgspec.Struct):
    message: str = ""
    to_agent: str = ""
    elicitation_id: str = ""
    elicitation_type: str = ""


class _WaitItem(msgspec.Struct):
    sequence: int
    event_type: str = ""
    source_agent: str | None = None
    data: _Said = msgspec.field(default_factory=_Said)


class _WaitReply(msgspec.Struct):
    events: list[_WaitItem]


_DECODER: Final = msgspec.json.Decoder(_WaitReply)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """Over which connections an agent waits and answers, and over which it asks."""

    wait: Client
    ask: Client
    style: Style


class Agent:
    """One agent with its Bridge session; `ledger` is that of the running turn."""

    __slots__ = ("_group", "_ways", "cursor", "ledger", "name", "token", "waits")

    def __init__(self, name: str, ways: Ways) -> None:
        self.name = name
        self.token = ""
        self.cursor = 0
        self.waits = 0
        self.ledger = Ledger()
        self._ways = ways
        self._group: asyncio.TaskGroup | None = None

    async def open_session(self) -> None:
        """Open a Bridge session."""
        asked = {"agent_id": self.name, "ip_address": "127.0.0.1", "user_agent": "bench"}
        said = await self._ways.ask.json("POST", "/session/create", body=asked)
        self.token = str(said["session_token"]) if isinstance(said, dict) else ""

    async def wait_on(self, group: asyncio.TaskGroup, *, wait_s: int = WAIT_S) -> None:
        """Wait for ever; answers are given in `group`."""
        self._group = group
        while True:
            target = f"/event/wait?agent_id={self.name}&since_sequence={self.cursor}&timeout_seconds={wait_s}"
            try:
                reply = await self._ways.wait.call(encode("GET", target, token=self.token), timeout_s=wait_s + 10)
                self._take(reply)
            except CALL_ERRORS as error:
                self.ledger.failed(f"wait: {type(error).__name__}")
                await asyncio.sleep(RETRY_S)

    def _take(self, reply: Reply) -> None:
        if reply.status != 200:
            raise BadReplyError(f"wait answered {reply.status}")
        self.waits += 1
        for item in _DECODER.decode(reply.body).events:
            self.cursor = max(self.cursor, item.sequence)
            number = self._number(item)
            if number is not None and self.ledger.received(number, reply.received_at) and self._group is not None:
                self._group.create_task(self._answer(item, number))

    def _number(self, item: _WaitItem) -> int | None:
        """The number of an item that is for this agent.

        The Bridge's own note of a question, which everybody reads in the legacy stream, is no delivery.
        """
        is_message = item.data.to_agent == self.name and not item.data.elicitation_type
        kind, _, number = item.data.message.partition(" ")
        is_mine = is_message or item.event_type == "elicitation_request"
        return int(number) if is_mine and kind == "item" and number.isdecimal() else None

    async def ask(self, receiver: str, item: Item) -> None:
        """Send one item of the ledger and note what became of the call."""
        text = f"item {item.number}"
        if self._ways.style == "message":
            target, body = "/event/store", self._stored({"to_agent": receiver, "message": text})
        else:
            target = "/elicitation/create"
            body = {
                "from_agent": self.name,
                "to_agent": receiver,
                "message": text,
                "schema": SCHEMA,
                "timeout_seconds": 60,
            }
        await self._send(self._ways.ask, target, body, item)

    async def _answer(self, item: _WaitItem, number: int) -> None:
        target, body = "/elicitation/respond", self._accepted(item)
        if not item.data.elicitation_id:
            said = {"to_agent": item.source_agent, "message": f"answer {number}", "ok": True}
            target, body = "/event/store", self._stored(said)
        if await self._send(self._ways.wait, target, body, None):
            self.ledger.answers += 1

    def _accepted(self, item: _WaitItem) -> dict[str, object]:
        return {
            "elicitation_id": item.data.elicitation_id,
            "responding_agent": self.name,
            "response_type": "accept",
            "data": {"ok": True},
        }

    def _stored(self, said: Mapping[str, object]) -> dict[str, object]:
        return {"event_type": "custom", "agent_id": self.name, "data": said}

    async def _send(self, client: Client, target: str, body: object, item: Item | None) -> bool:
        try:
            reply = await client.call(encode("POST", target, body=body, token=self.token))
        except CALL_ERRORS as error:
            self.ledger.failed(f"{target}: {type(error).__name__}")
            return False
        if reply.status != 200 or not any(word in reply.body for word in TAKEN):
            self.ledger.failed(f"{target}: {reply.status} {reply.body[:120].decode(errors='replace')}")
            return False
        if item is not None:
            item.sent_at, item.accepted_at = reply.sent_at, reply.received_at
        return True
