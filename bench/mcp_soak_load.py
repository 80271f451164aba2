"""The load of the MCP soak: parked waits over HTTP in both eras and over pipes, arrivals, and clients that leave.

One sidecar stands before an MCP server over HTTP, one more beside each client that launched its server; all of them
are before one Bridge and everybody is in the elicitation cohort. Half of the agents have their questions put to
their client where the door can do that, half read them in the results of their waits.
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp

from bench.agents import SCHEMA, TAKEN
from bench.http_client import BadReplyError, Client, encode
from bench.ledger import Item
from bench.mcp_agents import McpAgent, McpLedger
from bench.mcp_lines import CALL_ERRORS, HttpLine, Line, Pipe
from bench.mcp_soak_house import McpHouse, Sidecar
from bench.mcp_visits import Visits
from bench.processes import holdings
from bench.soak_verdict import DESCRIPTOR_SLACK, WAITS_PER_HOUR, Sample

LONG_WAIT_S: Final = 12
"""Length of the waits of the patient agents. Source: ours; from 10 s on they are answered on a stream."""

ERAS: Final = ("handshake", "envelope")
WAYS: Final = ("told", "asked")
"""Whether an agent reads its questions, or its client is asked."""

VISITORS: Final = 3
"""Names under which visitors of each way wait. Source: ours; the Bridge counts sessions by name."""

QUESTION_S: Final = 60
"""How long a question is open; those that are left are offered again within. Source: ours."""

LITTER_SHARE: Final = 0.2
"""Questions for visitors per counted item. Source: ours."""

SETTLE_S: Final = 20.0
"""Longest time until everything is idle again. Source: ours; idle connections live 4 s and a long poll 1 s."""

DRAIN_S: Final = QUESTION_S + 2.0 * LONG_WAIT_S
"""When an item that has not come is lost: every question before it is over, and a long wait has come and gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class McpPlan:
    """What an MCP soak run does."""

    seconds: float
    clients: int
    """Agents over HTTP, each at a client of its own; a quarter of each kind."""
    pipes: int
    """Sidecars over standard input and output; every other one speaks the envelope era."""
    waits: int
    """Waits that are parked on each pipe."""
    wait_s: int
    """Length of one wait."""
    rate: float
    """Items per second over all agents, half of them questions."""
    visits: float
    """Clients that come and leave, per second."""
    seed: int

    def http_names(self) -> list[str]:
        """The agents over HTTP, by their kinds in turn."""
        kinds = [f"{era}_{way}" for era in ERAS for way in WAYS]
        return [f"{kinds[number % len(kinds)]}-{number // len(kinds)}" for number in range(self.clients)]

    def pipe_names(self, pipe: int) -> list[str]:
        """The agents at one pipe."""
        return [f"pipe{pipe}_{WAYS[number % 2]}-{number // 2}" for number in range(self.waits)]

    def names(self) -> list[str]:
        """Every agent, also those of visitors."""
        visitors = [f"visitor_{way}-{number}" for way in WAYS for number in range(VISITORS)]
        return [*self.http_names(), *(name for pipe in range(self.pipes) for name in self.pipe_names(pipe)), *visitors]


def is_asked(name: str) -> bool:
    """Whether the client of this agent is to be asked."""
    return "_asked-" in name


def is_patient(name: str) -> bool:
    """Whether this agent waits long; the first of each kind does."""
    return name.endswith("-0")


