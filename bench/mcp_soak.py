"""A soak run of every MCP door: parked waits over HTTP in both eras and over standard input and output, for hours.

It samples memory, descriptors, threads and parked waits of every sidecar process, fits a line through the memory of
each after the warm-up, and fails when one grows by more than one percent per simulated hour (144 waits of an agent),
when descriptors or parked waits stay behind, when items are lost, or when calls fail.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import aiohttp
import uvloop

from bench.facts import describe, facts, write_result
from bench.mcp_soak_house import McpHouse
from bench.mcp_soak_load import McpPlan, McpSoak, is_asked, row
from bench.quantiles import summarise
from bench.soak import FULL_WARM_UP_S
from bench.soak_verdict import Sample, Verdict, judge, thinned

NAME: Final = "mcp-soak"

DEFAULT_MINUTES: Final = 22.0
"""With waits of one second: eleven minutes until memory is level, then four simulated hours. Source: ours."""

TABLE_ROWS: Final = 8


def main() -> int:
    """Run the soak; the exit code."""
    plan, to = _arguments()
    warm_up_s = min(FULL_WARM_UP_S, plan.seconds / 2)
    known = facts()
    print(
        f"mcp soak: {plan.clients} clients over HTTP, {plan.pipes} pipes with {plan.waits} waits each, "
        f"{plan.seconds / 60:g} minutes, {plan.rate:g} items/s, {plan.visits:g} visits/s",
        flush=True,
    )
    print(describe(known), flush=True)
    if warm_up_s < FULL_WARM_UP_S:
        print(f"short run: memory may still fill after the warm-up of {warm_up_s:.0f} s; use --minutes 22 or more")
    with (
        tempfile.TemporaryDirectory(prefix="elicit-mcp-soak-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        house = McpHouse(Path(folder), [name for name in plan.names() if is_asked(name)])
        codes: dict[str, int] = {}
        try:
            soak, verdicts, codes = runner.run(_soak(house, plan, warm_up_s))
        finally:
            codes["http"] = house.stop()
            log = house.log_end()
    failures = [f"{name}: {failure}" for name, verdict in verdicts.items() for failure in verdict.failures]
    failures += _failures(soak, codes)
    _print(soak, verdicts, failures)
    if failures:
        print(log, file=sys.stderr)
    result: dict[str, object] = {
        "plan": plan,
        "warm_up_s": warm_up_s,
        "simulated_hours": soak.hours(),
        "verdicts": verdicts,
        "failures": failures,
        "items": len(soak.ledger.accepted()),
        "lost": soak.lost(),
        "seen_again": soak.ledger.duplicated(),
        "ways": dict(soak.ledger.ways),
        "delivery_ms": summarise(delays) if (delays := soak.ledger.latencies_ms(from_sent=False)) else None,
        "answers": soak.ledger.answers,
        "visits": soak.visits.count,
        "errors": dict(soak.ledger.errors),
        "samples": soak.samples,
    }
    print(f"all samples: {write_result(NAME, known, result, to)}")
    return 1 if failures else 0


def _arguments() -> tuple[McpPlan, Path | None]:
    parser = argparse.ArgumentParser(description="Parked waits through every MCP door for a long time.")
    parser.add_argument("--minutes", type=float, default=DEFAULT_MINUTES, help="length of the run (22)")
    parser.add_argument("--clients", type=int, default=24, help="MCP clients over HTTP, one wait each (24)")
    parser.add_argument("--pipes", type=int, default=2, help="sidecars over standard input and output (2)")
    parser.add_argument("--waits", type=int, default=10, help="parked waits of each pipe (10)")
    parser.add_argument("--wait-seconds", type=int, default=1, help="length of one wait (1)")
    parser.add_argument("--rate", type=float, default=1.0, help="items per second over all agents (1)")
    parser.add_argument("--visits", type=float, default=0.5, help="clients that come and leave, per second (0.5)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the load (1)")
    parser.add_argument("--json", type=Path, help="where the result goes (bench/results/NAME-TIME.json)")
    given = parser.parse_args()
    is_positive = min(given.minutes, given.rate, given.visits) > 0 and given.wait_seconds >= 1
    if not is_positive or given.clients < 8 or given.pipes < 0 or given.waits < 4:
        parser.error("expected at least 8 clients, at least 4 waits on each pipe, and positive numbers")
    plan = McpPlan(
        seconds=given.minutes * 60,
        clients=given.clients,
        pipes=given.pipes,
        waits=given.waits,
        wait_s=given.wait_seconds,
        rate=given.rate,
        visits=given.visits,
        seed=given.seed,
    )
    return plan, given.json


async def _soak(house: McpHouse, plan: McpPlan, warm_up_s: float) -> tuple[McpSoak, dict[str, Verdict], dict[str, int]]:
    """Play the load; what is said of each sidecar, and the exit codes of those on pipes."""
    codes: dict[str, int] = {}
    before: dict[str, Sample] = {}
    after: dict[str, Sample] = {}
    try:
        for number in range(plan.pipes):
            await house.open_pipe(f"pipe{number}", is_modern=number % 2 == 1)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            soak = McpSoak(house, plan, http)
            for sidecar in house.sidecars:
                before[sidecar.name] = await soak.idle(sidecar)
            await soak.run(_note)
        for sidecar in house.sidecars:
            after[sidecar.name] = await soak.idle(sidecar, before[sidecar.name])
    finally:
        codes.update(await house.close())
    verdicts = {
        name: judge(samples, warm_up_s=warm_up_s, before=before[name], after=after[name])
        for name, samples in soak.samples.items()
    }
    return soak, verdicts, codes


def _failures(soak: McpSoak, codes: Mapping[str, int]) -> list[str]:
    found = [f"{count} x {what}" for what, count in soak.ledger.errors.items()]
    if lost := soak.lost():
        found.append(f"{len(lost)} items were accepted and never delivered, the first of them {lost[0]}")
    found += [f"{name}: {count} mistakes of the sidecar itself" for name, count in soak.defects.items() if count]
    found += [f"{name}: the sidecar ended with {code}, not with 0" for name, code in codes.items() if code]
    return found


def _note(text: str) -> None:
    print(text, flush=True)


def _print(soak: McpSoak, verdicts: Mapping[str, Verdict], failures: list[str]) -> None:
    print("\nsidecar, wall time, simulated hours, resident memory, descriptors, threads, parked waits")
    for name, samples in soak.samples.items():
        for sample in thinned(samples, TABLE_ROWS):
            print(row(name, sample))
    print(
        f"{len(soak.ledger.accepted())} items, {soak.ledger.missing()} lost, {soak.ledger.duplicated()} seen again, "
        f"{soak.ledger.answers} answers, {soak.visits.count} visits"
    )
    if delays := soak.ledger.latencies_ms(from_sent=False):
        took = summarise(delays)
        print(f"delivery: p50 {took.p50 / 1000:.2f} s, p99 {took.p99 / 1000:.2f} s, max {took.max / 1000:.2f} s")
    print("they came " + ", ".join(f"{way}: {count}" for way, count in soak.ledger.ways.most_common()))
    for name, verdict in verdicts.items():
        growth = verdict.growth_percent_per_hour
        told = "not known" if growth is None else f"{growth:+.2f} percent per simulated hour"
        print(f"growth of memory, {name}: {told}{'' if verdict.is_judged else ' (the run is too short to judge it)'}")
    for failure in failures:
        print(f"FAILED: {failure}")


if __name__ == "__main__":
    sys.exit(main())
