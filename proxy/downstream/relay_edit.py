"""Change the messages inside one relayed reply on their way: a JSON body as a whole, an event stream frame by frame.

Only a plain 200 of one of these two kinds is changed, and only as far as it fits into memory here; everything else
passes as it came. The head follows: the length is corrected, and what vouched for the old bytes is dropped.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

from proxy.core.hop import RawHeaders, list_members
from proxy.downstream.relay_upstream import breaking_with
from proxy.mcp.sse import Splitter

MAX_EDITED_BYTES: Final = 4 * 1024 * 1024
"""Largest body, or frame of a stream, that is changed. Source: PROTOCOL.md 3.4 (no cap below 4 MiB)."""

_VOUCHERS: Final = frozenset({b"etag", b"content-md5", b"digest", b"content-digest", b"repr-digest"})
"""Fields that say what the body's bytes are. Source: RFC 9110 section 8.8.3; RFC 9530."""

_JSON: Final = b"application/json"
_EVENTS: Final = b"text/event-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """How a reply is changed; each gives the very same object back where it changes nothing."""

    body: Callable[[bytes], bytes]
    """For a JSON body."""
    frame: Callable[[bytes], bytes]
    """For one frame of an event stream."""


def protocol_of(reply: aiohttp.ClientResponse) -> ResponseHandler | None:
    """The protocol of the connection that the rest of this reply comes by."""
    return None if reply.connection is None else reply.connection.protocol


def plainly(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """The request's header fields, asking for a reply that is not compressed."""
    kept = [pair for pair in headers if pair[0].lower() != b"accept-encoding"]
    return [*kept, (b"Accept-Encoding", b"identity")]


class ReplyEdit:
    """One reply that is changed on its way."""

    __slots__ = ("_is_json", "_reply", "_rewrite", "_splitter", "headers", "protocol")

    def __init__(self, reply: aiohttp.ClientResponse, rewrite: Rewrite) -> None:
        self.headers: RawHeaders = reply.raw_headers
        """What goes down; final after `begin`."""
        self.protocol = protocol_of(reply)
        """Of the connection that the body comes by; the reply gives it back at its end."""
        self._reply = reply
        self._rewrite = rewrite
        kind = _kind_of(reply)
        self._is_json = kind == _JSON
        self._splitter = Splitter(MAX_EDITED_BYTES) if kind == _EVENTS else None

    async def begin(self) -> bytes:
        """Read what has to be known before the head goes down; what comes first of the body.

        A body that is too long or breaks off is given back as far as it came; its rest is still to be read.
        """
        if self._splitter is not None:
            self.headers = corrected(self.headers, None)
        if not self._is_json:
            return b""
        body, is_whole = await self._read_ahead()
        if not is_whole:
            return body
        edited = self._rewrite.body(body)
        if edited is not body:
            self.headers = corrected(self.headers, len(edited))
        return edited

    async def _read_ahead(self) -> tuple[bytes, bool]:
        """The body and whether it is whole; not more of it than may be changed, or than came."""
        body, content = bytearray(), self._reply.content
        with breaking_with(self.protocol, content):
            while len(body) <= MAX_EDITED_BYTES:
                try:
                    chunk = await content.readany()
                except (aiohttp.ClientError, OSError):
                    return bytes(body), False
                if not chunk:
                    return bytes(body), True
                body += chunk
        return bytes(body), False

    def feed(self, chunk: bytes) -> bytes:
        """Take the next piece of the body; what of it can go down now."""
        if self._splitter is None:
            return chunk
        held = self._splitter.rest()
        if len(held) + len(chunk) > MAX_EDITED_BYTES:
            self._splitter = None
            return held + chunk
        return b"".join(map(self._rewrite.frame, self._splitter.feed(chunk)))

    def rest(self) -> bytes:
        """What is left at the end of the body: a frame that is not complete."""
        return b"" if self._splitter is None else self._splitter.rest()


def _kind_of(reply: aiohttp.ClientResponse) -> bytes:
    headers = reply.raw_headers
    encodings = {value.lower() for value in list_members(headers, b"content-encoding")} - {b"identity"}
    if reply.status != 200 or encodings:
        return b""
    kinds = {value.partition(b";")[0].strip().lower() for value in list_members(headers, b"content-type")}
    return kinds.pop() if len(kinds) == 1 else b""


def corrected(headers: RawHeaders, size_bytes: int | None) -> list[tuple[bytes, bytes]]:
    """The fields of a reply whose body has changed; None where its new length is not known.

    How it is framed stays as it came, a length aside.
    """
    length = [] if size_bytes is None else [(b"Content-Length", b"%d" % size_bytes)]
    found: list[tuple[bytes, bytes]] = []
    for name, value in headers:
        if name.lower() == b"content-length":
            found += length
            length = []
        elif name.lower() not in _VOUCHERS:
            found.append((name, value))
    return found
