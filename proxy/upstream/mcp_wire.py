"""JSON-RPC messages over HTTP to one MCP server: a body goes up, messages come down as one body or as a stream.

Every foreign exception is translated, every message is bounded, and no redirect is followed: a server that moves
would get credentials that are not meant for it.

Source: PROTOCOL.md 3.1.
"""

import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from yarl import URL

from proxy.core.contact import Contact
from proxy.core.errors import BadBridgeReply, BridgeRefused, BridgeUnavailable
from proxy.mcp.client_headers import SESSION
from proxy.mcp.client_words import Readable, is_of_another_era, read_messages
from proxy.mcp.jsonrpc import RequestId, Response, parse
from proxy.mcp.sse import MESSAGE, Reader, Splitter
from proxy.upstream.bridge_http import translated

MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""Longest message of a server that is read. Source: ours; as a reply of the Bridge."""

PIECE_BYTES: Final = 64 * 1024
"""Most of a stream that is read in one go. Source: ours; of blank lines alone these are 32,768 frames, some 60 ms."""


@dataclass(slots=True)
class Trail:
    """Where in its stream a request is, over all connections that it takes."""

    last_event_id: str = ""
    retry_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """The response to a request, and the HTTP around it."""

    response: Response
    status: int
    session_id: str | None = None

    @property
    def is_of_another_era(self) -> bool:
        """Whether the server refused the request because it, or its session, is no longer what it was."""
        return self.status >= 400 and is_of_another_era(self.response)


@dataclass(slots=True)
class Incoming:
    """The reply to one HTTP request, as the messages that it carries."""

    url: URL
    reply: aiohttp.ClientResponse
    trail: Trail
    _reader: Reader = field(init=False)
    _held: deque[Readable] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._reader = Reader(Splitter(MAX_MESSAGE_BYTES), self.trail.last_event_id, self.trail.retry_ms)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.reply.status

    @property
    def session_id(self) -> str | None:
        """The session that the server names."""
        return self.reply.headers.get(SESSION)

    async def next(self) -> Readable | None:
        """The next message; None at the end.

        Raises:
            BridgeFault: the connection broke, or what came cannot be read.
        """
        while not self._held:
            if self.reply.content_type != "text/event-stream":
                body = await self.body()
                self._held.extend(read_messages(body) if body.strip() else ())
                return self._held.popleft() if self._held else None
            async with translated(self.url):
                chunk = await self.reply.content.read(PIECE_BYTES)
            if not chunk:
                return None
            self._feed(chunk)
        return self._held.popleft()

    def _feed(self, chunk: bytes) -> None:
        frames = self._reader.feed(chunk)
        self.trail.last_event_id, self.trail.retry_ms = self._reader.last_event_id, self._reader.retry_ms
        for frame in frames:
            if frame.data and frame.event == MESSAGE:
                self._held.extend(read_messages(frame.data))

    async def body(self) -> bytes:
        """What is left of the body, whole.

        Raises:
            BridgeFault: the connection broke, or it is longer than a message may be.
        """
        chunks = bytearray()
        async with translated(self.url):
            while chunk := await self.reply.content.readany():
                chunks += chunk
                if len(chunks) > MAX_MESSAGE_BYTES:
                    raise BadBridgeReply(f"expected a message of at most {MAX_MESSAGE_BYTES} bytes")
        return bytes(chunks)

    async def refusal(self) -> Heard:
        """The JSON-RPC error in the body of an HTTP error.

        Raises:
            BridgeRefused: there is none, or the server itself failed.
        """
        body = await self.body()
        message = parse(body) if 400 <= self.status < 500 else None
        if isinstance(message, Response) and message.error is not None:
            return Heard(message, self.status, self.session_id)
        raise self.refused(body)

    def refused(self, body: bytes = b"") -> BridgeRefused:
        """The error that tells of this status."""
        text = f"the MCP server answered {self.url.path} with status {self.status}"
        content_type = "application/json" if self.reply.content_type == "application/json" else "text/plain"
        return BridgeRefused(text, bridge_status=self.status, body=body, content_type=content_type)


def is_for(response: Response, request_id: RequestId) -> bool:
    """Whether a response is the one to this request, or an error whose server could not tell to which."""
    if response.id is None:
        return response.error is not None
    return str(response.id) == str(request_id)


def unasked(response: Response) -> BadBridgeReply:
    """The error that tells of a response which nobody waits for."""
    return BadBridgeReply(f"expected the response to one request, got one to {str(response.id)[:80]!r}")


class McpWire:
    """One MCP server over HTTP."""

    __slots__ = ("_contact", "_session", "_short", "_stream", "url")

    def __init__(
        self, session: aiohttp.ClientSession, url: URL, *, request_timeout_s: float, contact: Contact | None = None
    ) -> None:
        self._contact = contact or Contact("the MCP server", time.monotonic)
        self._session = session
        self.url = url
        # A time-out of one request replaces the session's as a whole, and with it the bound on connecting.
        connect_s = session.timeout.sock_connect
        self._short = aiohttp.ClientTimeout(total=request_timeout_s, sock_connect=connect_s)
        self._stream = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)

    @asynccontextmanager
    async def open(
        self,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        method: str = "POST",
        trail: Trail | None = None,
        is_short: bool = False,
    ) -> AsyncIterator[Incoming]:
        """Send one HTTP request; its reply, for as long as the block lasts.

        Left before its end, the connection is closed.
        """
        with self._contact.watched():
            reply = await self._request(headers, body, method, is_short=is_short)
        try:
            yield Incoming(self.url, reply, trail or Trail())
        finally:
            reply.release()

    async def _request(
        self, headers: Mapping[str, str], body: bytes | None, method: str, *, is_short: bool
    ) -> aiohttp.ClientResponse:
        async with translated(self.url):
            return await self._session.request(
                method,
                self.url,
                data=body,
                headers=headers,
                timeout=self._short if is_short else self._stream,
                allow_redirects=False,
            )

    async def ask(self, headers: Mapping[str, str], body: bytes, request_id: RequestId) -> Heard:
        """Send a request that is answered soon, and without any question.

        Raises:
            BridgeFault: no response came in time, or none that can be read.
        """
        async with self.open(headers, body, is_short=True) as incoming:
            if incoming.status >= 300:
                return await incoming.refusal()
            while (message := await incoming.next()) is not None:
                if isinstance(message, Response):
                    if not is_for(message, request_id):
                        raise unasked(message)
                    return Heard(message, incoming.status, incoming.session_id)
        raise BadBridgeReply("expected a response, got a reply without one")

    async def tell(self, headers: Mapping[str, str], body: bytes | None, *, method: str = "POST") -> None:
        """Send what wants no response: a notification, a response of ours, the end of a session.

        Raises:
            BridgeFault: the server did not take it.
        """
        async with self.open(headers, body, method=method, is_short=True) as incoming:
            if incoming.status >= 300:
                raise incoming.refused(await incoming.body())


def ended_early(url: URL) -> BridgeUnavailable:
    """The error that tells of a reply without the response in it."""
    return BridgeUnavailable(f"{url.path}: the reply of the MCP server ended before its response")
