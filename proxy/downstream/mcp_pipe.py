"""The two pipes that meet at the stdio door: whole lines out of either, and the work that goes on beside them.

Both directions flow by themselves, so neither ever stops the other; whatever else is said is a task beside them and
only its one line joins the flow.

Source: PROTOCOL.md 3.3.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Final, Protocol

from proxy.core.errors import BodyTooLarge, BridgeUnavailable
from proxy.downstream.mcp_lines import Kind, LineSplitter, Oversize, lines_of
from proxy.mcp.jsonrpc import Request, fault_message, parse
from proxy.ports import Spawn

MAX_SERVED: Final = 1_000
"""Most calls of the client that are served here at once; what is beyond is passed on. Source: ours."""


Take = Callable[[bytes], Awaitable[None]]
"""What is done with whole lines; the next ones come when it is done."""

_Way = Callable[[bytes], Coroutine[object, object, bool]]


class Source(Protocol):
    """Where bytes come from."""

    async def read(self) -> bytes:
        """The next bytes; empty at the end."""
        ...


class Sink(Protocol):
    """Where bytes go."""

    async def write(self, data: bytes) -> None:
        """Return when the other side has taken them; if cancelled they are written nevertheless.

        Raises:
            BrokenPipeError: nobody reads there any more.
        """
        ...


class Log(Protocol):
    """What the door says of lines that reach nobody."""

    def lost(self, what: str, size_bytes: int) -> None:
        """A line was not passed on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """The four ends of the two pipes that meet here."""

    from_client: Source
    to_client: Sink
    from_server: Source
    to_server: Sink


class Pipe:
    """The ends, whoever waits behind them, and the tasks that speak to them."""

    __slots__ = ("_ends", "_is_over", "_log", "_spawn", "_tasks", "client_gone")

    def __init__(self, ends: Ends, spawn: Spawn, log: Log) -> None:
        self._ends = ends
        self._spawn = spawn
        self._log = log
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_over = False
        self.client_gone = asyncio.Event()
        """Set when the client no longer reads."""

    # What comes

    async def upward(self, take: Take) -> None:
        """Hand over the client's lines, several in one piece, until its input ends; what is too long is refused."""
        splitter = LineSplitter()
        while chunk := await self._ends.from_client.read():
            for piece in splitter.feed(chunk):
                if isinstance(piece, Oversize):
                    self._refuse(piece, sender=self.to_client, receiver=self._to_server)
                else:
                    await take(piece)
        if rest := splitter.rest():
            await self._to_server(rest)

    async def downward(self, take: Take) -> None:
        """The same with the server's, until its output ends or the client reads no more."""
        splitter = LineSplitter()
        while not self.client_gone.is_set() and (chunk := await self._ends.from_server.read()):
            for piece in splitter.feed(chunk):
                if isinstance(piece, Oversize):
                    self._refuse(piece, sender=self._to_server, receiver=self.to_client)
                else:
                    await take(piece)
        if rest := splitter.rest():
            await self.to_client(rest)

    # What goes

    async def pass_up(self, block: bytes) -> None:
        """Hand lines of the client to the server; if it reads no more, its requests are refused."""
        if await self._to_server(block):
            return
        error = BridgeUnavailable("the MCP server no longer reads its input; start it again")
        for line in lines_of(block):
            message = parse(line)
            if isinstance(message, Request):
                self._say(self.to_client, fault_message(message.id, error))

    async def tell(self, message: bytes) -> bool:
        """Say one message to the client; False when it reads no more."""
        return await self.to_client(message + b"\n")

    def tell_soon(self, message: bytes) -> None:
        """The same without holding up the flow."""
        self._say(self.to_client, message)

    async def to_client(self, block: bytes) -> bool:
        """Hand lines to the client; False when it reads no more."""
        try:
            await self._ends.to_client.write(block)
        except BrokenPipeError:
            self.client_gone.set()
            return False
        return True

    async def _to_server(self, block: bytes) -> bool:
        try:
            await self._ends.to_server.write(block)
        except BrokenPipeError:
            self._log.lost("the server reads no more", len(block))
            return False
        return True

    def _refuse(self, line: Oversize, *, sender: _Way, receiver: _Way) -> None:
        """Tell whoever would wait for it in vain that a line was too long."""
        kind, request_id = line.told()
        error = BodyTooLarge(
            f"expected a line of at most 64 MiB, got {line.size_bytes} bytes; send less in one message"
        )
        way = {Kind.REQUEST: sender, Kind.RESPONSE: receiver}.get(kind)
        self._log.lost("a line is too long", line.size_bytes)
        if way is not None and request_id is not None:
            self._say(way, fault_message(request_id, error))

    def _say(self, way: _Way, message: bytes) -> None:
        """Send a message of ours without holding up the flow."""
        if self.has_room:
            _ = self.begin(_sent(way, message + b"\n"), "a message of ours")
        else:
            self._log.lost("nobody reads the refusals", len(message))

    # Beside it

    @property
    def has_room(self) -> bool:
        """Whether one more task may go on beside the flow."""
        return len(self._tasks) < MAX_SERVED

    def begin(self, work: Coroutine[object, object, None], what: str) -> "asyncio.Task[None]":
        """Start a task that `settle` waits for."""
        task = self._spawn(work, what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._is_over:
            task.cancel()
        return task

    async def settle(self, limit_s: float) -> None:
        """Wait until no task goes on any more; after `limit_s` seconds give up what is left."""
        try:
            async with asyncio.timeout(limit_s):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            self._cancel()

    def give_up(self) -> None:
        """The house closes: nothing goes on any more, not even what waits for a client that does not read."""
        self._is_over = True
        self._cancel()

    def _cancel(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()


async def _sent(way: _Way, message: bytes) -> None:
    await way(message)
