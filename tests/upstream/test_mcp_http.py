"""Whether an MCP session is alive, asked over HTTP."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import orjson
import pytest
from yarl import URL

from proxy.core.errors import BridgeTimeout, BridgeUnavailable
from proxy.ports import McpServer
from proxy.upstream.mcp_http import HttpMcpServer
from proxy.upstream.session import open_bridge_session
from tests.support.peers import Room, peer_room
from tests.support.raw_upstream import Peer, RawUpstream, answers, raw_upstream

pytestmark = pytest.mark.requirement("mcp.session_probe")

PONG = b'{"jsonrpc":"2.0","id":"esc-ping-1","result":{}}'


@contextlib.asynccontextmanager
async def _server(port: int, *, request_timeout_s: float = 5.0) -> AsyncIterator[McpServer]:
    async with asyncio.timeout(30), open_bridge_session(connect_timeout_s=1) as session:
        url = URL(f"http://127.0.0.1:{port}/mcp")
        yield HttpMcpServer(session, url, request_timeout_s=request_timeout_s)


@contextlib.asynccontextmanager
async def _scripted() -> AsyncIterator[tuple[RawUpstream, McpServer]]:
    async with raw_upstream() as upstream, _server(upstream.port) as server:
        yield upstream, server


def _reply(status: bytes, body: bytes = b"", headers: bytes = b"Content-Type: application/json\r\n") -> bytes:
    return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, headers, len(body), body)


async def test_a_ping_is_sent_with_the_headers_of_the_session() -> None:
    async with _scripted() as (upstream, server):
        upstream.play(answers(_reply(b"200 OK", PONG), _reply(b"200 OK", PONG)))
        headers = {"Mcp-Session-Id": "s1", "MCP-Protocol-Version": "2025-06-18", "Authorization": "Bearer t"}
        assert await server.is_alive(headers)
        assert await server.is_alive(headers)
    bodies = [orjson.loads(received.body) for received in upstream.received]
    assert [(body["method"], body["id"]) for body in bodies] == [("ping", "esc-ping-1"), ("ping", "esc-ping-2")]
    head = upstream.received[0].head
    assert upstream.received[0].target == b"/mcp"
    assert (head.all(b"mcp-session-id"), head.all(b"authorization")) == ([b"s1"], [b"Bearer t"])
    assert head.all(b"accept") == [b"application/json, text/event-stream"]


@pytest.mark.parametrize(
    "reply",
    [
        _reply(b"404 Not Found", b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Session not found"}}'),
        _reply(b"400 Bad Request", b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Missing session"}}'),
        _reply(b"401 Unauthorized"),
        _reply(b"202 Accepted"),
        _reply(b"307 Temporary Redirect", headers=b"Location: /elsewhere\r\n"),
        _reply(b"500 Oops", b"<html>"),
    ],
)
async def test_any_status_but_ok_means_no(reply: bytes) -> None:
    async with _scripted() as (upstream, server):
        upstream.play(answers(reply))
        assert not await server.is_alive({"Mcp-Session-Id": "s1"})
        assert len(upstream.received) == 1


async def test_a_reply_on_a_stream_is_not_waited_out() -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        event = b"event: message\r\ndata: " + PONG + b"\r\n\r\n"
        await peer.send(head + b"%x\r\n%b\r\n" % (len(event), event))
        await peer.gone()

    async with _scripted() as (upstream, server):
        upstream.play(play)
        assert await server.is_alive({})


async def test_a_server_that_does_not_answer_cannot_be_asked() -> None:
    async def play(peer: Peer) -> None:
        await peer.request()
        await peer.gone()

    async with raw_upstream() as upstream, _server(upstream.port, request_timeout_s=0.1) as server:
        upstream.play(play)
        with pytest.raises(BridgeTimeout):
            await server.is_alive({})


async def test_a_server_that_is_down_cannot_be_asked() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with _server(port) as server:
        with pytest.raises(BridgeUnavailable):
            await server.is_alive({})


@pytest.mark.e2e
@pytest.mark.parametrize("name", ["mcp-1.30", "mcp-2.3"])
async def test_real_servers_tell_a_living_session_from_others(name: str) -> None:
    def open_room() -> tuple[contextlib.AbstractContextManager[Room], str]:
        opened = peer_room()
        return opened, opened.__enter__().server(name).url

    opened, url = await asyncio.to_thread(open_room)
    try:
        await _look(URL(url))
    finally:
        await asyncio.to_thread(opened.__exit__, None, None, None)


async def _look(url: URL) -> None:
    async with _server(url.port or 0) as server, open_bridge_session(connect_timeout_s=1) as session:
        info = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        body = orjson.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": info})
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        async with session.post(url, data=body, headers=headers) as reply:
            session_id = reply.headers["Mcp-Session-Id"]
            await reply.read()
        assert await server.is_alive({"Mcp-Session-Id": session_id, "MCP-Protocol-Version": "2025-06-18"})
        assert not await server.is_alive({"Mcp-Session-Id": "0" * 32, "MCP-Protocol-Version": "2025-06-18"})
        assert not await server.is_alive({})
