"""How a relayed reply goes down: the upstream's own head bytes, the body in this connection's framing.

aiohttp's response would add Date, Server and Content-Type and drop header bytes that are not UTF-8; this
one writes exactly the fields it was given. Signals of `on_response_prepare` therefore do not see it.
"""

import socket
import struct
from typing import Final

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from proxy.core.hop import RawHeaders, framing, is_chunked, reply_headers, values_of, write_head

_LINGER_NOT: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with zero seconds: closing sends RST. Source: socket(7)."""


class RelayReply(web.StreamResponse):
    """One reply of the upstream on its way to the agent.

    `upgrade` marks the reply that grants WebSocket: its connection fields stay and no framing is used.
    `headers` stand in for the upstream's own where the body is not what it sent.
    """

    def __init__(
        self, reply: aiohttp.ClientResponse, *, upgrade: bool = False, headers: RawHeaders | None = None
    ) -> None:
        super().__init__(status=reply.status, reason=reply.reason)
        self._raw: RawHeaders = reply.raw_headers if headers is None else headers
        self._upgrade = upgrade
        self._ends_by_close = False

    async def _start(self, request: web.BaseRequest) -> AbstractStreamWriter:
        self._req = request
        writer = self._payload_writer = request.writer
        headers = reply_headers(self._raw, upgrade=self._upgrade)
        sized = bool(values_of(headers, b"content-length"))
        chunk = not (sized or self._must_be_empty_body or self._upgrade)
        http_11 = request.version >= aiohttp.HttpVersion11
        self._ends_by_close = chunk and not http_11
        if self._keep_alive is None:
            self._keep_alive = request.keep_alive and not self._ends_by_close and not self._upgrade
        if chunk and http_11:
            headers += framing(self._raw) if is_chunked(self._raw) else [(b"Transfer-Encoding", b"chunked")]
        if not self._upgrade and self._keep_alive != http_11:
            headers.append((b"Connection", b"keep-alive" if self._keep_alive else b"close"))
        await writer.write(write_head(self._status_line(request), headers))
        if chunk and http_11:
            writer.enable_chunking()
        return writer

    def _status_line(self, request: web.BaseRequest) -> bytes:
        version = request.version
        line = f"HTTP/{version.major}.{version.minor} {self.status} {self.reason}"
        return line.encode("utf-8", "surrogateescape")

    def break_off(self, request: web.BaseRequest) -> None:
        """End the connection so that the agent sees an unfinished body.

        Framed bodies: what was received is still delivered, the end is missing. A body that ends by close
        has no end that could be missing, so the connection is reset.
        """
        self._eof_sent = True
        self._keep_alive = False
        transport = request.transport
        if transport is None:
            return
        if not self._ends_by_close:
            transport.close()
            return
        connection: socket.socket | None = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        transport.abort()
