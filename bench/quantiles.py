"""The few statistics that benchmarks need: quantiles, medians over rounds, and a fitted line.

Pure. Values keep the unit they come in.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A sample in five numbers."""

    count: int
    p50: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line y = intercept + slope * x."""

    slope: float
    intercept: float

    def at(self, x: float) -> float:
        """Height of the line at `x`."""
        return self.intercept + self.slope * x


def quantile(values: Iterable[float], share: float) -> float:
    """The value below which `share` (0..1) of the sample lies, interpolated between neighbours.

    Raises:
        ValueError: an empty sample, or a share outside 0..1.

    Source: Hyndman and Fan 1996, "Sample Quantiles in Statistical Packages", definition 7.
    """
    ordered = sorted(values)
    if not ordered:
        raise ValueError("expected at least one value, got none")
    if not 0 <= share <= 1:
        raise ValueError(f"expected a share from 0 to 1, got {share}")
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def median(values: Iterable[float]) -> float:
    """The middle of a sample.

    Raises:
        ValueError: an empty sample.
    """
    return quantile(values, 0.5)


def summarise(values: Sequence[float]) -> Summary:
    """A sample in five numbers.

    Raises:
        ValueError: an empty sample.
    """
    return Summary(
        count=len(values),
        p50=quantile(values, 0.5),
        p95=quantile(values, 0.95),
        p99=quantile(values, 0.99),
        max=max(values),
    )


def median_summary(rounds: Sequence[Summary]) -> Summary:
    """The medians over rounds, number by number; the count is the sum.

    Raises:
        ValueError: no round.
    """
    return Summary(
        count=sum(one.count for one in rounds),
        p50=median(one.p50 for one in rounds),
        p95=median(one.p95 for one in rounds),
        p99=median(one.p99 for one in rounds),
        max=median(one.max for one in rounds),
    )


def ratio(dividend: float, divisor: float) -> float | None:
    """How many times larger the first is; None where a divisor of nought or less allows no ratio."""
    return dividend / divisor if divisor > 0 else None


def fit_line(points: Sequence[tuple[float, float]]) -> Line:
    """The least-squares line through points (x, y).

    Raises:
        ValueError: fewer than two different x.
    """
    if len({x for x, _ in points}) < 2:
        raise ValueError("expected points at two different x at least")
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    return Line(slope=slope, intercept=mean_y - slope * mean_x)
