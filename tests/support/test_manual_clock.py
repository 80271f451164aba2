"""The manual clock itself."""

import asyncio

from tests.support.manual_clock import START_S, START_WALL_S, ManualClock, settle


async def test_both_times_stand_still_until_they_are_moved() -> None:
    clock = ManualClock()
    await settle()
    assert (clock.now(), clock.wall()) == (START_S, START_WALL_S)
    await clock.advance(2.5)
    assert (clock.now(), clock.wall()) == (START_S + 2.5, START_WALL_S + 2.5)


async def test_alarms_ring_in_the_order_of_their_times_each_at_its_own() -> None:
    clock = ManualClock()
    rung: list[tuple[str, float]] = []
    clock.alarm(START_S + 3, lambda: rung.append(("late", clock.now())))
    clock.alarm(START_S + 1, lambda: rung.append(("early", clock.now())))
    clock.alarm(START_S + 1, lambda: rung.append(("second of two", clock.now())))
    await clock.advance(2)
    assert rung == [("early", START_S + 1), ("second of two", START_S + 1)]
    await clock.advance(1)
    assert rung[2:] == [("late", START_S + 3)]


async def test_what_an_alarm_causes_happens_before_the_next_one_rings() -> None:
    clock = ManualClock()
    seen: list[float] = []
    woken = asyncio.Event()

    async def sleeper() -> None:
        await woken.wait()
        seen.append(clock.now())
        clock.alarm(clock.now() + 1, lambda: seen.append(clock.now()))

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper())
        clock.alarm(START_S + 1, woken.set)
        clock.alarm(START_S + 5, lambda: seen.append(clock.now()))
        await clock.advance(10)
    assert seen == [START_S + 1, START_S + 2, START_S + 5]


async def test_an_alarm_that_was_called_off_does_not_ring() -> None:
    clock = ManualClock()
    rung: list[str] = []
    clock.alarm(START_S + 1, lambda: rung.append("never")).cancel()
    clock.alarm(START_S - 1, lambda: rung.append("never")).cancel()
    assert clock.waiting() == []
    await clock.advance(2)
    assert rung == []


async def test_an_alarm_in_the_past_rings_at_the_next_turn() -> None:
    clock = ManualClock()
    rung: list[str] = []
    clock.alarm(START_S, lambda: rung.append("now"))
    assert rung == []
    await settle()
    assert rung == ["now"]


async def test_the_wall_clock_can_be_set_without_time_passing() -> None:
    clock = ManualClock()
    clock.step_wall(-60)
    assert (clock.now(), clock.wall()) == (START_S, START_WALL_S - 60)
