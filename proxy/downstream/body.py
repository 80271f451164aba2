"""Read a request body that a door has to look into, within a bound."""

from typing import Final

from aiohttp import ClientError, HttpVersion11, web

from proxy.core.errors import BodyTooLarge, InvalidInput

MAX_LOOK_BYTES: Final = 2 * 1024 * 1024
"""Largest body that is looked into. Source: BRIDGE.md 2.2 (a text of 1 MiB is the Bridge's own limit), twice."""


def is_readable(request: web.Request) -> bool:
    """Whether the body may be looked into: a longer one cannot be ours, as the Bridge would refuse it."""
    return request.content_length is None or request.content_length <= MAX_LOOK_BYTES


async def read_body(request: web.Request, *, limit: int = MAX_LOOK_BYTES) -> bytes:
    """The whole body, of at most `limit` bytes.

    Raises:
        BodyTooLarge: it came in chunks and grew beyond the limit.
        InvalidInput: its framing is broken.
    """
    # Source: RFC 9110 section 10.1.1: HTTP/1.0 knows no Expect.
    if request.version >= HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # aiohttp counts these bytes as the begin of the reply, which they are not.
        request.writer.output_size = 0
    body = bytearray()
    try:
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > limit:
                raise BodyTooLarge(f"expected a body of at most {limit} bytes without a declared length")
    except (web.RequestPayloadError, ClientError) as error:
        raise InvalidInput(
            f"expected a complete request body, it is broken ({type(error).__name__}); send it again"
        ) from error
    return bytes(body)
