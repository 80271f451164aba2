"""Messages over HTTP to an MCP server, byte by byte where it matters."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from yarl import URL

from proxy.core.errors import BadBridgeReply, BridgeRefused, BridgeTimeout, BridgeUnavailable
from proxy.mcp.jsonrpc import Notification, Response, request_message
from proxy.upstream import mcp_wire
from proxy.upstream.mcp_wire import McpWire, Trail
from proxy.upstream.session import open_bridge_session
from tests.support.raw_upstream import Peer, RawUpstream, answers, raw_upstream

pytestmark = pytest.mark.requirement("mcp.upstream.wire")

PING = request_message(1, "ping", {})
PONG = b'{"jsonrpc":"2.0","id":1,"result":{}}'
NOTE = b'{"jsonrpc":"2.0","method":"notifications/x"}'
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def wired(*, request_timeout_s: float = 5.0) -> AsyncIterator[tuple[RawUpstream, McpWire]]:
    async with asyncio.timeout(20), raw_upstream() as upstream, open_bridge_session(connect_timeout_s=1) as session:
        url = URL(f"http://127.0.0.1:{upstream.port}/mcp")
        yield upstream, McpWire(session, url, request_timeout_s=request_timeout_s)


def reply(body: bytes, status: bytes = b"200 OK", more: bytes = b"Content-Type: application/json\r\n") -> bytes:
    return b"HTTP/1.1 %b\r\n%bConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (status, more, len(body), body)


async def test_a_short_request_is_answered_by_a_body_or_on_a_stream() -> None:
    async with wired() as (upstream, wire):
        upstream.play(answers(reply(PONG, more=b"Content-Type: application/json\r\nMcp-Session-Id: s1\r\n")))
        heard = await wire.ask({}, PING, 1)
        assert (heard.response.result, heard.status, heard.session_id) == (b"{}", 200, "s1")
        upstream.play(answers(STREAM + b"data: %b\r\n\r\ndata: %b\r\n\r\n" % (NOTE, PONG)))
        assert (await wire.ask({}, PING, 1)).response.result == b"{}"


@pytest.mark.parametrize(
    "body", [b"", NOTE, b'{"jsonrpc":"2.0","id":2,"result":{}}', b'{"jsonrpc":"2.0","id":null,"result":{}}']
)
async def test_a_short_request_without_its_response_is_a_bad_reply(body: bytes) -> None:
    async with wired() as (upstream, wire):
        upstream.play(answers(reply(body)))
        with pytest.raises(BadBridgeReply):
            await wire.ask({}, PING, 1)


async def test_a_short_request_is_not_waited_for_long() -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM + b": still here\n\n")
        await peer.gone()

    async with wired(request_timeout_s=0.05) as (upstream, wire):
        upstream.play(silent)
        with pytest.raises(BridgeTimeout):
            await wire.ask({}, PING, 1)
        upstream.play(silent)
        async with wire.open({}, PING, is_short=True) as incoming:
            with pytest.raises(BridgeTimeout):
                await incoming.next()


async def test_an_id_may_come_back_as_text() -> None:
    async with wired() as (upstream, wire):
        upstream.play(answers(reply(b'{"jsonrpc":"2.0","id":"1","result":{}}')))
        assert (await wire.ask({}, PING, 1)).response.id == "1"


async def test_a_stream_is_read_piece_by_piece_and_leaves_a_trail() -> None:
    pieces = [b"id: e1\nretry: 70\nda", b"ta: %b\n\nid" % NOTE, b": e2\ndata: %b\n\n: end" % PONG]

    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.send(STREAM)
        for piece in pieces:
            await peer.send(piece)
            await asyncio.sleep(0)

    trail = Trail()
    async with wired() as (upstream, wire):
        upstream.play(play)
        async with wire.open({}, PING, trail=trail) as incoming:
            assert isinstance(await incoming.next(), Notification)
            assert isinstance(await incoming.next(), Response)
            assert await incoming.next() is None
    assert trail == Trail(last_event_id="e2", retry_ms=70)


async def test_a_message_is_read_up_to_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_wire, "MAX_MESSAGE_BYTES", len(PONG))
    async with wired() as (upstream, wire):
        upstream.play(answers(reply(PONG)))
        assert (await wire.ask({}, PING, 1)).response.result == b"{}"
        upstream.play(answers(reply(PONG + b" ")))
        with pytest.raises(BadBridgeReply, match="at most"):
            await wire.ask({}, PING, 1)


async def test_an_endless_error_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_wire, "MAX_MESSAGE_BYTES", 1000)
    async with wired() as (upstream, wire):
        upstream.play(answers(reply(b"x" * 2000, b"500 Oops")))
        with pytest.raises(BadBridgeReply):
            await wire.tell({}, NOTE)


async def test_a_redirect_is_not_followed() -> None:
    async with wired() as (upstream, wire):
        upstream.play(answers(reply(b"", b"307 Temporary Redirect", b"Location: /elsewhere\r\n")))
        with pytest.raises(BridgeRefused) as raised:
            await wire.ask({"Authorization": "t"}, PING, 1)
        assert raised.value.bridge_status == 307
        assert len(upstream.received) == 1


@pytest.mark.parametrize(
    ("more", "told"),
    [(b"Content-Type: application/json; x=y\r\n", "application/json"), (b"Content-Type: \xff\r\n", "text/plain")],
)
async def test_a_refusal_keeps_its_words(more: bytes, told: str) -> None:
    async with wired() as (upstream, wire):
        upstream.play(answers(reply(b"so not", b"403 Forbidden", more)))
        with pytest.raises(BridgeRefused) as raised:
            await wire.tell({}, None, method="DELETE")
    assert (raised.value.body, raised.value.content_type) == (b"so not", told)


@pytest.mark.parametrize(
    "cut", [b"", b"HTTP/1.1 200 OK\r\n", b"garbage\r\n\r\n", reply(PONG)[:-3], STREAM + b"data: {"]
)
async def test_a_connection_that_breaks_is_told_so(cut: bytes) -> None:
    async with wired() as (upstream, wire):
        upstream.play(answers(cut))
        with pytest.raises((BridgeUnavailable, BadBridgeReply)):
            await wire.ask({}, PING, 1)
