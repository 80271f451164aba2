"""Sends on their way to becoming questions, and who waits for them."""

import asyncio
from collections.abc import Coroutine

import pytest

from proxy.core.ids import AgentId
from proxy.core.sends import Send
from proxy.flows.sends_under_way import HOLD_S, SendsUnderWay
from tests.support.manual_clock import ManualClock, settle

pytestmark = pytest.mark.requirement("dual.one_copy")

ALICE, BOB, CAROL = AgentId("alice"), AgentId("bob"), AgentId("carol")


def _send(sender: AgentId = ALICE) -> Send:
    return Send(from_agent=sender, to_agent=BOB, event_type="custom", data={"to_agent": "bob"})


def _begin(work: Coroutine[object, object, None]) -> "asyncio.Task[None]":
    return asyncio.get_running_loop().create_task(work)


async def test_without_a_send_under_way_nobody_waits() -> None:
    sends, clock = SendsUnderWay(), ManualClock()
    sends.begin(_send(CAROL))
    async with asyncio.timeout(5):
        await sends.settled(BOB, {ALICE}, clock)
        await sends.settled(ALICE, {CAROL}, clock)
    sends.end(_send(CAROL))


async def test_whoever_waits_goes_on_when_the_last_one_is_settled() -> None:
    sends, clock = SendsUnderWay(), ManualClock()
    sends.begin(_send())
    sends.begin(_send())
    waiting = [_begin(sends.settled(BOB, {ALICE}, clock)) for _ in range(2)]
    await settle()
    sends.end(_send())
    await settle()
    assert not any(task.done() for task in waiting)
    sends.end(_send())
    await settle()
    assert all(task.done() for task in waiting)
    assert clock.waiting() == []


async def test_nobody_waits_for_longer_than_a_second() -> None:
    sends, clock = SendsUnderWay(), ManualClock()
    sends.begin(_send())
    waiting = _begin(sends.settled(BOB, {ALICE}, clock))
    await clock.advance(HOLD_S - 0.01)
    assert not waiting.done()
    await clock.advance(0.01)
    assert waiting.done()


async def test_what_ends_twice_ends_once() -> None:
    sends = SendsUnderWay()
    sends.end(_send())
    sends.begin(_send())
    sends.end(_send())
    sends.end(_send())
    async with asyncio.timeout(5):
        await sends.settled(BOB, {ALICE}, ManualClock())
