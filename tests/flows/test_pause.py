"""A pause on the clock that something worth knowing can cut short."""

import asyncio

from proxy.flows.pause import Pause
from tests.support.manual_clock import ManualClock, settle


async def test_it_lasts_exactly_as_long_as_asked() -> None:
    clock = ManualClock()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(Pause(clock).sleep(2.0))
        await clock.advance(1.999)
        assert not task.done()
        await clock.advance(0.001)
        assert task.done()


async def test_its_end_wakes_the_sleeper_at_once_and_leaves_no_alarm() -> None:
    clock = ManualClock()
    pause = Pause(clock)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(pause.sleep(2.0))
        await settle()
        pause.end()
        await settle()
        assert task.done()
    assert clock.waiting() == []


async def test_an_end_before_it_begins_is_forgotten() -> None:
    clock = ManualClock()
    pause = Pause(clock)
    pause.end()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(pause.sleep(1.0))
        await settle()
        assert not task.done()
        await clock.advance(1.0)
    assert task.done()


async def test_a_sleeper_that_is_cancelled_leaves_no_alarm() -> None:
    clock = ManualClock()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(Pause(clock).sleep(1.0))
        await settle()
        task.cancel()
    assert clock.waiting() == []
