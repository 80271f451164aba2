"""One chaos run from its beginning to its verdict: load, kills, faults, flips, then peace, then the ledger.

A seed decides who sends what to whom, who is killed when, and what happens to the network. At the end everything is
left in peace until all is delivered; then the ledger says what was lost, misdelivered, or done twice.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Final

from bench.chaos_house import ChaosPlan, House, chaos_house
from bench.chaos_ledger import Ledger, Verdict, read_log
from bench.chaos_records import AnyRecord, read_records
from tests.support.killer import Blow, Killer, Plan, strikes

CALM_S: Final = 120.0
"""Longest time until all is delivered once nothing is broken any more. Source: ours."""

STOP_SHARE: Final = 0.15
"""Blows that only stop somebody for a moment. Source: ours."""

NOTE_S: Final = 5.0
"""Pause between two lines of progress."""


@dataclass(slots=True, kw_only=True)
class Run:
    """What happened in a run."""

    verdict: Verdict = field(default_factory=Verdict)
    kills: Counter[str] = field(default_factory=Counter)
    stops: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    flips: int = 0
    load_s: float = 0.0
    calm_s: float = 0.0

    @property
    def killed(self) -> int:
        """Kills of all."""
        return self.kills.total()


class Director:
    """Leads one run."""

    def __init__(self, house: House, note: Callable[[str], None]) -> None:
        self.run = Run()
        self._house = house
        self._plan = house.plan
        self._note = note
        self._is_over = False
        self._stored = 0
        self._due_at = 0
        """The next kill waits until so many messages are stored."""
        self._began = time.monotonic()

    def _over(self) -> bool:
        return self._is_over

    async def play(self) -> None:
        """The load with all that breaks, then peace until all is delivered.

        Raises:
            TimeoutError: not all was delivered in time.
        """
        house, plan = self._house, self._plan
        killer = Killer(house.victims(), until_due=self._until_worked)
        async with asyncio.TaskGroup() as group:
            if plan.kill_every_s:
                blows = Plan(weights=house.weights(), every_s=plan.kill_every_s, stop_share=STOP_SHARE, seed=plan.seed)
                group.create_task(killer.run(takewhile(lambda _: not self._is_over, strikes(blows))))
            if plan.fault_every_s:
                group.create_task(house.disturb(self._over, lambda: self._stored))
            flipping = group.create_task(house.flip(self._over, lambda: self._stored))
            await self._watch()
        self.run.flips, self.run.faults = flipping.result(), house.faults
        for (name, blow), count in killer.done.items():
            kind = name.partition("-")[0]
            (self.run.kills if blow is Blow.KILL else self.run.stops)[kind] += count
        self.run.load_s = time.monotonic() - self._began
        await self._calm_down()
        self.run.calm_s = time.monotonic() - self._began - self.run.load_s

    async def _until_worked(self) -> None:
        """Wait until enough was stored since the last kill."""
        while not self._is_over and self._stored < self._due_at:  # noqa: ASYNC110  # only a file tells how far others are
            await asyncio.sleep(0.05)
        self._due_at = self._stored + self._plan.kill_work

    async def _watch(self) -> None:
        """Wait for the end of the load, and tell how it goes."""
        noted_at = 0.0
        while True:
            progress, now_s = self._house.progress(), time.monotonic() - self._began
            self._stored = progress["stored"]
            if not progress["working"] or now_s > self._plan.most_s:
                break
            if now_s >= noted_at:
                self._tell(progress, now_s)
                noted_at = now_s + NOTE_S
            await asyncio.sleep(0.25)
        self._house.stop_load()
        self._is_over = True

    def _tell(self, progress: Counter[str], now_s: float) -> None:
        starts = dict.fromkeys(("bridge", "sidecar", "crew"), 0)
        for name, victim in self._house.victims().items():
            starts[name.partition("-")[0]] += victim.starts - 1
        kills = ", ".join(f"{count} {kind}" for kind, count in starts.items())
        self._note(
            f"{now_s:6.0f} s  {progress['stored']:8d} messages  {progress['heard']:7d} answers  "
            f"{progress['received']:8d} waits  killed: {kills}"
        )

    async def _calm_down(self) -> None:
        house = self._house
        if self._plan.flips:
            await house.set_all({"elicitation_enabled": True, "elicitation_percentage": 100, "legacy_fallback": True})
        async with asyncio.timeout(CALM_S):
            while house.progress()["working"]:  # noqa: ASYNC110  # only a file tells how far others are
                await asyncio.sleep(0.25)
            await house.close_run()
            for crew in house.crews:
                await crew.ended(CALM_S)
        for sidecar in house.sidecars:
            code = await sidecar.end()
            if code:
                self.run.verdict.breach("exit code", f"{sidecar.name} ended with {code}")
        await house.bridge.end()

    def judge(self) -> None:
        """Let the ledger speak."""
        records: dict[str, list[AnyRecord]] = defaultdict(list)
        for crew in self._house.crews:
            for record in read_records(self._house.folder / f"{crew.name}.journal"):
                records[record.agent].append(record)
        verdict = Ledger(read_log(self._house.log), records).judge()
        verdict.breaches.update(self.run.verdict.breaches)
        verdict.examples.update(self.run.verdict.examples)
        self.run.verdict = verdict


async def play(plan: ChaosPlan, folder: Path, note: Callable[[str], None]) -> Run:
    """One run in a folder of its own, with its verdict."""
    async with chaos_house(plan, folder) as house:
        director = Director(house, note)
        try:
            await director.play()
        except TimeoutError:
            director.run.verdict.breach(
                "unfinished", f"not all was delivered {CALM_S:g} s after the load: {house.progress()}"
            )
            await house.bridge.kill()
        director.judge()
    return director.run
