"""Counts and latency quantiles of one cohort."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.outcome import Door, Outcome, Result
from proxy.core.routing import Reason
from proxy.observe.tally import CohortTally, quantile


def _wait(result: Result, *latencies: float, fell_back: Reason | None = None) -> Outcome:
    return Outcome(
        door=Door.WAIT,
        result=result,
        seconds=1.0,
        items=len(latencies),
        delivery_seconds=latencies,
        fell_back=fell_back,
    )


def test_an_empty_tally_claims_no_rates_and_no_quantiles() -> None:
    shown = CohortTally().snapshot()
    assert (shown["waits"], shown["delivery_rate"], shown["error_rate"], shown["timeout_rate"]) == (0, None, None, None)
    assert shown["delivery_seconds"] == {"samples": 0, "p50": None, "p95": None, "p99": None}


def test_rates_are_shares_of_waits_and_of_messages() -> None:
    tally = CohortTally()
    tally.wait(_wait(Result.DELIVERED, 0.1, 0.2, 0.3))
    tally.wait(_wait(Result.TIMED_OUT))
    tally.wait(_wait(Result.TIMED_OUT, fell_back=Reason.FALLBACK))
    tally.wait(_wait(Result.FAILED))
    tally.lost(1)
    shown = tally.snapshot()
    assert (shown["timeout_rate"], shown["error_rate"], shown["delivery_rate"]) == (0.5, 0.25, 0.75)
    assert (shown["waits"], shown["items"], shown["messages_lost"], shown["fell_back"]) == (4, 3, 1, 1)
    assert shown["results"] == {"delivered": 1, "timed_out": 2, "failed": 1}


def test_quantiles_are_nearest_rank_over_the_last_samples() -> None:
    tally = CohortTally(window=100)
    tally.wait(_wait(Result.DELIVERED, *(float(n) for n in range(1, 201))))
    assert tally.snapshot()["delivery_seconds"] == {"samples": 100, "p50": 150.0, "p95": 195.0, "p99": 199.0}


def test_a_bridge_whose_clock_is_ahead_counts_as_no_latency() -> None:
    tally = CohortTally()
    tally.wait(_wait(Result.DELIVERED, -2.0))
    assert tally.snapshot()["delivery_seconds"] == {"samples": 1, "p50": 0.0, "p95": 0.0, "p99": 0.0}


@given(st.lists(st.floats(0, 300), min_size=1, max_size=200).map(sorted), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_is_a_sample_with_that_share_at_or_below_it(ordered: list[float], share: float) -> None:
    found = quantile(ordered, share)
    below = sum(sample <= found for sample in ordered)
    assert found in ordered
    assert below >= share * len(ordered)
    assert sum(sample < found for sample in ordered) < share * len(ordered) + 1


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (1.0, 3.0)])
def test_the_ends_of_a_quantile_are_least_and_greatest(share: float, expected: float) -> None:
    assert quantile([1.0, 2.0, 3.0], share) == expected
