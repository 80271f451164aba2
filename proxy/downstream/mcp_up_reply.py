"""The HTTP reply to one request of the up bridge: JSON where it comes soon and alone, else a stream.

Source: PROTOCOL.md 3.1, 3.5, 3.7.
"""

import asyncio
import math
from typing import Final

from aiohttp import web

from proxy.core.errors import SidecarError
from proxy.downstream.mcp_answer import KEEP_ALIVE_S, SESSION
from proxy.flows.up_sessions import UpCall, UpSession
from proxy.mcp.sse import write_comment, write_event

STREAM_FROM_S: Final = 10.0
"""A reply that takes longer becomes a stream, seconds. Source: PROTOCOL.md 4.2, A1 x B1."""


class UpReply:
    """One reply on its way."""

    __slots__ = ("_headers", "_is_closed", "_lock", "_request", "_stream", "_takes_stream")

    def __init__(self, request: web.Request, session: UpSession | None, *, takes_stream: bool) -> None:
        self._request = request
        self._headers = {} if session is None else {SESSION: session.id}
        self._takes_stream = takes_stream
        self._stream: web.StreamResponse | None = None
        self._lock = asyncio.Lock()
        self._is_closed = False

    async def put(self, message: bytes) -> bool:
        """Put one message on the stream; False when it cannot arrive any more."""
        return await self._write(write_event(message))

    async def _write(self, piece: bytes) -> bool:
        if self._is_closed:
            return False
        if not self._takes_stream:
            return True  # only its response can reach such a client; nobody asks it
        try:
            stream = await self._begin()
            await stream.write(piece)
        except ConnectionError:
            self._is_closed = True
        return not self._is_closed

    async def _begin(self) -> web.StreamResponse:
        async with self._lock:  # the server's events and our comments may both be the first
            if self._stream is None:
                stream = web.StreamResponse(
                    headers={
                        **self._headers,
                        "Content-Type": "text/event-stream",
                        "Cache-Control": "no-cache, no-transform",
                        "X-Accel-Buffering": "no",
                    }
                )
                await stream.prepare(self._request)
                self._stream = stream
            return self._stream

    async def until_over(self, call: UpCall) -> None:
        """Wait for the end of the call; a silent stream gets comments."""
        silence_s = STREAM_FROM_S
        while not call.is_over:
            await call.pause.sleep(silence_s)
            if not call.is_over:
                await self._write(write_comment("waiting"))
            silence_s = KEEP_ALIVE_S

    def close(self) -> None:
        """Nothing more can arrive."""
        self._is_closed = True

    async def end(self, message: bytes, *, error: SidecarError | None = None) -> web.StreamResponse:
        """End the reply with the response; `error` is the one of ours that it tells."""
        if self._stream is not None:
            # In one piece: some clients hang up as soon as they have read the event.
            await self._stream.write_eof(write_event(message))
            return self._stream
        response = web.Response(body=message, content_type="application/json", headers=self._headers)
        if error is not None and error.retry_after_s is not None:
            response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
        return response

    async def nothing(self) -> web.StreamResponse:
        """End the reply to a call that its client cancelled. Source: PROTOCOL.md 3.6, it gets no response."""
        if self._stream is None:
            return web.Response(status=202, headers=self._headers)
        await self._stream.write_eof()
        return self._stream

    @property
    def has_begun(self) -> bool:
        """Whether the client has seen the head of a stream."""
        return self._stream is not None
