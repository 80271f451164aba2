"""Header fields that keep a browser from making anything of a reply but what it is.

They stand on every reply of the admin port, errors included, and on what a peer hears that speaks no HTTP.
No page of another origin may read a reply: there are no Access-Control-* fields, so a browser shows it to nobody.

Source: W3C CSP3 (default-src, frame-ancestors, base-uri, form-action), Referrer Policy; WHATWG Fetch (nosniff,
Cross-Origin-Resource-Policy); RFC 9111 section 5.2.2.5 (no-store).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from aiohttp import web

SERVER: Final = "elicit-sidecar"
"""Without the versions of what we are made of, which aiohttp would tell."""

GUARD_FIELDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }
)
"""Name and value; a page of ours that needs more says so itself."""


def add_guard_fields(reply: web.StreamResponse) -> None:
    """Add the fields that a reply does not have."""
    for name, value in GUARD_FIELDS.items():
        reply.headers.setdefault(name, value)
    reply.headers["Server"] = SERVER


async def guard_reply(_: web.Request, reply: web.StreamResponse) -> None:
    """The same as a signal of an application, before the head is written."""
    add_guard_fields(reply)
