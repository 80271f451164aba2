"""A TCP proxy that does to connections what networks do: delay, slowness, cuts, resets, partitions, one-sided ends.

It runs on the event loop of whoever starts it. A fault holds for all connections, also future ones, or for some, and
can be changed at any moment. Upward is towards the server, downward towards the client.

A black hole holds what is sent, ends included, and lets it through when it is over, as TCP does across a partition. In
a half-open connection the server's side is gone and the client is not told: what it sends is swallowed while the fault
lasts, and answered with a reset afterwards.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

CHUNK: Final = 65_536
"""Most bytes that are passed on at once."""

RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER without time: closing sends RST. Source: socket(7)."""

Pause = Callable[[float], Awaitable[None]]
"""Lets seconds pass."""


class Way(Enum):
    """A direction."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to a connection; as it is made, nothing does."""

    delay_s: float = 0.0
    """Every piece is held for so long."""
    rate: float = 0.0
    """Bytes per second in each direction; 0 for no limit."""
    cut_up: int | None = None
    """The connection ends after so many bytes upward, counted from when the fault began."""
    cut_down: int | None = None
    """The same downward."""
    is_reset: bool = False
    """Ends are resets; without a cut everything is reset at once, new connections too."""
    is_black_hole: bool = False
    is_half_open: bool = False

    @property
    def is_reset_at_once(self) -> bool:
        """Nothing passes at all."""
        return self.is_reset and self.cut_up is None and self.cut_down is None


FINE: Final = Fault()


@dataclass(slots=True, eq=False)
class Line:
    """One connection through the proxy."""

    number: int
    client: asyncio.StreamWriter
    fault: Fault
    server: asyncio.StreamWriter | None = None
    passed: dict[Way, int] = field(default_factory=lambda: dict.fromkeys(Way, 0))
    """Bytes since the fault began."""
    is_server_gone: bool = False
    """The client has not been told."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def become(self, fault: Fault) -> None:
        """Another fault from here on."""
        self.fault = fault
        self.passed = dict.fromkeys(Way, 0)
        self.changed.set()
        self.changed = asyncio.Event()
        if fault.is_reset_at_once:
            self.reset()
        elif fault.is_half_open:
            self.lose_server()

    def lose_server(self) -> None:
        """End the server's side; the client hears nothing of it."""
        self.is_server_gone = True
        if self.server is not None:
            _abort(self.server)

    def answer_for_nobody(self, data: bytes) -> None:
        """What the client's network says for a server that is gone: nothing while the fault lasts, then a reset."""
        if data and not self.fault.is_half_open:
            self.reset()

    def reset(self) -> None:
        """Reset both sides."""
        for side in (self.client, self.server):
            if side is not None:
                _abort(side)

    def end(self) -> None:
        """End both sides, as the fault says."""
        if self.fault.is_reset:
            self.reset()
            return
        for side in (self.client, self.server):
            if side is not None:
                side.close()

    def left(self, way: Way) -> int | None:
        """Bytes until the cut, None without one."""
        cut = self.fault.cut_up if way is Way.UP else self.fault.cut_down
        return None if cut is None else max(0, cut - self.passed[way])


def _abort(side: asyncio.StreamWriter) -> None:
    known = side.transport.get_extra_info("socket")
    if known is None:  # it has ended already
        return
    with suppress(OSError, ValueError):  # the same, where the loop has let its descriptor go
        known.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    side.transport.abort()


