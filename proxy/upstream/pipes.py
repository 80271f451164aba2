"""Ends of pipes as async sources and sinks of bytes, each served by one thread.

A thread blocks where an event loop must not: reading and writing work on pipes, sockets, terminals and files alike,
and the descriptor's mode, which it shares with other processes, is never changed. The threads are daemons, so that one
that still waits for a peer holds up nobody's end. Whoever reads is at most one chunk ahead of whoever consumes.
"""

import asyncio
import contextlib
import os
import queue
import select
import threading
from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Final, TypeVar

T = TypeVar("T")

CHUNK_BYTES: Final = 65_536
"""Most that is read at once. Source: pipe(7), the capacity of a pipe on Linux."""


class _Permit(Enum):
    READ = auto()
    STOP = auto()


class PipeSource:
    """Reads a descriptor to its end, then closes it; made inside of the running loop."""

    __slots__ = ("_arrived", "_chunks", "_fd", "_has_ended", "_loop", "_permits")

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._chunks: deque[bytes] = deque()
        self._has_ended = False
        self._arrived = asyncio.Event()
        self._permits: queue.SimpleQueue[_Permit] = queue.SimpleQueue()
        self._permits.put(_Permit.READ)
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def read(self) -> bytes:
        """The next bytes; empty at the end, which a broken pipe is, too."""
        while not self._chunks and not self._has_ended:
            self._arrived.clear()
            await self._arrived.wait()
        if not self._chunks:
            return b""
        self._permits.put(_Permit.READ)
        return self._chunks.popleft()

    def stop(self) -> None:
        """Be at the end once what was read so far is consumed, whoever still holds the other end."""
        self._permits.put(_Permit.STOP)
        self._end()

    def _end(self) -> None:
        self._has_ended = True
        self._arrived.set()

    def _deliver(self, chunk: bytes) -> None:
        if chunk and not self._has_ended:
            self._chunks.append(chunk)
            self._arrived.set()
        else:
            self._end()

    def _run(self) -> None:
        while self._permits.get() is _Permit.READ and (chunk := _read(self._fd)):
            _tell(self._loop, self._deliver, chunk)
        os.close(self._fd)
        _tell(self._loop, self._deliver, b"")


class PipeSink:
    """Writes to a descriptor in the order it is told, and closes it at last; made inside of the running loop."""

    __slots__ = ("_fd", "_is_closing", "_jobs", "_loop")

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._is_closing = False
        self._jobs: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    async def write(self, data: bytes) -> None:
        """Return when the peer's pipe has taken all of it; if cancelled, it is written nevertheless and in one piece.

        Raises:
            BrokenPipeError: nobody reads any more, or it was closed.
        """
        if self._is_closing:
            raise BrokenPipeError("the pipe was closed")
        written: asyncio.Future[None] = self._loop.create_future()
        self._jobs.put((data, written))
        await written

    def close(self) -> None:
        """Close it when all that was told before is written; later writes fail."""
        if not self._is_closing:
            self._is_closing = True
            self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            data, written = job
            _tell(self._loop, _settle, (written, _write(self._fd, data)))
        os.close(self._fd)


def _settle(outcome: tuple["asyncio.Future[None]", str]) -> None:
    written, flaw = outcome
    if written.done():  # whoever wrote has left
        return
    if flaw:
        written.set_exception(BrokenPipeError(flaw))
    else:
        written.set_result(None)


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[[T], None], value: T) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed, and with it everybody who could listen
        loop.call_soon_threadsafe(what, value)


def _read(fd: int) -> bytes:
    while True:
        try:
            return os.read(fd, CHUNK_BYTES)
        except BlockingIOError:  # somebody who shares the descriptor has made it so
            select.select([fd], [], [])
        except OSError:  # a peer that broke off has said its last as well
            return b""


def _write(fd: int, data: bytes) -> str:
    """Write it all; what went wrong, or nothing."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            select.select([], [fd], [])
        except OSError as error:
            return str(error)
    return ""
