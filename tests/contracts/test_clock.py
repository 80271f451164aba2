"""What the Clock port promises, on the manual clock and on the event loop's."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from proxy.ports import Clock
from proxy.wiring.clock import LoopClock
from tests.support.manual_clock import ManualClock

STEP_S = 0.02


@dataclass(frozen=True, slots=True)
class Subject:
    """A clock, and the way to let time pass on it."""

    clock: Clock
    pass_time: Callable[[float], Awaitable[None]]


async def _really_pass(seconds: float) -> None:
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.call_later(seconds, over.set)
    async with asyncio.timeout(5):
        await over.wait()


@pytest.fixture(params=["manual", "loop"])
async def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "manual":
        clock = ManualClock()
        return Subject(clock, clock.advance)
    return Subject(LoopClock(), _really_pass)


async def test_an_alarm_rings_once_and_not_before_its_time(subject: Subject) -> None:
    clock = subject.clock
    due = clock.now() + STEP_S
    rung: list[float] = []
    clock.alarm(due, lambda: rung.append(clock.now()))
    assert rung == []
    await subject.pass_time(3 * STEP_S)
    assert len(rung) == 1
    # The loop's clock counts whole milliseconds.
    assert rung[0] >= due - 0.001


async def test_alarms_ring_in_the_order_of_their_times(subject: Subject) -> None:
    clock = subject.clock
    rung: list[int] = []
    for number in (3, 1, 2):
        clock.alarm(clock.now() + number * STEP_S, lambda number=number: rung.append(number))  # type: ignore[misc]  # bound now
    await subject.pass_time(4 * STEP_S)
    assert rung == [1, 2, 3]


async def test_an_alarm_in_the_past_rings_soon_but_not_within_the_call(subject: Subject) -> None:
    rung: list[bool] = []
    subject.clock.alarm(subject.clock.now() - 1, lambda: rung.append(True))
    assert rung == []
    await subject.pass_time(STEP_S)
    assert rung == [True]


async def test_an_alarm_that_is_called_off_never_rings(subject: Subject) -> None:
    rung: list[bool] = []
    alarm = subject.clock.alarm(subject.clock.now() + STEP_S, lambda: rung.append(True))
    alarm.cancel()
    await subject.pass_time(2 * STEP_S)
    assert rung == []


async def test_an_alarm_may_be_called_off_after_it_has_rung(subject: Subject) -> None:
    rung: list[bool] = []
    alarm = subject.clock.alarm(subject.clock.now() + STEP_S, lambda: rung.append(True))
    await subject.pass_time(2 * STEP_S)
    alarm.cancel()
    assert rung == [True]


async def test_both_times_go_forward_together(subject: Subject) -> None:
    clock = subject.clock
    before = clock.now(), clock.wall()
    await subject.pass_time(STEP_S)
    assert clock.now() > before[0]
    assert clock.wall() > before[1]
    assert clock.wall() > 1_500_000_000
