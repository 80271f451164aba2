"""What the relay does with the fields of a signature: sets our own where it signs, and lets none through.

A digest stands in the head and a body comes after it, so a body that is signed is read before anything of it is sent:
one of up to 2 MiB, which is twice what the Bridge takes. A longer one is refused with 413. It is neither held in
memory nor on disk: whoever sends more than that to a Bridge is better served by a sidecar that does not sign.

The bytes of a WebSocket and of a body's trailers are not covered by any signature.
"""

from typing import Final

from aiohttp import web

from proxy.core.call_signer import CallSigner, Outgoing
from proxy.core.errors import BodyTooLarge
from proxy.core.hop import RawHeaders
from proxy.core.signature_fields import Origin
from proxy.core.signing import unsigned
from proxy.downstream.body import MAX_LOOK_BYTES, READ_BODY, is_readable, read_body

MAX_SIGNED_BYTES: Final = MAX_LOOK_BYTES
"""Longest body that is signed."""


class OutgoingHead:
    """Decides which fields of a signature a relayed call has."""

    __slots__ = ("_origin", "_signer")

    def __init__(self, signer: CallSigner | None, origin: Origin) -> None:
        """Without a `signer` a call goes on unsigned; `origin` is how the upstream is called."""
        self._signer = signer
        self._origin = origin

    async def whole(self, request: web.Request, body: bytes | None) -> bytes | None:
        """The body where it has to be known before the head is written, None where it may be streamed.

        Raises:
            BodyTooLarge: it is too long to be signed.
            InvalidInput: its framing is broken.
        """
        if self._signer is None or body is not None or not request.body_exists:
            return body
        if not is_readable(request):
            raise BodyTooLarge(
                f"expected a body of at most {MAX_SIGNED_BYTES} bytes, as signatures.sign is true, "
                f"got {request.content_length}; send it in parts, or through a sidecar that does not sign"
            )
        whole = request[READ_BODY] = await read_body(request)
        return whole

    def fields(self, request: web.Request, target: bytes, body: bytes | None, headers: RawHeaders) -> RawHeaders:
        """These header fields of a call with those of our signature, and none of another."""
        passed = unsigned(headers)
        if self._signer is None:
            return passed
        call = Outgoing(
            method=request.method.encode("ascii"),
            target=target,
            origin=self._origin,
            body=body or None,  # an empty one is none for whoever reads the call
            path=request.path,
            credential=request.headers.get("Authorization", ""),
        )
        return [*passed, *self._signer.fields(call)]
