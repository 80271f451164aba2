"""How a relayed request goes upstream: our own head bytes on aiohttp's pooled connections.

aiohttp would normalise the target, drop header bytes that are not UTF-8 and add fields of its own. So its
request only lends us the connection, the parser and the writer task; the head is written here as it came.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final
from weakref import WeakSet

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientResponse
from aiohttp.connector import Connection
from aiohttp.http import StreamWriter

from proxy.core.errors import SignatureRefused
from proxy.core.hop import KEPT_IDLE_S
from proxy.downstream.connection import ENDS_WITH_PEER, MAX_HEAD_FIELDS, MAX_HEAD_LINE_BYTES
from proxy.downstream.signed_body import SIGNED_BODY, SignedBody

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

REPEATABLE: Final = web.RequestKey("repeatable", bool)
"""True for a call whose door knows that to send it a second time does nothing twice."""


class Upload:
    """One request on its way up: its head, the body still to come, and what happened to both.

    Iterating it yields the body's chunks as they arrive from the agent.
    """

    __slots__ = (
        "_known",
        "_signed",
        "_whole",
        "_write_head",
        "bytes_up",
        "chunked",
        "expects",
        "fault",
        "first",
        "has_body",
        "may_continue",
        "reply_started",
        "request",
        "reused",
    )

    def __init__(
        self,
        request: web.Request,
        write_head: Callable[[], bytes],
        *,
        chunked: bool,
        whole: bytes | None,
        known: WeakSet[ResponseHandler],
    ) -> None:
        """`write_head` is asked each time it is sent, as no signature may be sent twice."""
        self.request = request
        self._write_head = write_head
        self._whole = whole or b""
        self.has_body = whole is None and request.body_exists
        self.chunked = chunked and self.has_body
        # Source: RFC 9110 section 10.1.1: HTTP/1.0 knows no Expect.
        self.expects = (
            self.has_body
            and request.version >= aiohttp.HttpVersion11
            and request.headers.get("Expect", "").lower() == "100-continue"
        )
        self.may_continue = not self.expects
        self.bytes_up = len(whole or b"")
        self.first: bytes | None = None
        self.fault: Exception | None = None
        self.reply_started = False
        self.reused = False
        self._known = known
        self._signed = request.get(SIGNED_BODY)

    def head(self) -> bytes:
        """Head, and the body where it is whole, to be sent once."""
        return self._write_head() + self._whole

    def use(self, connection: ResponseHandler) -> None:
        """Note whether the connection carried a request of ours before."""
        self.reused = connection in self._known
        if not self.reused and connection.closed is not None:
            connection.closed.add_done_callback(_note_end)
        self._known.add(connection)

    def sent(self) -> None:
        """All of it went up: from here on the agent's leaving ends the call, and so tells the upstream."""
        self.request[ENDS_WITH_PEER] = True

    @property
    def may_repeat(self) -> bool:
        """True when sending it again cannot do anything twice.

        Source: RFC 9110 section 9.2.2, narrowed by us to the safe methods without a body, and what a door vouches for.
        """
        is_safe = not self.bytes_up and self.request.method in {"GET", "HEAD", "OPTIONS"}
        return not self.has_body and (is_safe or self.request.get(REPEATABLE, False))

    def __aiter__(self) -> "Upload":
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._next() if self._signed is None else await self._next_of_signed(self._signed)
        if not chunk:
            raise StopAsyncIteration
        self.bytes_up += len(chunk)
        return chunk

    async def _next(self) -> bytes:
        chunk, self.first = self.first, None
        return await self._read() if chunk is None else chunk

    async def _next_of_signed(self, body: SignedBody) -> bytes:
        while chunk := await self._next():
            if ready := body.put(chunk):
                return ready
        try:
            return body.rest()
        except SignatureRefused as refusal:
            self.fault = refusal
            raise aiohttp.ClientPayloadError("the body is not the one that was signed") from refusal

    async def wait_for_leave(self, asked: "asyncio.Future[bool]") -> None:
        """Wait until the body may be sent, and ask the agent for it.

        That is when the upstream asks (`asked` is done) or when the agent sends without having been asked:
        an upstream that ignores Expect would wait for ever otherwise.

        Source: RFC 9110 section 10.1.1.
        """
        async with asyncio.TaskGroup() as watch:
            unasked = watch.create_task(self._read_unasked(asked))
            await asked
            unasked.cancel()
        self.may_continue = True
        if self.first is None and not self.reply_started:
            writer = self.request.writer
            await writer.write(CONTINUE)
            # aiohttp takes bytes on the wire for a reply that has begun; an interim reply is none.
            writer.output_size = 0

    async def _read_unasked(self, asked: "asyncio.Future[bool]") -> None:
        self.first = await self._read()
        if not asked.done():
            asked.set_result(True)

    async def _read(self) -> bytes:
        try:
            return await self.request.content.readany()
        except (web.RequestPayloadError, aiohttp.ClientError, OSError) as error:
            self.fault = error
            raise


