"""Two legacy agents that keep their cursors, behind one sidecar or two, before one development Bridge."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final
from urllib.parse import urlencode

from proxy.devbridge.settings import Settings, Switches
from tests.support.house import Heard, House, SharedClock, fields, house, write_tokens
from tests.support.manual_bridge import Json, ManualBridge, start_bridge
from tests.support.turns import let_others_run

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
STEP_S: Final = 0.05
"""How far time moves at each turn of a test."""

TRIES: Final = 8

NEWS: Final = frozenset({"elicitation_request", "elicitation_response"})


@dataclass(slots=True)
class Agent:
    """One agent: all items that its waits brought, in order; its cursor is the highest number in them."""

    agent_id: str
    house: House
    token: str
    cursor: int = 0
    items: list[Json] = field(default_factory=list)
    answers: bool = True
    """Whether it answers what it is asked, in the way it was asked."""
    lose: bool = False
    """It loses the next reply that brings something, and waits again with the cursor that it had."""
    answered: list[Heard] = field(default_factory=list)
    said: set[object] = field(default_factory=set)

    async def run(self) -> None:
        """Wait again and again, and answer."""
        while True:
            await self.wait()

    async def wait(self, timeout_s: int = 20) -> None:
        """One wait."""
        query = urlencode({"agent_id": self.agent_id, "since_sequence": self.cursor, "timeout_seconds": timeout_s})
        heard = await self.house.call("GET", f"/event/wait?{query}", token=self.token)
        assert heard.status == 200, heard
        if heard.items and self.lose:
            self.lose = False
            return
        for item in heard.items:
            self.items.append(item)
            self.cursor = max(self.cursor, int(str(item["sequence"])))
            await self._answer(item)

    async def _answer(self, item: Json) -> None:
        data = fields(item["data"]) if isinstance(item["data"], dict) else {}
        if not self.answers:
            return
        if item["event_type"] == "elicitation_request":
            await self.reply({"elicitation_id": data["elicitation_id"], "content": {"reply": "yes"}})
        elif data.get("to_agent") == self.agent_id and "in_reply_to" not in data:
            asker = data.get("from_agent", item["source_agent"])
            await self.reply({"in_reply_to": item["sequence"], "to_agent": asker, "content": {"reply": "yes"}})

    async def reply(self, data: Mapping[str, object]) -> None:
        """Answer once; a failure of whoever is not the agent is a reason to try again."""
        named = data.get("elicitation_id") or data["in_reply_to"]
        if named in self.said:
            return
        self.said.add(named)
        heard = await self.store(data)
        for _ in range(TRIES):
            if heard.status < 500:
                break
            heard = await self.store(data)
        self.answered.append(heard)

    async def store(self, data: Mapping[str, object], *, event_type: str = "custom") -> Heard:
        """Store an event."""
        body = {"event_type": event_type, "agent_id": self.agent_id, "data": data}
        return await self.house.call("POST", "/event/store", token=self.token, body=body)

    async def ask(self, to_agent: str, **changes: object) -> str:
        """Put a question; its id."""
        body = {
            "from_agent": self.agent_id,
            "to_agent": to_agent,
            "message": "Ship it?",
            "schema": {"type": "object", "properties": {"reply": {"type": "string"}}, "required": ["reply"]},
            "timeout_seconds": 60,
        }
        heard = await self.house.call("POST", "/elicitation/create", token=self.token, body={**body, **changes})
        assert heard.status == 200, heard
        return str(heard.json["elicitation_id"])

    def copies_of(self, sequence: int) -> list[Json]:
        """What it received of the event with this number: the event, a question, or the Bridge's note of that."""
        return [item for item in self.items if _is_of(item, sequence)]

    def replies_to(self, sequence: object) -> list[Json]:
        """The replies to this event that it received."""
        return [item for item in self.items if fields(item["data"]).get("in_reply_to") == sequence]


