"""A bare aiohttp forwarder, the yardstick of the relay: no checks, no counts, whole bodies in one piece.

Run it with `python bench/aiohttp_forwarder.py URL`; it picks a port and says so in one line of JSON.
"""

import asyncio
import sys
from typing import Final

import aiohttp
import uvloop
from aiohttp import web

from bench.raw_server import announce, until_told

HOP: Final = frozenset({"connection", "host", "content-length", "transfer-encoding", "keep-alive"})


async def serve(upstream: str) -> None:
    """Forward everything to `upstream` until told to stop."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    ) as session:

        async def forward(request: web.Request) -> web.Response:
            headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP}
            body = await request.read()
            async with session.request(
                request.method, upstream + request.raw_path, headers=headers, data=body, allow_redirects=False
            ) as reply:
                kept = {name: value for name, value in reply.headers.items() if name.lower() not in HOP}
                return web.Response(status=reply.status, headers=kept, body=await reply.read())

        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", forward)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        announce(site.port)
        await until_told()
        await runner.cleanup()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1]))