class FaultProxy:
    """One listening port in front of one server; made by `fault_proxy`."""

    def __init__(self, host: str, port: int, *, group: asyncio.TaskGroup, pause: Pause = asyncio.sleep) -> None:
        self.port = 0
        self.accepted = 0
        """Connections so far."""
        self.fault = FINE
        """Of connections to come."""
        self._target = host, port
        self._group = group
        self._pause = pause
        self._lines: dict[Line, asyncio.Task[None]] = {}
        self._server: asyncio.Server | None = None

    @property
    def lines(self) -> list[Line]:
        """The connections that are open, the oldest first."""
        return sorted(self._lines, key=lambda line: line.number)

    def set(self, fault: Fault, lines: Iterable[Line] | None = None) -> None:
        """Let a fault begin: for some connections, or for all that are and will be."""
        if lines is None:
            self.fault = fault
        for line in tuple(self._lines) if lines is None else tuple(lines):
            line.become(fault)

    def retarget(self, host: str, port: int) -> None:
        """Lead new connections to another server."""
        self._target = host, port

    async def open(self, port: int = 0) -> None:
        """Listen on loopback."""
        self._server = await asyncio.start_server(self._begin, "127.0.0.1", port)
        self.port = int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Stop listening and reset everything."""
        if self._server is not None:
            self._server.close()
        for line, task in tuple(self._lines.items()):
            line.reset()
            task.cancel()

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        line = Line(number=self.accepted, client=writer, fault=self.fault)
        if self.fault.is_reset_at_once:
            line.reset()
            return
        self._lines[line] = self._group.create_task(self._carry(line, reader))

    async def _carry(self, line: Line, reader: asyncio.StreamReader) -> None:
        """Carry one connection from its beginning to its end."""
        try:
            if line.fault.is_half_open:
                line.is_server_gone = True
            if not line.is_server_gone:
                await self._until_open(line)
                back, line.server = await asyncio.open_connection(*self._target)
                if line.is_server_gone:  # meanwhile
                    _abort(line.server)
                elif not line.client.transport.is_closing():
                    await self._carry_both_ways(line, reader, back)
            while line.is_server_gone and await self._swallow(line, reader):
                pass
        except OSError:  # refused by the server: told as a reset
            line.reset()
        finally:
            del self._lines[line]
            line.end()

    async def _carry_both_ways(self, line: Line, reader: asyncio.StreamReader, back: asyncio.StreamReader) -> None:
        server = line.server
        if server is None:
            return
        async with asyncio.TaskGroup() as both:
            both.create_task(self._pump(line, Way.UP, reader, server))
            both.create_task(self._pump(line, Way.DOWN, back, line.client))

    async def _pump(self, line: Line, way: Way, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while True:
                data = await source.read(CHUNK)
                await self._until_open(line)
                if line.is_server_gone:
                    line.answer_for_nobody(data)
                    return
                if not data:
                    if sink.can_write_eof() and not sink.is_closing():
                        sink.write_eof()
                    return
                await self._pass_on(line, way, data, sink)
        except OSError:  # one side was reset: so is the other
            if not line.is_server_gone:
                line.reset()

    async def _pass_on(self, line: Line, way: Way, data: bytes, sink: asyncio.StreamWriter) -> None:
        if line.fault.delay_s:
            await self._hold(line, line.fault.delay_s)
        left = line.left(way)
        piece = data if left is None else data[:left]
        line.passed[way] += len(piece)
        if sink.is_closing():
            raise ConnectionResetError("the other side has ended")
        sink.write(piece)
        await sink.drain()
        if line.fault.rate:
            await self._hold(line, len(piece) / line.fault.rate)
        if line.left(way) == 0:
            line.end()

    async def _until_open(self, line: Line) -> None:
        while line.fault.is_black_hole:
            await line.changed.wait()

    async def _hold(self, line: Line, seconds: float) -> None:
        """Let time pass; another fault ends it."""

        async def rest() -> None:
            await self._pause(seconds)
            noticing.cancel()

        async def notice(changed: asyncio.Event) -> None:
            await changed.wait()
            resting.cancel()

        async with asyncio.TaskGroup() as group:
            noticing = group.create_task(notice(line.changed))
            resting = group.create_task(rest())

    @staticmethod
    async def _swallow(line: Line, reader: asyncio.StreamReader) -> bool:
        """Take what a client sends to nobody; False when that is over."""
        data = await reader.read(CHUNK)
        line.answer_for_nobody(data)
        return bool(data) and line.fault.is_half_open


@asynccontextmanager
async def fault_proxy(host: str, port: int, *, pause: Pause = asyncio.sleep) -> AsyncIterator[FaultProxy]:
    """A proxy in front of a server for as long as the block lasts."""
    async with asyncio.TaskGroup() as group:
        proxy = FaultProxy(host, port, group=group, pause=pause)
        await proxy.open()
        try:
            yield proxy
        finally:
            proxy.close()
