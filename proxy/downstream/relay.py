"""Pass a call that is not ours to the Bridge and its reply back, byte for byte.

Method, target, header fields, bodies, status and reason stay as they are; only fields of one connection
are dropped and Host names the upstream. Every chunk goes on as it arrives. No time limit but the connect.
Only where a door says how (`rewrite`) do the messages inside a reply change.
A failure before the reply's head is an error of ours to answer; after it, the agent's connection breaks.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from weakref import WeakSet

import aiohttp
import yarl
from aiohttp import web
from aiohttp.client_proto import ResponseHandler
from aiohttp.typedefs import Handler

from proxy.core.contact import Contact
from proxy.core.errors import BadBridgeReply, BridgeUnavailable, BridgeUntrusted, InvalidInput, SidecarError
from proxy.core.hop import RawHeaders, is_chunked, is_websocket_upgrade, request_headers, upstream_target, write_head
from proxy.core.tls_trouble import Peer, hint_in, trouble_in
from proxy.downstream.body import READ_BODY
from proxy.downstream.connection import ENDS_WITH_PEER
from proxy.downstream.limit_reply import with_limits
from proxy.downstream.outgoing_head import OutgoingHead
from proxy.downstream.relay_edit import ReplyEdit, Rewrite, plainly, protocol_of
from proxy.downstream.relay_reply import RelayReply
from proxy.downstream.relay_upstream import RelayRequest, Upload, breaking_with
from proxy.downstream.relay_ws import tunnel

MAX_COLLECTED_BYTES: Final = 1024 * 1024
"""Largest reply body that is shown to `on_reply`. Source: ours; a reply of the Bridge is far smaller."""

OnReply = Callable[[int, bytes], None]
"""Told status and whole body of a reply after it was streamed."""

OnHead = Callable[[int, RawHeaders], None]
"""Told status and header fields of a reply before anything of it is passed on."""

Declines = Callable[[int], Awaitable[bool]]
"""Says by the status of a reply whether it shall not be passed on, because the call is served in another way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayOutcome:
    """What became of one relayed call; `status` is 0 when no reply came."""

    status: int
    bytes_up: int
    bytes_down: int
    complete: bool
    """False when the reply did not reach its end: upstream broke, or the agent left."""


RELAY_OUTCOME: Final = web.RequestKey("relay_outcome", RelayOutcome)
"""Where `Relay.relay` leaves its outcome on the request, also when it raises."""


class Declined(Exception):  # no error: it tells the door that asked for it to go another way
    """The reply was not wanted; nothing was sent to the agent."""


class _Lost(aiohttp.ClientError):
    """A connection died before the reply; raised in place of the errors that aiohttp retries by itself."""


class _Call:
    """The running counts of one relayed call."""

    __slots__ = ("bytes_down", "collected", "complete", "status", "tunnel_up")

    def __init__(self, *, collect: bool) -> None:
        self.status = 0
        self.bytes_down = 0
        self.tunnel_up = 0
        self.complete = False
        self.collected: bytearray | None = bytearray() if collect else None

    def count_up(self, size_bytes: int) -> None:
        self.tunnel_up += size_bytes

    def count_down(self, size_bytes: int) -> None:
        self.bytes_down += size_bytes

    async def put(self, down: RelayReply, chunk: bytes) -> None:
        if chunk:
            await down.write(chunk)
            self.bytes_down += len(chunk)
            self._collect(chunk)

    def _collect(self, chunk: bytes) -> None:
        if self.collected is None:
            return
        if len(self.collected) + len(chunk) > MAX_COLLECTED_BYTES:
            self.collected = None
        else:
            self.collected += chunk


