"""Delivery latency of elicitation against the legacy wait as it was meant, in one run on one machine.

Three contenders take turns: `legacy` (nobody behind a sidecar), `both` (asker and receiver behind one), `receiver`
(only the receiver behind one). Latency runs from "the sender's request was accepted" to "the receiver's client has
the bytes", and as a stricter second figure from the moment the sender wrote its request. Only the ratios to legacy
are headlines. Exit code 1 when anything was lost, doubled or refused.
"""

import sys
from collections.abc import Mapping

from bench.arms import Arm
from bench.delivery import Record, finish, measure, opening, parse_options, ratios, say
from bench.facts import facts

NAME = "elicitation_benchmark"

TOPOLOGIES = {
    Arm.BOTH: "both behind a sidecar",
    Arm.RECEIVER: "receiver behind a sidecar, asker straight at the Bridge",
}


def main() -> int:
    """Run the benchmark; the exit code."""
    options = parse_options("Delivery latency: legacy wait against elicitation, as ratios of one run.")
    known = facts()
    opening("delivery latency, legacy as meant (one look a second) against elicitation", options, known)
    records = measure(tuple(Arm), options)
    found = {arm: ratios(records[Arm.LEGACY], records[arm]) for arm in TOPOLOGIES}
    _print_ratios(found)
    _print_counts(records)
    return finish(NAME, known, options, records=records, extra={"ratios": {str(a): kept for a, kept in found.items()}})


def _times(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1f}x"


def _print_ratios(found: Mapping[Arm, Mapping[str, float | None]]) -> None:
    say("")
    say("legacy / elicitation, how many times sooner the item is there")
    for arm, kept in found.items():
        say(f"  {TOPOLOGIES[arm]}:")
        say(f"    from accepted:        p50 {_times(kept['p50'])}, p99 {_times(kept['p99'])}")
        say(f"    from sent (stricter): p50 {_times(kept['p50_from_sent'])}, p99 {_times(kept['p99_from_sent'])}")
    say("elicitation / legacy, what it costs per delivered item")
    for arm, kept in found.items():
        say(
            f"  {TOPOLOGIES[arm]}: requests at the Bridge {_times(kept['upstream_requests'])}, "
            f"processor of the Bridge {_times(kept['bridge_cpu'])}, of Bridge and sidecar {_times(kept['all_cpu'])}"
        )


def _print_counts(records: Mapping[Arm, Record]) -> None:
    say("")
    for arm, record in records.items():
        turns = record.turns
        say(
            f"{arm}: {sum(turn.delivered for turn in turns)} delivered, {sum(turn.lost for turn in turns)} lost, "
            f"{sum(turn.duplicated for turn in turns)} doubled, "
            f"{sum(sum(turn.errors.values()) for turn in turns)} errors, {record.fell_back()} fallbacks, "
            f"{record.upstream_per_item():.1f} requests at the Bridge per item, log of {record.log_size} events"
        )


if __name__ == "__main__":
    sys.exit(main())
