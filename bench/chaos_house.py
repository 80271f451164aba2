"""The house of a chaos run: one development Bridge, several sidecars, crews of agents, and fault proxies between them.

A sidecar has two proxies: its agents reach it through one, and it reaches the Bridge through the other. The Bridge
keeps its log in a file; every port stays what it was, however often its owner is killed.
"""

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import orjson

from bench.chaos_agent import Part
from bench.chaos_crew import CrewPlan
from bench.http_client import BadReplyError, Client, encode, parse_address
from bench.processes import WIDE_LIMITS, bridge_command
from tests.support.fault_proxy import FINE, Fault, FaultProxy, fault_proxy
from tests.support.killer import Command, Mortal, Ready, mortals

CALL_ERRORS: Final = (OSError, TimeoutError, BadReplyError)

MOST_FAULT_S: Final = 0.5
"""Longest fault of the network. Source: ours; agents take a try for over after 1.2 s (bench/chaos_agent.py)."""

SETTINGS: Final = (
    "flags.elicitation_enabled=true",
    "flags.elicitation_percentage=100",
    "bridge.poll_budget_per_min=100000",
    "bridge.poll_burst=1000",
    "bridge.poll_fast_ms=100",
    "bridge.poll_idle_ms=500",
    "bridge.hold_s=2",
    "bridge.request_timeout_s=2",
    "wait.redeliver_s=2",
    "breaker.cooldown_s=0.5",
    "breaker.incapable_s=1",
    *WIDE_LIMITS,
    "log.level=warning",
)
"""Short times, so that much happens within a run, and no limits, which would only slow it down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosPlan:
    """What a chaos run does."""

    messages: int
    agents: int
    first_agent: int = 0
    """Number of the first one."""
    sidecars: int = 2
    crews: int = 2
    """Processes that hold the agents."""
    lanes: int = 32
    """Messages of one agent whose fate is open at a time; a fourth as many questions."""
    at_once: int = 3
    """Messages of one agent that are on their way at a time."""
    kill_every_s: float = 1.0
    """Mean time between two kills; 0 for none."""
    kill_work: int = 100
    """Messages that are stored between two kills at least, and between two faults: a slow machine is hit less often,
    and the load goes on."""
    fault_every_s: float = 1.0
    """The same for faults of the network."""
    flips: int = 0
    """Changes of flags."""
    flip_every_s: float = 0.02
    """Mean time between two of them."""
    flip_work: int = 3
    """Messages that are stored between two of them at least."""
    most_s: float = 3600.0
    """Longest time of load; what is not begun then is left."""
    poll_s: float = 0.05
    """Pause between two looks of a parked wait at the Bridge."""
    question_s: int = 5
    """Time for an answer."""
    seed: int = 1
    settings: tuple[str, ...] = ()
    """More of the sidecars'."""
    bridge_words: tuple[str, ...] = ()
    """More of the Bridge's."""

    @property
    def part(self) -> Part:
        """What each agent does: ten messages for each question."""
        question_lanes = max(1, self.lanes // 4)
        each = -(-self.messages // self.agents)
        return Part(
            messages=-(-each // self.lanes),
            questions=-(-each // (10 * question_lanes)),
            lanes=self.lanes,
            at_once=self.at_once,
            question_lanes=question_lanes,
            question_s=self.question_s,
            seed=self.seed,
            everybody=tuple(f"a{self.first_agent + number}" for number in range(self.agents)),
        )


class House:
    """Everything that runs."""

    def __init__(self, plan: ChaosPlan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.log = folder / "bridge.jsonl"
        self.token = secrets.token_urlsafe(24)
        self.proxies: dict[str, FaultProxy] = {}
        """By what stands behind each: `sidecar-N` or `bridge-N` (as sidecar N sees it)."""
        self.faults: Counter[str] = Counter()
        self.bridge: Mortal
        self.sidecars: list[Mortal]
        self.crews: list[Mortal]
        self._admins: list[Client]

    async def open(self, make: Callable[[str, Command], Mortal], stack: AsyncExitStack) -> None:
        """Start everybody."""
        plan = self.plan
        tokens = self.folder / "tokens"
        tokens.touch(mode=0o600)
        tokens.write_text(f"operator {self.token}\n")
        self.bridge = make("bridge", self._bridge_command)
        await self.bridge.start()
        bridge_port = parse_address(self.bridge.ready["listen"]).port
        self.sidecars = []
        for number in range(plan.sidecars):
            up = await stack.enter_async_context(fault_proxy("127.0.0.1", bridge_port))
            self.proxies[f"bridge-{number}"] = up
            self.sidecars.append(make(f"sidecar-{number}", self._sidecar_command(number, up.port)))
            await self.sidecars[-1].start()
            data_port = parse_address(self.sidecars[-1].ready["data"]).port
            self.proxies[f"sidecar-{number}"] = await stack.enter_async_context(fault_proxy("127.0.0.1", data_port))
        self._admins = [Client(parse_address(sidecar.ready["admin"])) for sidecar in self.sidecars]
        self.crews = [make(f"crew-{number}", _crew_command(self.folder, number)) for number in range(plan.crews)]
        for number, crew in enumerate(self.crews):
            self._write_plan(number)
            await crew.start()

    def _bridge_command(self, ready: Ready) -> Sequence[str]:
        listen = ready.get("listen", "127.0.0.1:0")
        return [*bridge_command(listen=listen, poll_s=self.plan.poll_s, state=self.log), *self.plan.bridge_words]

    def _sidecar_command(self, number: int, bridge_port: int) -> Command:
        def command(ready: Ready) -> Sequence[str]:
            words = ["-m", "proxy", "run", "--bridge", f"http://127.0.0.1:{bridge_port}"]
            words += ["--listen", ready.get("data", "127.0.0.1:0"), "--admin", ready.get("admin", "127.0.0.1:0")]
            words += ["--state", f"sqlite://{self.folder / f'sidecar-{number}.db'}"]
            for setting in (*SETTINGS, f"admin.token_file={self.folder / 'tokens'}", *self.plan.settings):
                words += ["--set", setting]
            return words

        return command

    def _write_plan(self, number: int) -> None:
        everybody = self.plan.part.everybody
        members = [
            place for place in range(len(everybody)) if (place // self.plan.sidecars) % self.plan.crews == number
        ]
        agents = {
            everybody[place]: f"127.0.0.1:{self.proxies[f'sidecar-{place % self.plan.sidecars}'].port}"
            for place in members
        }
        plan = msgspec.json.encode(CrewPlan(agents=agents, part=self.plan.part))
        (self.folder / f"crew-{number}.plan").write_bytes(plan)

    def victims(self) -> dict[str, Mortal]:
        """Everybody who may be killed, by name."""
        return {mortal.name: mortal for mortal in (self.bridge, *self.sidecars, *self.crews)}

    def weights(self) -> dict[str, float]:
        """How likely each is to be hit: the Bridge, the sidecars and the crews equally often, taken together."""
        kinds: Iterable[Sequence[Mortal]] = ([self.bridge], self.sidecars, self.crews)
        return {mortal.name: 1 / len(kind) for kind in kinds for mortal in kind}

    # Faults of the network

    async def disturb(self, is_over: Callable[[], bool], stored: Callable[[], int]) -> None:
        """Let one thing after another happen to the network, until it is over; then nothing does."""
        due_at = 0
        chance = random.Random(f"faults {self.plan.seed}")  # noqa: S311  # a load, nothing secret
        while not is_over():
            await asyncio.sleep(chance.expovariate(1 / self.plan.fault_every_s))
            if stored() < due_at:
                continue
            due_at = stored() + self.plan.kill_work
            name = chance.choice(list(self.proxies))
            kind, fault = a_fault(chance)
            proxy = self.proxies[name]
            half = [line for line in proxy.lines if chance.random() < 0.5] if chance.random() < 0.5 else None
            proxy.set(fault, half)
            self.faults[f"{name.partition('-')[0]}: {kind}"] += 1
            await asyncio.sleep(chance.uniform(0.05, MOST_FAULT_S))
            proxy.set(FINE)

    # Flags

    async def flip(self, is_over: Callable[[], bool], stored: Callable[[], int]) -> int:
        """Change flags at random, every sidecar's by themselves; how often that was."""
        chance = random.Random(f"flips {self.plan.seed}")  # noqa: S311  # a load, nothing secret
        done = 0

        async def flip_one(admin: Client) -> None:
            nonlocal done
            while not is_over() and done < self.plan.flips:
                await asyncio.sleep(chance.expovariate(1 / self.plan.flip_every_s))
                if stored() >= done * self.plan.flip_work:
                    target, change = a_flip(chance, self.plan.part.everybody)
                    done += await self._change(admin, target, change)

        async with asyncio.TaskGroup() as group:
            for admin in self._admins:
                group.create_task(flip_one(admin))
        return done

    async def set_all(self, flags: dict[str, object]) -> None:
        """Set the flags of all sidecars, and take forced agents back."""
        for admin in self._admins:
            while not await self._change(admin, "/feature_flags", flags):  # noqa: ASYNC110  # no event tells that it is back
                await asyncio.sleep(0.1)
            for agent in self.plan.part.everybody:
                await self._change(admin, "/agent/force_elicitation", {"agent_id": agent}, method="DELETE")

    async def _change(self, admin: Client, target: str, change: dict[str, object], *, method: str = "POST") -> bool:
        try:
            reply = await admin.call(encode(method, target, body=change, token=self.token))
        except CALL_ERRORS:  # it is down
            return False
        if reply.status not in {200, 204, 404, 503}:
            raise BadReplyError(f"{target} answered {reply.status} {reply.body[:300]!r} to {change}")
        return reply.status == 200

    # The end

    async def close_run(self) -> None:
        """Store the last message of the run, at the Bridge itself."""
        client = Client(parse_address(self.bridge.ready["listen"]))
        who = {"agent_id": "director", "ip_address": "127.0.0.1", "user_agent": "chaos"}
        said = await client.json("POST", "/session/create", body=who)
        token = str(said["session_token"]) if isinstance(said, dict) else ""
        body = {"event_type": "custom", "agent_id": "director", "data": {"closing": True}}
        await client.json("POST", "/event/store", body=body, token=token)
        client.close()

    def progress(self) -> Counter[str]:
        """How far all crews are."""
        total: Counter[str] = Counter()
        for crew in self.crews:
            path = self.folder / f"{crew.name}.progress"
            if path.exists():
                total.update(orjson.loads(path.read_bytes()))
            else:
                total["working"] += 1
        return total

    def stop_load(self) -> None:
        """Tell the crews to begin nothing more."""
        (self.folder / "stop").touch()


def _crew_command(folder: Path, number: int) -> Command:
    return lambda _: ["-m", "bench.chaos_crew", str(folder), f"crew-{number}"]


def a_fault(chance: random.Random) -> tuple[str, Fault]:
    """One fault and what it is called."""
    is_reset = chance.random() < 0.5
    faults = {
        "delay": Fault(delay_s=chance.uniform(0.01, 0.2)),
        "rate": Fault(rate=chance.uniform(20_000, 200_000)),
        "cut up": Fault(cut_up=chance.randrange(1, 1_500), is_reset=is_reset),
        "cut down": Fault(cut_down=chance.randrange(1, 4_000), is_reset=is_reset),
        "reset": Fault(is_reset=True),
        "black hole": Fault(is_black_hole=True),
        "half open": Fault(is_half_open=True),
    }
    name = chance.choice(list(faults))
    return name, faults[name]


def a_flip(chance: random.Random, agents: Sequence[str]) -> tuple[str, dict[str, object]]:
    """One change of flags: where it goes, and what it says."""
    match chance.randrange(5):
        case 0:
            return "/feature_flags", {"elicitation_enabled": chance.random() < 0.7}
        case 1 | 2:
            return "/feature_flags", {"elicitation_percentage": chance.choice([0, 5, 25, 50, 75, 100])}
        case 3:
            return "/feature_flags", {"legacy_fallback": chance.random() < 0.7}
        case _:
            agent, cohort = chance.choice(agents), chance.choice(["elicitation", "legacy"])
            return "/agent/force_elicitation", {"agent_id": agent, "cohort": cohort, "ttl_s": chance.choice([1, 5])}


@asynccontextmanager
async def chaos_house(plan: ChaosPlan, folder: Path) -> AsyncIterator[House]:
    """A house for as long as the block lasts."""
    async with mortals(folder) as make, AsyncExitStack() as stack:
        house = House(plan, folder)
        await house.open(make, stack)
        yield house