class Relay:
    """Relays requests to one upstream over the connections of one session.

    The session comes from `open_relay_session` and belongs to the caller.
    """

    __slots__ = ("_contact", "_head", "_host", "_known", "_prefix", "_session", "_upstream")

    def __init__(
        self,
        session: aiohttp.ClientSession,
        upstream: yarl.URL,
        contact: Contact | None = None,
        head: OutgoingHead | None = None,
    ) -> None:
        """With a `head` the fields of signatures do not pass as they come."""
        self._head = head
        self._contact = contact or Contact("the upstream", time.monotonic)
        self._session = session
        self._upstream = upstream.origin()
        self._host = (upstream.host_port_subcomponent or "").encode("ascii")
        self._known: WeakSet[ResponseHandler] = WeakSet()
        self._prefix = upstream.raw_path.rstrip("/").encode("ascii")

    async def relay(
        self,
        request: web.Request,
        *,
        body: bytes | None = None,
        on_head: OnHead | None = None,
        on_reply: OnReply | None = None,
        rewrite: Rewrite | None = None,
        declines: Declines | None = None,
    ) -> web.StreamResponse:
        """Relay one request and stream its reply.

        `body` is the whole request body when a door has read it already. `on_reply` is called after a
        reply that reached its end and whose body is at most `MAX_COLLECTED_BYTES`. With `rewrite` the
        reply is asked for uncompressed, and its messages change on their way.

        Raises:
            Declined: `declines` said so.
            BridgeUnavailable: no reply came; nothing was sent to the agent.
            BadBridgeReply: what came is no HTTP reply; nothing was sent to the agent.
            BodyTooLarge: the body cannot be signed.
            InvalidInput: the agent's request body is broken.
        """
        call = _Call(collect=on_reply is not None)
        request[ENDS_WITH_PEER] = False  # until it went up
        whole = request.get(READ_BODY, body)
        if self._head is not None:
            whole = await self._head.whole(request, whole)
        upload = self._upload(request, whole, plain=rewrite is not None)
        try:
            with self._contact.watched():
                reply = await self._open(upload)
            call.status = reply.status
            upload.reply_started = True
            if on_head is not None:
                on_head(reply.status, reply.raw_headers)
            try:
                if declines is not None and await declines(reply.status):
                    raise Declined
                edit = None if rewrite is None else ReplyEdit(reply, rewrite)
                down = await self._pass_down(upload, reply, call, edit)
            finally:
                reply.close()
        finally:
            request[RELAY_OUTCOME] = RelayOutcome(
                status=call.status,
                bytes_up=upload.bytes_up + call.tunnel_up,
                bytes_down=call.bytes_down,
                complete=call.complete,
            )
        if on_reply is not None and call.complete and call.collected is not None:
            on_reply(call.status, bytes(call.collected))
        return down

    def _upload(self, request: web.Request, body: bytes | None, *, plain: bool) -> Upload:
        target = upstream_target(request.raw_path.encode("utf-8", "surrogateescape"), prefix=self._prefix)
        raw = plainly(request.raw_headers) if plain else request.raw_headers
        headers = request_headers(raw, host=self._host, body_bytes=None if body is None else len(body))

        def head() -> bytes:
            fields = headers if self._head is None else self._head.fields(request, target, body, headers)
            return write_head(request.method.encode("ascii") + b" " + target + b" HTTP/1.1", fields)

        return Upload(request, head, chunked=is_chunked(raw), whole=body, known=self._known)

    async def _open(self, upload: Upload) -> aiohttp.ClientResponse:
        """The reply's head, or the error that says why there is none."""
        try:
            try:
                return await self._send(upload)
            except _Lost:
                if not (upload.reused and upload.may_repeat):
                    raise
                return await self._send(upload)
        except aiohttp.ClientResponseError as error:
            # The parser's text quotes the reply, which may hold a secret: only its name is told.
            raise BadBridgeReply(
                f"expected an HTTP reply from the Bridge at {self._upstream}, "
                f"got what cannot be read ({type(error.__cause__).__name__}); check what listens there"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(upload.fault, SidecarError):
                raise upload.fault from error
            if upload.fault is not None:
                raise InvalidInput(
                    f"expected a complete request body, it is broken ({type(upload.fault).__name__}); send it again"
                ) from error
            raise self._unavailable(error) from error

    def _unavailable(self, error: Exception) -> BridgeUnavailable:
        peer = Peer(str(self._upstream), self._upstream.host or "")
        trouble = trouble_in(error, peer)
        if trouble:
            return BridgeUntrusted(trouble)
        return BridgeUnavailable(
            f"expected a reply from the Bridge at {self._upstream}, got: {error}; "
            f"check that it runs and that bridge.url (for MCP bridge.mcp_url) names it{hint_in(error, peer)}"
        )

    async def _send(self, upload: Upload) -> aiohttp.ClientResponse:
        async def attach(outgoing: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
            if not isinstance(outgoing, RelayRequest):
                raise TypeError("expected a session from open_relay_session, got another one")
            outgoing.upload = upload
            try:
                return await send(outgoing)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
                raise
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
                # aiohttp would repeat PUT and DELETE too, and on connections that were never used before.
                raise _Lost(f"the connection ended before the reply ({type(error).__name__})") from error

        return await self._session.request(
            upload.request.method,
            self._upstream,
            data=upload if upload.has_body else b"",
            expect100=upload.expects,
            allow_redirects=False,
            middlewares=(attach,),
        )

    async def _pass_down(
        self, upload: Upload, reply: aiohttp.ClientResponse, call: _Call, edit: ReplyEdit | None
    ) -> RelayReply:
        request = upload.request
        if reply.status == 101:
            if not is_websocket_upgrade(request.raw_headers):
                raise BadBridgeReply("expected a reply, the Bridge changed the protocol without being asked")
            down = await tunnel(request, reply, count_up=call.count_up, count_down=call.count_down)
            call.complete = True
            return down
        first = b"" if edit is None else await edit.begin()
        down = RelayReply(reply, headers=with_limits(request, reply.raw_headers if edit is None else edit.headers))
        if not upload.may_continue:
            # The agent still holds its body back; whether it sends it now cannot be known.
            down.force_close()
        try:
            await down.prepare(request)
            await call.put(down, first)
            await self._stream(reply, down, call, edit)
            if call.complete:
                await down.write_eof()
            else:
                down.break_off(request)
        except ConnectionError:
            # The agent hung up: nobody is left to tell.
            call.complete = False
            down.break_off(request)
        return down

    @staticmethod
    async def _stream(reply: aiohttp.ClientResponse, down: RelayReply, call: _Call, edit: ReplyEdit | None) -> None:
        """Pass the body on, chunk by chunk; `call.complete` says whether its end was reached."""
        protocol = protocol_of(reply) if edit is None else edit.protocol
        with breaking_with(protocol, reply.content):
            while chunk := await _read(reply.content):
                await call.put(down, chunk if edit is None else edit.feed(chunk))
        if edit is not None:
            await call.put(down, edit.rest())
        # A body that ends by close ends cleanly for the parser even when the connection was reset.
        reset = protocol is not None and isinstance(protocol.exception(), aiohttp.ClientOSError)
        call.complete = chunk is not None and not reset


async def _read(body: aiohttp.StreamReader) -> bytes | None:
    """The next piece of a reply's body as soon as it is here, empty at the end, None when it broke off."""
    try:
        return await body.readany()
    except (aiohttp.ClientError, OSError):
        return None


async def expect_on_demand(request: web.Request) -> None:
    """Expect handler of relayed routes: says nothing, the upstream decides whether the body is wanted."""


class _EveryPath(web.PlainResource):
    """The resource behind all others: any path, `*` too, whatever its bytes."""

    def _match(self, path: str) -> dict[str, str] | None:
        return {"tail": path}


def add_relay_route(app: web.Application, handler: Handler) -> None:
    """Send every request that no other route takes to `handler`.

    A path pattern would not do: `.` does not match an encoded line break, and `OPTIONS *` has no slash.
    """
    everything = _EveryPath("/")
    app.router.register_resource(everything)
    everything.add_route("*", handler, expect_handler=expect_on_demand)
