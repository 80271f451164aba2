"""What a proxy in the middle of MCP is known to break, whole: each exchange looks as it does directly."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from tests.support.corpus import Case, chunked, get, post, reply
from tests.support.house import OFF, ON, House, house
from tests.support.mcp_corpus import BOTH, CALL, EVENTS, JSON, LEGACY, MCP, MCP_CORPUS, MODERN
from tests.support.raw_http import Headers, connect, read_chunk
from tests.support.raw_upstream import Peer, RawUpstream, raw_upstream

pytestmark = pytest.mark.requirement("mcp.transparent")

# Written out here and not imported: the relay's own list must not judge itself.
PER_CONNECTION = frozenset({b"connection", b"keep-alive", b"transfer-encoding"})

FLAGS = {"on": ON, "off": OFF}


@asynccontextmanager
async def _before(upstream: RawUpstream, flags: Mapping[str, str]) -> AsyncIterator[House]:
    """A sidecar before an MCP server, with nothing behind it as a Bridge; eras are left to the server."""
    mcp_url = f"http://127.0.0.1:{upstream.port}"
    given = {**flags, "bridge.mcp_url": mcp_url, "bridge.mcp_eras": "relay"}
    async with house("http://127.0.0.1:9", given) as made:
        yield made


def _to(made: House, request: bytes) -> bytes:
    return request.replace(b"HOST", b"127.0.0.1:%d" % made.port)


def _end_to_end(headers: Headers, *, host: bool) -> Counter[tuple[bytes, bytes]]:
    left_out = PER_CONNECTION | (frozenset() if host else {b"host"})
    # A body in chunks that was looked at goes on with its length.
    return Counter((name, value) for name, value in headers if name.lower() not in left_out | {b"content-length"})


async def _seen(case: Case, upstream: RawUpstream, port: int) -> tuple[object, ...]:
    stage = upstream.play(case.upstream)
    async with asyncio.timeout(20), connect(port) as wire:
        (heard,) = await case.play(wire, stage, b"127.0.0.1:%d" % port)
    (got,) = upstream.received
    return (
        (got.method, got.target, _end_to_end(got.head.headers, host=False), got.body, got.complete),
        (heard.status, heard.reason, _end_to_end(heard.headers, host=True), heard.body, heard.complete),
    )


@pytest.mark.parametrize("case", MCP_CORPUS, ids=lambda case: case.name)
async def test_an_exchange_on_the_mcp_path_looks_as_it_does_directly(case: Case) -> None:
    async with raw_upstream() as upstream:
        direct = await _seen(case, upstream, upstream.port)
        for flags in FLAGS.values():
            async with _before(upstream, flags) as made:
                assert await _seen(case, upstream, made.port) == direct
    assert upstream.failures == []


# Streams: what was sent is heard before anything else is sent


@pytest.mark.parametrize("kind", [JSON, EVENTS, b"Content-Type: application/x-ndjson"])
@pytest.mark.parametrize(
    "request_bytes",
    [post(CALL, *LEGACY, target=MCP), post(CALL, *MODERN, target=MCP), get(MCP, BOTH, *LEGACY[2:])],
    ids=["handshake", "envelope", "stream"],
)
@pytest.mark.parametrize("flags", FLAGS)
async def test_every_piece_of_a_reply_goes_on_as_it_comes(kind: bytes, request_bytes: bytes, flags: str) -> None:
    pieces = [b'{"jsonrpc":"2.0"', b',"method":"x"}\n', b": ka\n\n", b"data: {"]
    async with raw_upstream() as upstream, _before(upstream, FLAGS[flags]) as made:

        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(reply(b"200 OK", kind, b"Transfer-Encoding: chunked"))
            for number, piece in enumerate(pieces):
                await peer.stage.until(f"heard {number - 1}")
                await peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            await peer.send(chunked())

        stage = upstream.play(play)
        async with asyncio.timeout(10), connect(made.port) as wire:
            await wire.send(_to(made, request_bytes))
            await wire.reply_head()
            for number, piece in enumerate(pieces):
                stage.reached(f"heard {number - 1}")
                assert await read_chunk(wire.reader) == piece
            assert await read_chunk(wire.reader) == b""
    assert upstream.failures == []


@pytest.mark.parametrize("kind", [JSON, EVENTS])
async def test_the_head_of_a_reply_does_not_wait_for_its_body(kind: bytes) -> None:
    async with raw_upstream() as upstream, _before(upstream, ON) as made:

        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(reply(b"200 OK", kind, b"Mcp-Session-Id: 18bf", b"Transfer-Encoding: chunked"))
            await peer.stage.until("head")
            await peer.send(chunked())

        stage = upstream.play(play)
        async with asyncio.timeout(10), connect(made.port) as wire:
            await wire.send(_to(made, post(CALL, *LEGACY, target=MCP)))
            head, _ = await wire.reply_head()
            assert head.all(b"mcp-session-id") == [b"18bf"]
            stage.reached("head")
            assert await read_chunk(wire.reader) == b""


# Leaving


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("after", ["the request", "the head", "an event"])
async def test_who_leaves_in_the_envelope_era_leaves_the_server_too(flags: str, after: str) -> None:
    async with raw_upstream() as upstream, _before(upstream, FLAGS[flags]) as made:

        async def play(peer: Peer) -> None:
            await peer.request()
            if after != "the request":
                await peer.send(reply(b"200 OK", EVENTS, b"Transfer-Encoding: chunked"))
            if after == "an event":
                await peer.send(b"8\r\ndata: {}\r\n")
            peer.stage.reached("called")
            await peer.gone()
            peer.stage.reached("gone")

        stage = upstream.play(play)
        async with connect(made.port) as wire:
            await wire.send(_to(made, post(CALL, *MODERN, target=MCP)))
            await stage.until("called")
            if after != "the request":
                await wire.reply_head()
        await stage.until("gone")
    assert len(upstream.received) == 1


async def test_who_leaves_in_the_handshake_era_cancels_nothing() -> None:
    async with raw_upstream() as upstream, _before(upstream, ON) as made:

        async def play(peer: Peer) -> None:
            await peer.request()
            await peer.send(reply(b"200 OK", EVENTS, b"Transfer-Encoding: chunked"))
            await peer.gone()
            peer.stage.reached("gone")

        stage = upstream.play(play)
        async with connect(made.port) as wire:
            await wire.send(_to(made, post(CALL, *LEGACY, target=MCP)))
            await wire.reply_head()
        await stage.until("gone")
    assert [received.body for received in upstream.received] == [CALL]
