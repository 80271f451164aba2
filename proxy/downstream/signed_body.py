"""A body that is compared with its digest on its way up, and held back by one piece until it has been.

So the upstream never has the whole of a body that is not what was signed: it sees a call that breaks off.
"""

from collections.abc import Callable
from typing import Final

from aiohttp import web

from proxy.core.content_digest import DigestChecker


class SignedBody:
    """Holds the last piece of a body back."""

    __slots__ = ("_checker", "_held", "_is_over", "_refuse")

    def __init__(self, checker: DigestChecker, refuse: Callable[[], None]) -> None:
        """`refuse` is told of a body that is not the one that was signed; it raises where that is not let through."""
        self._checker = checker
        self._refuse = refuse
        self._held = b""
        self._is_over = False

    def put(self, chunk: bytes) -> bytes:
        """Take the next piece, not an empty one; what may go up now, which is the one before."""
        self._checker.update(chunk)
        ready, self._held = self._held, chunk
        return ready

    def rest(self) -> bytes:
        """What is left to go up at the end of the body, once.

        Raises:
            SignatureRefused: it is not the body that was signed.
        """
        if self._is_over:
            return b""
        self._is_over = True
        if not self._checker.finish():
            self._refuse()
        return self._held


SIGNED_BODY: Final = web.RequestKey("signed_body", SignedBody)
"""What a body has to pass through before it goes anywhere, where it was not compared before the doors."""
