"""A body that is compared with its digest on its way up, and held back by one piece until it has been.

So the upstream never has the whole of a body that is not what was signed: it sees a call that breaks off.
"""

from typing import Final

from aiohttp import web

from proxy.core.content_digest import DigestChecker


class SignedBody:
    """Holds the last piece of a body back."""

    __slots__ = ("_checker", "_held")

    def __init__(self, checker: DigestChecker) -> None:
        self._checker = checker
        self._held = b""

    def put(self, chunk: bytes) -> bytes:
        """Take the next piece, not an empty one; what may go up now, which is the one before."""
        self._checker.update(chunk)
        ready, self._held = self._held, chunk
        return ready

    def rest(self) -> bytes | None:
        """What is left to go up at the end of the body; None where it is not the body that was signed."""
        return self._held if self._checker.finish() else None


SIGNED_BODY: Final = web.RequestKey("signed_body", SignedBody)
"""What the relay has to send the body through, where it is too large to be read before."""
