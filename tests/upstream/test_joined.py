"""Work that several callers wait for together."""

import asyncio

import pytest

from proxy.core.errors import BridgeTimeout, BridgeUnavailable
from proxy.upstream.joined import Joined

pytestmark = pytest.mark.requirement("mcp.upstream.sessions")


class Work:
    """A piece of work that counts its beginnings and ends when told."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = asyncio.Event()
        self.fault: BridgeTimeout | None = None

    async def __call__(self) -> int:
        self.begun += 1
        await self.may_end.wait()
        if self.fault is not None:
            raise self.fault
        return self.begun


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_all_who_come_meanwhile_get_what_the_first_began() -> None:
    work = Work()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        joined: Joined[str, int] = Joined(lambda coroutine, _: group.create_task(coroutine))
        callers = [group.create_task(joined.join("a", work, "work")) for _ in range(3)]
        await turns()
        work.may_end.set()
    assert [caller.result() for caller in callers] == [1, 1, 1]


async def test_another_key_or_a_later_time_begins_anew() -> None:
    work = Work()
    work.may_end.set()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        joined: Joined[str, int] = Joined(lambda coroutine, _: group.create_task(coroutine))
        for key in ("a", "b", "a"):
            await joined.join(key, work, "work")
    assert work.begun == 3


async def test_it_goes_on_when_whoever_began_it_has_gone() -> None:
    work = Work()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        joined: Joined[str, int] = Joined(lambda coroutine, _: group.create_task(coroutine))
        first = group.create_task(joined.join("a", work, "work"))
        await turns()
        first.cancel()
        second = group.create_task(joined.join("a", work, "work"))
        await turns()
        work.may_end.set()
    assert (first.cancelled(), second.result(), work.begun) == (True, 1, 1)


async def test_a_fault_is_everybodys() -> None:
    work = Work()
    work.fault = BridgeTimeout("late")
    work.may_end.set()

    async def fail() -> None:
        with pytest.raises(BridgeTimeout):
            await joined.join("a", work, "work")

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        joined: Joined[str, int] = Joined(lambda coroutine, _: group.create_task(coroutine))
        for _ in range(2):
            group.create_task(fail())
    assert work.begun == 1


async def test_nobody_waits_for_ever_when_the_work_is_given_up() -> None:
    tasks: list[asyncio.Task[None]] = []
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        joined: Joined[str, int] = Joined(lambda coroutine, _: tasks.append(group.create_task(coroutine)))

        async def wait() -> None:
            with pytest.raises(BridgeUnavailable, match="stops"):
                await joined.join("a", Work(), "work")

        group.create_task(wait())
        await turns()
        tasks[0].cancel()
