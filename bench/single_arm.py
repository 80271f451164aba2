"""One contender alone: its percentiles, its throughput and what it uses, in absolute figures beside the machine."""

from bench.arms import Arm
from bench.delivery import Record, finish, measure, opening, parse_options, say
from bench.facts import facts


def run_alone(name: str, purpose: str, arms: tuple[Arm, ...]) -> int:
    """Measure the arms and print each; the exit code."""
    options = parse_options(purpose)
    known = facts()
    opening(purpose, options, known)
    records = measure(arms, options)
    for arm, record in records.items():
        _print(arm, record)
    say("these figures hold for this machine and this load only; compare with elicitation_benchmark.py")
    return finish(name, known, options, records=records, extra={})


def _print(arm: Arm, record: Record) -> None:
    latency, turns = record.latency_ms(), record.turns
    bridge_us, sidecar_us = record.cpu_us_per_item()
    say("")
    say(
        f"{arm}: {latency.count} items, {sum(turn.lost for turn in turns)} lost, "
        f"{sum(turn.duplicated for turn in turns)} doubled"
    )
    say(f"  delivery ms: p50 {latency.p50:.2f}, p95 {latency.p95:.2f}, p99 {latency.p99:.2f}, max {latency.max:.2f}")
    say(f"  throughput: {sum(turn.delivered for turn in turns) / sum(turn.seconds for turn in turns):.1f} items/s")
    say(f"  requests at the Bridge per item: {record.upstream_per_item():.1f}")
    say(f"  processor per item: Bridge {bridge_us:.0f} us, sidecar {sidecar_us:.0f} us")
    say(f"  Bridge log at the end: {record.log_size} events")
