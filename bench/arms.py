"""The contenders of the delivery benchmarks: their processes, their agents, and one turn of load on one of them.

- `legacy`: agents straight at the development Bridge, the long poll as it was meant, one look a second.
- `both`: asker and receiver behind one sidecar, everybody in the elicitation cohort.
- `receiver`: the receiver behind the sidecar, the asker straight at the Bridge.

Every agent is parked all the time with its cursor kept; an arrival picks an asker and a receiver by chance. In each
arm the receiver answers each item once, and nothing is kept on disk but the sidecar's own state.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from bench.agents import Agent, Ways
from bench.http_client import BadReplyError, Client
from bench.ledger import Ledger
from bench.processes import Server, bridge_command, cpu_us, running, sidecar_command
from bench.quantiles import Summary, quantile, summarise

DRAIN_S: Final = 8.0
"""Longest time for the last items to arrive. Source: ours; eight looks of the legacy way."""

PARK_S: Final = 30.0
"""Longest time until all agents are parked. Source: ours; a sidecar may have to read a log of some thousand items."""


class Arm(StrEnum):
    """Who stands behind a sidecar."""

    LEGACY = "legacy"
    BOTH = "both"
    RECEIVER = "receiver"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The load of one turn."""

    agents: int
    seconds: float
    rate: float
    """Mean number of items per second over all agents; arrivals are a Poisson process."""
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one turn brought."""

    accepted: int
    delivered: int
    lost: int
    duplicated: int
    answered: int
    errors: dict[str, int]
    latency_ms: Summary
    """From the sender's request accepted to the receiver's client having the bytes."""
    from_sent_ms: Summary
    """The same from the moment the sender wrote its request."""
    lag_p99_ms: float
    """How late the load generator itself was."""
    seconds: float
    upstream_requests: dict[str, int]
    bridge_cpu_us: float
    sidecar_cpu_us: float
    waits: int

    @property
    def upstream_per_item(self) -> float:
        """Requests that reached the Bridge, per delivered item."""
        return sum(self.upstream_requests.values()) / max(1, self.delivered)

    @property
    def is_clean(self) -> bool:
        """Nothing lost, doubled, or refused, and something delivered."""
        return not (self.lost or self.duplicated or self.errors) and self.delivered > 0


class Stand:
    """One contender, running."""

    def __init__(self, arm: Arm, bridge: Server, sidecar: Server | None, agents: int) -> None:
        self.arm = arm
        self.bridge = bridge
        self.sidecar = sidecar
        self._numbers = 0
        self._bridge_client = Client(bridge.address("listen"))
        self._side_client = Client(sidecar.address("data")) if sidecar else self._bridge_client
        self._admin = Client(sidecar.address("admin")) if sidecar else None
        ways = Ways(
            wait=self._side_client,
            ask=self._side_client if arm is Arm.BOTH else self._bridge_client,
            style="message" if arm is Arm.LEGACY else "question",
        )
        self.agents = [Agent(f"agent-{number}", ways) for number in range(agents)]

    async def open(self) -> None:
        """Give every agent its Bridge session."""
        for agent in self.agents:
            await agent.open_session()

    def close(self) -> None:
        """Hang up."""
        for client in (self._bridge_client, self._side_client, self._admin):
            if client is not None:
                client.close()

    async def parked(self) -> int:
        """Waits of agents that are parked now."""
        if self._admin is None:
            return _whole(await self._bridge_client.json("GET", "/dev/counters"), "parked_waits")
        return _whole(await self._admin.json("GET", "/health"), "parked_waits")

    async def upstream_requests(self) -> dict[str, int]:
        """Requests that have reached the Bridge, by method and path."""
        said = await self._bridge_client.json("GET", "/dev/counters")
        counted = said.get("requests") if isinstance(said, dict) else None
        return {str(key): int(value) for key, value in counted.items()} if isinstance(counted, dict) else {}

    async def log_size(self) -> int:
        """Events in the Bridge's log."""
        reader = self.agents[0]
        body = {"event_type": "custom", "agent_id": reader.name, "data": {"message": "end"}}
        said = await self._bridge_client.json("POST", "/event/store", body=body, token=reader.token)
        return _whole(said, "sequence")

    async def sidecar_view(self) -> object:
        """The sidecar's own metrics as JSON, or None without one."""
        return None if self._admin is None else await self._admin.json("GET", "/elicitation/metrics")

    def cpu(self) -> tuple[float, float]:
        """Microseconds used so far by Bridge and sidecar."""
        return cpu_us(self.bridge.pid), cpu_us(self.sidecar.pid) if self.sidecar else 0.0

    def next_number(self) -> int:
        """A number no item has had."""
        self._numbers += 1
        return self._numbers


