"""The two pipes of the stdio door and the work beside them; full and broken ones are in test_mcp_stdio_ends.py."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from proxy.downstream.mcp_pipe import Ends, Pipe
from tests.support.manual_clock import settle
from tests.support.stdio_pipe import Lost, Paper, Queue

pytestmark = pytest.mark.requirement("stdio.flow")


@dataclass(frozen=True, slots=True)
class _Made:
    pipe: Pipe
    client: Queue
    to_client: Paper
    server: Queue
    to_server: Paper
    log: Lost
    taken: list[bytes] = field(default_factory=list)

    async def take(self, block: bytes) -> None:
        self.taken.append(block)


@asynccontextmanager
async def _pipe() -> AsyncIterator[_Made]:
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:

        def spawn(work: Coroutine[object, object, None], name: str) -> "asyncio.Task[None]":
            return group.create_task(work, name=name)

        client, to_client, server, to_server, log = Queue(), Paper(), Queue(), Paper(), Lost()
        ends = Ends(from_client=client, to_client=to_client, from_server=server, to_server=to_server)
        yield _Made(Pipe(ends, spawn, log), client, to_client, server, to_server, log)


async def test_whole_lines_are_handed_over_and_what_the_end_cut_off_is_passed_on() -> None:
    async with _pipe() as made:
        made.client.put(b"one\ntw", b"o\nthree\nrest", b"")
        await made.pipe.upward(made.take)
        assert b"".join(made.taken) == b"one\ntwo\nthree\n"
        assert made.to_server.text == b"rest"
        made.server.put(b"four\nlast", b"")
        await made.pipe.downward(made.take)
        assert made.taken[-1] == b"four\n"
        assert made.to_client.text == b"last"


async def test_messages_are_said_in_one_line_each_whether_anybody_waits_for_them_or_not() -> None:
    async with _pipe() as made:
        assert await made.pipe.tell(b"{}")
        made.pipe.tell_soon(b"[]")
        await made.pipe.settle(5)
        assert made.to_client.text == b"{}\n[]\n"
        made.to_client.is_broken = True
        made.pipe.tell_soon(b"lost")
        assert not await made.pipe.tell(b"lost")
        assert made.pipe.client_gone.is_set()
        made.server.put(b"never read\n")
        await made.pipe.downward(made.take)
        assert made.taken == []


async def test_settling_waits_for_what_was_begun_and_gives_up_what_takes_too_long() -> None:
    async with _pipe() as made:
        gate = asyncio.Event()

        async def work() -> None:
            await gate.wait()

        first, second = made.pipe.begin(work(), "first"), made.pipe.begin(work(), "second")
        await made.pipe.settle(0)
        await settle()
        assert first.cancelled()
        assert second.cancelled()
        third = made.pipe.begin(work(), "third")
        gate.set()
        await made.pipe.settle(5)
        assert third.done()
        assert not third.cancelled()


async def test_when_the_house_closes_nothing_is_waited_for_and_nothing_begins() -> None:
    async with _pipe() as made:
        made.to_client.room.clear()
        made.pipe.tell_soon(b"never taken")
        await settle()
        made.pipe.give_up()
        late = made.pipe.begin(made.take(b"too late"), "late")
        await settle()
        assert late.cancelled()
        assert made.taken == []
