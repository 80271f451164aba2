"""A connection of one of our ports: what ends with its peer, the bounds of heads, what is said to what is no HTTP.

aiohttp offers two ways when a peer leaves: cancel the call, or let it run to its end. Neither fits: a wait must
end at once, and a message that was handed to us completely must be sent on. So `Connection` decides per call.

Private names of aiohttp used, as it has no public ones for this: `_make_server` of the runner (which server), `_loop`
and `_kwargs` of the server (how it makes connections), what a site was made with (where it listens), and of the
connection `_handle_request` (the call taken up, before its task runs), `_task_handler` (that task), `_manager` (the
server that counts), `_messages` (heads read), `_force_close`, `_upgraded` and `_payload_parser` (whether what comes
is HTTP at all).
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Final

from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError

from proxy.core.errors import InvalidInput
from proxy.downstream.doorman import REFUSAL
from proxy.downstream.guard_fields import add_guard_fields
from proxy.downstream.problem import problem_response

MAX_HEAD_LINE_BYTES: Final = 65536
"""Longest start line and longest header field that is read.

Source: ours; eight times aiohttp's default, what common servers take at most.
"""
MAX_HEAD_FIELDS: Final = 1024
"""Most header fields that are read in one head. Source: ours; eight times aiohttp's default."""

MAX_HEAD_BYTES: Final = 256 * 1024
"""What may come of an unfinished head, or of unfinished trailers.

Source: ours; four of the longest fields. The product of the bounds above would let anybody keep 64 MiB here.
"""
HEAD_TIMEOUT_S: Final = 30.0
"""How long a connection may take to its first head, and to the end of each later one that it has begun, in seconds.

Source: ours; generous for a local peer.
"""

HANDSHAKE_S: Final = 10.0
"""How long a peer may take to agree on TLS, in seconds. Source: ours; it takes milliseconds, and holds a descriptor."""

GOODBYE_S: Final = 1.0
"""How long the end of a TLS connection may take, in seconds. Source: ours; an exit takes less than 2 s."""

CARRY_OUT_S: Final = 10.0
"""How long a call goes on for a peer that left, in seconds. Source: ours; the default time-out of a Bridge call."""

ENDS_WITH_PEER: Final = web.RequestKey("ends_with_peer", bool)
"""True while nothing that the peer handed over is lost when its leaving ends the call; missing counts as False."""

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that hand nothing over. Source: RFC 9110 section 9.2.1; TRACE is answered by nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PortBounds:
    """How many connections a port has, and how long an idle one is kept."""

    connections: int | None = None
    """Most at a time; None where only the file descriptors bound them."""
    idle_s: float = 3630.0
    """Source: aiohttp's default, longer than that of a proxy in front."""


AGENTS_BOUNDS: Final = PortBounds()
"""Agents keep their connections."""

OPERATORS_BOUNDS: Final = PortBounds(connections=128, idle_s=75.0)
"""Source: ours; a port of few callers, where whoever leaves connections open must not keep them from the others."""

_LINE_ENDS: Final = b"\r\n"
"""What may stand between two messages, without a head having begun. Source: RFC 9112 section 2.2."""

_Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

_HEAD_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)
"""Source: RFC 6585 section 5."""


