"""The load of a soak run: parked waits, arrivals, agents that hang up, and a Bridge that is restarted.

Everybody is behind one sidecar and in the elicitation cohort. The Bridge keeps its log in a file, so that what it
took survives; its tokens die, and the agents open new sessions as real ones do.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.agents import CALL_ERRORS, Agent, Ways
from bench.http_client import Address, BadReplyError, Client, encode
from bench.ledger import Ledger
from bench.processes import Server, bridge_command, holdings, sidecar_command, start
from bench.soak_verdict import WAITS_PER_HOUR, Sample

LEAVERS: Final = 4
"""Agents that do nothing but wait and hang up."""

OUTAGE_S: Final = 3.0
"""How long after a restart calls may still fail. Source: ours; the sidecar asks a lost Bridge again within 1 s."""

SETTLE_S: Final = 20.0
"""Longest time until everything is idle again. Source: ours; idle connections live 4 s and a long poll 1 s."""

GAUGE: Final = b"elicit_sidecar_parked_waits "


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakPlan:
    """What a soak run does."""

    seconds: float
    waits: int
    rate: float
    """Items per second over all agents; one in four is a question, the others are messages."""
    wait_s: int
    """Length of one wait."""
    leaves_per_second: float
    restarts: int
    seed: int


class House:
    """The Bridge and the sidecar under test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._state = folder / "bridge.jsonl"
        self.bridge = start("bridge", bridge_command(poll_s=0.5, state=self._state), folder)
        try:
            self.sidecar: Server = start("sidecar", self._sidecar_command(), folder)
        except BaseException:
            self.bridge.stop()
            raise

    def _sidecar_command(self) -> list[str]:
        settings = ("bridge.poll_idle_ms=1000", "bridge.hold_s=1", "log.level=warning")
        return sidecar_command(self.bridge.address("listen"), self._folder, name="sidecar", settings=settings)

    def restart_bridge(self) -> None:
        """Stop the Bridge and start it anew on its port; blocks."""
        at: Address = self.bridge.address("listen")
        self.bridge.stop()
        command = bridge_command(listen=f"{at.host}:{at.port}", poll_s=0.5, state=self._state)
        self.bridge = start("bridge", command, self._folder)

    def stop(self) -> int:
        """End both; the sidecar's exit code."""
        code = self.sidecar.stop()
        self.bridge.stop()
        return code


