"""The chaos run: messages and questions under load while everything is killed and the network breaks.

A seed decides who sends what to whom, who is killed when, and what happens to the network. At the end of a wave
everything is left in peace until all is delivered; then the ledger says what was lost, misdelivered, or done twice.

Every agent reads every message, as the Bridge knows no addresses, so the work grows with messages times agents. That
is why many messages are played in waves, each with a Bridge, sidecars and agents of its own; a wave has ten agents
unless it is told otherwise, and its agents are others than those of the waves before.
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import uvloop

from bench.chaos_house import ChaosPlan
from bench.chaos_run import Run, play
from bench.facts import describe, facts, write_result
from tests.support.killer import StartFailedError

NAME: Final = "chaos"

WAVE_AGENTS: Final = 10
"""Agents of one wave. Source: ours; see above."""

TROUBLES: Final = ("killed", "stopped", "network")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asked for."""

    plan: ChaosPlan
    """Of one wave."""
    waves: int
    keep: bool
    json: Path | None


def main() -> int:
    """Play all waves; 0 when every one of them is clean."""
    options = parse_options()
    plan, known = options.plan, facts()
    say(
        f"chaos: {options.waves} waves of {plan.messages} messages, {plan.messages // 10} exchanges, {plan.agents} "
        f"agents and {plan.sidecars} sidecars; a kill every {plan.kill_every_s:g} s on average, seed {plan.seed}"
    )
    say(describe(known))
    runs: list[Run] = []
    for wave in range(options.waves):
        run = _wave(replace(plan, seed=plan.seed + wave, first_agent=plan.agents * wave), keep=options.keep)
        runs.append(run)
        say(f"wave {wave + 1} of {options.waves}: {'clean' if run.verdict.is_clean else 'NOT CLEAN'}")
        if len(runs) < options.waves and not run.verdict.is_clean:
            report(run, say)
    total = summed(runs)
    report(total, say)
    result: dict[str, object] = {
        "plan": plan,
        "waves": options.waves,
        "total": as_json(total),
        "runs": list(map(as_json, runs)),
    }
    say(f"all figures: {write_result(NAME, known, result, options.json)}")
    return 0 if total.verdict.is_clean else 1


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; a wrong one ends the program with status 2."""
    parser = argparse.ArgumentParser(description="Messages and questions while everything is killed.")
    parser.add_argument("--messages", type=int, default=20_000, help="messages over all waves (20000)")
    parser.add_argument("--agents", type=int, default=WAVE_AGENTS, help="agents over all waves (10)")
    parser.add_argument("--waves", type=int, help="waves, one after another (one for ten agents)")
    parser.add_argument("--sidecars", type=int, default=2, help="sidecars of one wave (2)")
    parser.add_argument("--crews", type=int, default=2, help="processes that hold the agents of one wave (2)")
    parser.add_argument("--kill-every", type=float, default=1.0, help="mean seconds between kills, 0 for none (1)")
    parser.add_argument("--fault-every", type=float, default=1.0, help="the same for faults of the network (1)")
    parser.add_argument("--flips", type=int, default=0, help="random changes of flags in one wave (0)")
    parser.add_argument("--settings", nargs="*", default=[], metavar="KEY=VALUE", help="more of the sidecars'")
    parser.add_argument("--most", type=float, default=3600.0, help="longest load of one wave, seconds (3600)")
    parser.add_argument("--seed", type=int, default=1, help="seed of everything that is random (1)")
    parser.add_argument("--keep", action="store_true", help="keep the files of waves that are not clean")
    parser.add_argument("--json", type=Path, help="where the result goes (bench/results/NAME-TIME.json)")
    given = parser.parse_args(arguments)
    waves = given.waves or max(1, given.agents // WAVE_AGENTS)
    agents = given.agents // waves
    if given.messages < waves or agents < 2 or min(given.sidecars, given.crews) < 1 or given.most <= 0:
        parser.error("expected at least one message and two agents in each wave, and a sidecar, a crew and some time")
    plan = ChaosPlan(
        messages=given.messages // waves,
        agents=agents,
        sidecars=given.sidecars,
        crews=given.crews,
        kill_every_s=given.kill_every,
        fault_every_s=given.fault_every,
        flips=given.flips,
        most_s=given.most,
        seed=given.seed,
        settings=tuple(given.settings),
    )
    return Options(plan=plan, waves=waves, keep=given.keep, json=given.json)


def _wave(plan: ChaosPlan, *, keep: bool) -> Run:
    folder = Path(tempfile.mkdtemp(prefix="elicit-chaos-"))
    is_kept = keep
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            run = runner.run(play(plan, folder, say))
        is_kept = keep and not run.verdict.is_clean
    except* StartFailedError as found:
        raise SystemExit(f"FAILED: {_innermost(found)}") from None
    finally:
        if is_kept:
            say(f"the files are in {folder}")
        else:
            shutil.rmtree(folder)
    return run


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def summed(runs: Sequence[Run]) -> Run:
    """All waves as one."""
    total = Run()
    for run in runs:
        for mine, its in ((total.kills, run.kills), (total.stops, run.stops), (total.faults, run.faults)):
            mine.update(its)
        total.flips += run.flips
        total.load_s += run.load_s
        total.calm_s += run.calm_s
        total.verdict.counts.update(run.verdict.counts)
        total.verdict.breaches.update(run.verdict.breaches)
        for kind, examples in run.verdict.examples.items():
            total.verdict.examples[kind].extend(examples)
    return total


def report(run: Run, tell: Callable[[str], None]) -> None:
    """Tell what happened and what is wrong."""
    tell(f"{run.load_s:.0f} s of load, {run.calm_s:.0f} s of peace, {run.flips} changes of flags")
    for name, counted in zip(TROUBLES, (run.kills, run.stops, run.faults), strict=True):
        tell(f"{name}: {_listed(counted) or 'nothing'}")
    for what, count in sorted(run.verdict.counts.items()):
        tell(f"{count:10d}  {what}")
    for kind, count in run.verdict.breaches.items():
        tell(f"FAILED: {count} x {kind}")
        for example in run.verdict.examples[kind]:
            tell(f"    {example}")
    if run.verdict.is_clean:
        tell("0 lost, 0 misdelivered, 0 out of order, 0 double effects upstream")


def _listed(counted: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in sorted(counted.items()))


def as_json(run: Run) -> dict[str, object]:
    """One run for the result file."""
    return {
        "load_s": run.load_s,
        "calm_s": run.calm_s,
        "kills": dict(run.kills),
        "stops": dict(run.stops),
        "faults": dict(run.faults),
        "flips": run.flips,
        "counts": dict(run.verdict.counts),
        "breaches": dict(run.verdict.breaches),
        "examples": dict(run.verdict.examples),
    }


def say(text: str) -> None:
    """Print a line at once, for people who watch."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
