"""A WebSocket passed both ways as bytes, after both sides agreed to the upgrade.

Frames are not read: text, binary, ping, pong, close codes, fragments and extensions pass as they are.
Each direction holds at most a bounded buffer; a slow reader slows the writer down.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import aiohttp
from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import StreamWriter

from proxy.core.errors import BridgeUnavailable
from proxy.downstream.relay_reply import RelayReply

BUFFER_BYTES: Final = 65536
"""Reading pauses when twice this is waiting to be written. Source: ours; one read of asyncio."""


class _Feed:
    """What aiohttp takes for the parser of an upgraded connection: it keeps the bytes as they come."""

    __slots__ = ("reader",)

    def __init__(self, protocol: BaseProtocol) -> None:
        self.reader = StreamReader(protocol, BUFFER_BYTES, loop=asyncio.get_running_loop())

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.reader.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        self.reader.feed_eof()


async def tunnel(
    request: web.Request,
    reply: aiohttp.ClientResponse,
    *,
    count_up: Callable[[int], None],
    count_down: Callable[[int], None],
) -> RelayReply:
    """Pass the upgrade on and carry bytes both ways until one side ends.

    `count_up` and `count_down` are told the size of each piece, in bytes.

    Raises:
        BridgeUnavailable: the upstream vanished right after it agreed.
    """
    upstream = None if reply.connection is None else reply.connection.protocol
    if upstream is None or upstream.transport is None:
        raise BridgeUnavailable("expected the Bridge to keep the WebSocket it agreed to, it closed; try again")
    up_transport = upstream.transport
    from_agent, from_upstream = _Feed(request.protocol), _Feed(upstream)
    upstream.set_parser(from_upstream, from_upstream.reader)
    down = RelayReply(reply, upgrade=True)
    await down.prepare(request)
    # aiohttp names its own frame reader as the type; it calls feed_data and feed_eof only.
    request.protocol.set_parser(from_agent)  # type: ignore[arg-type]  # the two methods are all it uses
    up_writer = StreamWriter(upstream, asyncio.get_running_loop())
    try:
        async with asyncio.TaskGroup() as pumps:
            up = pumps.create_task(_pump(from_agent.reader, up_writer, count_up))
            await _pump(from_upstream.reader, request.writer, count_down)
            up.cancel()
    finally:
        # The agent's last words may still wait here when its end of the connection is gone already.
        rest = from_agent.reader.read_nowait()
        if rest and not up_transport.is_closing():
            up_transport.write(rest)
            count_up(len(rest))
    return down


async def _pump(source: StreamReader, sink: AbstractStreamWriter, count: Callable[[int], None]) -> None:
    try:
        while chunk := await source.readany():
            await sink.write(chunk)
            count(len(chunk))
    except ConnectionError:
        # The far side went away: that is how a WebSocket ends, and the other pump learns it from its own side.
        return
