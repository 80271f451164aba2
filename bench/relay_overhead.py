"""What it costs to pass a call through the sidecar, against calling directly and against a bare aiohttp forwarder.

The primary figure is processor time per request of the proxy's own process, which stays nearly the same while the
neighbours' load moves throughput and latency. Contenders take turns in rounds after a warm-up; only ratios are
headlines. The proxies share one core, upstream and load the other, where there are two. Exit code 1 on any error.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from bench.closed_loop import Load, press
from bench.facts import describe, facts, write_result
from bench.http_client import Address
from bench.processes import Server, cpu_us, pin, running, sidecar_command
from bench.quantiles import median, quantile, ratio

NAME: Final = "relay_overhead"
CONNECTIONS: Final = 32
"""Source: the method of PERFORMANCE.md, section 0 (wrk -c32)."""

DIRECT, FORWARDER, SIDECAR = "direct", "aiohttp_forwarder", "sidecar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One way to the upstream: whom to call, and which process is the proxy."""

    name: str
    address: Address
    proxy: Server | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One turn of one contender."""

    requests: int
    errors: int
    requests_per_second: float
    proxy_us_per_request: float
    """0 for the direct way, which has no proxy."""
    upstream_us_per_request: float
    alone_p50_ms: float
    """Median latency with one connection: what one call alone takes."""
    alone_p99_ms: float
    tool: str


def main() -> int:
    """Run the benchmark; the exit code."""
    given = _arguments()
    known = facts()
    print("relay through the sidecar against direct and against a bare aiohttp forwarder", flush=True)
    print(describe(known), flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="elicit-bench-") as folder,
        ExitStack() as stack,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        upstream, contenders = _start(stack, Path(folder))
        is_pinned = _pin(upstream, contenders)
        turns = runner.run(_measure(given, upstream, contenders))
    found = _ratios(turns)
    _print(found, turns)
    is_clean = all(turn.errors == 0 and turn.requests > 0 for kept in turns.values() for turn in kept)
    result: dict[str, object] = {
        "connections": CONNECTIONS,
        "seconds": given.seconds,
        "rounds": given.rounds,
        "is_pinned": is_pinned,
        "is_clean": is_clean,
        "ratios": found,
        "contenders": {name: {**_medians(kept), "rounds": kept} for name, kept in turns.items()},
    }
    print(f"absolute figures: {write_result(NAME, known, result, given.json)}")
    if not is_clean:
        print("FAILED: there were errors; the figures do not count", file=sys.stderr)
    return 0 if is_clean else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    seconds: float
    rounds: int
    wrk: bool
    json: Path | None


def _arguments() -> _Given:
    parser = argparse.ArgumentParser(description="Processor time and latency of the relay, as ratios of one run.")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one turn (2)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender (5)")
    parser.add_argument("--no-wrk", action="store_true", help="use the client of our own even where wrk is on PATH")
    parser.add_argument("--json", type=Path, help="where the result goes (bench/results/NAME-TIME.json)")
    given = parser.parse_args()
    if given.seconds <= 0 or given.rounds < 1:
        parser.error("expected a positive length and at least 1 round")
    return _Given(seconds=given.seconds, rounds=given.rounds, wrk=not given.no_wrk, json=given.json)


def _start(stack: ExitStack, folder: Path) -> tuple[Server, list[Contender]]:
    upstream = stack.enter_context(running("upstream", ["-m", "bench.raw_server"], folder))
    at = upstream.address("listen")
    command = ["-m", "bench.aiohttp_forwarder", f"http://{at.host}:{at.port}"]
    forwarder = stack.enter_context(running(FORWARDER, command, folder))
    sidecar = stack.enter_context(running(SIDECAR, sidecar_command(at, folder, name=SIDECAR), folder))
    return upstream, [
        Contender(name=DIRECT, address=at, proxy=None),
        Contender(name=FORWARDER, address=forwarder.address("listen"), proxy=forwarder),
        Contender(name=SIDECAR, address=sidecar.address("data"), proxy=sidecar),
    ]


def _pin(upstream: Server, contenders: list[Contender]) -> bool:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("only one core: nothing is pinned, throughput and latency mean little")
        return False
    pin(os.getpid(), cores[1])
    pin(upstream.pid, cores[1])
    for contender in contenders:
        if contender.proxy is not None:
            pin(contender.proxy.pid, cores[0])
    return True


async def _measure(given: _Given, upstream: Server, contenders: list[Contender]) -> dict[str, list[Turn]]:
    turns: dict[str, list[Turn]] = {contender.name: [] for contender in contenders}
    for contender in contenders:
        await press(contender.address, connections=CONNECTIONS, seconds=min(1.0, given.seconds), use_wrk=False)
    for number in range(given.rounds):
        for contender in contenders:
            turns[contender.name].append(await _turn(given, upstream, contender))
        print(f"round {number + 1}/{given.rounds} done", flush=True)
    return turns


async def _turn(given: _Given, upstream: Server, contender: Contender) -> Turn:
    before = cpu_us(contender.proxy.pid) if contender.proxy else 0.0
    upstream_before = cpu_us(upstream.pid)
    load = await press(contender.address, connections=CONNECTIONS, seconds=given.seconds, use_wrk=given.wrk)
    proxy_us = cpu_us(contender.proxy.pid) - before if contender.proxy else 0.0
    upstream_us = cpu_us(upstream.pid) - upstream_before
    alone = await press(contender.address, connections=1, seconds=given.seconds / 4, use_wrk=False)
    return _as_turn(load, alone, proxy_us=proxy_us, upstream_us=upstream_us)


def _as_turn(load: Load, alone: Load, *, proxy_us: float, upstream_us: float) -> Turn:
    latencies = alone.latencies_ms or (0.0,)
    requests = max(1, load.requests)
    return Turn(
        requests=load.requests,
        errors=load.errors + alone.errors,
        requests_per_second=load.requests / load.seconds,
        proxy_us_per_request=proxy_us / requests,
        upstream_us_per_request=upstream_us / requests,
        alone_p50_ms=quantile(latencies, 0.5),
        alone_p99_ms=quantile(latencies, 0.99),
        tool=load.tool,
    )


def _medians(turns: list[Turn]) -> dict[str, float]:
    return {
        "proxy_us_per_request": median(turn.proxy_us_per_request for turn in turns),
        "upstream_us_per_request": median(turn.upstream_us_per_request for turn in turns),
        "requests_per_second": median(turn.requests_per_second for turn in turns),
        "alone_p50_ms": median(turn.alone_p50_ms for turn in turns),
        "alone_p99_ms": median(turn.alone_p99_ms for turn in turns),
    }


def _ratios(turns: Mapping[str, list[Turn]]) -> dict[str, float | None]:
    """Sidecar over forwarder, and what each adds over the direct way."""
    direct, forwarder, sidecar = (_medians(turns[name]) for name in (DIRECT, FORWARDER, SIDECAR))
    added = {
        name: kept["alone_p50_ms"] - direct["alone_p50_ms"]
        for name, kept in ((FORWARDER, forwarder), (SIDECAR, sidecar))
    }
    whole = sidecar["proxy_us_per_request"] + sidecar["upstream_us_per_request"]
    return {
        "sidecar_cpu_to_forwarder": ratio(sidecar["proxy_us_per_request"], forwarder["proxy_us_per_request"]),
        "whole_way_cpu_to_direct": ratio(whole, direct["upstream_us_per_request"]),
        "sidecar_throughput_to_forwarder": ratio(sidecar["requests_per_second"], forwarder["requests_per_second"]),
        "direct_throughput_to_sidecar": ratio(direct["requests_per_second"], sidecar["requests_per_second"]),
        "added_p50_to_forwarder": ratio(added[SIDECAR], added[FORWARDER]),
        "p50_to_direct": ratio(sidecar["alone_p50_ms"], direct["alone_p50_ms"]),
        "p99_to_direct": ratio(sidecar["alone_p99_ms"], direct["alone_p99_ms"]),
    }


def _print(found: Mapping[str, float | None], turns: Mapping[str, list[Turn]]) -> None:
    told = {key: "n/a" if value is None else f"{value:.2f}x" for key, value in found.items()}
    print(f"load: {CONNECTIONS} connections by {turns[SIDECAR][0].tool}; medians over rounds; lower is better")
    print(f"  processor per request, sidecar / bare aiohttp forwarder: {told['sidecar_cpu_to_forwarder']}")
    print(f"  processor per request, whole way through the sidecar / direct: {told['whole_way_cpu_to_direct']}")
    print(f"  latency added to a call alone, sidecar / forwarder, p50: {told['added_p50_to_forwarder']}")
    print(f"  latency of a call alone, sidecar / direct: p50 {told['p50_to_direct']}, p99 {told['p99_to_direct']}")
    print(f"  throughput, sidecar / forwarder (higher is better): {told['sidecar_throughput_to_forwarder']}")


if __name__ == "__main__":
    sys.exit(main())
