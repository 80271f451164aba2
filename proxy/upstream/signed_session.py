"""Signs the calls that the sidecar makes by itself: to the Bridge, and to the MCP server.

One place for all of them: a middleware of their session, which is asked anew when the library repeats a call on
another connection, so that no signature is ever sent twice.
"""

import aiohttp
from yarl import URL

from proxy.core.call_signer import CallSigner, Outgoing
from proxy.core.signature_fields import parse_origin


def signing(signer: CallSigner) -> aiohttp.ClientMiddlewareType:
    """The middleware that adds a signature to each call.

    Our own bodies are all whole: bytes, or JSON made of them.
    """

    async def sign(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        body = request.body
        whole = body if isinstance(body, bytes) else await body.as_bytes()
        url: URL = request.url
        call = Outgoing(
            method=request.method.encode("ascii"),
            target=url.raw_path_qs.encode("ascii"),
            origin=parse_origin(str(url.origin())),
            body=whole or None,
            path=url.path,
            credential=request.headers.get("Authorization", ""),
        )
        for name, value in signer.fields(call):
            request.headers[name.decode("ascii")] = value.decode("ascii")
        return await send(request)

    return sign
