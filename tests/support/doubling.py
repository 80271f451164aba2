"""A proxy that says every answer of an MCP client twice, so that a real client gives a duplicate answer.

It stands between a client and the sidecar. An answer is a JSON-RPC response, or a request that brings the answers with
it; its second copy follows when the first one was replied to, and the client then sees the first reply only.
"""

import asyncio
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Final

from aiohttp import ClientResponse, ClientSession, ClientTimeout, web

START_S: Final = 10.0
"""Longest start and end, seconds."""

_OWN: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "content-encoding"})
"""Headers that belong to one connection, or to a body as it was packed for it."""

_SECONDS: Final = re.compile(rb'waited_seconds\\": [0-9.]+')


@dataclass(frozen=True, slots=True)
class Second:
    """What a second copy was replied with."""

    status: int
    first: bytes
    body: bytes

    @property
    def is_same(self) -> bool:
        """Whether it was the reply to the first copy, but for the time that it tells of."""
        return bool(self.body) and _SECONDS.sub(b"", self.body) == _SECONDS.sub(b"", self.first)


@dataclass(slots=True)
class Doubling:
    """One running proxy."""

    target: str
    url: str = ""
    _seconds: list[Second] = field(default_factory=list)
    _heard: threading.Condition = field(default_factory=threading.Condition)
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _loop: asyncio.AbstractEventLoop | None = None
    _ready: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Serve until it is stopped; the work of a thread."""
        with asyncio.Runner() as runner:
            runner.run(self._serve())

    def wait_until_ready(self) -> None:
        """Wait until it listens."""
        assert self._ready.wait(START_S), "the doubling proxy did not start"

    def stop(self) -> None:
        """End it."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._stop.set)

    @property
    def count(self) -> int:
        """How many second copies there were so far."""
        with self._heard:
            return len(self._seconds)

    def second(self, number: int) -> Second:
        """Wait for what came back for the second copy of this number, from 0."""
        with self._heard:
            assert self._heard.wait_for(lambda: len(self._seconds) > number, START_S), "no answer was said twice"
            return self._seconds[number]

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        timeout = ClientTimeout(total=None, sock_connect=START_S)
        async with ClientSession(timeout=timeout, auto_decompress=False) as session:

            async def answer(request: web.Request) -> web.StreamResponse:
                return await self._pass_on(request, session)

            app = web.Application(client_max_size=2**24)
            app.router.add_route("*", "/{path:.*}", answer)
            runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            self._ready.set()
            await self._stop.wait()
            await runner.cleanup()

    async def _pass_on(self, request: web.Request, session: ClientSession) -> web.StreamResponse:
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OWN}

        def send() -> AbstractAsyncContextManager[ClientResponse]:
            return session.request(request.method, f"{self.target}{request.path_qs}", headers=headers, data=body)

        async with send() as reply:
            kept = {name: value for name, value in reply.headers.items() if name.lower() not in _OWN}
            if not is_answer(body):
                return await _stream(request, reply, kept)
            first = await reply.read()
        async with send() as again:
            second = Second(again.status, first, await again.read())
        with self._heard:
            self._seconds.append(second)
            self._heard.notify_all()
        return web.Response(status=reply.status, headers=kept, body=first)


async def _stream(request: web.Request, reply: ClientResponse, headers: Mapping[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers=headers)
    await response.prepare(request)
    async for chunk in reply.content.iter_any():
        await response.write(chunk)
    await response.write_eof()
    return response


def is_answer(body: bytes) -> bool:
    """Whether a body brings what the client was asked for."""
    return b'"inputResponses"' in body or (b'"result"' in body and b'"method"' not in body)


@contextmanager
def doubling(target: str) -> Iterator[Doubling]:
    """A proxy to the origin `target` for as long as the block lasts."""
    proxy = Doubling(target)
    thread = threading.Thread(target=proxy.run, name="doubling proxy")
    thread.start()
    try:
        proxy.wait_until_ready()
        yield proxy
    finally:
        proxy.stop()
        thread.join(START_S)
