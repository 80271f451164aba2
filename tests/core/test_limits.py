"""What a rate limit grants: GCRA in whole numbers, in a table that gives up no live key."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.ids import AgentId
from proxy.core.limits import Decision, LimitName, LimitTable, decide
from proxy.core.rate import PS_PER_S, Rate, Unit

QUESTIONS, ANSWERS = LimitName("questions"), LimitName("answers")
ALICE, BOB = AgentId("alice"), AgentId("bob")
TEN = Rate(10, 60, 3)

rates = st.one_of(
    st.builds(Rate, st.integers(1, 1_000), st.sampled_from([1, 60, 3600]), st.integers(0, 50)),
    st.builds(Rate, st.integers(1, 1 << 36), st.sampled_from([1, 60]), st.integers(0, 1 << 36), st.just(Unit.BYTES)),
)
gaps = st.lists(st.tuples(st.floats(0, 30), st.integers(0, 9)), max_size=60)


@pytest.mark.requirement("limits.grant")
def test_a_rested_agent_has_count_and_burst_at_once_and_then_one_for_each_interval() -> None:
    table = LimitTable()
    found = [table.take(QUESTIONS, ALICE, TEN, now=5.0) for _ in range(14)]
    assert [one.allowed for one in found] == [True] * 13 + [False]
    assert [one.remaining for one in found] == [*range(12, -1, -1), 0]
    assert (found[0].limit, found[0].reset_s, found[0].retry_after_s) == (13, 6.0, 0.0)
    assert (found[13].reset_s, found[13].retry_after_s) == (78.0, 6.0)
    assert not table.take(QUESTIONS, ALICE, TEN, now=10.9).allowed
    assert table.take(QUESTIONS, ALICE, TEN, now=11.0).allowed
    assert not table.take(QUESTIONS, ALICE, TEN, now=11.0).allowed


@pytest.mark.requirement("limits.grant")
def test_agents_and_limits_do_not_take_from_one_another() -> None:
    table = LimitTable()
    while table.take(QUESTIONS, ALICE, TEN, now=5.0).allowed:
        pass
    assert table.take(QUESTIONS, BOB, TEN, now=5.0).remaining == 12
    assert table.take(ANSWERS, ALICE, TEN, now=5.0).remaining == 12
    assert not table.take(QUESTIONS, ALICE, TEN, now=5.0).allowed


@pytest.mark.requirement("limits.grant")
def test_a_call_that_costs_more_than_is_left_takes_nothing() -> None:
    table = LimitTable()
    rate = Rate(1000, 10, 0, Unit.BYTES)
    assert table.take(ANSWERS, ALICE, rate, now=0.0, cost=600).remaining == 400
    refused = table.take(ANSWERS, ALICE, rate, now=0.0, cost=500)
    assert (refused.allowed, refused.remaining, refused.retry_after_s) == (False, 400, 1.0)
    assert table.take(ANSWERS, ALICE, rate, now=0.0, cost=400).remaining == 0


@pytest.mark.requirement("limits.grant")
def test_a_call_that_costs_more_than_is_ever_granted_is_never_told_to_come_again() -> None:
    table = LimitTable()
    assert table.take(QUESTIONS, ALICE, TEN, now=0.0, cost=13).allowed
    assert table.take(QUESTIONS, BOB, TEN, now=0.0, cost=14).retry_after_s is None
    assert table.take(QUESTIONS, ALICE, TEN, now=0.0, cost=14).retry_after_s is None
    assert table.take(QUESTIONS, ALICE, TEN, now=0.0, cost=13).retry_after_s == 78.0


@pytest.mark.requirement("limits.grant")
def test_a_cost_of_nothing_only_looks_and_one_below_it_is_a_mistake() -> None:
    table = LimitTable()
    looked = table.take(QUESTIONS, ALICE, TEN, now=0.0, cost=0)
    assert (looked.allowed, looked.remaining, looked.reset_s, len(table)) == (True, 13, 0.0, 0)
    with pytest.raises(ValueError, match="cost of 0 or more, got -1"):
        table.take(QUESTIONS, ALICE, TEN, now=0.0, cost=-1)


@pytest.mark.requirement("limits.grant")
def test_a_clock_that_goes_back_stands_still() -> None:
    table = LimitTable()
    while table.take(QUESTIONS, ALICE, TEN, now=100.0).allowed:
        pass
    assert table.take(QUESTIONS, ALICE, TEN, now=1.0).retry_after_s == 6.0
    assert table.take(QUESTIONS, ALICE, TEN, now=106.0).allowed


@pytest.mark.requirement("limits.grant")
def test_another_rate_counts_from_the_next_call_on_and_no_old_debt_outlives_it() -> None:
    table = LimitTable()
    slow = Rate(1, 3600, 4)
    while table.take(QUESTIONS, ALICE, slow, now=0.0).allowed:
        pass
    assert table.take(QUESTIONS, ALICE, TEN, now=0.0).retry_after_s == 6.0
    assert table.take(QUESTIONS, ALICE, TEN, now=6.0).allowed


@pytest.mark.requirement("limits.grant")
def test_what_is_left_is_told_with_the_time_that_it_has_to_do_for() -> None:
    def window(taken: int, now: float = 0.0) -> float:
        table = LimitTable()
        table.take(QUESTIONS, ALICE, TEN, now=0.0, cost=taken)
        return table.take(QUESTIONS, ALICE, TEN, now=now, cost=0).window_s

    assert window(0) == 78.0
    assert window(1) == 78.0
    assert window(12) == 12.0
    assert window(13) == 6.0
    assert window(13, now=4.5) == 1.5


@pytest.mark.requirement("limits.bound")
def test_a_flood_of_new_keys_is_refused_and_gives_nobody_a_spent_allowance_back() -> None:
    table = LimitTable(max_keys=3)
    while table.take(QUESTIONS, ALICE, TEN, now=0.0).allowed:
        pass
    found = [table.take(QUESTIONS, AgentId(f"flood-{number}"), TEN, now=0.0) for number in range(50)]
    assert [one.allowed for one in found] == [True, True] + [False] * 48
    assert not table.take(QUESTIONS, ALICE, TEN, now=0.0).allowed
    assert len(table) == 3
    refused = found[-1]
    assert refused.is_full
    assert (refused.remaining, refused.reset_s, refused.retry_after_s, refused.window_s) == (0, 6.0, 6.0, 6.0)


@pytest.mark.requirement("limits.bound")
def test_a_key_makes_room_as_soon_as_its_allowance_is_whole_again_and_not_before() -> None:
    table = LimitTable(max_keys=2)
    table.take(QUESTIONS, ALICE, TEN, now=0.0)
    table.take(QUESTIONS, BOB, TEN, now=0.0)
    table.take(QUESTIONS, ALICE, TEN, now=1.0)
    assert table.take(QUESTIONS, AgentId("carol"), TEN, now=5.9).is_full
    assert table.take(QUESTIONS, AgentId("carol"), TEN, now=6.0).allowed, "bob is at rest"
    assert table.take(QUESTIONS, AgentId("dave"), TEN, now=11.9).is_full, "alice has taken more since"
    assert table.take(QUESTIONS, AgentId("dave"), TEN, now=12.0).allowed
    assert len(table) == 1


def _walk(rate: Rate, steps: list[tuple[float, int]]) -> list[tuple[Fraction, int, Decision]]:
    table, now, found = LimitTable(), 1_000.0, []
    for gap, cost in steps:
        now += gap
        found.append(
            (Fraction(int(now * PS_PER_S), PS_PER_S), cost, table.take(QUESTIONS, ALICE, rate, now=now, cost=cost))
        )
    return found


@pytest.mark.requirement("limits.grant")
@given(rate=rates, steps=gaps)
@settings(deadline=None)
def test_in_no_window_is_more_granted_than_the_burst_and_the_rate_of_that_time(
    rate: Rate, steps: list[tuple[float, int]]
) -> None:
    passed = [(at, cost) for at, cost, decision in _walk(rate, steps) if decision.allowed]
    for first, last in itertools.combinations_with_replacement(range(len(passed)), 2):
        seconds = passed[last][0] - passed[first][0]
        granted = sum(cost for _, cost in passed[first : last + 1])
        assert granted <= rate.capacity + seconds * rate.count / rate.period_s


@pytest.mark.requirement("limits.grant")
@given(rate=rates, steps=gaps, extra=st.integers(0, 10))
@settings(deadline=None)
def test_what_a_decision_tells_comes_true(rate: Rate, steps: list[tuple[float, int]], extra: int) -> None:
    tat = 0
    now_ps = 7 * PS_PER_S
    for gap, cost in steps:
        now_ps += int(gap * PS_PER_S)
        found = decide(QUESTIONS, rate, tat, now_ps=now_ps, cost=cost)
        tat = now_ps + found.ahead_ps
        assert 0 <= found.remaining <= found.limit
        assert decide(QUESTIONS, rate, tat, now_ps=now_ps, cost=found.remaining).allowed
        assert not decide(QUESTIONS, rate, tat, now_ps=now_ps, cost=found.remaining + 1).allowed
        assert decide(QUESTIONS, rate, tat, now_ps=tat, cost=0).remaining == found.limit
        assert (found.ahead_ps == 0) == (found.remaining == found.limit and found.reset_s == 0)
        assert found.window_s >= found.remaining * rate.period_s / rate.count * (1 - 1e-9)
        if not found.allowed and found.retry_after_s is not None:
            assert decide(QUESTIONS, rate, tat, now_ps=now_ps + found.over_ps, cost=cost).allowed
            assert not decide(QUESTIONS, rate, tat, now_ps=now_ps + found.over_ps - 1, cost=cost).allowed
        if found.retry_after_s is None:
            assert cost > rate.capacity
        later = decide(QUESTIONS, rate, tat, now_ps=now_ps + extra * PS_PER_S, cost=0)
        assert later.remaining >= found.remaining, "waiting never takes anything"
        assert later.reset_s <= found.reset_s


@pytest.mark.requirement("limits.bound")
@given(
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 7), st.integers(0, 3)), max_size=80),
    st.integers(1, 4),
)
@settings(deadline=None)
def test_a_table_with_a_bound_never_grants_more_than_one_without(
    steps: list[tuple[float, int, int]], max_keys: int
) -> None:
    bounded, free, now = LimitTable(max_keys), LimitTable(), 0.0
    refused_for_room: set[AgentId] = set()
    for gap, who, cost in steps:
        now += gap
        agent_id = AgentId(f"agent-{who}")
        small = bounded.take(QUESTIONS, agent_id, TEN, now=now, cost=cost)
        large = free.take(QUESTIONS, agent_id, TEN, now=now, cost=cost)
        assert len(bounded) <= max_keys
        if small.is_full:
            refused_for_room.add(agent_id)
        elif agent_id not in refused_for_room:
            assert small == large


@given(st.integers(0, 20), st.integers(0, 20))
def test_what_would_be_said_to_a_call_is_what_is_said_to_it(spent: int, cost: int) -> None:
    table, rate = LimitTable(), Rate(count=10, period_s=60, burst=3)
    agent = AgentId("alice")
    for _ in range(spent):
        table.take(LimitName("x"), agent, rate, now=5.0)
    would = table.take(LimitName("x"), agent, rate, now=5.0, cost=0).asked_for(cost)
    said = table.take(LimitName("x"), agent, rate, now=5.0, cost=cost)
    assert (would.allowed, would.retry_after_s) == (said.allowed, said.retry_after_s)
    assert would.asked_for(cost) == would or would.allowed
