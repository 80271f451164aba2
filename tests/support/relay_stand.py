"""A relay on a free port with the smallest application around it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
import yarl
from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.core.errors import SidecarError
from proxy.downstream.connection import PortRunner
from proxy.downstream.outgoing_head import OutgoingHead
from proxy.downstream.relay import RELAY_OUTCOME, Relay, RelayOutcome, add_relay_route
from proxy.downstream.relay_upstream import open_relay_session

RelayCall = Callable[[Relay, web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Stand:
    """The running relay; `outcomes` holds one entry per ended call, and `ended` is set."""

    port: int = 0
    outcomes: list[RelayOutcome] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except SidecarError as error:
        return web.Response(
            status=error.status,
            body=orjson.dumps(error.problem()),
            headers={"Content-Type": "application/problem+json"},
        )


async def _plainly(relay: Relay, request: web.Request) -> web.StreamResponse:
    return await relay.relay(request)


@asynccontextmanager
async def relay_stand(
    upstream: str, *, call: RelayCall = _plainly, connect_timeout_s: float = 0.5, head: OutgoingHead | None = None
) -> AsyncIterator[Stand]:
    """A relay to the URL `upstream`; `call` says how a request is handed to it."""
    stand = Stand()
    async with open_relay_session(connect_timeout_s=connect_timeout_s) as session:
        relay = Relay(session, yarl.URL(upstream), head=head)

        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                return await call(relay, request)
            finally:
                if RELAY_OUTCOME in request:
                    stand.outcomes.append(request[RELAY_OUTCOME])
                    stand.ended.set()

        app = web.Application(middlewares=[_problems])
        add_relay_route(app, handle)
        runner = PortRunner(app, shutdown_timeout_s=1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            stand.port = runner.addresses[0][1]
            yield stand
        finally:
            await runner.cleanup()
