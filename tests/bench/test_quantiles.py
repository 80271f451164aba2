"""The statistics of the benchmarks, against the standard library and figures that can be checked by hand."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.quantiles import Summary, fit_line, median, median_summary, quantile, ratio, summarise

numbers = st.floats(min_value=-1e6, max_value=1e6)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.25, 1.75), (0.5, 2.5), (0.99, 3.97), (1.0, 4.0)])
def test_a_quantile_lies_between_its_neighbours(share: float, expected: float) -> None:
    assert quantile([4.0, 1.0, 3.0, 2.0], share) == pytest.approx(expected)


@given(st.lists(numbers, min_size=2, max_size=50), st.integers(1, 99))
def test_quantiles_are_those_of_definition_7(values: list[float], percent: int) -> None:
    expected = statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
    assert math.isclose(quantile(values, percent / 100), expected, rel_tol=1e-9, abs_tol=1e-6)


@given(st.lists(numbers, min_size=1, max_size=50))
def test_a_quantile_never_leaves_the_sample(values: list[float]) -> None:
    assert min(values) - 1e-6 <= quantile(values, 0.37) <= max(values) + 1e-6


def test_no_values_have_no_quantile() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        quantile([], 0.5)


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_between_nought_and_one(share: float) -> None:
    with pytest.raises(ValueError, match="share from 0 to 1"):
        quantile([1.0], share)


def test_a_summary_counts_and_names_the_largest() -> None:
    summary = summarise([float(value) for value in range(101)])
    assert summary == Summary(count=101, p50=50.0, p95=95.0, p99=99.0, max=100.0)


def test_medians_over_rounds_are_taken_number_by_number() -> None:
    rounds = [Summary(count=10, p50=value, p95=2 * value, p99=9 - value, max=7.0) for value in (1.0, 5.0, 2.0)]
    assert median_summary(rounds) == Summary(count=30, p50=2.0, p95=4.0, p99=7.0, max=7.0)


def test_one_wild_round_does_not_move_the_median() -> None:
    assert median([1.0, 1.1, 900.0]) == 1.1


@pytest.mark.parametrize(("dividend", "divisor", "expected"), [(500, 2, 250.0), (1, 0, None), (1, -0.1, None)])
def test_a_ratio_to_nought_or_less_is_none(dividend: float, divisor: float, expected: float | None) -> None:
    assert ratio(dividend, divisor) == expected


def test_a_line_through_points_on_a_line_is_that_line() -> None:
    line = fit_line([(0.0, 3.0), (1.0, 5.0), (4.0, 11.0)])
    assert [line.slope, line.intercept, line.at(10.0)] == pytest.approx([2.0, 3.0, 23.0])


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(-1000, 1000)), min_size=2, max_size=40))
def test_the_fitted_slope_is_that_of_least_squares(points: list[tuple[int, int]]) -> None:
    floats = [(float(x), float(y)) for x, y in points]
    if len({x for x, _ in floats}) < 2:
        with pytest.raises(ValueError, match="two different x"):
            fit_line(floats)
        return
    expected = statistics.linear_regression([x for x, _ in floats], [y for _, y in floats])
    line = fit_line(floats)
    assert math.isclose(line.slope, expected.slope, rel_tol=1e-6, abs_tol=1e-6)
    assert math.isclose(line.intercept, expected.intercept, rel_tol=1e-6, abs_tol=1e-4)