def _whole(said: object, key: str) -> int:
    value = said.get(key) if isinstance(said, dict) else None
    if not isinstance(value, int):
        raise BadReplyError(f"expected a whole number {key!r}, got {said!r:.200}")
    return value


@asynccontextmanager
async def stand(arm: Arm, folder: Path, *, agents: int, settings: tuple[str, ...] = ()) -> AsyncIterator[Stand]:
    """One contender with its processes for as long as the block lasts."""
    with ExitStack() as stack:
        bridge = stack.enter_context(running(f"{arm}-bridge", bridge_command(), folder))
        sidecar = None
        if arm is not Arm.LEGACY:
            command = sidecar_command(bridge.address("listen"), folder, name=arm, settings=settings)
            sidecar = stack.enter_context(running(f"{arm}-sidecar", command, folder))
        one = Stand(arm, bridge, sidecar, agents)
        try:
            await one.open()
            yield one
        finally:
            one.close()


async def run_turn(one: Stand, plan: Plan, note: Callable[[str], None]) -> Turn:
    """Park all agents, play the arrivals, wait for the last item, hang up."""
    ledger = Ledger()
    for agent in one.agents:
        agent.ledger, agent.waits = ledger, 0
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(agent.wait_on(group)) for agent in one.agents]
        await _until_parked(one, plan.agents, note)
        before, cpu_before, started = await one.upstream_requests(), one.cpu(), time.perf_counter()
        lags = await _play(one, plan, group)
        await _drain(ledger)
        seconds, cpu_after, after = time.perf_counter() - started, one.cpu(), await one.upstream_requests()
        for task in waiting:
            task.cancel()
    upstream = {key: count - before.get(key, 0) for key, count in after.items() if count > before.get(key, 0)}
    return _turn(
        ledger,
        seconds=seconds,
        lags_s=lags,
        upstream=upstream,
        cpu=(cpu_after[0] - cpu_before[0], cpu_after[1] - cpu_before[1]),
        waits=sum(agent.waits for agent in one.agents),
    )


async def _until_parked(one: Stand, agents: int, note: Callable[[str], None]) -> None:
    try:
        async with asyncio.timeout(PARK_S):
            while await one.parked() < agents:  # noqa: ASYNC110  # another process cannot set an Event of ours
                await asyncio.sleep(0.02)
    except TimeoutError:
        note(f"{one.arm}: not all {agents} agents were parked after {PARK_S:g} s; going on")


async def _play(one: Stand, plan: Plan, group: asyncio.TaskGroup) -> list[float]:
    """Send as a Poisson process, never waiting for an earlier item; how late each was, in seconds."""
    chance = random.Random(plan.seed)  # noqa: S311  # arrivals of a benchmark, nothing secret
    started = time.perf_counter()
    due, lags = chance.expovariate(plan.rate), []
    while due < plan.seconds:
        await asyncio.sleep(max(0.0, started + due - time.perf_counter()))
        lags.append(time.perf_counter() - started - due)
        asker, receiver = chance.sample(one.agents, 2)
        # Opened here, not in the task: the drain must know of it even before the task has begun.
        group.create_task(asker.ask(receiver.name, asker.ledger.open(one.next_number())))
        due += chance.expovariate(plan.rate)
    return lags


async def _drain(ledger: Ledger) -> None:
    """Wait until every item has arrived and was answered, or it has taken too long."""
    until = time.perf_counter() + DRAIN_S
    while time.perf_counter() < until:
        settled = len(ledger.accepted()) + sum(ledger.errors.values()) >= len(ledger.items)
        if settled and not ledger.missing() and ledger.answers + sum(ledger.errors.values()) >= len(ledger.items):
            return
        await asyncio.sleep(0.02)


def _turn(
    ledger: Ledger,
    *,
    seconds: float,
    lags_s: list[float],
    upstream: dict[str, int],
    cpu: tuple[float, float],
    waits: int,
) -> Turn:
    accepted = ledger.accepted()
    nothing = [0.0]
    return Turn(
        accepted=len(accepted),
        delivered=sum(item.copies > 0 for item in accepted),
        lost=ledger.missing(),
        duplicated=ledger.duplicated(),
        answered=ledger.answers,
        errors=dict(ledger.errors),
        latency_ms=summarise(ledger.latencies_ms(from_sent=False) or nothing),
        from_sent_ms=summarise(ledger.latencies_ms(from_sent=True) or nothing),
        lag_p99_ms=quantile(lags_s or nothing, 0.99) * 1000,
        seconds=seconds,
        upstream_requests=upstream,
        bridge_cpu_us=cpu[0],
        sidecar_cpu_us=cpu[1],
        waits=waits,
    )
