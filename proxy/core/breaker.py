"""The circuit breaker of the elicitation way, and its memory of a Bridge that has no elicitation at all.

After a number of consecutive failures the way is closed to new waits; after a cool-down one real call probes
it. Another failure opens the breaker again, a success closes it. Times are monotonic seconds.

Source: Nygard, "Release It!", 2nd edition, "Circuit Breaker".
"""

from dataclasses import dataclass
from enum import StrEnum

from proxy.core.routing import Way


class BreakerState(StrEnum):
    """What the breaker does with the next call."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


@dataclass(slots=True, kw_only=True)
class Breaker:
    """Counts failures of one upstream way; not thread safe, one per upstream."""

    failures: int
    """Consecutive failures that open it."""
    cooldown_s: float
    """Seconds until an open breaker lets one call probe."""
    incapable_s: float
    """Seconds for which a Bridge without elicitation is left alone."""
    _failed: int = 0
    _open_until: float | None = None
    _incapable_until: float | None = None
    _probing: bool = False

    def way(self, now: float) -> Way:
        """Whether a new wait may take the elicitation way; asking does not use up the probe."""
        if self._incapable_until is not None and now < self._incapable_until:
            return Way.INCAPABLE
        if self._open_until is not None and (now < self._open_until or self._probing):
            return Way.BREAKER_OPEN
        return Way.OPEN

    def state(self, now: float) -> BreakerState:
        """The state to show."""
        if self._open_until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._open_until else BreakerState.HALF_OPEN

    def may_try(self, now: float) -> bool:
        """Whether a call may go up now; in the half-open state only the first caller gets True, the probe."""
        if self.way(now) is not Way.OPEN:
            return False
        if self._open_until is not None:
            self._probing = True
        return True

    def succeeded(self) -> None:
        """A call worked: forget all failures."""
        self._failed = 0
        self._open_until = None
        self._incapable_until = None
        self._probing = False

    def failed(self, now: float) -> None:
        """A call failed: open after too many, or at once when it was the probe."""
        self._failed += 1
        if self._probing or self._failed >= self.failures:
            self._open_until = now + self.cooldown_s
        self._probing = False

    def incapable(self, now: float) -> None:
        """The Bridge has no elicitation (404): leave it alone for a while, then look again."""
        self._incapable_until = now + self.incapable_s
        self._probing = False

    def abandoned(self) -> None:
        """The caller went away before its call ended: another may probe."""
        self._probing = False
