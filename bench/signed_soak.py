"""A million attacks on signed calls, each on a genuine call that was let in before: none may be let in.

Calls are changed, cut, replayed, re-addressed, stale, early or forged, by someone who holds a key of its own and has
recorded every call. They come in batches, each from a seed of its own, so that one can be played again by itself.
Exit code 1 where an attack was let in, a genuine call was kept out, or something else than a verdict came of a call.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.facts import describe, facts, write_result
from proxy.core.signing import Verdict
from tests.support.signed_mutants import Attempt, Crew, Gate

NAME: Final = "signed_soak"

BATCH: Final = 20_000
"""Attacks from one seed. Source: ours; what the suite plays, and little enough that its nonces fit into memory."""

NOTE_S: Final = 5.0
"""Seconds between two lines of progress."""

SHOWN: Final = 10
"""Failures that are told in full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    attacks: int
    seed: int
    json: Path | None


@dataclass(slots=True)
class Tally:
    """What became of the calls so far."""

    genuine: int = 0
    attacks: Counter[str] = field(default_factory=Counter)
    """By kind."""
    told: Counter[str] = field(default_factory=Counter)
    """Why attacks were refused."""
    let_in: int = 0
    kept_out: int = 0
    failures: list[str] = field(default_factory=list)

    def fail(self, what: str, seed: int, attempt: Attempt) -> None:
        """Keep one failure, with what is needed to see it again."""
        if len(self.failures) < SHOWN:
            self.failures.append(f"{what} (seed {seed}): {attempt}")


def main() -> int:
    """Play all batches; the exit code."""
    given = _arguments()
    known = facts()
    print(f"signed soak: {given.attacks} attacks on as many genuine calls, seed {given.seed}", flush=True)
    print(describe(known), flush=True)
    tally, begun = Tally(), time.monotonic()
    noted = begun
    for seed, count in batches(given.attacks, given.seed):
        play(tally, seed, count)
        if time.monotonic() - noted >= NOTE_S:
            noted = time.monotonic()
            rate = tally.genuine / (noted - begun)
            print(f"  {tally.genuine} of {given.attacks}, {rate:.0f} a second, {tally.let_in} let in", flush=True)
    is_clean = not (tally.let_in or tally.kept_out)
    seconds = time.monotonic() - begun
    result: dict[str, object] = {"seed": given.seed, "seconds": seconds, "is_clean": is_clean, "tally": tally}
    print(
        f"{tally.attacks.total()} attacks of {len(tally.attacks)} kinds: {tally.let_in} let in; "
        f"{tally.genuine} genuine calls: {tally.kept_out} kept out; {seconds:.0f} s"
    )
    for why, count in tally.told.most_common():
        print(f"  {count:>8} {why}")
    for failure in tally.failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    print(f"all figures: {write_result(NAME, known, result, given.json)}")
    return 0 if is_clean else 1


def _arguments() -> _Given:
    parser = argparse.ArgumentParser(description="Attacks on signed calls, none of which may be let in.")
    parser.add_argument("--attacks", type=int, default=1_000_000, help="attacks, each on a genuine call (1000000)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first batch (1)")
    parser.add_argument("--json", type=Path, help="where the result goes (bench/results/NAME-TIME.json)")
    given = parser.parse_args()
    if given.attacks < 1:
        parser.error("expected at least 1 attack")
    return _Given(attacks=given.attacks, seed=given.seed, json=given.json)


def batches(attacks: int, seed: int) -> Iterator[tuple[int, int]]:
    """The seed and the size of each batch."""
    for begin in range(0, attacks, BATCH):
        yield seed + begin // BATCH, min(BATCH, attacks - begin)


def play(tally: Tally, seed: int, count: int) -> None:
    """Present one batch to a gate of its own, each genuine call right before the attack on it."""
    crew = Crew(seed)
    gate = Gate(crew.ring, crew.origin)
    for genuine, attack in crew.pairs(count):
        tally.genuine += 1
        if not isinstance(gate.judge(genuine), Verdict):
            tally.kept_out += 1
            tally.fail("a genuine call was kept out", seed, genuine)
        tally.attacks[attack.kind] += 1
        found = gate.judge(attack)
        if isinstance(found, Verdict):
            tally.let_in += 1
            tally.fail("an attack was let in", seed, attack)
        else:
            tally.told[str(found)] += 1


if __name__ == "__main__":
    sys.exit(main())
