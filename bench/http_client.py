"""A small HTTP/1.1 client that costs little and stamps every call to the microsecond.

It knows just what a load generator needs: one request at a time per connection, replies framed by Content-Length,
connections reused last in, first out. Times are seconds of `time.perf_counter`, since uvloop's own clock ticks in
milliseconds.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Final, cast

import orjson

CALL_TIMEOUT_S: Final = 10.0
"""Longest time a short call may take. Source: ours; a stuck server must end a benchmark, not hang it."""

_LENGTH: Final = b"\r\ncontent-length:"


class BadReplyError(Exception):
    """A server sent what this client cannot read."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int


def parse_address(text: str) -> Address:
    """Read HOST:PORT.

    Raises:
        ValueError: no port.
    """
    host, _, port = text.rpartition(":")
    return Address(host, int(port))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One reply, with the moments when its request was written and when its last byte came."""

    status: int
    body: bytes
    sent_at: float
    received_at: float


class Connection(asyncio.Protocol):
    """One connection that carries one call at a time."""

    __slots__ = ("_buffer", "_sent_at", "_size", "_status", "_transport", "_waiting", "is_open")

    def __init__(self) -> None:
        self.is_open = False
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiting: asyncio.Future[Reply] | None = None
        self._size = -1
        self._status = 0
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready for the first call."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def connection_lost(self, exc: Exception | None) -> None:
        """No further call; the one on its way fails."""
        self.is_open = False
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(exc or ConnectionResetError("the server closed the connection"))

    async def call(self, request: bytes) -> Reply:
        """Write a request and return its reply.

        Raises:
            ConnectionError: the connection ended first.
            BadReplyError: the reply has no length.
        """
        if self._transport is None or not self.is_open:
            raise ConnectionResetError("the connection is closed")
        self._waiting = asyncio.get_running_loop().create_future()
        self._buffer.clear()
        self._size = -1
        self._sent_at = time.perf_counter()
        self._transport.write(request)
        return await self._waiting

    def data_received(self, data: bytes) -> None:
        """Collect the reply; its caller goes on when it is whole."""
        now = time.perf_counter()
        self._buffer += data
        if self._waiting is None or self._waiting.done():
            return
        if self._size < 0 and not self._read_head(self._waiting):
            return
        if len(self._buffer) >= self._size:
            body = bytes(self._buffer[self._buffer.find(b"\r\n\r\n") + 4 : self._size])
            self._waiting.set_result(Reply(status=self._status, body=body, sent_at=self._sent_at, received_at=now))

    def _read_head(self, waiting: "asyncio.Future[Reply]") -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._buffer[: end + 2]).lower()
        at = head.find(_LENGTH)
        if at < 0 or not head.startswith(b"http/1."):
            waiting.set_exception(BadReplyError(f"expected a reply with Content-Length, got {head[:200]!r}"))
            return False
        self._status = int(head[9:12])
        self._size = end + 4 + int(head[at + len(_LENGTH) : head.find(b"\r\n", at + 2)])
        return True

    def abort(self) -> None:
        """Hang up at once."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()


class Client:
    """Calls one server over as many connections as there are calls at a time."""

    __slots__ = ("_address", "_all", "_idle")

    def __init__(self, address: Address) -> None:
        self._address = address
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()

    async def call(self, request: bytes, *, timeout_s: float = CALL_TIMEOUT_S) -> Reply:
        """Make one call; a caller that is cancelled hangs up.

        Raises:
            ConnectionError, OSError: no connection, or it ended first.
            TimeoutError: no whole reply within `timeout_s` seconds.
            BadReplyError: the reply has no length.
        """
        async with asyncio.timeout(timeout_s):
            connection = await self._take()
            done = False
            try:
                reply = await connection.call(request)
                done = True
            finally:
                if not done:
                    connection.abort()
                    self._all.discard(connection)
        self._idle.append(connection)
        return reply

    async def json(self, method: str, target: str, *, body: object = None, token: str = "") -> object:
        """Make one call and read the JSON it answers.

        Raises:
            ConnectionError, OSError, TimeoutError, BadReplyError: as `call`, or a status other than 200.
        """
        reply = await self.call(encode(method, target, body=body, token=token))
        if reply.status != 200:
            raise BadReplyError(f"expected 200 from {method} {target}, got {reply.status} {reply.body[:200]!r}")
        value: object = orjson.loads(reply.body)
        return value

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
            self._all.discard(connection)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, self._address.host, self._address.port)
        self._all.add(connection)
        return connection

    def close(self) -> None:
        """Hang up all connections."""
        for connection in self._all:
            connection.abort()
        self._all.clear()
        self._idle.clear()


def encode(method: str, target: str, *, body: object = None, token: str = "") -> bytes:
    """A request as bytes; `body` is anything that JSON can say, None for no body."""
    head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
    if token:
        head += f"Authorization: Bearer {token}\r\n"
    if body is None:
        return head.encode() + b"\r\n"
    said = orjson.dumps(body)
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(said)}\r\n\r\n".encode() + said
