"""The machine of one wait: every event in every state, and what holds on any walk through it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import BridgeUnavailable, ElicitationUnavailable
from proxy.core.exchange import (
    Action,
    BridgeAway,
    BridgeSaid,
    DeadlinePassed,
    Draining,
    Event,
    Exchange,
    Fail,
    Found,
    Look,
    Opened,
    Park,
    PassOn,
    Reply,
    ReplyTimeout,
    Rerouted,
    Stirred,
    WayFailed,
)
from proxy.core.ids import ElicitationId
from proxy.core.routing import Reason, Route

DEADLINE = 1234.5
ITEMS = Found(items=(b"{}",), elicitation_ids=(ElicitationId("e1"),), created_at=(7.0,))
SAID = BridgeSaid(status=403, body=b"no", content_type="text/plain")
STATES = [(route, may) for route in (Route.ELICITATION, Route.LEGACY) for may in (True, False)]
FAILURES = [Reason.FALLBACK, Reason.INCAPABLE, Reason.BREAKER_OPEN]

SAME_EVERYWHERE: list[tuple[Event, Action]] = [
    (Opened(), Look()),
    (Stirred(), Look()),
    (ITEMS, Reply(ITEMS)),
    (Found(), Park(DEADLINE)),
    (DeadlinePassed(), ReplyTimeout()),
    (Draining(), ReplyTimeout()),
    (SAID, PassOn(SAID)),
    (BridgeAway(), Look()),
]

events = st.one_of(
    st.sampled_from([event for event, _ in SAME_EVERYWHERE]),
    st.sampled_from(FAILURES).map(WayFailed),
    st.sampled_from(Reason).map(Rerouted),
)


def _exchange(route: Route, *, may_fall_back: bool) -> Exchange:
    return Exchange(route=route, reason=Reason.SPLIT, deadline=DEADLINE, may_fall_back=may_fall_back)


@pytest.mark.requirement("exchange.one_action")
@pytest.mark.parametrize(("route", "may_fall_back"), STATES)
@pytest.mark.parametrize(("event", "action"), SAME_EVERYWHERE, ids=lambda value: type(value).__name__)
def test_most_events_mean_the_same_in_every_state_and_change_none(
    *,
    route: Route,
    may_fall_back: bool,
    event: Event,
    action: Action,
) -> None:
    exchange = _exchange(route, may_fall_back=may_fall_back)
    assert exchange.step(event) == action
    assert exchange == _exchange(route, may_fall_back=may_fall_back)


@pytest.mark.requirement("fallback.same_call")
@pytest.mark.parametrize("reason", FAILURES)
def test_a_failed_way_goes_on_the_legacy_way_when_it_may(reason: Reason) -> None:
    exchange = _exchange(Route.ELICITATION, may_fall_back=True)
    assert exchange.step(WayFailed(reason)) == Look()
    assert (exchange.route, exchange.reason, exchange.fell_back) == (Route.LEGACY, reason, reason)


@pytest.mark.requirement("fallback.switched_off")
@pytest.mark.parametrize("reason", FAILURES)
def test_a_failed_way_is_an_error_when_it_may_not_fall_back(reason: Reason) -> None:
    exchange = _exchange(Route.ELICITATION, may_fall_back=False)
    action = exchange.step(WayFailed(reason))
    assert isinstance(action, Fail)
    assert isinstance(action.error, ElicitationUnavailable)
    assert f"({reason.value})" in action.error.detail
    assert (exchange.route, exchange.fell_back) == (Route.ELICITATION, None)


@pytest.mark.parametrize("may_fall_back", [True, False])
def test_a_failure_of_the_way_that_was_left_is_no_news(*, may_fall_back: bool) -> None:
    exchange = _exchange(Route.LEGACY, may_fall_back=may_fall_back)
    assert exchange.step(WayFailed(Reason.INCAPABLE)) == Look()
    assert exchange == _exchange(Route.LEGACY, may_fall_back=may_fall_back)


@pytest.mark.requirement("flags.parked_waits")
@pytest.mark.parametrize(("route", "may_fall_back"), STATES)
def test_a_change_of_flags_sends_the_wait_the_legacy_way_and_is_no_failure(
    *,
    route: Route,
    may_fall_back: bool,
) -> None:
    exchange = _exchange(route, may_fall_back=may_fall_back)
    assert exchange.step(Rerouted(Reason.DISABLED)) == Look()
    assert (exchange.route, exchange.reason, exchange.fell_back) == (Route.LEGACY, Reason.DISABLED, None)


def test_a_wait_that_fell_back_remembers_why_when_the_flags_change_too() -> None:
    exchange = _exchange(Route.ELICITATION, may_fall_back=True)
    exchange.step(WayFailed(Reason.FALLBACK))
    exchange.step(Rerouted(Reason.DENIED))
    assert (exchange.reason, exchange.fell_back) == (Reason.DENIED, Reason.FALLBACK)


def test_a_wait_is_opened_looks_parks_is_stirred_and_replies() -> None:
    exchange = _exchange(Route.ELICITATION, may_fall_back=True)
    walk: list[Event] = [Opened(), Found(), Stirred(), ITEMS]
    assert [exchange.step(event) for event in walk] == [Look(), Park(DEADLINE), Look(), Reply(ITEMS)]


@pytest.mark.requirement("exchange.one_action")
@pytest.mark.requirement("exchange.deadline")
@given(
    walk=st.lists(events, max_size=30),
    route=st.sampled_from([Route.ELICITATION, Route.LEGACY]),
    may_fall_back=st.booleans(),
)
def test_on_any_walk_there_is_one_action_each_no_way_back_and_never_another_deadline(
    *,
    walk: list[Event],
    route: Route,
    may_fall_back: bool,
) -> None:
    exchange = _exchange(route, may_fall_back=may_fall_back)
    for event in walk:
        was = exchange.route
        action = exchange.step(event)
        assert isinstance(action, Look | Park | Reply | ReplyTimeout | PassOn | Fail)
        assert was is Route.ELICITATION or exchange.route is Route.LEGACY
        assert exchange.deadline == DEADLINE
        assert exchange.fell_back is None or (may_fall_back and exchange.route is Route.LEGACY)
        if isinstance(action, Park):
            assert action.until == DEADLINE
        if isinstance(action, Fail):
            assert not may_fall_back


@pytest.mark.requirement("fallback.in_place")
def test_a_wait_that_stands_for_a_relayed_call_ends_with_the_bridge_and_any_other_goes_on() -> None:
    in_place = Exchange(
        route=Route.LEGACY, reason=Reason.SPLIT, deadline=DEADLINE, may_fall_back=True, is_in_place=True
    )
    action = in_place.step(BridgeAway())
    assert isinstance(action, Fail)
    assert isinstance(action.error, BridgeUnavailable)
    assert (action.error.status, action.error.retryable) == (502, True)
    fallen = _exchange(Route.ELICITATION, may_fall_back=True)
    fallen.step(WayFailed(Reason.FALLBACK))
    assert fallen.step(BridgeAway()) == Look()
