"""One parked wait: its events in order, its messages once, its deadline to the point."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.exchange import DeadlinePassed, Draining, Event, Rerouted, Stirred
from proxy.core.ids import AgentId, Sequence
from proxy.core.legacy import WaitAsk
from proxy.core.routing import Reason
from proxy.flows.waiter import Parcel, Waiter
from tests.support.manual_clock import START_S, ManualClock, settle


def _waiter(since: int = 0) -> Waiter:
    return Waiter(WaitAsk(agent_id=AgentId("bob"), since=Sequence(since), timeout_s=30), on_elicitation=True)


def _parcels(*sequences: int) -> list[Parcel]:
    return [Parcel(sequence=sequence, body=b"%d" % sequence, created_at=None) for sequence in sequences]


async def _next(waiter: Waiter, clock: ManualClock, until: float) -> Event:
    async with asyncio.timeout(5):
        return await waiter.next_event(until, clock)


async def test_events_come_in_the_order_of_their_posting_and_stirring_counts_once() -> None:
    waiter, clock = _waiter(), ManualClock()
    rerouted = Rerouted(Reason.DISABLED)
    for event in (Stirred(), rerouted, Stirred(), Draining()):
        waiter.post(event)
    assert [await _next(waiter, clock, START_S) for _ in range(3)] == [Stirred(), rerouted, Draining()]
    waiter.post(Stirred())
    assert await _next(waiter, clock, START_S) == Stirred()


async def test_the_deadline_is_met_to_the_point() -> None:
    waiter, clock = _waiter(), ManualClock()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(waiter.next_event(START_S + 30, clock))
        await clock.advance(29.999)
        assert not task.done()
        await clock.advance(0.001)
        assert task.result() == DeadlinePassed()
    assert clock.waiting() == []


async def test_an_event_wakes_a_parked_wait_and_calls_its_alarm_off() -> None:
    waiter, clock = _waiter(), ManualClock()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(waiter.next_event(START_S + 30, clock))
        await settle()
        waiter.post(Stirred())
        await settle()
        assert task.result() == Stirred()
    assert clock.waiting() == []


async def test_what_came_at_the_very_deadline_is_seen_before_the_deadline() -> None:
    waiter, clock = _waiter(), ManualClock()
    clock.alarm(START_S + 30, lambda: waiter.post(Stirred()))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(waiter.next_event(START_S + 30, clock))
        await clock.advance(30)
        assert task.result() == Stirred()
    assert await _next(waiter, clock, START_S + 30) == DeadlinePassed()


async def test_a_deadline_in_the_past_is_over_at_once() -> None:
    assert await _next(_waiter(), ManualClock(), START_S - 1) == DeadlinePassed()


async def test_a_wait_that_is_cancelled_leaves_no_alarm() -> None:
    waiter, clock = _waiter(), ManualClock()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(waiter.next_event(START_S + 30, clock))
        await settle()
        task.cancel()
    assert clock.waiting() == []
    waiter.post(Stirred())
    assert await _next(waiter, clock, START_S + 30) == Stirred()


async def test_only_messages_above_the_cursor_are_kept() -> None:
    waiter = _waiter(since=5)
    waiter.take(_parcels(4, 5, 6), 6)
    assert [parcel.sequence for parcel in waiter.parcels] == [6]
    assert (waiter.scan, waiter.empty_wakes) == (6, 0)


async def test_a_batch_with_nothing_for_the_agent_counts_as_a_saved_wake_once() -> None:
    waiter, clock = _waiter(since=5), ManualClock()
    waiter.take([], 9)
    waiter.take([], 9)
    waiter.take([], 3)
    assert (waiter.scan, waiter.empty_wakes, waiter.parcels) == (9, 1, [])
    assert await _next(waiter, clock, START_S) == DeadlinePassed()


@given(
    since=st.integers(0, 20),
    reads=st.lists(st.tuples(st.integers(0, 20), st.integers(1, 10)), max_size=8),
)
def test_whatever_is_read_twice_or_overlapping_each_message_is_kept_once_and_in_order(
    since: int, reads: list[tuple[int, int]]
) -> None:
    waiter = _waiter(since=since)
    for first, length in reads:
        # A reading for this wait never begins above what it has looked at.
        begin = min(first, waiter.scan)
        numbers = range(begin + 1, begin + length + 1)
        waiter.take(_parcels(*numbers), numbers[-1])
    assert [parcel.sequence for parcel in waiter.parcels] == list(range(since + 1, waiter.scan + 1))
