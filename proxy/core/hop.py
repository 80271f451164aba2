"""What of an HTTP head belongs to one connection only, and what a relay passes on.

Heads are raw here: bytes as they came, names in their own case, repeats and order kept.
Nothing is normalised and nothing is invented; the caller frames the body it sends.
Pure: no input or output, no clock.
"""

import re
from collections.abc import Sequence
from typing import Final, TypeAlias

RawHeaders: TypeAlias = Sequence[tuple[bytes, bytes]]
"""Header fields in the order they came, as (name, value) in raw bytes."""

HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
"""Fields of one connection, in lower case.

`trailer` goes with the trailers, which a relay may drop; the proxy's own authentication fields stay,
because this relay is a gateway and demands none.

Source: RFC 9110 section 7.6.1; RFC 9110 section 6.5.1 (trailers); RFC 9110 section 11.7 (gateways).
"""

NEVER_NOMINATED: Final = frozenset({b"content-length", b"host"})
"""Fields that a Connection field cannot take away.

Without them the next hop would read the body as a second request, or not know whom it is for.

Source: ours; RFC 9110 section 7.6.1 forbids a sender to name them, a hostile one does not care.
"""

KEPT_IDLE_S: Final = 4.0
"""How long a connection upstream is kept for a next call, seconds.

A call on a connection that its server closes at that moment is lost, and one that changes something must not be
repeated. Source: ours; below the five seconds after which common servers close theirs (uvicorn, Node's http).
"""

_ABSOLUTE_TARGET: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_BREAKS_A_HEAD: Final = re.compile(rb"[\r\n\x00]")


def values_of(headers: RawHeaders, name: bytes) -> list[bytes]:
    """All values of the field `name` (in lower case), in order."""
    return [value for key, value in headers if key.lower() == name]


def list_members(headers: RawHeaders, name: bytes) -> list[bytes]:
    """The comma-separated members of all fields `name`, in lower case, without blanks.

    Source: RFC 9110 section 5.6.1.
    """
    joined = b",".join(values_of(headers, name)).lower()
    return [member for part in joined.split(b",") if (member := part.strip(b" \t"))]


def is_websocket_upgrade(headers: RawHeaders) -> bool:
    """True when this head asks for, or grants, the change to WebSocket.

    Source: RFC 6455 sections 4.1 and 4.2.2.
    """
    return b"upgrade" in list_members(headers, b"connection") and list_members(headers, b"upgrade") == [b"websocket"]


def is_chunked(headers: RawHeaders) -> bool:
    """True when the body is framed by chunks.

    Source: RFC 9112 section 6.3: only the last transfer coding frames.
    """
    return list_members(headers, b"transfer-encoding")[-1:] == [b"chunked"]


def end_to_end(headers: RawHeaders, *, upgrade: bool = False) -> list[tuple[bytes, bytes]]:
    """The fields that go on to the next hop.

    With `upgrade` the two fields that carry the change to WebSocket go on as well, as they came.

    Source: RFC 9110 section 7.6.1.
    """
    nominated = frozenset(list_members(headers, b"connection")) - NEVER_NOMINATED
    dropped = HOP_BY_HOP | nominated
    if upgrade:
        dropped -= {b"connection", b"upgrade"}
    return [pair for pair in headers if pair[0].lower() not in dropped]


def framing(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """The transfer-coding fields to send with a body that stays chunked.

    They are repeated as they came: a coding below `chunked` (gzip, chunked) is still in the bytes.

    Source: RFC 9112 section 6.1.
    """
    return [pair for pair in headers if pair[0].lower() == b"transfer-encoding"]


def request_headers(headers: RawHeaders, *, host: bytes, body_bytes: int | None = None) -> list[tuple[bytes, bytes]]:
    """The header fields of a request for the upstream whose authority is `host`.

    `body_bytes` is the size of a body that was read whole: it is then sent with its length. None means
    that the body, if any, is streamed in the framing it came in.

    Source: RFC 9110 section 7.2 (Host), RFC 9112 section 6.1 (chunked overrides a length).
    """
    upgrade = is_websocket_upgrade(headers)
    chunked = is_chunked(headers)
    had_length = bool(values_of(headers, b"content-length"))
    passed = [
        (name, host if name.lower() == b"host" else value)
        for name, value in end_to_end(headers, upgrade=upgrade)
        if not (name.lower() == b"content-length" and (chunked or body_bytes is not None))
    ]
    if not values_of(headers, b"host"):
        passed.insert(0, (b"Host", host))
    if body_bytes is None:
        return passed + (framing(headers) if chunked else [])
    if body_bytes or had_length or chunked:
        passed.append((b"Content-Length", b"%d" % body_bytes))
    return passed


def reply_headers(headers: RawHeaders, *, upgrade: bool = False) -> list[tuple[bytes, bytes]]:
    """The header fields of a reply for the agent, without framing by chunks.

    A length beside chunked framing is dropped. With `upgrade` the reply grants WebSocket.

    Source: RFC 9112 section 6.3.
    """
    chunked = is_chunked(headers)
    return [
        pair for pair in end_to_end(headers, upgrade=upgrade) if not (chunked and pair[0].lower() == b"content-length")
    ]


def upstream_target(target: bytes, *, prefix: bytes = b"") -> bytes:
    """The request target to send upstream: the very bytes that came, after the upstream's own path.

    An absolute target names our authority, so it is cut to path and query; `*` stays alone.

    Source: RFC 9112 sections 3.2.1, 3.2.2 and 3.2.4.
    """
    if target == b"*":
        return target
    if match := _ABSOLUTE_TARGET.match(target):
        target = target[match.end() :]
        if not target.startswith(b"/"):
            target = b"/" + target
    return prefix + target


def write_head(start_line: bytes, headers: RawHeaders) -> bytes:
    """The head of a message on the wire.

    Raises:
        ValueError: a start line, name or value holds CR, LF or NUL and would break the head.

    Source: RFC 9110 section 5.5, RFC 9112 section 2.1.
    """
    lines = [start_line, *(name + b": " + value for name, value in headers)]
    for line in lines:
        if _BREAKS_A_HEAD.search(line):
            raise ValueError(f"expected a head line without CR, LF and NUL, got {line!r}")
    return b"\r\n".join([*lines, b"", b""])
