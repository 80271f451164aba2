"""The run that all delivery benchmarks share: contenders up together, turns interleaved, medians over rounds.

Headlines are ratios of one run, because absolute figures move with the machine; those stand in the JSON file beside
the machine's facts.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import uvloop

from bench.arms import Arm, Plan, Stand, Turn, run_turn, stand
from bench.facts import describe, write_result
from bench.quantiles import Summary, median, median_summary, ratio

POLL_BUDGET: Final = 6000
"""Polls per minute that the sidecar may make for one agent. Source: ours. The product's default of 60 exists for the
Bridge's session limit, which is off here for every arm: the legacy agents, too, exceed it in this run."""

WARM_UP_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asked for."""

    plan: Plan
    rounds: int
    poll_budget: int
    json: Path | None


@dataclass(slots=True)
class Record:
    """All turns of one contender."""

    turns: list[Turn] = field(default_factory=list)
    log_size: int = 0
    sidecar_view: object = None

    @property
    def is_clean(self) -> bool:
        """Every turn was clean."""
        return all(turn.is_clean for turn in self.turns)

    def latency_ms(self) -> Summary:
        """Medians over rounds, from acceptance."""
        return median_summary([turn.latency_ms for turn in self.turns])

    def from_sent_ms(self) -> Summary:
        """Medians over rounds, from sending."""
        return median_summary([turn.from_sent_ms for turn in self.turns])

    def upstream_per_item(self) -> float:
        """Median number of requests at the Bridge per delivered item."""
        return median(turn.upstream_per_item for turn in self.turns)

    def cpu_us_per_item(self) -> tuple[float, float]:
        """Median microseconds of Bridge and of sidecar per delivered item."""
        return (
            median(turn.bridge_cpu_us / max(1, turn.delivered) for turn in self.turns),
            median(turn.sidecar_cpu_us / max(1, turn.delivered) for turn in self.turns),
        )

    def fell_back(self) -> int:
        """Waits that the sidecar had to serve the legacy way, warm-up included."""
        view: object = self.sidecar_view
        for key in ("cohorts", "elicitation", "fell_back"):
            view = view.get(key) if isinstance(view, dict) else None
        return view if isinstance(view, int) else 0

    def as_json(self) -> dict[str, object]:
        """Everything, as JSON."""
        errors: Counter[str] = Counter()
        for turn in self.turns:
            errors.update(turn.errors)
        bridge_us, sidecar_us = self.cpu_us_per_item()
        return {
            "latency_ms": self.latency_ms(),
            "from_sent_ms": self.from_sent_ms(),
            "delivered": sum(turn.delivered for turn in self.turns),
            "delivered_per_second": median(turn.delivered / turn.seconds for turn in self.turns),
            "lost": sum(turn.lost for turn in self.turns),
            "duplicated": sum(turn.duplicated for turn in self.turns),
            "errors": dict(errors),
            "fell_back": self.fell_back(),
            "upstream_requests_per_item": self.upstream_per_item(),
            "bridge_cpu_us_per_item": bridge_us,
            "sidecar_cpu_us_per_item": sidecar_us,
            "bridge_log_size": self.log_size,
            "sidecar": self.sidecar_view,
            "rounds": self.turns,
        }


def parse_options(purpose: str, arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; a wrong one ends the program with status 2."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("--agents", type=int, default=10, help="agents per contender, each parked all the time (10)")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of one turn (8)")
    parser.add_argument("--rate", type=float, default=20.0, help="items per second over all agents (20)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender (3)")
    parser.add_argument(
        "--poll-budget", type=int, default=POLL_BUDGET, help=f"sidecar's polls per minute and agent ({POLL_BUDGET})"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the arrivals (1)")
    parser.add_argument("--json", type=Path, help="where the result goes (bench/results/NAME-TIME.json)")
    given = parser.parse_args(arguments)
    if given.agents < 2 or given.seconds <= 0 or given.rate <= 0 or given.rounds < 1:
        parser.error("expected at least 2 agents, 1 round, and a positive rate and length")
    plan = Plan(agents=given.agents, seconds=given.seconds, rate=given.rate, seed=given.seed)
    return Options(plan=plan, rounds=given.rounds, poll_budget=given.poll_budget, json=given.json)


def measure(arms: Sequence[Arm], options: Options) -> dict[Arm, Record]:
    """Run the contenders against each other."""
    with (
        tempfile.TemporaryDirectory(prefix="elicit-bench-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(_measure(arms, options, Path(folder)))


async def _measure(arms: Sequence[Arm], options: Options, folder: Path) -> dict[Arm, Record]:
    settings = (f"bridge.poll_budget_per_min={options.poll_budget}",)
    records = {arm: Record() for arm in arms}
    async with AsyncExitStack() as stack:
        stands = [
            await stack.enter_async_context(stand(arm, folder, agents=options.plan.agents, settings=settings))
            for arm in arms
        ]
        for one in stands:
            await run_turn(one, replace(options.plan, seconds=min(WARM_UP_S, options.plan.seconds)), say)
        for number in range(options.rounds):
            plan = replace(options.plan, seed=options.plan.seed + number + 1)
            for one in stands:
                turn = await run_turn(one, plan, say)
                records[one.arm].turns.append(turn)
                say(f"round {number + 1}/{options.rounds} {one.arm}: {_state(turn)}")
        for one in stands:
            await _finish(one, records[one.arm])
    return records


def _state(turn: Turn) -> str:
    said = f"{turn.delivered} of {turn.accepted} delivered, {turn.duplicated} twice"
    return said + "".join(f"; {count} x {what}" for what, count in turn.errors.items())


async def _finish(one: Stand, record: Record) -> None:
    record.log_size = await one.log_size()
    record.sidecar_view = await one.sidecar_view()


def ratios(legacy: Record, other: Record) -> dict[str, float | None]:
    """How many times better than legacy (latency), and how many times more it costs (processor, requests)."""
    old, new = legacy.latency_ms(), other.latency_ms()
    old_sent, new_sent = legacy.from_sent_ms(), other.from_sent_ms()
    return {
        "p50": ratio(old.p50, new.p50),
        "p95": ratio(old.p95, new.p95),
        "p99": ratio(old.p99, new.p99),
        "max": ratio(old.max, new.max),
        "p50_from_sent": ratio(old_sent.p50, new_sent.p50),
        "p95_from_sent": ratio(old_sent.p95, new_sent.p95),
        "p99_from_sent": ratio(old_sent.p99, new_sent.p99),
        "max_from_sent": ratio(old_sent.max, new_sent.max),
        "bridge_cpu": ratio(other.cpu_us_per_item()[0], legacy.cpu_us_per_item()[0]),
        "all_cpu": ratio(sum(other.cpu_us_per_item()), sum(legacy.cpu_us_per_item())),
        "upstream_requests": ratio(other.upstream_per_item(), legacy.upstream_per_item()),
    }


def finish(
    name: str, known: dict[str, object], options: Options, *, records: Mapping[Arm, Record], extra: dict[str, object]
) -> int:
    """Write the result file and say whether the run counts; the exit code."""
    is_clean = all(record.is_clean for record in records.values())
    result: dict[str, object] = {
        "plan": options.plan,
        "rounds": options.rounds,
        "development_bridge": {"poll_seconds": 1.0, "rate_limits": False, "abuse_rule": False, "state": "memory"},
        "sidecar_poll_budget_per_min": options.poll_budget,
        "is_clean": is_clean,
        "arms": {str(arm): record.as_json() for arm, record in records.items()},
        **extra,
    }
    path = write_result(name, known, result, options.json)
    say(f"absolute figures: {path}")
    if not is_clean:
        print("FAILED: items were lost or doubled, or calls refused; the figures do not count", file=sys.stderr)
    return 0 if is_clean else 1


def opening(purpose: str, options: Options, known: dict[str, object]) -> None:
    """Say what is about to be measured, and under which conditions."""
    plan = options.plan
    say(purpose)
    say(
        f"{plan.agents} agents always parked, {plan.rate:g} items/s (Poisson), {options.rounds} rounds of "
        f"{plan.seconds:g} s, contenders interleaved, medians over rounds"
    )
    say(
        "the rate limits of sidecar and development Bridge and its session limit are OFF, its log is in memory; "
        f"the sidecar may poll {options.poll_budget} times a minute for each agent"
    )
    say(describe(known))


def say(text: str) -> None:
    """Print a line at once, for people who watch."""
    print(text, flush=True)
