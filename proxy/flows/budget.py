"""How often one feed may ask the Bridge: questions keep the pace, messages may run one burst ahead of it.

All calls on a token share one allowance. Polls for questions wait until it grants one. A long poll for messages goes
up at once as long as the debt is below one burst, and waits beyond it: so a busy log cannot silence the polls for
questions, and both together stay under the Bridge's rule.

Source: BRIDGE.md 2.1 (session abuse rule); the shares are ours.
"""

from dataclasses import replace

from proxy.core.pace import Pace
from proxy.ports import Clock


class Budget:
    """The allowance of one feed; times in seconds."""

    __slots__ = ("_ahead", "_clock", "_next_at", "_pace")

    def __init__(self, pace: Pace, clock: Clock) -> None:
        self._pace = pace
        # The same allowance seen from one burst deeper, and without gaps of its own.
        self._ahead = replace(pace, burst=2 * pace.burst, fast_s=0.0, idle_s=0.0)
        self._clock = clock
        self._next_at = float("-inf")

    def spend(self) -> None:
        """One call goes up."""
        now = self._clock.now()
        self._pace.spend(now)
        self._ahead.spend(now)

    def stir(self) -> None:
        """Something happened: poll fast for a while."""
        self._pace.stir(self._clock.now())

    def asked(self) -> None:
        """A poll for questions has just ended: the next one keeps its distance, also on behalf of another wait."""
        now = self._clock.now()
        self._next_at = now + self._pace.gap(now)

    def until_question(self) -> float:
        """Seconds to leave before the next poll for questions; 0 when it may go up."""
        now = self._clock.now()
        return max(0.0, min(self._next_at - now, self._pace.gap(now)))

    def until_message(self) -> float:
        """Seconds to leave before the next long poll for messages; 0 when it may go up."""
        return self._ahead.gap(self._clock.now())
