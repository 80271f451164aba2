"""Tells on replies what is left of the limits that their calls came under; a call under none gains nothing.

Source: ARCHITECTURE.md 3.6 (header fields), 4 (rate limits).
"""

from typing import Final

from aiohttp import web

from proxy.core.hop import RawHeaders
from proxy.core.limit_fields import limit_fields
from proxy.core.limits import Decision

GRANTED: Final = web.RequestKey("granted", list[Decision])
"""What the limits say that were asked for this call, all of which grant it."""


def with_limits(request: web.Request, headers: RawHeaders) -> RawHeaders:
    """The head of a relayed reply: what upstream says of limits stays, ours is put behind it."""
    decisions = request.get(GRANTED)
    if not decisions:
        return headers
    upstream: dict[str, list[str]] = {}
    for name, value in headers:
        upstream.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    # Without a refusal no time is told, so that none has to be known.
    told = {name.encode(): value.encode("latin-1") for name, value in limit_fields(decisions, upstream, wall=0).items()}
    replaced = {name.lower() for name in told}
    return [*(pair for pair in headers if pair[0].lower() not in replaced), *told.items()]


async def tell_limits(request: web.Request, response: web.StreamResponse) -> None:
    """The same for a reply of ours, as a signal before its head is sent."""
    decisions = request.get(GRANTED)
    if decisions:
        response.headers.update(limit_fields(decisions, {}, wall=0))
