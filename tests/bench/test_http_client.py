"""The benchmarks' own HTTP client against raw replies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bench.http_client import Address, BadReplyError, Client, encode, parse_address


@asynccontextmanager
async def upstream(*pieces: bytes) -> AsyncIterator[Client]:
    """A client whose server answers each request with these pieces, one write each."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0)
            if not pieces:
                break
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    client = Client(Address("127.0.0.1", server.sockets[0].getsockname()[1]))
    try:
        yield client
    finally:
        client.close()
        server.close()
        await server.wait_closed()


async def test_a_reply_in_pieces_is_put_together() -> None:
    async with upstream(b"HTTP/1.1 200 OK\r\nContent-", b'Length: 9\r\n\r\n{"a":', b" 17", b"}") as client:
        reply = await client.call(encode("GET", "/"))
        assert (reply.status, reply.body) == (200, b'{"a": 17}')
        assert reply.sent_at <= reply.received_at
        assert await client.json("GET", "/") == {"a": 17}


async def test_a_status_other_than_200_is_no_json() -> None:
    async with upstream(b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\n{}") as client:
        assert (await client.call(encode("GET", "/"))).status == 503
        with pytest.raises(BadReplyError, match="got 503"):
            await client.json("GET", "/")


async def test_a_reply_without_length_is_refused() -> None:
    async with upstream(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") as client:
        with pytest.raises(BadReplyError, match="Content-Length"):
            await client.call(encode("GET", "/"))


async def test_a_connection_that_ends_before_the_reply_is_an_error() -> None:
    async with upstream() as client:
        with pytest.raises(ConnectionError):
            await client.call(encode("GET", "/"))


async def test_a_call_that_takes_too_long_hangs_up() -> None:
    async with upstream(b"HTTP/1.1 200 OK\r\n") as client:
        with pytest.raises(TimeoutError):
            await client.call(encode("GET", "/"), timeout_s=0.01)


def test_a_body_goes_out_as_json_with_its_length() -> None:
    request = encode("POST", "/x", body={"a": 1}, token="t")
    assert request.endswith(
        b'Authorization: Bearer t\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{"a":1}'
    )


def test_an_address_is_host_and_port() -> None:
    assert parse_address("127.0.0.1:8766") == Address("127.0.0.1", 8766)
