"""Where a client of the HTTP+SSE transport is to post its messages, told so that it posts them to us.

The server names that place in an `endpoint` event, mostly by path alone, and then the client resolves it against our
own address. An absolute URL at the server's origin would lead past us: it loses its origin. Any other stays as it is.

Source: PROTOCOL.md 3.2; the resolving is RFC 3986 section 5.2.
"""

import re
from collections.abc import Callable
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

from proxy.core.hosts import is_allowed_host
from proxy.mcp.sse import read_frame

ENDPOINT: Final = "endpoint"
"""Type of the event. Source: PROTOCOL.md 3.2."""

_ABSOLUTE: Final = re.compile(rb"(?:([A-Za-z][A-Za-z0-9+.-]*):)?//([^/\\?#\s@]+)((?:[/\\?#]\S*)?)")
"""Scheme, authority without user, and the rest. Source: RFC 3986 section 4.2 and appendix B."""

_LEADS_AWAY: Final = re.compile(rb"/[/\\]")
"""How a path begins that would be read as an authority. Source: RFC 3986 section 4.2; WHATWG URL 4.4 for `\\`."""

_PORTS: Final = {"http": 80, "https": 443}


def without_origin(url: bytes, upstream: str) -> bytes:
    """The same place by path alone where `url` is absolute and at the origin `upstream`; else the very same object.

    Two names of the loopback interface are one, as a server rarely knows by which of them it is called.
    """
    match = _ABSOLUTE.fullmatch(url)
    if match is None:
        return url
    scheme, authority, rest = match.groups()
    ours = urlsplit(upstream)
    named = _origin((scheme or ours.scheme.encode()).decode("ascii"), authority.decode("utf-8", "replace"))
    if named is None or not _is_same(named, _origin(ours.scheme, ours.netloc)):
        return url
    path: bytes = rest if rest.startswith(b"/") else b"/" + rest
    return b"/." + path if _LEADS_AWAY.match(path) else path


def rewritten(frame: bytes, upstream: str, *, on_endpoint: Callable[[bytes], None]) -> bytes:
    """One frame of the stream as it goes to the client; the very same object where nothing in it changes.

    `on_endpoint` hears what the client is told, if this frame tells it.
    """
    if b"endpoint" not in frame:
        return frame
    read = read_frame(frame)
    if read.event != ENDPOINT or not read.data:
        return frame
    told = without_origin(read.data, upstream)
    on_endpoint(told)
    if told is read.data:
        return frame
    return b"".join(
        line.replace(read.data, told) if _is_data(line) else line for line in frame.splitlines(keepends=True)
    )


def target_of(endpoint: bytes, sse_path: str) -> str | None:
    """Path and query of a place as its client will ask for it, decoded as by `same_target`; None if it has none."""
    try:
        parts = urlsplit(urljoin(sse_path, endpoint.decode("utf-8", "replace")))
    except ValueError:
        return None
    return same_target(f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/")


def same_target(target: str) -> str:
    """A request target decoded, as one client encodes what another leaves."""
    return unquote(target)


def _is_data(line: bytes) -> bool:
    return line.startswith(b"data:")


def _origin(scheme: str, authority: str) -> tuple[str, str, int | None] | None:
    """Scheme, host and port; None where the authority cannot be read."""
    try:
        parts = urlsplit(f"//{authority}")
        return scheme.lower(), parts.hostname or "", parts.port or _PORTS.get(scheme.lower())
    except ValueError:
        return None


def _is_same(named: tuple[str, str, int | None], ours: tuple[str, str, int | None] | None) -> bool:
    if ours is None or (named[0], named[2]) != (ours[0], ours[2]):
        return False
    return named[1] == ours[1] or (_is_loopback(named[1]) and _is_loopback(ours[1]))


def _is_loopback(host: str) -> bool:
    return is_allowed_host(f"[{host}]" if ":" in host else host, frozenset())
