"""Read a request body that a door has to look into, within a bound."""

from typing import Final

from aiohttp import ClientError, HttpVersion11, web

from proxy.core.errors import BodyTooLarge, InvalidInput
from proxy.core.other_readers import only_others_read
from proxy.downstream.signed_body import SIGNED_BODY

MAX_LOOK_BYTES: Final = 2 * 1024 * 1024
"""Largest body that is looked into. Source: BRIDGE.md 2.2 (a text of 1 MiB is the Bridge's own limit), twice."""


READ_BODY: Final = web.RequestKey("read_body", bytes)
"""The whole body, where something that stands before the doors has read it."""


def is_readable(request: web.Request) -> bool:
    """Whether the body may be looked into: a longer one cannot be ours, as the Bridge would refuse it."""
    return request.content_length is None or request.content_length <= MAX_LOOK_BYTES


async def read_body(request: web.Request, *, limit: int = MAX_LOOK_BYTES) -> bytes:
    """The whole body, of at most `limit` bytes.

    Raises:
        BodyTooLarge: it came in chunks and grew beyond the limit.
        InvalidInput: its framing is broken.
        SignatureRefused: it is not the one that was signed.
    """
    if READ_BODY in request:
        return request[READ_BODY]
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
    signed = request.get(SIGNED_BODY)
    if signed is not None:
        if body:
            signed.put(bytes(body))
        signed.rest()
    return bytes(body)


async def read_judged(request: web.Request) -> bytes:
    """The body of a call that is held to rules here, so that it must be for the Bridge what it is for us.

    A body that nobody can read is no call at all, and is the Bridge's to refuse.

    Raises:
        BodyTooLarge: longer than what is looked into.
        InvalidInput: coded, or JSON only for readers that are more lenient than ours; or its framing is broken.
    """
    refuse_coded(request)
    if not is_readable(request):
        raise BodyTooLarge(f"expected a body of at most {MAX_LOOK_BYTES} bytes, got {request.content_length}")
    body = await read_body(request)
    if only_others_read(body):
        raise InvalidInput("expected JSON as of RFC 8259, in UTF-8, without NaN, lone surrogates and a byte order mark")
    return body


def refuse_coded(request: web.Request) -> None:
    """Refuse a body that is compressed: the Bridge may unpack it, and what is inside would not have been looked at.

    Raises:
        InvalidInput: Content-Encoding names a coding. Source: RFC 9110 section 8.4.
    """
    if is_coded(request):
        codings = ",".join(request.headers.getall("Content-Encoding", []))
        raise InvalidInput(f"expected a body without Content-Encoding, got {codings[:40]!r}; send it as it is")


def is_coded(request: web.Request) -> bool:
    """Whether the body is compressed, or may be."""
    codings = ",".join(request.headers.getall("Content-Encoding", []))
    return any(coding.strip().lower() not in {"", "identity"} for coding in codings.split(","))