class McpSoak:
    """One run against one house."""

    def __init__(self, house: McpHouse, plan: McpPlan, http: aiohttp.ClientSession) -> None:
        self.ledger = McpLedger()
        self.samples: dict[str, list[Sample]] = {}
        self.defects: dict[str, int] = {}
        self.agents: list[McpAgent] = []
        self._sent: dict[int, str] = {}
        """What each item is and for whom."""
        self._house = house
        self._plan = plan
        self._http = http
        self._chance = random.Random(plan.seed)  # noqa: S311  # load of a benchmark, nothing secret
        self._started = time.perf_counter()
        self._asker = Client(house.bridge)
        self._token = ""
        self._lines: list[HttpLine] = []
        self.visits = Visits(http, house.url, self.ledger, chance=self._chance, cursor=self._cursor)

    # What the sidecars hold

    def hours(self) -> float:
        """Simulated hours so far: waits of an agent, over all that wait shortly."""
        counted = [agent.waits for agent in self.agents if not is_patient(agent.name)]
        return sum(counted) / (WAITS_PER_HOUR * len(counted)) if counted else 0.0

    async def sample(self, sidecar: Sidecar) -> Sample:
        """One sidecar now."""
        counts, held = await sidecar.counts(), holdings(sidecar.pid)
        self.defects[sidecar.name] = counts.defects
        return Sample(
            at_s=time.perf_counter() - self._started,
            hours=self.hours(),
            rss_kb=held.rss_kb,
            descriptors=held.descriptors,
            threads=held.threads,
            parked=counts.parked,
        )

    async def idle(self, sidecar: Sidecar, before: Sample | None = None) -> Sample:
        """A sidecar once nothing is parked and no more is open than `before`, or after 20 s as it is."""
        until = time.perf_counter() + SETTLE_S
        while True:
            now = await self.sample(sidecar)
            has_left = before is None or now.descriptors <= before.descriptors + DESCRIPTOR_SLACK
            if (not now.parked and has_left) or time.perf_counter() > until:
                return now
            await asyncio.sleep(0.2)

    # The load

    async def run(self, note: Callable[[str], None]) -> None:
        """Play the whole load, then hang up; `note` is told how it goes."""
        async with asyncio.TaskGroup() as readers:
            reading = [readers.create_task(pipe.read()) for pipe in self._house.pipes]
            await self._open()
            self._started = time.perf_counter()
            await self._play(note)
            for line in self._lines:
                await self._noted(line.close(), "close")
            for task in reading:
                task.cancel()
        self._asker.close()

    async def _open(self) -> None:
        asked = {"agent_id": "asker", "ip_address": "127.0.0.1", "user_agent": "bench"}
        said = await self._asker.json("POST", "/session/create", body=asked)
        self._token = str(said["session_token"]) if isinstance(said, dict) else ""
        for name in self._plan.http_names():
            line = HttpLine(self._http, self._house.url, is_modern=name.startswith("envelope"))
            await line.open()
            self._lines.append(line)
            self._add(name, line)
        for number, pipe in enumerate(self._house.pipes):
            await pipe.open()
            for name in self._plan.pipe_names(number):
                self._add(name, pipe)
            pipe.hear = self.agents[-1].asked

    def _add(self, name: str, line: Line) -> None:
        self.agents.append(McpAgent(name, line, self.ledger))

    async def _play(self, note: Callable[[str], None]) -> None:
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(agent.wait_on(group, wait_s=self._wait_s(agent))) for agent in self.agents]
            async with asyncio.TaskGroup() as load:
                load.create_task(self._arrive(load))
                load.create_task(self._visit(load))
                load.create_task(self._watch(note))
            await self._drain()
            for task in waiting:
                task.cancel()

    def _wait_s(self, agent: McpAgent) -> int:
        return LONG_WAIT_S if is_patient(agent.name) else self._plan.wait_s

    def _rest_s(self) -> float:
        return self._started + self._plan.seconds - time.perf_counter()

    def _cursor(self) -> int:
        return max(agent.cursor for agent in self.agents)

    async def _arrive(self, group: asyncio.TaskGroup) -> None:
        """Items for agents, half of them questions, and questions for visitors."""
        number = 0
        while (pause := self._chance.expovariate(self._plan.rate)) < self._rest_s():
            await asyncio.sleep(pause)
            number += 1
            receiver = self._chance.choice(self.agents).name
            is_question = self._chance.random() < 0.5
            self._sent[number] = f"{'question' if is_question else 'message'} {number} to {receiver}"
            send = self._ask if is_question else self._store
            group.create_task(send(receiver, self.ledger.open(number)))
            if self._chance.random() < LITTER_SHARE:
                group.create_task(self._ask(self._visitor(), None))

    def _visitor(self) -> str:
        return f"visitor_{self._chance.choice(WAYS)}-{self._chance.randrange(VISITORS)}"

    async def _ask(self, receiver: str, item: Item | None) -> None:
        asked = {"from_agent": "asker", "to_agent": receiver, "message": _text(item), "schema": SCHEMA}
        await self._send("/elicitation/create", {**asked, "timeout_seconds": QUESTION_S}, item)

    async def _store(self, receiver: str, item: Item | None) -> None:
        said = {"to_agent": receiver, "message": _text(item)}
        await self._send("/event/store", {"event_type": "custom", "agent_id": "asker", "data": said}, item)

    async def _send(self, target: str, body: object, item: Item | None) -> None:
        """Send one item straight to the Bridge, so that every sidecar has to find it."""
        try:
            reply = await self._asker.call(encode("POST", target, body=body, token=self._token))
        except (OSError, TimeoutError, BadReplyError) as error:
            self.ledger.failed(f"{target}: {type(error).__name__}")
            return
        if reply.status != 200 or not any(word in reply.body for word in TAKEN):
            self.ledger.failed(f"{target}: {reply.status} {reply.body[:120].decode(errors='replace')}")
        elif item is not None:
            item.sent_at, item.accepted_at = reply.sent_at, reply.received_at

    async def _visit(self, group: asyncio.TaskGroup) -> None:
        while (pause := self._chance.expovariate(self._plan.visits)) < self._rest_s():
            await asyncio.sleep(pause)
            pipes: Sequence[Pipe] = self._house.pipes
            if pipes and self._chance.random() < 0.5:
                group.create_task(self.visits.over_pipe(self._chance.choice(pipes), self._visitor()))
            else:
                group.create_task(self.visits.over_http(self._visitor()))

    def lost(self) -> list[str]:
        """What was accepted and never came, and when it was accepted."""
        return [
            f"{self._sent[item.number]} at {item.accepted_at - self._started:.0f} s"
            for item in self.ledger.accepted()
            if not item.copies
        ]

    async def _noted(self, work: Coroutine[object, object, None], what: str) -> None:
        try:
            await work
        except CALL_ERRORS as error:
            self.ledger.failed(f"{what}: {type(error).__name__}: {str(error)[:200]}")

    async def _watch(self, note: Callable[[str], None]) -> None:
        """Take samples, a few hundred over the run, and tell of about ten moments."""
        pause = min(5.0, max(0.5, self._plan.seconds / 200))
        next_note = 0.0
        while self._rest_s() > 0:
            for sidecar in self._house.sidecars:
                self.samples.setdefault(sidecar.name, []).append(await self.sample(sidecar))
            if (at_s := time.perf_counter() - self._started) >= next_note:
                for name, samples in self.samples.items():
                    note(row(name, samples[-1]))
                next_note = at_s + self._plan.seconds / 10
            await asyncio.sleep(pause)

    async def _drain(self) -> None:
        until = time.perf_counter() + DRAIN_S
        while self.ledger.missing():
            if time.perf_counter() > until:
                return
            await asyncio.sleep(0.1)


def _text(item: Item | None) -> str:
    return "litter" if item is None else f"item {item.number}"


def row(name: str, sample: Sample) -> str:
    """One line of the table."""
    return (
        f"{name:8s} {sample.at_s:7.0f} s  {sample.hours:6.2f} h  {sample.rss_kb / 1024:7.2f} MB  "
        f"{sample.descriptors:5d} descriptors  {sample.threads:3d} threads  {sample.parked:5d} parked"
    )
