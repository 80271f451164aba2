"""Time as the development Bridge sees it, in one object, so that tests pass minutes in no time."""

import asyncio
import time


class Pace:
    """The machine's clocks; all in seconds but for the nanoseconds of an event id."""

    __slots__ = ()

    def wall_s(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic_s(self) -> float:
        """Seconds on a clock that never steps."""
        return time.monotonic()

    def monotonic_ns(self) -> int:
        """The same clock in nanoseconds."""
        return time.monotonic_ns()

    async def sleep(self, seconds: float) -> None:
        """Let others run for so long."""
        await asyncio.sleep(seconds)
