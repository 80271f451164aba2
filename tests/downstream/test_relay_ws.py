"""The ends of a passed WebSocket: last words, vanished peers, slow readers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import StreamWriter

from proxy.core.errors import BridgeUnavailable
from proxy.downstream.relay import Relay, RelayOutcome
from proxy.downstream.relay_upstream import open_relay_session
from proxy.downstream.relay_ws import _pump, tunnel
from tests.support.corpus import get, reply
from tests.support.raw_http import connect
from tests.support.raw_upstream import Peer, RawUpstream, raw_upstream
from tests.support.relay_stand import Stand, relay_stand

HANDSHAKE = get(b"/ws/a", b"Connection: upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: k")
ACCEPT = reply(b"101 Switching Protocols", b"Connection: upgrade", b"Upgrade: websocket")


@asynccontextmanager
async def _house() -> AsyncIterator[tuple[RawUpstream, Stand]]:
    async with raw_upstream() as upstream, relay_stand(f"http://127.0.0.1:{upstream.port}") as stand:
        yield upstream, stand


async def test_a_slow_upstream_slows_the_agent_down_and_still_gets_every_byte() -> None:
    heard = 0

    async def listens_late(peer: Peer) -> None:
        nonlocal heard
        await peer.request()
        await peer.send(ACCEPT)
        await peer.stage.until("agent is stopped")
        while piece := await peer.wire.reader.read(65536):
            heard += len(piece)
        peer.stage.reached("all heard")

    async with _house() as (upstream, stand):
        stage = upstream.play(listens_late)
        async with connect(stand.port) as wire:
            await wire.send(HANDSHAKE)
            await wire.reply_head()
            said = 0
            # Until the buffers on the way are full and nothing is taken any more.
            while wire.writer.transport.get_write_buffer_size() < 1024 * 1024:
                wire.writer.write(bytes(65536))
                said += 65536
                for _ in range(20):
                    await asyncio.sleep(0)
            stage.reached("agent is stopped")
            await wire.writer.drain()
        await stage.until("all heard")
        async with asyncio.timeout(5):
            await stand.ended.wait()
    assert heard == said
    assert stand.outcomes[0].bytes_up == said


async def test_the_end_of_a_websocket_is_a_complete_outcome_with_both_counts() -> None:
    async def greets_and_goes(peer: Peer) -> None:
        await peer.request()
        await peer.send(ACCEPT + b"\x81\x02hi")
        await peer.wire.reader.readexactly(4)

    async with _house() as (upstream, stand):
        upstream.play(greets_and_goes)
        async with asyncio.timeout(5), connect(stand.port) as wire:
            await wire.send(HANDSHAKE)
            await wire.reply_head()
            await wire.reader.readexactly(4)
            await wire.send(b"\x88\x80\x00\x00")
            assert await wire.reader.read() == b""
    assert stand.outcomes == [RelayOutcome(status=101, bytes_up=4, bytes_down=4, complete=True)]


async def test_an_upgrade_whose_connection_is_gone_already_is_the_upstreams_failure() -> None:
    caught: list[BridgeUnavailable] = []
    counts: list[int] = []

    async with raw_upstream() as upstream:

        async def accepts(peer: Peer) -> None:
            await peer.request()
            await peer.send(ACCEPT)

        async def too_late(_: Relay, request: web.Request) -> web.StreamResponse:
            async with open_relay_session(connect_timeout_s=0.5) as session:
                granted = await session.get(f"http://127.0.0.1:{upstream.port}/ws/a")
                granted.close()
                with pytest.raises(BridgeUnavailable) as raised:
                    await tunnel(request, granted, count_up=counts.append, count_down=counts.append)
                caught.append(raised.value)
            return web.Response(status=299)

        upstream.play(accepts)
        async with (
            asyncio.timeout(5),
            relay_stand("http://127.0.0.1:9", call=too_late) as stand,
            connect(stand.port) as wire,
        ):
            await wire.send(get(b"/"))
            assert (await wire.reply()).status == 299
    assert len(caught) == 1
    assert counts == []


async def test_a_pump_ends_when_the_far_side_is_gone() -> None:
    loop = asyncio.get_running_loop()
    source = StreamReader(BaseProtocol(loop), 65536, loop=loop)
    source.feed_data(b"nobody hears this")
    counted: list[int] = []
    await _pump(source, StreamWriter(BaseProtocol(loop), loop), counted.append)
    assert counted == []
