"""Listen, say so, and stop at once when told to."""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web

from proxy.devbridge.app import build_app
from proxy.devbridge.settings import Settings

SHUTDOWN_S: Final = 0.01
"""How long open requests may go on after a stop, seconds. Source: ours; parked waits are cut, and aiohttp takes 0 for
"for ever"."""


async def serve(
    settings: Settings, address: tuple[str, int], ready: Callable[[str, int], None], stop: asyncio.Event
) -> None:
    """Serve on host and port until `stop` is set; `ready` is told where, port 0 resolved.

    Raises:
        OSError: the address cannot be bound, or the state file not opened.
        ValueError: the state file holds something else.
    """
    runner = web.AppRunner(build_app(settings), handler_cancellation=True, access_log=None, shutdown_timeout=SHUTDOWN_S)
    try:
        await runner.setup()
        site = web.TCPSite(runner, *address)
        await site.start()
        ready(address[0], site.port)
        await stop.wait()
    finally:
        await runner.cleanup()
