"""A soak run: parked waits through the sidecar for minutes, with arrivals, hang-ups and Bridge restarts.

It samples memory, descriptors, threads and the gauge of parked waits, fits a line through memory after the warm-up,
and fails when memory grows by more than one percent per simulated hour (144 waits of each agent), when descriptors
or parked waits stay behind, when items are lost, or when calls fail outside of a restart.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Final

import uvloop

from bench.facts import describe, facts, write_result
from bench.soak_load import House, Soak, SoakPlan, row
from bench.soak_verdict import DESCRIPTOR_SLACK, Verdict, judge, thinned

NAME: Final = "soak"

FULL_WARM_UP_S: Final = 660.0
"""Answered questions are remembered for ten minutes; only then is memory level. Source: ours."""

TABLE_ROWS: Final = 12


def main() -> int:
    """Run the soak; the exit code."""
    plan, to = _arguments()
    warm_up_s = min(FULL_WARM_UP_S, plan.seconds / 2)
    known = facts()
    print(f"soak: {plan.waits} parked waits, {plan.seconds / 60:g} minutes, {plan.rate:g} items/s", flush=True)
    print(describe(known), flush=True)
    if warm_up_s < FULL_WARM_UP_S:
        print(f"short run: memory may still fill after the warm-up of {warm_up_s:.0f} s; use --minutes 22 or more")
    with (
        tempfile.TemporaryDirectory(prefix="elicit-soak-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        house = House(Path(folder))
        exit_code = -1
        try:
            soak, verdict = runner.run(_soak(house, plan, warm_up_s))
        finally:
            exit_code = house.stop()
            log = (Path(folder) / "sidecar.log").read_text(errors="replace")
    failures = [*verdict.failures, *_failures(soak, exit_code)]
    _print(soak, verdict, failures)
    if failures:
        print(log[-3000:], file=sys.stderr)
    result: dict[str, object] = {
        "plan": plan,
        "warm_up_s": warm_up_s,
        "verdict": verdict,
        "failures": failures,
        "items": len(soak.ledger.accepted()),
        "lost": soak.ledger.missing(),
        "answers": soak.ledger.answers,
        "hung_up": soak.left,
        "restarts": soak.restarted,
        "errors": dict(soak.ledger.errors),
        "tolerated_errors": dict(soak.ledger.tolerated),
        "samples": soak.samples,
    }
    print(f"all samples: {write_result(NAME, known, result, to)}")
    return 1 if failures else 0


def _arguments() -> tuple[SoakPlan, Path | None]:
    parser = argparse.ArgumentParser(description="Parked waits through the sidecar for a long time.")
    parser.add_argument("--minutes", type=float, default=30.0, help="length of the run (30)")
    parser.add_argument("--waits", type=int, default=100, help="parked waits (100)")
    parser.add_argument("--rate", type=float, default=0.5, help="items per second over all agents (0.5)")
    parser.add_argument("--wait-seconds", type=int, default=5, help="length of one wait (5)")
    parser.add_argument("--leaves", type=float, default=1.0, help="agents that hang up, per second (1)")
    parser.add_argument("--restarts", type=int, default=5, help="restarts of the Bridge, evenly over the run (5)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the load (1)")
    parser.add_argument("--json", type=Path, help="where the result goes (bench/results/NAME-TIME.json)")
    given = parser.parse_args()
    if given.minutes <= 0 or given.waits < 2 or given.rate <= 0 or given.leaves <= 0 or given.wait_seconds < 1:
        parser.error("expected at least 2 waits and positive numbers")
    plan = SoakPlan(
        seconds=given.minutes * 60,
        waits=given.waits,
        rate=given.rate,
        wait_s=given.wait_seconds,
        leaves_per_second=given.leaves,
        restarts=given.restarts,
        seed=given.seed,
    )
    return plan, given.json


async def _soak(house: House, plan: SoakPlan, warm_up_s: float) -> tuple[Soak, Verdict]:
    soak = Soak(house, plan)
    try:
        before = await soak.idle()
        await soak.run(_note)
        after = await soak.idle(descriptors=before.descriptors + DESCRIPTOR_SLACK)
    finally:
        soak.close()
    return soak, judge(soak.samples, warm_up_s=warm_up_s, before=before, after=after)


def _failures(soak: Soak, exit_code: int) -> list[str]:
    found = [f"{count} x {what}" for what, count in soak.ledger.errors.items()]
    if soak.ledger.missing():
        found.append(f"{soak.ledger.missing()} items were accepted and never delivered")
    if exit_code != 0:
        found.append(f"the sidecar ended with {exit_code}, not with 0")
    return found


def _note(text: str) -> None:
    print(text, flush=True)


def _print(soak: Soak, verdict: Verdict, failures: list[str]) -> None:
    print("\nwall time, simulated hours, resident memory, descriptors, threads, parked waits")
    for sample in thinned(soak.samples, TABLE_ROWS):
        print(row(sample))
    print(
        f"{len(soak.ledger.accepted())} items, {soak.ledger.answers} answers, {soak.left} hung up, "
        f"{soak.restarted} restarts, {sum(soak.ledger.tolerated.values())} calls failed during restarts"
    )
    growth = verdict.growth_percent_per_hour
    told = "not known" if growth is None else f"{growth:+.2f} percent per simulated hour"
    print(f"growth of memory: {told}{'' if verdict.is_judged else ' (the run is too short to judge it)'}")
    for failure in failures:
        print(f"FAILED: {failure}")


if __name__ == "__main__":
    sys.exit(main())
