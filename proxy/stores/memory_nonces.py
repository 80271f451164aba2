"""Nonces that were claimed in this process, gone at its end."""

from proxy.core.nonces import DEFAULT_BOUNDS, NonceBook, NonceBounds, NonceClaim


class MemoryNonceStore:
    """The NonceStore port in memory, for one event loop."""

    __slots__ = ("_book",)

    def __init__(self, bounds: NonceBounds = DEFAULT_BOUNDS) -> None:
        self._book = NonceBook(bounds)

    async def claim(self, keyid: str, nonce: str, *, expires: float, now: float) -> NonceClaim:
        """Claim a nonce once; see the port."""
        return self._book.claim(keyid, nonce, expires=expires, now=now)
