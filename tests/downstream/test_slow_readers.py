"""Agents that read slowly or not at all: the Bridge is held back, memory is not filled, nothing is lost by a cut."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from proxy.downstream import wait_http
from tests.support.house import OFF, house, objects, stand, until

pytestmark = pytest.mark.requirement("backpressure.bound")

PIECE = bytes(64 * 1024)
PIECES = 512
"""32 MiB in all, far more than all buffers on the way."""


class Fountain:
    """A Bridge that answers every call with a large reply, as fast as it is read."""

    def __init__(self) -> None:
        self.sent = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(PIECE) * PIECES))
            for _ in range(PIECES):
                writer.write(PIECE)
                await writer.drain()
                self.sent += len(PIECE)
        except (OSError, asyncio.IncompleteReadError):  # the other side has left
            pass
        finally:
            writer.close()


@asynccontextmanager
async def _fountain() -> AsyncIterator[Fountain]:
    made = Fountain()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = int(server.sockets[0].getsockname()[1])
    async with server:
        yield made


async def _until_still(fountain: Fountain) -> int:
    """Wait until no more is sent; how much that was."""
    before = -1
    async with asyncio.timeout(20):
        while before != fountain.sent:
            before = fountain.sent
            for _ in range(200):
                await asyncio.sleep(0)
    return before


def _small() -> socket.socket:
    """A socket that takes little without being read."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    made.setblocking(False)  # noqa: FBT003  # the socket's own way to say it
    return made


async def test_a_slow_reader_holds_back_the_bridge_and_gets_every_byte() -> None:
    async with _fountain() as fountain, house(f"http://127.0.0.1:{fountain.port}", OFF) as made:
        with _small() as agent:
            loop = asyncio.get_running_loop()
            await loop.sock_connect(agent, ("127.0.0.1", made.port))
            await loop.sock_sendall(agent, b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            await until(lambda: fountain.sent > 0)
            assert await _until_still(fountain) < len(PIECE) * PIECES / 2
            read = 0
            async with asyncio.timeout(60):
                while piece := await loop.sock_recv(agent, 1 << 20):
                    read += len(piece)
            assert read > len(PIECE) * PIECES
            assert fountain.sent == len(PIECE) * PIECES


async def test_a_reply_that_nobody_reads_is_cut_after_its_time_and_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wait_http, "TAKE_S", 0.2)
    async with stand(tmp_path) as made:
        alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
        # The largest texts that a Bridge takes, ten of them: more than what the sockets swallow.
        for number in range(10):
            await made.store(alice, {"n": number, "text": "x" * 900_000}, agent_id="alice")
        with _small() as agent:
            loop = asyncio.get_running_loop()
            await loop.sock_connect(agent, ("127.0.0.1", made.house.port))
            target = "/event/wait?agent_id=bob&since_sequence=0&timeout_seconds=30"
            head = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bob}\r\n\r\n"
            await loop.sock_sendall(agent, head.encode())
            await until(lambda: any(line["event"] == "gone" for line in made.house.lines))
        again = await made.wait("bob", bob, since_sequence=0, timeout_seconds=30)
    items = objects(orjson.loads(again.body)["events"])
    numbers = [data["n"] for item in items if isinstance(data := item["data"], dict) and "n" in data]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 7
