"""What one rate limit check costs, as a ratio to looking a key up in a dictionary, and what claiming a nonce does.

Each figure is the median time of many small batches of calls, taken in turns with the batches of the lookup, so that
the neighbours' load meets both. The stores are the ones in memory, called as the port has it, with `await`; the keys
are those of many agents. Exit code 1 where the check of a limit takes longer than the bound at p50.
"""

import argparse
import asyncio
import itertools
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Final

import uvloop

from bench.facts import describe, facts, write_result
from bench.quantiles import quantile, ratio
from proxy.core.ids import AgentId
from proxy.core.limits import LimitName
from proxy.core.rate import Rate
from proxy.stores.memory_limits import MemoryLimitStore
from proxy.stores.memory_nonces import MemoryNonceStore

NAME: Final = "limit_cost"
BOUND_US: Final = 5.0
"""Source: the demand on the check of a limit at p50."""

BATCH: Final = 200
AGENTS: Final = [AgentId(f"agent-{number}") for number in range(1_000)]
QUESTIONS: Final = LimitName("questions")
RATE: Final = Rate(1_000_000, 1, 1_000_000)

Batch = Callable[[], Awaitable[None]]


def main() -> int:
    """Run the benchmark; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--batches", type=int, default=2_000, help="batches of 200 calls of each kind")
    parser.add_argument("--json", type=Path, help="where to write the absolute figures")
    given = parser.parse_args()
    known = facts()
    print("a check of a rate limit against a lookup in a dictionary")
    print(describe(known))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        samples = runner.run(_measure(given.batches))
    p50_us = {name: quantile(kept, 0.5) for name, kept in samples.items()}
    p99_us = {name: quantile(kept, 0.99) for name, kept in samples.items()}
    ratios = {name: ratio(p50_us[name], p50_us["lookup"]) for name in ("limit", "limit_refused", "nonce")}
    for name, value in ratios.items():
        print(f"  {name:>14}: {'unknown' if value is None else f'{value:.1f}'} times a lookup at p50")
    is_within = p50_us["limit"] <= BOUND_US and p50_us["limit_refused"] <= BOUND_US
    result: dict[str, object] = {"ratios": ratios, "p50_us": p50_us, "p99_us": p99_us, "is_within_bound": is_within}
    print(f"absolute figures: {write_result(NAME, known, result, given.json)}")
    if not is_within:
        print(f"FAILED: a check takes more than {BOUND_US} us at p50", file=sys.stderr)
    return 0 if is_within else 1


async def _measure(batches: int) -> dict[str, list[float]]:
    """Microseconds of one call, from each batch."""
    kinds = {"lookup": _lookup(), "limit": _limit(RATE), "limit_refused": _limit(Rate(1, 3600, 0)), "nonce": _nonce()}
    samples: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(batches + batches // 10):
        for name, batch in kinds.items():
            began = perf_counter_ns()
            await batch()
            took = perf_counter_ns() - began
            if number >= batches // 10:  # what came before was the warm-up
                samples[name].append(took / BATCH / 1_000)
    return samples


def _lookup() -> Batch:
    known = {(QUESTIONS, agent_id): 0 for agent_id in AGENTS}
    agents = itertools.cycle(AGENTS)

    async def batch() -> None:
        for agent_id in itertools.islice(agents, BATCH):
            known[QUESTIONS, agent_id]

    return batch


def _limit(rate: Rate) -> Batch:
    store, agents, moments = MemoryLimitStore(), itertools.cycle(AGENTS), itertools.count(1_000_000)

    async def batch() -> None:
        for agent_id in itertools.islice(agents, BATCH):
            await store.take(QUESTIONS, agent_id, rate, now=next(moments) / 1_000_000)

    return batch


def _nonce() -> Batch:
    store, agents, numbers = MemoryNonceStore(), itertools.cycle(AGENTS), itertools.count()

    async def batch() -> None:
        for agent_id in itertools.islice(agents, BATCH):
            number = next(numbers)
            now = number / 200  # places for 300 s of nonces are enough
            await store.claim(agent_id, f"{number:032x}", expires=now + 300, now=now)

    return batch


if __name__ == "__main__":
    sys.exit(main())
