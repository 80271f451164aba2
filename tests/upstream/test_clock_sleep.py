"""A sleep on the clock of the house."""

import asyncio

import pytest

from proxy.upstream.clock_sleep import sleep_on
from tests.support.manual_clock import ManualClock

pytestmark = pytest.mark.requirement("mcp.upstream.envelope")


async def test_it_ends_when_its_time_has_come_and_not_before() -> None:
    clock = ManualClock()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        sleeper = group.create_task(sleep_on(clock, 2.0))
        await clock.advance(1.9)
        assert not sleeper.done()
        await clock.advance(0.2)
        assert sleeper.done()


async def test_a_sleeper_that_is_given_up_leaves_no_alarm() -> None:
    clock = ManualClock()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        sleeper = group.create_task(sleep_on(clock, 2.0))
        await asyncio.sleep(0)
        assert clock.waiting()
        sleeper.cancel()
    assert clock.waiting() == []
