"""Judges the samples of a soak run: does memory grow, do descriptors, threads or parked waits stay behind.

Pure. Hours are simulated ones: an hour of an agent is 144 waits, so that minutes of dense load stand for hours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.quantiles import Line, fit_line

WAITS_PER_HOUR: Final = 144
"""Waits of one agent in an hour. Source: ARCHITECTURE.md 1, about 144 empty wake-ups per agent hour as measured."""

MAX_GROWTH_PERCENT: Final = 1.0
"""Most growth of resident memory per simulated hour."""

MIN_SPAN_HOURS: Final = 0.5
"""Least simulated time after the warm-up from which growth is judged. Source: ours; less only measures noise."""

DESCRIPTOR_SLACK: Final = 4
"""Descriptors that may differ between two idle moments. Source: ours; connections about to be closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The sidecar at one moment."""

    at_s: float
    hours: float
    """Simulated hours since the start."""
    rss_kb: int
    descriptors: int
    threads: int
    parked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the samples say."""

    growth_percent_per_hour: float | None
    """None where the run was too short to fit a line."""
    is_judged: bool
    """Whether the run was long enough for its growth to count."""
    failures: tuple[str, ...]


def judge(samples: Sequence[Sample], *, warm_up_s: float, before: Sample, after: Sample) -> Verdict:
    """Judge a run by its samples and by the idle moments before and after it."""
    kept = [sample for sample in samples if sample.at_s >= warm_up_s]
    growth = _growth_percent(kept)
    span = kept[-1].hours - kept[0].hours if kept else 0.0
    is_judged = growth is not None and span >= MIN_SPAN_HOURS
    failures: list[str] = []
    if growth is not None and is_judged and growth > MAX_GROWTH_PERCENT:
        failures.append(f"memory grows by {growth:.2f} percent per simulated hour, more than {MAX_GROWTH_PERCENT:g}")
    if after.descriptors > before.descriptors + DESCRIPTOR_SLACK:
        failures.append(f"{after.descriptors} descriptors stay open after the run, {before.descriptors} were before")
    if after.parked:
        failures.append(f"{after.parked} waits are still parked after all agents left")
    return Verdict(growth_percent_per_hour=growth, is_judged=is_judged, failures=tuple(failures))


def _growth_percent(samples: Sequence[Sample]) -> float | None:
    if len({sample.hours for sample in samples}) < 2:
        return None
    line: Line = fit_line([(sample.hours, float(sample.rss_kb)) for sample in samples])
    return line.slope / line.at(samples[0].hours) * 100


def thinned(samples: Sequence[Sample], rows: int) -> list[Sample]:
    """At most `rows` samples, evenly taken, the last one among them."""
    if len(samples) <= rows:
        return list(samples)
    return [samples[round(number * (len(samples) - 1) / (rows - 1))] for number in range(rows)]