class Connection(web.RequestHandler):
    """aiohttp's connection with our rules for leaving peers and for heads."""

    __slots__ = ("_call", "_head_bytes", "_head_timer", "_is_turned_away", "_last_body", "admits", "most")

    _head_timer: asyncio.TimerHandle
    admits: Callable[[int], bool]
    """Whether a connection with this descriptor may stay."""
    most: int | None
    """Connections of this port at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless it is turned away; the first head is awaited."""
        self._is_turned_away = self._is_one_too_many() or not self.admits(_descriptor_of(transport))
        if self._is_turned_away:
            self._turn_away(transport)
            return
        self._call: web.BaseRequest | None = None
        self._last_body: StreamReader | None = None
        self._head_bytes = 0
        self._head_timer = self._loop.call_later(HEAD_TIMEOUT_S, self.force_close)
        super().connection_made(transport)

    def _is_one_too_many(self) -> bool:
        return self.most is not None and self._manager is not None and len(self._manager.connections) >= self.most

    def _turn_away(self, transport: asyncio.BaseTransport) -> None:
        BaseProtocol.connection_made(self, transport)
        if self.transport is not None:
            self.transport.write(REFUSAL)
        transport.close()

    def data_received(self, data: bytes) -> None:
        """Take bytes; those of a head, or of trailers, that do not end are counted."""
        if self._is_turned_away:
            return
        is_http = not self._upgraded and self._payload_parser is None
        body, queued = self._last_body, len(self._messages)
        fed_bytes = 0 if body is None else body.total_bytes
        super().data_received(data)
        if len(self._messages) > queued:
            self._head_timer.cancel()
            self._head_bytes, self._last_body = 0, self._messages[-1][1]
        elif body is not None and body.total_bytes > fed_bytes:
            self._head_timer.cancel()
            self._head_bytes = 0
        elif is_http and data.strip(_LINE_ENDS):
            if self._head_timer.cancelled():
                self._head_timer = self._loop.call_later(HEAD_TIMEOUT_S, self.force_close)
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse_head()

    def _refuse_head(self) -> None:
        if self._call is None and not self._messages and self.transport is not None:
            self.transport.write(_HEAD_TOO_LARGE)
        self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Refuse what is no HTTP; aiohttp would write what came, a token perhaps, into the log and into the reply.

        Raises:
            ConnectionError: a reply has begun.
        """
        if not isinstance(exc, HttpProcessingError) or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        self.logger.warning("refused what is no HTTP request: %s", type(exc).__name__)
        reply = problem_response(InvalidInput("expected an HTTP/1.1 request, got what cannot be read as one"))
        add_guard_fields(reply)
        reply.force_close()
        return reply

    def _handle_request(
        self, request: web.BaseRequest, start_time: float | None, request_handler: _Handler
    ) -> Coroutine[None, None, tuple[web.StreamResponse, bool]]:
        # Not a coroutine itself: a peer may leave before the task made of it takes its first step.
        self._call = request
        return self._handle(super()._handle_request(request, start_time, request_handler))

    async def _handle(self, handling: Awaitable[tuple[web.StreamResponse, bool]]) -> tuple[web.StreamResponse, bool]:
        try:
            return await handling
        finally:
            self._call = None

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the running call at once, or let it finish for a bounded time when it was handed over completely."""
        if self._is_turned_away:
            BaseProtocol.connection_lost(self, exc)
            return
        self._head_timer.cancel()
        task = self._task_handler
        if task is None or not self._is_owed():
            super().connection_lost(exc)
            return
        # Only the transport is gone for now: the rest of aiohttp's end would break the body and the call.
        BaseProtocol.connection_lost(self, exc)
        self.close()
        limit = self._loop.call_later(CARRY_OUT_S, task.cancel)

        def end(_: "asyncio.Task[None]") -> None:
            limit.cancel()
            super(Connection, self).connection_lost(exc)

        task.add_done_callback(end)

    def _is_owed(self) -> bool:
        """Whether a call runs that its peer may take for done: all of it came, and it is to change something."""
        call = self._call
        return (
            call is not None
            and not self._force_close
            and call.method not in _SAFE
            and call.content.is_eof()
            and not call.get(ENDS_WITH_PEER, False)
        )


def _descriptor_of(transport: asyncio.BaseTransport) -> int:
    socket = transport.get_extra_info("socket")
    return -1 if socket is None else int(socket.fileno())


def _anybody(_: int) -> bool:
    return True


class _Server(web.Server):
    admits: Callable[[int], bool] = staticmethod(_anybody)
    most: int | None = None

    def __call__(self) -> Connection:
        made = Connection(self, loop=self._loop, **self._kwargs)
        made.admits, made.most = self.admits, self.most
        return made


class PortSite(web.TCPSite):
    """One address that a port is served on; with TLS, a peer that does not come to an agreement is let go soon."""

    async def start(self) -> None:
        """Listen."""
        if self._ssl_context is None:
            await super().start()
            return
        await web.BaseSite.start(self)
        self._server = await asyncio.get_running_loop().create_server(
            self._runner.server,  # type: ignore[arg-type]  # it is set up by now, and makes protocols
            self._host,
            self._port,
            ssl=self._ssl_context,
            backlog=self._backlog,
            ssl_handshake_timeout=HANDSHAKE_S,
            ssl_shutdown_timeout=GOODBYE_S,
        )
        self._bound_port = self._server.sockets[0].getsockname()[1]


class PortRunner(web.AppRunner):
    """Runs an application on connections of ours; calls in flight have `shutdown_timeout_s` seconds at its end.

    `admits` is asked with the descriptor of each new connection whether it may stay.
    """

    def __init__(
        self,
        app: web.Application,
        *,
        shutdown_timeout_s: float,
        admits: Callable[[int], bool] = _anybody,
        bounds: PortBounds = AGENTS_BOUNDS,
    ) -> None:
        super().__init__(app, shutdown_timeout=shutdown_timeout_s)
        self._admits = admits
        self._bounds = bounds

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        server = _Server(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=True,
            auto_decompress=False,
            access_log=None,
            max_line_size=MAX_HEAD_LINE_BYTES,
            max_field_size=MAX_HEAD_LINE_BYTES,
            max_headers=MAX_HEAD_FIELDS,
            keepalive_timeout=self._bounds.idle_s,
        )
        server.admits, server.most = self._admits, self._bounds.connections
        return server
