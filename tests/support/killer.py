"""Children that are killed, stopped and started again: by hand, or by a schedule that a seed decides.

A child is started again with the same arguments and on the ports that it had, however it ended. Its standard error
goes to a file, its first line on standard output is JSON and says that it is ready.
"""

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

import orjson

READY_S: Final = 60.0
"""Longest start on a machine that is under load, seconds."""

END_S: Final = 10.0
"""Longest orderly end, seconds."""

HIDDEN: Final = ("ELICIT_SIDECAR_", "COVERAGE_")
"""Environment that children do not get: what is killed cannot tell what it covered."""

Ready = Mapping[str, str]
"""What a child said when it was ready."""

Command = Callable[[Ready], Sequence[str]]
"""The words of a child, given what it said at its first start: nothing at the first start, its ports afterwards."""


class StartFailedError(Exception):
    """A child did not come up."""


class Mortal:
    """One child that can be started again and again."""

    def __init__(self, name: str, command: Command, folder: Path) -> None:
        self.name = name
        self.ready: Ready = {}
        """What it said at its first start."""
        self.starts = 0
        self._command = command
        self._log = folder / f"{name}.log"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Its process id, 0 while it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else 0

    @property
    def is_alive(self) -> bool:
        """Whether it runs, as far as is known."""
        return bool(self.pid)

    def log(self) -> str:
        """What it wrote to standard error, over all its lives."""
        return self._log.read_text("utf-8", "replace")

    async def start(self) -> None:
        """Start it, and wait until it is ready.

        Raises:
            StartFailedError: it ended first, or said nothing in time.
        """
        words = [sys.executable, *self._command(self.ready)]
        environment = {key: value for key, value in os.environ.items() if not key.startswith(HIDDEN)}
        with self._log.open("ab") as errors:
            process = self._process = await asyncio.create_subprocess_exec(
                *words, env=environment, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=errors
            )
        self.starts += 1
        line = b""
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_S):
                line = await process.stdout.readline() if process.stdout else b""
        if not line:
            await self.kill()
            raise StartFailedError(f"{self.name} did not start: {self.log()[-2000:]}")
        said = orjson.loads(line)
        self.ready = self.ready or {key: str(value) for key, value in said.items()}

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it lives."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def ended(self, within_s: float = END_S) -> int:
        """Wait for its end; the exit code, negative for a signal's own."""
        if self._process is None:
            return 0
        async with asyncio.timeout(within_s):
            return await self._process.wait()

    async def kill(self) -> None:
        """SIGKILL, also when it is stopped; returns when it is gone."""
        self.send(signal.SIGKILL)
        await self.ended()

    async def end(self) -> int:
        """SIGTERM, and SIGKILL where that does not help; the exit code."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        try:
            return await self.ended()
        except TimeoutError:
            await self.kill()
            return -signal.SIGKILL


@asynccontextmanager
async def mortals(folder: Path) -> AsyncIterator[Callable[[str, Command], Mortal]]:
    """Makes children, none of which outlives the block."""
    made: list[Mortal] = []

    def make(name: str, command: Command) -> Mortal:
        made.append(Mortal(name, command, folder))
        return made[-1]

    try:
        yield make
    finally:
        for mortal in reversed(made):
            await mortal.kill()


class Blow(Enum):
    """What is done to a child."""

    KILL = "kill"
    """SIGKILL, then a start after the pause."""
    STOP = "stop"
    """SIGSTOP, then SIGCONT after the pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One blow: to whom, how many seconds after the one before, and how long until it is made good."""

    after_s: float
    name: str
    blow: Blow
    pause_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a killer behaves."""

    weights: Mapping[str, float]
    """How likely each child is to be hit, by name."""
    every_s: float = 1.0
    """Mean time between two blows."""
    stop_share: float = 0.0
    """Share of blows that only stop."""
    max_pause_s: float = 0.5
    """A child is down for nothing up to this."""
    seed: int = 1


def strikes(plan: Plan) -> Iterator[Strike]:
    """Blows without end; the same for the same plan."""
    chance = random.Random(plan.seed)  # noqa: S311  # a schedule, nothing secret
    names, weights = list(plan.weights), list(plan.weights.values())
    while True:
        yield Strike(
            after_s=chance.expovariate(1 / plan.every_s),
            name=chance.choices(names, weights)[0],
            blow=Blow.STOP if chance.random() < plan.stop_share else Blow.KILL,
            pause_s=chance.uniform(0, plan.max_pause_s),
        )


@dataclass(slots=True)
class Killer:
    """Carries blows out, each one made good before its victim is hit again."""

    victims: Mapping[str, Mortal]
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep
    """Lets seconds pass."""
    until_due: Callable[[], Awaitable[None]] | None = None
    """Waits for what else has to be so before the next blow."""
    most_down: int = 2
    """So many may be down at a time: on a slow machine, where a start takes long, blows come less often."""
    done: Counter[tuple[str, Blow]] = field(default_factory=Counter)
    """Blows so far, by victim."""
    _busy: set[str] = field(default_factory=set)
    _freed: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, blows: Iterator[Strike]) -> None:
        """Strike until there are no more blows, or this is cancelled; then everybody runs again.

        A blow at a victim that is still down from the last one goes to nobody.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for strike in blows:
                    await self.pause(strike.after_s)
                    while len(self._busy) >= self.most_down:
                        self._freed.clear()
                        await self._freed.wait()
                    if self.until_due is not None:
                        await self.until_due()
                    if strike.name not in self._busy:
                        self._busy.add(strike.name)
                        group.create_task(self._strike(strike))
        finally:
            for victim in self.victims.values():
                victim.send(signal.SIGCONT)

    async def _strike(self, strike: Strike) -> None:
        victim = self.victims[strike.name]
        try:
            if strike.blow is Blow.STOP:
                victim.send(signal.SIGSTOP)
                self.done[strike.name, strike.blow] += 1
                await self.pause(strike.pause_s)
                victim.send(signal.SIGCONT)
            else:
                await victim.kill()
                self.done[strike.name, strike.blow] += 1
                await self.pause(strike.pause_s)
                await victim.start()
        finally:
            self._busy.discard(strike.name)
            self._freed.set()
