"""Time as the running event loop and the machine tell it."""

import asyncio
import time
from collections.abc import Callable

from proxy.ports import Alarm


class LoopClock:
    """The Clock port on the running event loop."""

    __slots__ = ("_loop",)

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        """Monotonic seconds of the loop."""
        return self._loop.time()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def alarm(self, at: float, ring: Callable[[], None]) -> Alarm:
        """Call `ring` at monotonic time `at`."""
        return self._loop.call_at(at, ring)
