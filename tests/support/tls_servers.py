"""Servers with TLS in the place of a Bridge: one that answers everything, and one that tells why it refuses."""

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import aiohttp
import orjson
from aiohttp import web


@asynccontextmanager
async def tls_server(context: ssl.SSLContext | None) -> AsyncIterator[int]:
    """A server on a free port that answers a plain call, a stream of events, a WebSocket and a poll; its port."""
    app = web.Application()
    app.router.add_get("/stream", _stream)
    app.router.add_get("/ws", _echo)
    app.router.add_get("/event/wait", _no_events)
    app.router.add_route("*", "/{rest:.*}", _plain)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        yield site.port
    finally:
        await runner.cleanup()


async def _plain(request: web.Request) -> web.Response:
    return web.Response(text=f"{request.method} {request.scheme} {await request.text()}")


async def _no_events(_: web.Request) -> web.Response:
    return web.Response(body=orjson.dumps({"events": [], "count": 0}), content_type="application/json")


async def _stream(request: web.Request) -> web.StreamResponse:
    reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await reply.prepare(request)
    for number in range(3):
        await reply.write(f"data: {number}\n\n".encode())
    return reply


async def _echo(request: web.Request) -> web.WebSocketResponse:
    socket_ = web.WebSocketResponse()
    await socket_.prepare(request)
    async for message in socket_:
        if message.type is aiohttp.WSMsgType.TEXT:
            await socket_.send_str(f"heard {message.data}")
    return socket_


@contextmanager
def refusing_server(context: ssl.SSLContext) -> Iterator[int]:
    """A server whose refusals reach the client as alerts, which those of an event loop may not; its port."""
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_accept, args=(listening, context), daemon=True)
    thread.start()
    try:
        yield int(listening.getsockname()[1])
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)


def _accept(listening: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            peer, _ = listening.accept()
        except OSError:
            return  # the test is over
        with peer, suppress(OSError):
            peer.settimeout(5)
            with suppress(OSError):
                context.wrap_socket(peer, server_side=True, suppress_ragged_eofs=True).close()
            # Read to its end: closed with something unread, the alert would be lost.
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(65536):
                pass


async def shown_at(port: int, context: ssl.SSLContext) -> bytes:
    """The certificate that a new connection to a port is shown, in DER."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    try:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert isinstance(shown, bytes)
        return shown
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
