"""An upstream that answers arbitrary bytes by script and records exactly what it received."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.support.raw_http import Head, Wire, read_body, read_head


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request as it came over the wire; `body` is without chunk framing."""

    connection: int
    head: Head
    body: bytes
    complete: bool

    @property
    def method(self) -> bytes:
        """The method's bytes."""
        return self.head.start.split(b" ", 1)[0]

    @property
    def target(self) -> bytes:
        """The request target's bytes, whatever they hold."""
        return self.head.start.split(b" ", 1)[1].rsplit(b" ", 1)[0]


class Stage:
    """Named barriers that the two sides of one exchange share."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}

    def reached(self, name: str) -> None:
        """Open the barrier `name`."""
        self._events.setdefault(name, asyncio.Event()).set()

    async def until(self, name: str) -> None:
        """Wait until the barrier `name` is open, five seconds at most."""
        async with asyncio.timeout(5):
            await self._events.setdefault(name, asyncio.Event()).wait()


@dataclass(frozen=True, slots=True)
class Peer:
    """One connection of the upstream, in the hands of a script."""

    wire: Wire
    number: int
    upstream: "RawUpstream"

    @property
    def stage(self) -> Stage:
        """The barriers of the running exchange."""
        return self.upstream.stage

    async def head(self) -> Head:
        """Read a request head without recording it."""
        return await read_head(self.wire.reader)

    async def request(self, head: Head | None = None) -> Received:
        """Read and record one whole request (its body only when `head` was read before)."""
        head = head or await self.head()
        body, complete = await read_body(self.wire.reader, head, until_close=False)
        received = Received(connection=self.number, head=head, body=body, complete=complete)
        self.upstream.received.append(received)
        return received

    async def send(self, data: bytes) -> None:
        """Write reply bytes."""
        await self.wire.send(data)

    async def gone(self) -> None:
        """Wait until the other side has ended the connection."""
        async with asyncio.timeout(5):
            try:
                while await self.wire.reader.read(65536):
                    pass
            except ConnectionError:
                # A reset is an end as well.
                return

    def abort(self) -> None:
        """Drop the connection at once."""
        self.wire.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


def answers(*replies: bytes) -> Script:
    """A script that reads one request per reply, then closes."""

    async def play(peer: Peer) -> None:
        for reply in replies:
            await peer.request()
            await peer.send(reply)

    return play


class RawUpstream:
    """The server; set `script` before a request comes."""

    def __init__(self) -> None:
        self.script: Script = answers(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.received: list[Received] = []
        self.connections = 0
        self.failures: list[BaseException] = []
        self.stage = Stage()
        self.port = 0

    def play(self, script: Script) -> Stage:
        """Forget what was recorded and answer by `script` from now on."""
        self.script, self.received, self.stage = script, [], Stage()
        return self.stage

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection by the script of the moment; `failures` keeps what went against it."""
        self.connections += 1
        wire = Wire(reader, writer)
        try:
            await self.script(Peer(wire, self.connections, self))
        except (AssertionError, EOFError, ConnectionError) as error:
            self.failures.append(error)
        finally:
            await wire.close()


@asynccontextmanager
async def raw_upstream() -> AsyncIterator[RawUpstream]:
    """A running upstream on a free port of this machine."""
    upstream = RawUpstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0, limit=1 << 20)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        await server.wait_closed()
