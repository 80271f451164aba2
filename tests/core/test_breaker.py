"""The circuit breaker by playbook: when it opens, who may probe, and how it closes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.breaker import Breaker, BreakerState
from proxy.core.routing import Way

COOLDOWN_S = 5.0
INCAPABLE_S = 60.0


def _breaker() -> Breaker:
    return Breaker(failures=3, cooldown_s=COOLDOWN_S, incapable_s=INCAPABLE_S)


def _opened(at: float = 100.0) -> Breaker:
    breaker = _breaker()
    for _ in range(3):
        breaker.failed(at)
    return breaker


def test_failures_of_one_outage_do_not_count_in_the_next() -> None:
    breaker = _opened(100.0)
    assert breaker.may_try(105.0)
    breaker.succeeded()
    for _ in range(3):
        breaker.failed(200.0)
    assert [breaker.may_try(205.0) for _ in range(2)] == [True, False]


def test_a_fresh_breaker_lets_every_call_through() -> None:
    breaker = _breaker()
    assert (breaker.way(0.0), breaker.state(0.0)) == (Way.OPEN, BreakerState.CLOSED)
    assert all(breaker.may_try(0.0) for _ in range(5))


@pytest.mark.requirement("breaker.opens")
def test_it_opens_at_the_last_of_the_consecutive_failures_and_not_before() -> None:
    breaker = _breaker()
    breaker.failed(100.0)
    breaker.failed(100.0)
    assert breaker.way(100.0) is Way.OPEN
    breaker.failed(100.0)
    assert (breaker.way(100.0), breaker.state(100.0)) == (Way.BREAKER_OPEN, BreakerState.OPEN)
    assert not breaker.may_try(100.0)


@pytest.mark.requirement("breaker.opens")
def test_a_success_in_between_forgets_the_failures() -> None:
    breaker = _breaker()
    for _ in range(5):
        breaker.failed(100.0)
        breaker.failed(100.0)
        assert breaker.way(100.0) is Way.OPEN
        breaker.succeeded()


@pytest.mark.requirement("breaker.probe")
def test_after_the_cool_down_exactly_one_call_probes() -> None:
    breaker = _opened(100.0)
    assert breaker.state(104.999) is BreakerState.OPEN
    assert breaker.state(105.0) is BreakerState.HALF_OPEN
    assert [breaker.may_try(105.0) for _ in range(4)] == [True, False, False, False]
    assert breaker.way(105.0) is Way.BREAKER_OPEN


@pytest.mark.requirement("breaker.probe")
def test_asking_for_the_way_does_not_use_up_the_probe() -> None:
    breaker = _opened(100.0)
    assert [breaker.way(105.0) for _ in range(3)] == [Way.OPEN] * 3
    assert breaker.may_try(105.0)


@pytest.mark.requirement("breaker.probe")
def test_a_probe_that_works_closes_it_and_one_that_fails_opens_it_for_another_cool_down() -> None:
    breaker = _opened(100.0)
    assert breaker.may_try(105.0)
    breaker.failed(106.0)
    assert breaker.way(110.9) is Way.BREAKER_OPEN
    assert breaker.may_try(111.0)
    breaker.succeeded()
    assert (breaker.way(111.0), breaker.state(111.0)) == (Way.OPEN, BreakerState.CLOSED)
    breaker.failed(112.0)
    breaker.failed(112.0)
    assert breaker.way(112.0) is Way.OPEN


@pytest.mark.requirement("breaker.probe")
def test_a_probe_whose_caller_left_makes_room_for_another() -> None:
    breaker = _opened(100.0)
    assert breaker.may_try(105.0)
    breaker.abandoned()
    assert breaker.state(105.0) is BreakerState.HALF_OPEN
    assert breaker.may_try(105.0)


@pytest.mark.requirement("breaker.incapable")
def test_a_bridge_without_elicitation_is_left_alone_for_a_while_and_then_looked_at_again() -> None:
    breaker = _breaker()
    breaker.incapable(100.0)
    assert breaker.way(159.9) is Way.INCAPABLE
    assert not breaker.may_try(159.9)
    assert breaker.state(159.9) is BreakerState.CLOSED
    assert breaker.way(160.0) is Way.OPEN
    assert breaker.may_try(160.0)
    breaker.succeeded()
    assert breaker.way(101.0) is Way.OPEN


@pytest.mark.requirement("breaker.incapable")
def test_a_probe_that_finds_no_elicitation_frees_the_probe() -> None:
    breaker = _opened(100.0)
    assert breaker.may_try(105.0)
    breaker.incapable(105.0)
    assert breaker.way(105.0) is Way.INCAPABLE
    assert breaker.may_try(165.0)


calls = st.lists(
    st.tuples(st.sampled_from(["try", "succeeded", "failed", "incapable", "abandoned"]), st.floats(0, 30)), max_size=40
)


@pytest.mark.requirement("breaker.probe")
@given(walk=calls)
def test_on_any_walk_only_one_probe_is_out_and_a_closed_way_opens_again_in_the_end(
    walk: list[tuple[str, float]],
) -> None:
    breaker, now, probes = _breaker(), 0.0, 0
    for name, later_s in walk:
        now += later_s
        if name == "try":
            was_closed = breaker.state(now) is BreakerState.CLOSED
            if breaker.may_try(now) and not was_closed:
                probes += 1
        else:
            probes = 0
            ended = {"succeeded": breaker.succeeded, "abandoned": breaker.abandoned}
            if name in ended:
                ended[name]()
            else:
                (breaker.failed if name == "failed" else breaker.incapable)(now)
        assert probes <= 1
    breaker.abandoned()
    assert breaker.way(now + INCAPABLE_S) is Way.OPEN