class Soak:
    """One soak run against one house."""

    def __init__(self, house: House, plan: SoakPlan) -> None:
        self.ledger = Ledger()
        self.samples: list[Sample] = []
        self.left = 0
        self.restarted = 0
        self._house = house
        self._plan = plan
        self._chance = random.Random(plan.seed)  # noqa: S311  # load of a benchmark, nothing secret
        self._started = time.perf_counter()
        self._client = Client(house.sidecar.address("data"))
        self._admin = Client(house.sidecar.address("admin"))
        self._agents = [self._agent(f"agent-{number}", is_asker=number % 4 == 0) for number in range(plan.waits)]
        self._leavers = [self._agent(f"leaver-{number}", is_asker=False) for number in range(LEAVERS)]

    def _agent(self, name: str, *, is_asker: bool) -> Agent:
        ways = Ways(wait=self._client, ask=self._client, style="question" if is_asker else "message")
        agent = Agent(name, ways)
        agent.ledger = self.ledger
        return agent

    async def sample(self) -> Sample:
        """The sidecar now."""
        reply = await self._admin.call(encode("GET", "/metrics"))
        lines = [line for line in reply.body.splitlines() if line.startswith(GAUGE)]
        if not lines:
            raise BadReplyError("expected the gauge parked_waits in /metrics")
        held = holdings(self._house.sidecar.pid)
        return Sample(
            at_s=time.perf_counter() - self._started,
            hours=sum(agent.waits for agent in self._agents) / (WAITS_PER_HOUR * len(self._agents)),
            rss_kb=held.rss_kb,
            descriptors=held.descriptors,
            threads=held.threads,
            parked=int(float(lines[0].split()[1])),
        )

    async def idle(self, *, descriptors: int | None = None) -> Sample:
        """The sidecar once nothing is parked and no more than `descriptors` are open, or after 20 s as it is."""
        until = time.perf_counter() + SETTLE_S
        while True:
            now = await self.sample()
            is_idle = not now.parked and (descriptors is None or now.descriptors <= descriptors)
            if is_idle or time.perf_counter() > until:
                return now
            await asyncio.sleep(0.2)

    async def run(self, note: Callable[[str], None]) -> None:
        """Play the whole load, then hang up; `note` is told how it goes."""
        for agent in (*self._agents, *self._leavers):
            await agent.open_session()
        self._started = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(agent.wait_on(group, wait_s=self._plan.wait_s)) for agent in self._agents]
            async with asyncio.TaskGroup() as load:
                load.create_task(self._arrive(group))
                load.create_task(self._leave())
                load.create_task(self._restart(note))
                load.create_task(self._watch(note))
            await self._drain()
            for task in waiting:
                task.cancel()
        self._client.close()

    def close(self) -> None:
        """Hang up everything."""
        self._client.close()
        self._admin.close()

    def _rest_s(self) -> float:
        return self._started + self._plan.seconds - time.perf_counter()

    async def _arrive(self, group: asyncio.TaskGroup) -> None:
        number = 0
        while (pause := self._chance.expovariate(self._plan.rate)) < self._rest_s():
            await asyncio.sleep(pause)
            # What is sent into an outage is refused, as it should be; it teaches nothing about memory.
            if self.ledger.is_outage:
                continue
            number += 1
            asker, receiver = self._chance.sample(self._agents, 2)
            group.create_task(asker.ask(receiver.name, self.ledger.open(number)))

    async def _leave(self) -> None:
        """Agents that begin to wait and hang up at once."""
        while (pause := self._chance.expovariate(self._plan.leaves_per_second)) < self._rest_s():
            await asyncio.sleep(pause)
            leaver = self._chance.choice(self._leavers)
            cursor = max(agent.cursor for agent in self._agents)
            target = f"/event/wait?agent_id={leaver.name}&since_sequence={cursor}&timeout_seconds=60"
            try:
                await self._client.call(
                    encode("GET", target, token=leaver.token), timeout_s=self._chance.uniform(0.01, 0.5)
                )
            except TimeoutError:
                self.left += 1
            except CALL_ERRORS as error:
                self.ledger.failed(f"leaver: {type(error).__name__}")

    async def _restart(self, note: Callable[[str], None]) -> None:
        """Restart the Bridge now and then, evenly over the run."""
        for _ in range(self._plan.restarts):
            pause = self._plan.seconds / (self._plan.restarts + 1)
            if pause + OUTAGE_S > self._rest_s():
                return
            await asyncio.sleep(pause)
            self.ledger.is_outage = True
            await asyncio.to_thread(self._house.restart_bridge)
            for agent in (*self._agents, *self._leavers):
                await self._open_again(agent)
            await asyncio.sleep(OUTAGE_S)
            self.ledger.is_outage = False
            self.restarted += 1
            note(f"{self._plan.seconds - self._rest_s():7.0f} s  the Bridge was restarted")

    async def _open_again(self, agent: Agent) -> None:
        try:
            await agent.open_session()
        except CALL_ERRORS as error:
            self.ledger.failed(f"session: {type(error).__name__}")

    async def _watch(self, note: Callable[[str], None]) -> None:
        """Take samples, a few hundred over the run, and tell of about twenty."""
        pause = min(5.0, max(0.1, self._plan.seconds / 200))
        next_note = 0.0
        while self._rest_s() > 0:
            now = await self.sample()
            self.samples.append(now)
            if now.at_s >= next_note:
                note(row(now))
                next_note = now.at_s + self._plan.seconds / 20
            await asyncio.sleep(pause)

    async def _drain(self) -> None:
        until = time.perf_counter() + SETTLE_S
        while self.ledger.missing():
            if time.perf_counter() > until:
                return
            await asyncio.sleep(0.1)


def row(sample: Sample) -> str:
    """One line of the table."""
    return (
        f"{sample.at_s:7.0f} s  {sample.hours:6.2f} h  {sample.rss_kb / 1024:7.1f} MB  "
        f"{sample.descriptors:5d} descriptors  {sample.threads:3d} threads  {sample.parked:5d} parked"
    )
