"""The client session for the sidecar's own calls to the Bridge."""

import ssl
from collections.abc import Callable
from types import SimpleNamespace

import aiohttp
from yarl import URL

from proxy.core.call_signer import CallSigner
from proxy.core.hop import KEPT_IDLE_S
from proxy.upstream.signed_session import signing


class BrokenOffError(aiohttp.ClientError):
    """A connection died before the reply; raised in place of the errors after which aiohttp repeats a call."""


def open_bridge_session(
    *,
    connect_timeout_s: float,
    tls: ssl.SSLContext | None = None,
    bridge: URL | None = None,
    dated: Callable[[str], None] | None = None,
    signer: CallSigner | None = None,
) -> aiohttp.ClientSession:
    """A session without cookies, proxies or a bound on connections; the caller closes it.

    Apart from the relay's: that one adds nothing to a request, this one speaks for itself. `tls` is how URLs with
    https are called. `dated` hears the Date field of each reply of the `bridge`. With a `signer` calls are signed.
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
            limit=0, keepalive_timeout=KEPT_IDLE_S, enable_cleanup_closed=False, ssl=True if tls is None else tls
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s, connect=None),
        trust_env=False,
        middlewares=(_once, *(() if signer is None else (signing(signer),))),
    )


async def _once(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Let aiohttp repeat nothing by itself: a call that broke off tells that the Bridge may be another one by now."""
    try:
        return await send(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise BrokenOffError(f"the connection ended before the reply ({type(error).__name__})") from error
