"""Counts of waits since the start and a window of recent delivery latencies, for one cohort.

Latencies are seconds. Quantiles are nearest-rank over the last samples, so they are values that really occurred.
"""

import math
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final

from proxy.core.outcome import Outcome, Result

WINDOW_SAMPLES: Final = 4_096
"""Latencies kept per cohort. Source: ours; the 99th percentile then rests on 41 samples."""

QUANTILES: Final = (("p50", 0.50), ("p95", 0.95), ("p99", 0.99))


def quantile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank quantile of ascending, non-empty samples. Source: Hyndman and Fan 1996, definition 1."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def latencies(outcome: Outcome) -> tuple[float, ...]:
    """The delivery latencies of one wait; never negative, although the Bridge's clock may run ahead of ours."""
    return tuple(max(0.0, seconds) for seconds in outcome.delivery_seconds)


def _rate(part: int, whole: int) -> float | None:
    return part / whole if whole else None


class CohortTally:
    """What one cohort's waits came to."""

    __slots__ = ("_fell_back", "_items", "_latencies", "_lost", "_results")

    def __init__(self, *, window: int = WINDOW_SAMPLES) -> None:
        self._results: Counter[Result] = Counter()
        self._latencies: deque[float] = deque(maxlen=window)
        self._items = 0
        self._lost = 0
        self._fell_back = 0

    def wait(self, outcome: Outcome) -> None:
        """Count one wait of this cohort."""
        self._results[outcome.result] += 1
        self._items += outcome.items
        self._fell_back += outcome.fell_back is not None
        self._latencies.extend(latencies(outcome))

    def lost(self, count: int) -> None:
        """Count messages that can no longer be delivered: at most so many, so the delivery rate is a lower bound."""
        self._lost += count

    def snapshot(self) -> dict[str, object]:
        """Counts, shares 0 to 1 (None without a call) and latency quantiles in seconds."""
        waits = self._results.total()
        ordered = sorted(self._latencies)
        latency: dict[str, object] = {"samples": len(ordered)}
        for name, share in QUANTILES:
            latency[name] = quantile(ordered, share) if ordered else None
        return {
            "waits": waits,
            "results": {result.value: self._results[result] for result in Result if self._results[result]},
            "fell_back": self._fell_back,
            "items": self._items,
            "messages_lost": self._lost,
            "delivery_rate": _rate(self._items, self._items + self._lost),
            "timeout_rate": _rate(self._results[Result.TIMED_OUT], waits),
            "error_rate": _rate(self._results[Result.FAILED], waits),
            "delivery_seconds": latency,
        }
