"""What every store of suspended calls keeps to: its bounds, and when one seal key follows another.

A key seals for 30 days; then a new one is made and seals instead. The older key still opens for as long as the last
state that it sealed may live, a day, and is forgotten after that. No state outlives the key that opens it, as no call
is kept for longer than that day, whatever its end was said to be.

No owner of calls may take more than a part of all places, so that none keeps the others from being served.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from proxy.core.errors import StateUnavailable
from proxy.mcp.mrtr import SealKey

KEY_LIFE_S: Final = 30 * 86_400.0
"""How long a key seals. Source: ours; far longer than any call, short enough that a stolen copy of it goes stale."""

LONGEST_TTL_S: Final = 86_400.0
"""How long a call is kept at most. Source: ours; PROTOCOL.md 2.5 wants a short expiry, questions end within a day."""

RETRY_S: Final = 5.0
"""When to come again to a full store. Source: ours; calls end all the time, and none of them makes room sooner."""

_KEY_ID_BYTES: Final = 4
_SECRET_BYTES: Final = 32
"""Source: RFC 2104 section 3, not less than the length of the hash."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What calls take of a store."""

    calls: int = 0
    record_bytes: int = 0

    def more(self, calls: int, record_bytes: int) -> "Taken":
        """This and so much more, or less."""
        return Taken(self.calls + calls, self.record_bytes + record_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much a store keeps; what is beyond is refused, and nothing that may still be taken up makes room for it.

    Source: ours; ten times as many calls as may be parked, and no more memory than a small machine has to spare. One
    owner gets as many calls as may be parked, and an eighth of the memory.
    """

    calls: int = 1_000
    owner_calls: int = 100
    record_bytes: int = 1 << 20
    total_bytes: int = 64 << 20
    owner_bytes: int = 8 << 20

    def check_room(self, taken: Taken, owners: Taken, record: bytes) -> None:
        """Refuse a record that does not fit to what is taken in all, or to what its owner has taken of it.

        Raises:
            StateUnavailable: it does not; with the time after which it may.
        """
        if owners.calls >= self.owner_calls or owners.record_bytes + len(record) > self.owner_bytes:
            raise StateUnavailable(
                "as many calls of this caller are suspended as may be; retry later", retry_after_s=RETRY_S
            )
        if taken.calls >= self.calls or taken.record_bytes + len(record) > self.total_bytes:
            raise StateUnavailable("as many calls are suspended as may be; retry later", retry_after_s=RETRY_S)

    def check_size(self, record: bytes) -> None:
        """Refuse a record that is too large to be kept.

        Raises:
            StateUnavailable: it is.
        """
        if len(record) > self.record_bytes:
            raise StateUnavailable(
                f"a suspended call may take {self.record_bytes} bytes, this one takes {len(record)}; "
                "call with smaller arguments"
            )


DEFAULT_BOUNDS: Final = Bounds()


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeKey:
    """A key and when it was made, in seconds since the epoch."""

    key: SealKey
    made_at: float


def turn_ring(kept: Sequence[MadeKey], chance: Callable[[int], bytes], *, now: float) -> tuple[MadeKey, ...]:
    """The ring as it has to be at `now`, newest first, from the one that is kept; `chance` gives random bytes."""
    ring = sorted(kept, key=lambda made: made.made_at, reverse=True)
    if not ring or now - ring[0].made_at >= KEY_LIFE_S:
        ring.insert(0, _make_key(chance, now))
    opening = (older for newer, older in pairwise(ring) if now - newer.made_at < LONGEST_TTL_S)
    return (ring[0], *opening)


def _make_key(chance: Callable[[int], bytes], now: float) -> MadeKey:
    return MadeKey(key=SealKey(key_id=chance(_KEY_ID_BYTES).hex(), secret=chance(_SECRET_BYTES)), made_at=now)


def end_of(expires_at: float, *, now: float) -> float:
    """Until when a call is kept that says it ends at `expires_at`."""
    return min(expires_at, now + LONGEST_TTL_S)


def mark_of(owner: bytes) -> bytes:
    """A mark of 32 bytes that stands for an owner: SHA-256, as an owner is as long as it likes."""
    return hashlib.sha256(owner).digest()


def already_kept() -> StateUnavailable:
    """A handle stands for one call only."""
    return StateUnavailable("a call with this handle is kept already")
