"""Nonces that were claimed: each counts once for as long as the signature that carries it could be accepted.

A book has a bound for each key and one in all. When it is full a new nonce is refused, and none that still counts
makes room for it. What has expired is forgotten; the latest end of all that was forgotten is remembered, and nothing
that ends by then is ever taken again, so that a clock which is set back opens nothing.

Times are seconds since the epoch. The end of a nonce is the first moment at which the signature is refused for its
age, whatever clocks may differ by included: the two decisions must meet without a gap.

Source: ARCHITECTURE.md 4; RFC 9421 section 7.2.2.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from heapq import heapify, heappop, heappush
from typing import Final

MARK_BYTES: Final = 16
"""Length of the mark that stands for a nonce. Source: ours; that two of 100,000 are alike has a chance of 2^-95."""


SPARE_ENDS: Final = 64
"""So many ends of released nonces stay in the heap before it is made anew. Source: ours."""


class NonceClaim(StrEnum):
    """What became of a claim; only `CLAIMED` lets a call through."""

    CLAIMED = "claimed"
    REPLAYED = "replayed"
    """It was claimed before."""
    EXPIRED = "expired"
    """Its end has come, or is no later than that of one that was forgotten already."""
    TOO_LONG = "too_long"
    """Its end is further away than a nonce is kept."""
    KEY_FULL = "key_full"
    """Its key has as many as it may."""
    FULL = "full"
    """There are as many as there may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NonceBounds:
    """How many nonces are kept, and for how long.

    Source: ours; 30 signed calls in a second from one key, and 300 from all, in a window of 300 s; some 30 MB.
    """

    per_key: int = 10_000
    total: int = 100_000
    longest_s: float = 900.0


DEFAULT_BOUNDS: Final = NonceBounds()

Nonce = tuple[str, bytes]
"""The id of a key, and the mark of a nonce."""


def mark_of(nonce: str) -> bytes:
    """A mark of one length that stands for a nonce, however long that is.

    Source: FIPS 180-4, the first 16 bytes of SHA-256.
    """
    return hashlib.sha256(nonce.encode("utf-8", "surrogatepass")).digest()[:MARK_BYTES]


class NonceBook:
    """The nonces that count now, in memory."""

    __slots__ = ("_bounds", "_counts", "_ends", "_forgotten_upto", "_known")

    def __init__(self, bounds: NonceBounds = DEFAULT_BOUNDS) -> None:
        self._bounds = bounds
        self._known: dict[Nonce, float] = {}
        """Their ends."""
        self._ends: list[tuple[float, Nonce]] = []
        """A heap of the same."""
        self._counts: dict[str, int] = {}
        """How many each key has."""
        self._forgotten_upto = 0.0

    def __len__(self) -> int:
        return len(self._known)

    @property
    def forgotten_upto(self) -> float:
        """The latest end of all that was forgotten; 0 for none."""
        return self._forgotten_upto

    def claim(self, keyid: str, nonce: str, *, expires: float, now: float) -> NonceClaim:
        """Claim a nonce once."""
        if not expires > max(now, self._forgotten_upto):  # which is true of no number (NaN), too
            return NonceClaim.EXPIRED
        if expires - now > self._bounds.longest_s:
            return NonceClaim.TOO_LONG
        self._forget(now)
        known = (keyid, mark_of(nonce))
        if known in self._known:
            return NonceClaim.REPLAYED
        if self._counts.get(keyid, 0) >= self._bounds.per_key:
            return NonceClaim.KEY_FULL
        if len(self._known) >= self._bounds.total:
            return NonceClaim.FULL
        self.restore(known, expires)
        return NonceClaim.CLAIMED

    def restore(self, nonce: Nonce, expires: float) -> None:
        """Note one that was claimed before, by this process or another one; the bounds do not count for it."""
        if nonce not in self._known:
            self._known[nonce] = expires
            self._counts[nonce[0]] = self._counts.get(nonce[0], 0) + 1
            heappush(self._ends, (expires, nonce))

    def release(self, keyid: str, nonce: str) -> None:
        """Take back a claim whose call was not let through."""
        released = (keyid, mark_of(nonce))
        if released in self._known:
            self._drop(released)
            if len(self._ends) > 2 * len(self._known) + SPARE_ENDS:
                self._ends = [(expires, known) for known, expires in self._known.items()]
                heapify(self._ends)

    def raise_forgotten(self, upto: float) -> None:
        """Note that others which ended by then were forgotten, by an earlier process or another one."""
        self._forgotten_upto = max(self._forgotten_upto, upto)

    def copy(self) -> dict[Nonce, float]:
        """All that counts, with its end; in one step of the interpreter, so that another thread may ask for it."""
        return self._known.copy()

    def _forget(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            expires, nonce = heappop(self._ends)
            if self._known.get(nonce) == expires:  # and was not released
                self._drop(nonce)
                self.raise_forgotten(expires)

    def _drop(self, nonce: Nonce) -> None:
        del self._known[nonce]
        left = self._counts.pop(nonce[0]) - 1
        if left:
            self._counts[nonce[0]] = left