def _is_of(item: Json, sequence: int) -> bool:
    data = fields(item["data"])
    schema = data.get("schema")
    mark = schema.get("x-elicit-sidecar") if isinstance(schema, dict) else None
    return item["sequence"] == sequence or mark == {"sequence": sequence}


@dataclass(slots=True, kw_only=True)
class Dual:
    """Alice sends, bob receives."""

    bridge: ManualBridge
    clock: SharedClock
    alice: Agent
    bob: Agent
    group: asyncio.TaskGroup
    tasks: "list[asyncio.Task[None]]" = field(default_factory=list)

    @property
    def houses(self) -> list[House]:
        """Every sidecar once."""
        known = [self.alice.house, self.bob.house]
        return known if known[0] is not known[1] else known[:1]

    async def flags(self, **changes: object) -> None:
        """The same change at every sidecar."""
        for each in self.houses:
            await each.flags(**changes)

    def start(self, *agents: Agent) -> None:
        """Let agents wait again and again from here on."""
        self.tasks.extend(self.group.create_task(agent.run()) for agent in agents)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Let time pass until it holds."""
        async with asyncio.timeout(20):
            while not holds():
                await self.pass_s(STEP_S)

    async def pass_s(self, seconds: float) -> None:
        """Let so much time pass, a little at a time."""
        for _ in range(max(1, round(seconds / STEP_S))):
            self.clock.advance(STEP_S)
            await let_others_run()

    async def send(self, **data: object) -> int:
        """Alice sends an event that asks bob something; its number."""
        given = {"to_agent": "bob", "message": "Ship it?", "expects_reply": True, **data}
        heard = await self.alice.store(given)
        assert heard.status == 200, heard
        return int(str(heard.json["sequence"]))

    def questions(self) -> list[str]:
        """The elicitations that the Bridge was asked to create."""
        return [str(event["aggregate_id"]) for event in self._events("elicitation_requested")]

    def stored_by(self, agent_id: str) -> list[Json]:
        """What an agent, or somebody in its name, has stored as an event."""
        return [
            fields(event["data"])
            for event in self._log()
            if event["source_agent"] == agent_id and "elicitation_type" not in fields(event["data"])
        ]

    def _events(self, kind: str) -> list[Json]:
        return [event for event in self._log() if fields(event["data"]).get("elicitation_type") == kind]

    def _log(self) -> list[Json]:
        return [event.query_item() for event in self.bridge.state.log.everything()]


def cohorts(*agents: str) -> Mapping[str, str]:
    """The configuration in which these agents are in the elicitation cohort, and nobody else."""
    return {"flags.elicitation_enabled": "true", "flags.elicitation_whitelist": ",".join(agents)}


@asynccontextmanager
async def dual(
    folder: Path,
    flags: Mapping[str, str],
    *,
    sidecars: int = 1,
    overrides: Mapping[str, str] = NOTHING,
    switches: Switches | None = None,
) -> AsyncIterator[Dual]:
    """One Bridge, one sidecar or two, two agents that begin at the end of the log."""
    bridge = await start_bridge(Settings(switches=switches or Switches()))
    clock = SharedClock(bridge.pace)
    url = str(bridge.client.make_url("/")).rstrip("/")
    token_file = await asyncio.to_thread(write_tokens, folder)
    # A connection may take its time on a busy machine.
    patient = {"bridge.connect_timeout_s": "10"}
    given = {**patient, **flags, **overrides, "admin.token_file": os.fspath(token_file)}
    try:
        async with AsyncExitStack() as stack:
            houses = [await stack.enter_async_context(house(url, given, clock=clock)) for _ in range(sidecars)]
            alice = Agent("alice", houses[0], await bridge.token("alice"), cursor=len(bridge.state.log))
            bob = Agent("bob", houses[-1], await bridge.token("bob"), cursor=len(bridge.state.log))
            async with asyncio.TaskGroup() as group:
                made = Dual(bridge=bridge, clock=clock, alice=alice, bob=bob, group=group)
                try:
                    yield made
                finally:
                    for task in made.tasks:
                        task.cancel()
    finally:
        await bridge.client.close()
