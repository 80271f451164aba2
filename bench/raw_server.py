"""A process of its own that speaks just enough HTTP/1.1 to be measured: ready line, signals, one fixed reply.

Run it with `python bench/raw_server.py`; it picks a port and says so in one line of JSON.
"""

import asyncio
import signal
from collections.abc import Callable
from typing import Final, cast

import orjson
import uvloop

BODY: Final = orjson.dumps(
    {
        "jsonrpc": "2.0",
        "id": 7,
        "result": {"content": [{"type": "text", "text": "the quick brown fox jumps over the lazy dog, twice"}]},
        "padding": "0123456789ab",
    }
)
"""A reply of the size of a small tool result (148 bytes). Source: the method of PERFORMANCE.md, section 0."""

REPLY: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)

_LENGTH: Final = b"\r\ncontent-length:"


class RawServer(asyncio.Protocol):
    """Answers every request that ends with the same bytes."""

    __slots__ = ("_buffer", "_transport")

    def __init__(self) -> None:
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready for requests."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._buffer += data
        while (size := _request_size(self._buffer)) and len(self._buffer) >= size:
            self._buffer = self._buffer[size:]
            if self._transport is not None:
                self._transport.write(REPLY)


def _request_size(buffer: bytes) -> int:
    """Bytes of the first request in the buffer, 0 while its head is not whole."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return 0
    head = buffer[: end + 2].lower()
    at = head.find(_LENGTH)
    return end + 4 + (int(head[at + len(_LENGTH) : head.find(b"\r\n", at + 2)]) if at >= 0 else 0)


async def until_told() -> None:
    """Return at SIGTERM or Ctrl-C."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def announce(port: int) -> None:
    """Say that the process is ready."""
    print(orjson.dumps({"event": "ready", "listen": f"127.0.0.1:{port}"}).decode(), flush=True)


async def serve(protocol: Callable[[], asyncio.Protocol]) -> None:
    """Serve on a free port of loopback until told to stop."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0, backlog=1024)
    announce(server.sockets[0].getsockname()[1])
    await until_told()
    server.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(RawServer))
