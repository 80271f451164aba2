"""The client session for the sidecar's own calls to the Bridge."""

import aiohttp


def open_bridge_session(*, connect_timeout_s: float) -> aiohttp.ClientSession:
    """A session without cookies, proxies or a bound on connections; the caller closes it.

    Apart from the relay's: that one adds nothing to a request, this one speaks for itself.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4, enable_cleanup_closed=False),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s, connect=None),
        trust_env=False,
    )
