"""What the LimitStore port promises, on every store, and the same traces judged by another implementation."""

import asyncio
import datetime as dt
from collections.abc import Callable

import pytest
import throttled
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.ids import AgentId
from proxy.core.limits import LimitName
from proxy.core.rate import Rate
from proxy.ports import LimitStore
from proxy.stores.memory_limits import MemoryLimitStore

QUESTIONS, ANSWERS = LimitName("questions"), LimitName("answers")
ALICE, BOB = AgentId("alice"), AgentId("bob")
TEN = Rate(10, 60, 3)
NOW = 1_000.0

Make = Callable[[int], LimitStore]


@pytest.fixture(params=["memory"])
def make() -> Make:
    return MemoryLimitStore


@pytest.mark.requirement("limits.grant")
async def test_each_pair_of_limit_and_agent_has_an_allowance_of_its_own(make: Make) -> None:
    store = make(9)
    found = [await store.take(QUESTIONS, ALICE, TEN, now=NOW) for _ in range(14)]
    assert [one.allowed for one in found] == [True] * 13 + [False]
    assert (found[-1].name, found[-1].limit, found[-1].remaining) == (QUESTIONS, 13, 0)
    assert (found[-1].reset_s, found[-1].retry_after_s) == (78.0, 6.0)
    assert (await store.take(ANSWERS, ALICE, TEN, now=NOW)).remaining == 12
    assert (await store.take(QUESTIONS, BOB, TEN, now=NOW)).remaining == 12
    assert (await store.take(QUESTIONS, ALICE, TEN, now=NOW + 6)).allowed


@pytest.mark.requirement("limits.grant")
async def test_of_many_calls_at_once_as_many_pass_as_are_granted(make: Make) -> None:
    store = make(9)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        tasks = [group.create_task(store.take(QUESTIONS, ALICE, TEN, now=NOW)) for _ in range(40)]
    assert sum(task.result().allowed for task in tasks) == 13


@pytest.mark.requirement("limits.grant")
async def test_a_cost_below_nothing_gives_nothing_back(make: Make) -> None:
    store = make(9)
    assert (await store.take(QUESTIONS, ALICE, TEN, now=NOW, cost=13)).allowed
    with pytest.raises(ValueError, match="cost of 0 or more"):
        await store.take(QUESTIONS, ALICE, TEN, now=NOW, cost=-5)
    assert not (await store.take(QUESTIONS, ALICE, TEN, now=NOW)).allowed


@pytest.mark.requirement("limits.bound")
async def test_a_flood_of_new_agents_resets_nobodys_limit(make: Make) -> None:
    store = make(5)
    await store.take(QUESTIONS, ALICE, TEN, now=NOW, cost=13)
    flood = [await store.take(QUESTIONS, AgentId(f"agent-{n}"), TEN, now=NOW) for n in range(2_000)]
    assert sum(one.allowed for one in flood) == 4
    assert all(one.is_full and one.retry_after_s == 6.0 for one in flood if not one.allowed)
    assert not (await store.take(QUESTIONS, ALICE, TEN, now=NOW)).allowed
    assert (await store.take(QUESTIONS, BOB, TEN, now=NOW + 6)).allowed, "those at rest have made room"


@pytest.mark.requirement("limits.grant")
@given(
    count=st.sampled_from([1, 2, 4, 10, 15, 30]),
    period_s=st.sampled_from([60, 3600]),
    burst=st.integers(0, 6),
    steps=st.lists(
        st.tuples(st.integers(0, 4_000), st.integers(1, 5), st.sampled_from([ALICE, BOB])), min_size=1, max_size=60
    ),
)
@settings(deadline=None)
async def test_throttled_py_grants_and_tells_the_same(
    count: int, period_s: int, burst: int, steps: list[tuple[int, int, AgentId]]
) -> None:
    """Intervals are whole seconds and times are eighths of one, so that its binary fractions are exact as well."""
    rate = Rate(count, period_s, burst)
    ours, at = MemoryLimitStore(), NOW
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(throttled.utils, "now_mono_f", lambda: at)
        theirs = throttled.Throttled(
            using="gcra",
            quota=throttled.per_duration(dt.timedelta(seconds=period_s), count, burst=rate.capacity),
            store=throttled.MemoryStore(options={"MAX_SIZE": 100}),
        )
        for eighths, cost, agent_id in steps:
            at += eighths / 8
            mine = await ours.take(QUESTIONS, agent_id, rate, now=at, cost=cost)
            other = theirs.limit(agent_id, cost=cost)
            assert mine.allowed is not other.limited
            assert (mine.limit, mine.remaining) == (other.state.limit, other.state.remaining)
            assert mine.reset_s == other.state.reset_after
            if mine.retry_after_s is not None:
                assert mine.retry_after_s == other.state.retry_after
