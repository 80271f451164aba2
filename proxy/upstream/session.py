"""The client session for the sidecar's own calls to the Bridge."""

import ssl
from collections.abc import Callable
from types import SimpleNamespace

import aiohttp
from yarl import URL


def open_bridge_session(
    *,
    connect_timeout_s: float,
    tls: ssl.SSLContext | None = None,
    bridge: URL | None = None,
    dated: Callable[[str], None] | None = None,
) -> aiohttp.ClientSession:
    """A session without cookies, proxies or a bound on connections; the caller closes it.

    Apart from the relay's: that one adds nothing to a request, this one speaks for itself. `tls` is how URLs with
    https are called. `dated` hears the Date field of each reply of the `bridge`.
    """
    trace = aiohttp.TraceConfig()

    async def note(
        _session: aiohttp.ClientSession, _context: SimpleNamespace, reply: aiohttp.TraceRequestEndParams
    ) -> None:
        date = reply.response.headers.get("Date")
        if dated is not None and date is not None and reply.url.origin() == bridge:
            dated(date)

    if dated is not None:
        trace.on_request_end.append(note)
    return aiohttp.ClientSession(
        trace_configs=[trace],
        connector=aiohttp.TCPConnector(
            limit=0, keepalive_timeout=4, enable_cleanup_closed=False, ssl=True if tls is None else tls
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s, connect=None),
        trust_env=False,
    )
