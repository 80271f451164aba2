"""The chaos run: messages and questions under load while everything is killed and the network breaks.

A seed decides who sends what to whom, who is killed when, and what happens to the network. At the end everything is
left in peace until all is delivered; then the ledger says what was lost, misdelivered, or done twice.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Final

import uvloop

from bench.chaos_house import ChaosPlan, House, chaos_house
from bench.chaos_ledger import Ledger, Verdict, read_log
from bench.chaos_records import AnyRecord, read_records
from bench.facts import describe, facts, write_result
from tests.support.killer import Blow, Killer, Plan, strikes

NAME: Final = "chaos"

CALM_S: Final = 120.0
"""Longest time until all is delivered once nothing is broken any more. Source: ours."""

STOP_SHARE: Final = 0.15
"""Blows that only stop somebody for a moment. Source: ours."""

NOTE_S: Final = 5.0
"""Pause between two lines of progress."""


@dataclass(slots=True, kw_only=True)
class Run:
    """What happened in a run."""

    verdict: Verdict
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
        self.run = Run(verdict=Verdict())
        self._house = house
        self._plan = house.plan
        self._note = note
        self._is_over = False
        self._began = time.monotonic()

    def _over(self) -> bool:
        return self._is_over

    async def play(self) -> None:
        """The load with all that breaks, then peace until all is delivered.

        Raises:
            TimeoutError: not all was delivered in time.
        """
        house, plan = self._house, self._plan
        killer = Killer(house.victims())
        async with asyncio.TaskGroup() as group:
            if plan.kill_every_s:
                blows = Plan(weights=house.weights(), every_s=plan.kill_every_s, stop_share=STOP_SHARE, seed=plan.seed)
                group.create_task(killer.run(takewhile(lambda _: not self._is_over, strikes(blows))))
            if plan.fault_every_s:
                group.create_task(house.disturb(self._over))
            flipping = group.create_task(house.flip(self._over))
            await self._watch()
        self.run.flips, self.run.faults = flipping.result(), house.faults
        for (name, blow), count in killer.done.items():
            kind = name.partition("-")[0]
            (self.run.kills if blow is Blow.KILL else self.run.stops)[kind] += count
        self.run.load_s = time.monotonic() - self._began
        await self._calm_down()
        self.run.calm_s = time.monotonic() - self._began - self.run.load_s

    async def _watch(self) -> None:
        """Wait for the end of the load, and tell how it goes."""
        noted_at = 0.0
        while True:
            progress, now_s = self._house.progress(), time.monotonic() - self._began
            if not progress["working"] or now_s > self._plan.most_s:
                break
            if now_s >= noted_at:
                self._tell(progress, now_s)
                noted_at = now_s + NOTE_S
            await asyncio.sleep(0.25)
        self._house.stop_load()
        self._is_over = True

    def _tell(self, progress: Counter[str], now_s: float) -> None:
        starts = {kind: 0 for kind in ("bridge", "sidecar", "crew")}
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
            while house.progress()["working"]:
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
            for victim in house.victims().values():
                victim.send(signal.SIGTERM)
        director.judge()
    return director.run


def main() -> int:
    """Play the waves; the exit code."""
    plan, waves, keep, to = _arguments()
    known = facts()
    _say(
        f"chaos: {plan.messages} messages and {plan.messages // 10} questions, {plan.agents} agents, "
        f"{plan.sidecars} sidecars; a kill every {plan.kill_every_s:g} s, seed {plan.seed}"
    )
    _say(describe(known))
    is_clean = True
    results = []
    for wave in range(waves):
        folder = Path(tempfile.mkdtemp(prefix=f"elicit-chaos-{wave}-"))
        print(folder)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            run = runner.run(play(plan, folder, _say))
        report(run, _say)
    return 0


def report(run: Run, say: Callable[[str], None]) -> None:
    """Tell what happened and what is wrong."""
    say(f"load {run.load_s:.0f} s, peace {run.calm_s:.0f} s")
    for name, counted in (("killed", run.kills), ("stopped", run.stops), ("network", run.faults)):
        say(f"{name}: " + (", ".join(f"{count} {what}" for what, count in sorted(counted.items())) or "nothing"))
    for what, count in sorted(run.verdict.counts.items()):
        say(f"{count:10d}  {what}")
    for kind, count in run.verdict.breaches.items():
        say(f"FAILED: {count} x {kind}")
        for example in run.verdict.examples[kind]:
            say(f"    {example}")


def _arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--agents", type=int, default=10)
    parser.add_argument("--sidecars", type=int, default=2)
    parser.add_argument("--crews", type=int, default=2)
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--kill-every", type=float, default=1.0)
    parser.add_argument("--fault-every", type=float, default=1.0)
    parser.add_argument("--flips", type=int, default=0)
    parser.add_argument("--most", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    plan = ChaosPlan(
        messages=given.messages,
        agents=given.agents,
        sidecars=given.sidecars,
        crews=given.crews,
        lanes=given.lanes,
        at_once=given.at_once,
        kill_every_s=given.kill_every,
        fault_every_s=given.fault_every,
        flips=given.flips,
        most_s=given.most,
        poll_s=0.05,
        question_s=5,
        seed=given.seed,
    )
    return plan, 1, True, None


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
