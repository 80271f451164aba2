"""The HTTP reply to one request of the down bridge: JSON where it comes soon and alone, else a stream.

Source: PROTOCOL.md 2.4, 2.7.
"""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from proxy.downstream.mcp_answer import KEEP_ALIVE_S
from proxy.flows.pause import Pause
from proxy.mcp.sse import write_comment, write_event
from proxy.ports import Clock, Spawn

STREAM_FROM_S: Final = 10.0
"""A reply that takes longer becomes a stream, seconds. Source: ours; PROTOCOL.md 2.7 saw 15 s in an SDK."""


class DownReply:
    """One reply on its way."""

    __slots__ = ("_clock", "_is_gone", "_lock", "_request", "_stream")

    def __init__(self, request: web.Request, clock: Clock) -> None:
        self._request = request
        self._clock = clock
        self._stream: web.StreamResponse | None = None
        self._lock = asyncio.Lock()
        self._is_gone = False

    @asynccontextmanager
    async def kept_alive(self, spawn: Spawn) -> AsyncIterator[None]:
        """Write a comment after 10 seconds and then every 15, for as long as the block lasts."""
        comments = spawn(self._comment(), "comments on a stream")
        try:
            yield
        finally:
            comments.cancel()

    async def _comment(self) -> None:
        pause, silence_s = Pause(self._clock), STREAM_FROM_S
        while not self._is_gone:
            await pause.sleep(silence_s)
            await self._write(write_comment("waiting"))
            silence_s = KEEP_ALIVE_S

    async def put(self, message: bytes) -> None:
        """Put one message on the stream."""
        await self._write(write_event(message))

    async def _write(self, piece: bytes) -> None:
        try:
            async with self._lock:  # a message and a comment may both be the first
                if self._stream is None:
                    stream = web.StreamResponse(
                        headers={
                            "Content-Type": "text/event-stream",
                            "Cache-Control": "no-cache, no-transform",
                            "X-Accel-Buffering": "no",
                        }
                    )
                    await stream.prepare(self._request)
                    self._stream = stream
            await self._stream.write(piece)
        except ConnectionError:  # the client has left, which ends its call by itself
            self._is_gone = True

    async def end(self, message: bytes, *, status: int = 200, retry_after_s: float | None = None) -> web.StreamResponse:
        """End the reply with the response; a stream that has begun has its status already."""
        async with self._lock:
            if self._stream is not None:
                # In one piece: some clients hang up as soon as they have read the event.
                await self._stream.write_eof(write_event(message))
                return self._stream
        response = web.Response(status=status, body=message, content_type="application/json")
        if retry_after_s is not None:
            response.headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
        return response

    @property
    def has_begun(self) -> bool:
        """Whether the client has seen the head of a stream."""
        return self._stream is not None
