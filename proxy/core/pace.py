"""How often the Bridge may be asked: a token bucket under the Bridge's abuse rule.

The Bridge refuses a session that asks more than about 100 times a minute, counting the agent's own calls, so our
polls get a smaller allowance: a burst for the moments when something is happening, then a steady idle pace.

Source: BRIDGE.md 2.1 (session abuse rule); the shares are ours.
"""

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Pace:
    """Allowance of one Bridge session; times are monotonic seconds."""

    per_minute: float
    """Polls that the steady allowance grants in a minute; above 0."""
    burst: float
    """Polls that may follow one another at `fast_s` when all is quiet; at least 1."""
    fast_s: float
    """Gap between polls while something is happening and the allowance lasts."""
    idle_s: float
    """Gap between polls otherwise."""
    active_s: float = 5.0
    """How long something counts as happening. Source: ours; an agent answers a question within seconds."""
    _tokens: float = 0.0
    _at: float | None = None
    _active_until: float = 0.0

    def _refill(self, now: float) -> None:
        if self._at is None:
            self._tokens = self.burst
        else:
            self._tokens = min(self.burst, self._tokens + max(0.0, now - self._at) * self.per_minute / 60)
        self._at = now

    def spend(self, now: float) -> None:
        """One request went up; the allowance may run into debt, which the next gap pays back.

        The debt ends at one minute's allowance: the long polls of a busy log must not silence the polls for
        questions for longer than that.
        """
        self._refill(now)
        self._tokens = max(self._tokens - 1, -self.per_minute)

    def stir(self, now: float) -> None:
        """Something happened (a wait arrived, a message, a question): poll fast for a while."""
        self._active_until = now + self.active_s

    def gap(self, now: float) -> float:
        """Seconds to leave before the next poll: the wanted gap, or longer until there is allowance for it."""
        self._refill(now)
        wanted = self.fast_s if now < self._active_until else self.idle_s
        missing = max(0.0, 1 - self._tokens)
        return max(wanted, missing * 60 / self.per_minute)
