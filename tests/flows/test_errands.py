"""Work for callers that may leave: it goes on without them, and ends with the house."""

import asyncio
from contextlib import suppress

import pytest

from proxy.flows.errands import Errands
from tests.support.manual_clock import settle


@pytest.mark.requirement("errands.go_on")
async def test_work_goes_on_when_its_caller_is_cancelled() -> None:
    go, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go.wait()
        done.set()

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        errands = Errands(lambda coroutine, name: group.create_task(coroutine, name=name))

        async def call() -> None:
            await asyncio.wait({errands.begin(work(), "work")})

        caller = group.create_task(call())
        await settle()
        caller.cancel()
        with suppress(asyncio.CancelledError):
            await caller
        go.set()
        await done.wait()


@pytest.mark.requirement("errands.end_with_house")
async def test_work_that_never_ends_does_not_keep_the_house_from_ending() -> None:
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        errands = Errands(lambda coroutine, name: group.create_task(coroutine, name=name))

        async def stuck() -> None:
            await asyncio.Event().wait()

        begun = errands.begin(stuck(), "begun")
        await settle()
        not_begun = errands.begin(stuck(), "not begun")
        errands.close()
    assert begun.cancelled()
    assert not_begun.cancelled()
    errands.close()
