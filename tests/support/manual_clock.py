"""The Clock port as a test moves it: time passes only in `advance`, and every alarm rings in its turn."""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from typing import Final

START_S: Final = 1_000.0
"""Where the monotonic clock begins, seconds."""

START_WALL_S: Final = 1_800_000_000.0
"""Where the wall clock begins, seconds since the epoch."""

TURNS: Final = 40
"""Turns of the event loop that `settle` allows; far more than any chain of awaits here needs. Source: ours."""


class ManualAlarm:
    """A call that is due at a time of the manual clock."""

    __slots__ = ("at", "is_cancelled", "ring")

    def __init__(self, at: float, ring: Callable[[], None]) -> None:
        self.at = at
        self.ring = ring
        self.is_cancelled = False

    def cancel(self) -> None:
        """Call it off."""
        self.is_cancelled = True


async def settle() -> None:
    """Let everything run that can run without time passing."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


class ManualClock:
    """Monotonic and wall clock of one test, in seconds; both stand still until they are moved."""

    __slots__ = ("_alarms", "_now", "_numbers", "_wall")

    def __init__(self) -> None:
        self._now = START_S
        self._wall = START_WALL_S
        self._alarms: list[tuple[float, int, ManualAlarm]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        """Monotonic seconds."""
        return self._now

    def wall(self) -> float:
        """Seconds since the epoch."""
        return self._wall

    def alarm(self, at: float, ring: Callable[[], None]) -> ManualAlarm:
        """Call `ring` at monotonic time `at`; when that is past, at the next turn of the loop."""
        alarm = ManualAlarm(at, ring)
        if at <= self._now:
            asyncio.get_running_loop().call_soon(_ring, alarm)
        else:
            heapq.heappush(self._alarms, (at, next(self._numbers), alarm))
        return alarm

    def waiting(self) -> list[float]:
        """When the alarms that are set will ring, soonest first."""
        return sorted(at for at, _, alarm in self._alarms if not alarm.is_cancelled)

    async def advance(self, seconds: float) -> None:
        """Let so much time pass; each alarm rings at its own time, and all that it causes happens then."""
        end = self._now + seconds
        await settle()
        while self._alarms and self._alarms[0][0] <= end:
            at, _, alarm = heapq.heappop(self._alarms)
            if alarm.is_cancelled:
                continue
            self._move(at)
            _ring(alarm)
            await settle()
        self._move(end)
        await settle()

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator may; the monotonic clock does not care."""
        self._wall += seconds

    def _move(self, to: float) -> None:
        self._wall += to - self._now
        self._now = to


def _ring(alarm: ManualAlarm) -> None:
    if not alarm.is_cancelled:
        alarm.is_cancelled = True
        alarm.ring()