class RelayRequest(aiohttp.ClientRequest):
    """aiohttp's request, with the head taken from an `Upload` when one is attached."""

    upload: Upload | None = None

    async def send(self, conn: Connection) -> ClientResponse:
        """Write the head, then let aiohttp start the body and the reply."""
        if self.upload is not None:
            protocol = _protocol_of(conn)
            self.upload.use(protocol)
            await StreamWriter(protocol, self.loop).write(self.upload.head())
            if not self.upload.has_body:
                self.upload.sent()
        return await super().send(conn)

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        """Write the body in the framing it came in.

        `writer` still holds the head that aiohttp made; it is left unsent.
        """
        upload = self.upload
        if upload is None:
            await super().write_bytes(writer, conn, content_length)
            return
        body_writer = StreamWriter(_protocol_of(conn), self.loop)
        if upload.chunked:
            body_writer.enable_chunking()
        if self._continue is not None:
            try:
                await upload.wait_for_leave(self._continue)
            except asyncio.CancelledError:
                # The reply came without our body: this connection is out of step and cannot be pooled.
                conn.close()
                raise
        await super().write_bytes(body_writer, conn, None)
        upload.sent()


def _note_end(closed: "asyncio.Future[None]") -> None:
    """Look at how a pooled connection ended, so that nobody warns that no one did."""
    if not closed.cancelled():
        closed.exception()


@contextmanager
def breaking_with(connection: ResponseHandler | None, body: aiohttp.StreamReader) -> Iterator[None]:
    """While inside, `body` fails when `connection` ends before it.

    aiohttp forgets a body whose chunks it cannot parse: it closes the connection, and the reader of that
    body would wait for ever.
    """

    def fail(closed: "asyncio.Future[None]") -> None:
        _note_end(closed)
        if not body.is_eof() and body.exception() is None:
            body.set_exception(aiohttp.ClientPayloadError("the connection ended inside the body"))

    closed = None if connection is None else connection.closed
    if closed is None:
        yield
        return
    closed.add_done_callback(fail)
    try:
        yield
    finally:
        closed.remove_done_callback(fail)


def _protocol_of(conn: Connection) -> ResponseHandler:
    if conn.protocol is None:
        raise aiohttp.ClientConnectionResetError("the connection was given back before it was used")
    return conn.protocol


def open_relay_session(*, connect_timeout_s: float, tls: ssl.SSLContext | None = None) -> aiohttp.ClientSession:
    """The client session of the relay: nothing added, nothing decoded, no limit in time but the connect.

    `connect_timeout_s` bounds name resolution, connecting and the handshake of `tls` together, in seconds. The caller
    closes it.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEPT_IDLE_S, ssl=True if tls is None else tls),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, connect=connect_timeout_s),
        skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        auto_decompress=False,
        trust_env=False,
        request_class=RelayRequest,
        max_line_size=MAX_HEAD_LINE_BYTES,
        max_field_size=MAX_HEAD_LINE_BYTES,
        max_headers=MAX_HEAD_FIELDS,
    )
