"""How often the Bridge is asked: fast while something happens, slow otherwise, never beyond the allowance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.pace import Pace


def _pace() -> Pace:
    return Pace(per_minute=30, burst=10, fast_s=0.25, idle_s=2.0)


def test_polls_are_idle_until_something_happens_and_again_some_seconds_after() -> None:
    pace = _pace()
    assert pace.gap(100.0) == 2.0
    pace.stir(100.0)
    assert pace.gap(100.0) == 0.25
    assert pace.gap(104.9) == 0.25
    assert pace.gap(105.0) == 2.0


@pytest.mark.requirement("pace.abuse_rule")
def test_when_the_burst_is_spent_the_gap_waits_for_the_allowance() -> None:
    pace = _pace()
    for _ in range(9):
        pace.stir(100.0)
        pace.spend(100.0)
        assert pace.gap(100.0) == 0.25
    pace.spend(100.0)
    assert pace.gap(100.0) == 2.0
    pace.spend(100.0)
    assert pace.gap(100.0) == 4.0
    assert pace.gap(102.0) == 2.0


def test_the_allowance_comes_back_up_to_the_burst_and_no_further() -> None:
    pace = _pace()
    for _ in range(10):
        pace.spend(100.0)
    pace.stir(10_000.0)
    for _ in range(9):
        pace.spend(10_000.0)
    assert pace.gap(10_000.0) == 0.25
    pace.spend(10_000.0)
    assert pace.gap(10_000.0) == 2.0


def test_a_clock_that_stands_or_steps_back_grants_nothing() -> None:
    pace = _pace()
    for _ in range(12):
        pace.spend(100.0)
    assert pace.gap(100.0) == pace.gap(90.0) == 6.0


@pytest.mark.requirement("pace.debt")
def test_the_debt_of_a_busy_log_silences_the_polls_for_a_minute_and_not_for_hours() -> None:
    pace = _pace()
    for _ in range(5_000):
        pace.spend(100.0)
    assert pace.gap(100.0) == 62.0


@pytest.mark.requirement("pace.abuse_rule")
@given(
    per_minute=st.integers(1, 600),
    burst=st.integers(1, 50),
    fast_s=st.floats(0.01, 1),
    stirs=st.lists(st.booleans(), min_size=1, max_size=200),
)
def test_a_poller_that_keeps_the_gaps_stays_within_burst_and_rate(
    *, per_minute: int, burst: int, fast_s: float, stirs: list[bool]
) -> None:
    pace, now = Pace(per_minute=per_minute, burst=burst, fast_s=fast_s, idle_s=2.0), 0.0
    for polls, is_stirred in enumerate(stirs, start=1):
        if is_stirred:
            pace.stir(now)
        pace.spend(now)
        assert polls <= burst + now * per_minute / 60 + 1e-6
        now += pace.gap(now)
