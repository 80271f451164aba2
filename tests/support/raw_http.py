"""HTTP/1 read and written as bytes over a socket, so that tests see what really went over the wire."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

Headers = tuple[tuple[bytes, bytes], ...]
BODILESS = frozenset({204, 304})


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Start line and header fields of one message, as they came."""

    start: bytes
    headers: Headers

    def all(self, name: bytes) -> list[bytes]:
        """All values of the field `name` (lower case)."""
        return [value for key, value in self.headers if key.lower() == name]

    @property
    def is_chunked(self) -> bool:
        """True when the body comes in chunks."""
        return any(value.lower().endswith(b"chunked") for value in self.all(b"transfer-encoding"))

    @property
    def length(self) -> int | None:
        """Content-Length in bytes, or None."""
        values = self.all(b"content-length")
        return int(values[0]) if values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One reply as a client saw it; `body` is without chunk framing."""

    status: int
    reason: bytes
    headers: Headers
    body: bytes
    complete: bool
    interim: tuple[int, ...] = ()

    def all(self, name: bytes) -> list[bytes]:
        """All values of the field `name` (lower case)."""
        return [value for key, value in self.headers if key.lower() == name]


async def read_head(reader: asyncio.StreamReader) -> Head:
    """Read one message head.

    Raises:
        EOFError: the connection ended before a whole head came.
    """
    lines: list[bytes] = []
    while True:
        line = await reader.readline()
        if not line.endswith(b"\n"):
            raise EOFError(f"the connection ended inside a head, after {lines!r} {line!r}")
        line = line.rstrip(b"\r\n")
        if not line:
            break
        lines.append(line)
    fields = []
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        fields.append((name, value.strip(b" \t")))
    return Head(start=lines[0], headers=tuple(fields))


async def read_chunk(reader: asyncio.StreamReader) -> bytes:
    """Read one chunk; empty means that the last one and the trailers were read."""
    size = int((await _line(reader)).split(b";")[0], 16)
    if size == 0:
        while await _line(reader):
            pass
        return b""
    data = await reader.readexactly(size)
    await reader.readexactly(2)
    return data


async def _line(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise asyncio.IncompleteReadError(line, None)
    return line.rstrip(b"\r\n")


async def read_body(reader: asyncio.StreamReader, head: Head, *, until_close: bool) -> tuple[bytes, bool]:
    """The body behind `head` and whether it reached its end."""
    parts: list[bytes] = []
    try:
        if head.is_chunked:
            while chunk := await read_chunk(reader):
                parts.append(chunk)
        elif head.length is not None:
            parts.append(await reader.readexactly(head.length))
        elif until_close:
            while piece := await reader.read(65536):
                parts.append(piece)
    except asyncio.IncompleteReadError as error:
        parts.append(error.partial)
        return b"".join(parts), False
    except ConnectionError:
        return b"".join(parts), False
    return b"".join(parts), True


@dataclass(frozen=True, slots=True)
class Wire:
    """One raw connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        """Write bytes and wait until they left our buffer."""
        self.writer.write(data)
        await self.writer.drain()

    async def reply_head(self) -> tuple[Head, tuple[int, ...]]:
        """The final reply head, and the statuses of the interim ones before it."""
        interim: list[int] = []
        while True:
            head = await read_head(self.reader)
            status = int(head.start.split(b" ")[1])
            if status >= 200 or status == 101:
                return head, tuple(interim)
            interim.append(status)

    async def reply(self, *, method: bytes = b"GET") -> Reply:
        """Read one reply to its end."""
        head, interim = await self.reply_head()
        status = int(head.start.split(b" ")[1])
        body, complete = b"", True
        if method != b"HEAD" and status not in BODILESS and status != 101:
            body, complete = await read_body(self.reader, head, until_close=True)
        reason = head.start.split(b" ", 2)[2] if head.start.count(b" ") > 1 else b""
        return Reply(
            status=status,
            reason=reason,
            headers=head.headers,
            body=body,
            complete=complete,
            interim=interim,
        )

    async def close(self) -> None:
        """Close and wait until the socket is gone."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            # The peer was faster: the socket is gone, which is all that was asked for.
            return


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[Wire]:
    """A raw connection to a port of this machine."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    wire = Wire(reader, writer)
    try:
        yield wire
    finally:
        await wire.close()
