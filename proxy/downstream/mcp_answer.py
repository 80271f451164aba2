"""Writes the one HTTP response to an MCP call that is answered here: JSON, or a stream that is kept alive until then.

It becomes a stream where the wait may take long, and as soon as the client has to be asked something in the middle.

Source: PROTOCOL.md 3.5, 3.7, 4.2 (A1 x B1, A2 x B1).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Final

from aiohttp import web

from proxy.core.errors import InvalidState, RateLimited, SidecarError
from proxy.downstream.mcp_reply import error_reply, result_reply
from proxy.flows.pause import Pause
from proxy.mcp.jsonrpc import RequestId, fault_message
from proxy.mcp.mrtr import state_refused
from proxy.mcp.revisions import Era, era_of_header
from proxy.mcp.sse import write_comment, write_event
from proxy.ports import Clock, Spawn

SESSION: Final = "Mcp-Session-Id"
REVISION: Final = "MCP-Protocol-Version"

KEEP_ALIVE_S: Final = 15.0
"""Pause between comments on a stream that waits. Source: PROTOCOL.md 3.5."""


NOTHING_TOLD: Final[Mapping[str, str]] = MappingProxyType({})


def _told(error: SidecarError) -> dict[str, str]:
    """The header fields that an error has."""
    fields = {} if error.retry_after_s is None else {"Retry-After": str(max(1, round(error.retry_after_s)))}
    return {**fields, **error.fields} if isinstance(error, RateLimited) else fields


class McpAnswer:
    """One response on its way."""

    __slots__ = ("_clock", "_comments", "_era", "_id", "_request", "_spawn", "_stream")

    def __init__(self, request: web.Request, request_id: RequestId, clock: Clock, spawn: Spawn | None = None) -> None:
        self._request = request
        self._id = request_id
        self._clock = clock
        self._spawn = spawn
        """Where the comments on a stream are to run; without it there are none."""
        self._era = era_of_header(request.headers.get(REVISION))
        self._stream: web.StreamResponse | None = None
        self._comments: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def kept_alive(self, *, at_once: bool) -> AsyncIterator[None]:
        """Once it is a stream, write a comment every 15 seconds for as long as the block lasts."""
        try:
            if at_once:
                await self._begin()
            yield
        finally:
            if self._comments is not None:
                self._comments.cancel()

    async def put(self, message: bytes) -> bool:
        """Put one message on the stream, which begins here if it has not yet; False when nobody reads it any more."""
        try:
            stream = self._stream or await self._begin()
            await stream.write(write_event(message))
        except ConnectionError:
            return False
        return True

    async def _begin(self) -> web.StreamResponse:
        headers = {
            **self._session(),
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-cache, no-transform",
            "X-Accel-Buffering": "no",
        }
        stream = self._stream = web.StreamResponse(headers=headers)
        await stream.prepare(self._request)
        if self._spawn is not None:
            self._comments = self._spawn(self._comment(stream), "comments on a stream")
        return stream

    def _session(self) -> dict[str, str]:
        """The session of the call, which its server would name, too."""
        named = self._request.headers.get(SESSION)
        return {} if named is None or self._era is Era.ENVELOPE else {SESSION: named}

    async def _comment(self, stream: web.StreamResponse) -> None:
        pause = Pause(self._clock)
        try:
            while True:
                await pause.sleep(KEEP_ALIVE_S)
                await stream.write(write_comment("waiting"))
        except ConnectionError:  # the client has left, which ends its call by itself
            return

    async def result(self, result: Mapping[str, object]) -> web.StreamResponse:
        """Answer with the result of a tool."""
        return await self._write(result_reply(self._id, result, self._era))

    async def error(self, error: SidecarError) -> web.StreamResponse:
        """Answer with an error, which is never a bare status.

        Source: PROTOCOL.md 3.7 (a 4xx or 5xx destroys the session of python clients).
        """
        return await self._write(error_reply(self._id, error, self._era), told=_told(error))

    async def refusal(self, error: SidecarError) -> web.StreamResponse:
        """Refuse a call, whatever it calls: an error of the request, told with the fields that REST has.

        Source: ARCHITECTURE.md 3.5.
        """
        return await self._write(fault_message(self._id, error), told=_told(error))

    async def refused(self, error: InvalidState) -> web.StreamResponse:
        """Refuse a request state, as the envelope era has it."""
        return web.Response(status=error.status, body=state_refused(error, self._id), content_type="application/json")

    async def nothing(self) -> web.StreamResponse:
        """End the reply to a call that its client cancelled."""
        if self._stream is None:
            return web.Response(status=202, headers=self._session())
        await self._stream.write_eof()
        return self._stream

    async def _write(self, message: bytes, *, told: Mapping[str, str] = NOTHING_TOLD) -> web.StreamResponse:
        if self._stream is not None:
            # In one piece: some clients hang up as soon as they have read the event.
            await self._stream.write_eof(write_event(message))
            return self._stream
        headers = {**self._session(), **told}
        response = web.Response(body=message, content_type="application/json", headers=headers)
        await response.prepare(self._request)
        await response.write_eof()
        return response
