"""Ten million hostile inputs to every parser that meets bytes of others: no crash, no call over 100 ms, no growth.

The parsers and what they take stand in the tables of `fuzz_bridge`, `fuzz_mcp` and `fuzz_trust`; `PARSERS` is all of
them. A parser may refuse an input by the errors that its table names, and by nothing else; some are asked, too, to
agree with themselves: a stream in pieces with the whole of it, a canonical form with its own. The same seed makes the
same inputs. Exit code 1 where one was not stood; each is told in base64.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import fuzz_bridge, fuzz_mcp, fuzz_trust
from bench.facts import describe, facts, write_result
from bench.fuzz_run import GROWTH_BYTES, Fuzzer, Target

NAME: Final = "fuzz"

PARSERS: Final[tuple[Target, ...]] = (*fuzz_bridge.TARGETS, *fuzz_mcp.TARGETS, *fuzz_trust.TARGETS)
"""Every parser, with what it takes."""

NOTE_S: Final = 5.0
"""Seconds between two looks at the memory, and two lines of progress."""

JUDGED_INPUTS: Final = 500_000
"""From so many inputs on growth of memory counts. Source: ours; less only shows caches that fill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    inputs: int
    seconds: float
    seed: int
    json: Path | None


def main() -> int:
    """Feed all inputs; the exit code."""
    given = _arguments()
    known = facts()
    print(f"fuzz: {given.inputs} inputs to {len(PARSERS)} groups of parsers, seed {given.seed}", flush=True)
    print(describe(known), flush=True)
    fuzzer = Fuzzer(PARSERS, seed=given.seed)
    begun = time.monotonic()
    _feed(fuzzer, given, begun)
    seconds = time.monotonic() - begun
    tally = fuzzer.tally
    grown = tally.grown_bytes()
    is_grown = tally.inputs >= JUDGED_INPUTS and grown > GROWTH_BYTES
    is_whole = tally.inputs >= given.inputs
    name, slowest_s = max(tally.slowest_s.items(), key=lambda pair: pair[1])
    print(
        f"{tally.inputs} inputs, {tally.refused} refused, in {seconds:.0f} s ({tally.inputs / seconds:.0f} a second); "
        f"{len(tally.failures)} failures; slowest call {slowest_s * 1e3:.1f} ms ({name}); "
        f"memory {grown / 2**20:+.1f} MiB since a quarter of them"
    )
    for failure in tally.failures:
        print(f"FAILED: {failure.target}: {failure.what}: {failure.told}\n  {failure.given}", file=sys.stderr)
    if is_grown:
        print(f"FAILED: memory has grown by more than {GROWTH_BYTES / 2**20:.0f} MiB", file=sys.stderr)
    if not is_whole:
        print(f"ended before {given.inputs} inputs", file=sys.stderr)
    is_clean = not tally.failures and not is_grown
    result: dict[str, object] = {"seed": given.seed, "seconds": seconds, "is_clean": is_clean, "tally": tally}
    print(f"all figures: {write_result(NAME, known, result, given.json)}")
    return 0 if is_clean else 1


def _arguments() -> _Given:
    parser = argparse.ArgumentParser(description="Hostile inputs to every parser that meets bytes of others.")
    parser.add_argument("--inputs", type=int, default=10_000_000, help="inputs to all parsers together (10000000)")
    parser.add_argument("--seconds", type=float, default=0.0, help="end after so long; 0 for after all inputs (0)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the inputs (1)")
    parser.add_argument("--json", type=Path, help="where the result goes (bench/results/NAME-TIME.json)")
    given = parser.parse_args()
    if given.inputs < 1 or given.seconds < 0:
        parser.error("expected at least 1 input and no negative time")
    return _Given(inputs=given.inputs, seconds=given.seconds, seed=given.seed, json=given.json)


def _feed(fuzzer: Fuzzer, given: _Given, begun: float) -> None:
    fuzzer.seeds()
    noted = begun
    while fuzzer.tally.inputs < given.inputs and not fuzzer.is_over:
        fuzzer.round()
        now = time.monotonic()
        if now - noted >= NOTE_S:
            noted = now
            fuzzer.sample()
            inputs, resident = fuzzer.tally.resident[-1]
            rate = inputs / (now - begun)
            print(f"  {inputs} inputs, {rate:.0f} a second, {resident / 2**20:.0f} MiB resident", flush=True)
        if given.seconds and now - begun >= given.seconds:
            break
    fuzzer.sample()


if __name__ == "__main__":
    sys.exit(main())
