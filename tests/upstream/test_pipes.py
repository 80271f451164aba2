"""Ends of pipes on threads: order, backpressure, ends, and what breaks."""

import asyncio
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from proxy.upstream.pipes import CHUNK_BYTES, PipeSink, PipeSource

# Threads run our code here, and coverage's own lock, which they share with the loop, would count as a blocking call.
pytestmark = [pytest.mark.blocking, pytest.mark.requirement("stdio.flow")]

Pipe = tuple[int, int]


@pytest.fixture(name="pipe")
def _pipe() -> Iterator[Pipe]:
    """A pipe whose ends the test may close."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):
            os.close(end)


async def _all_of(source: PipeSource) -> bytes:
    found = b""
    async with asyncio.timeout(5):
        while chunk := await source.read():
            found += chunk
    return found


async def _closed(fd: int) -> None:
    async with asyncio.timeout(5):
        while _is_open(fd):  # noqa: ASYNC110  # a thread closes it, which no event tells
            await asyncio.sleep(0)


def _is_open(fd: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        return False
    return True


async def test_what_is_written_is_read_to_the_end(pipe: Pipe) -> None:
    source = PipeSource(pipe[0], "source")
    sink = PipeSink(pipe[1], "sink")
    text = os.urandom(10 * CHUNK_BYTES)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(_all_of(source))
        for at in range(0, len(text), 99_991):
            await sink.write(text[at : at + 99_991])
        sink.close()
        sink.close()
    assert reading.result() == text
    assert await source.read() == b""
    await _closed(pipe[0])
    await _closed(pipe[1])


async def test_a_write_waits_until_the_other_side_has_room_and_stays_in_one_piece_when_given_up(pipe: Pipe) -> None:
    sink = PipeSink(pipe[1], "sink")
    big, small = b"b" * (4 * CHUNK_BYTES), b"small"
    async with asyncio.TaskGroup() as group:
        first = group.create_task(sink.write(big))
        second = group.create_task(sink.write(small))
        await asyncio.sleep(0)
        first.cancel()
        second.cancel()
    assert first.cancelled()
    assert second.cancelled()
    sink.close()
    assert await _all_of(PipeSource(pipe[0], "source")) == big + small


async def test_a_reader_is_at_most_one_chunk_ahead(pipe: Pipe) -> None:
    source = PipeSource(pipe[0], "source")
    # Nobody consumes: the pipe's own room and one chunk more is all that is taken.
    await asyncio.to_thread(os.write, pipe[1], b"c" * CHUNK_BYTES)
    await asyncio.to_thread(os.write, pipe[1], b"d" * CHUNK_BYTES)
    os.set_blocking(pipe[1], False)
    with pytest.raises(BlockingIOError):
        os.write(pipe[1], b"e")
    os.close(pipe[1])
    assert await _all_of(source) == b"c" * CHUNK_BYTES + b"d" * CHUNK_BYTES


async def test_a_write_to_nobody_says_so_every_time(pipe: Pipe) -> None:
    sink = PipeSink(pipe[1], "sink")
    os.close(pipe[0])
    for _ in range(2):
        with pytest.raises(BrokenPipeError):
            await sink.write(b"x")
    sink.close()
    with pytest.raises(BrokenPipeError, match="closed"):
        await sink.write(b"x")
    await _closed(pipe[1])


async def test_a_source_that_is_stopped_is_at_its_end_whoever_holds_the_other(pipe: Pipe) -> None:
    source = PipeSource(pipe[0], "source")
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(_all_of(source))
        await asyncio.sleep(0)
        source.stop()
    assert reading.result() == b""
    os.write(pipe[1], b"late")
    await _closed(pipe[0])
    await asyncio.sleep(0)
    assert await source.read() == b""


async def test_descriptors_that_do_not_block_are_waited_for(pipe: Pipe) -> None:
    for end in pipe:
        os.set_blocking(end, False)
    source = PipeSource(pipe[0], "source")
    sink = PipeSink(pipe[1], "sink")
    text = b"t" * (5 * CHUNK_BYTES)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(_all_of(source))
        await sink.write(text)
        sink.close()
    assert reading.result() == text


async def test_a_descriptor_that_cannot_be_read_is_at_its_end(pipe: Pipe) -> None:
    assert await _all_of(PipeSource(os.dup(pipe[1]), "the wrong end")) == b""


def test_a_closed_loop_is_no_fault_of_the_threads(pipe: Pipe) -> None:
    before = threading.active_count()

    async def leave() -> None:
        PipeSource(pipe[0], "source")
        await asyncio.sleep(0)

    with asyncio.Runner() as runner:
        runner.run(leave())
    os.close(pipe[1])
    for thread in threading.enumerate():
        if thread.name == "source":
            thread.join(5)
    assert threading.active_count() <= before
