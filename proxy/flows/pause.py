"""A pause in a loop that something worth knowing can cut short."""

import asyncio

from proxy.ports import Clock


class Pause:
    """Sleep on the Clock port until a time, or until somebody calls `end`."""

    __slots__ = ("_clock", "_over")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._over = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`, or as soon as `end` is called."""
        self._over.clear()
        alarm = self._clock.alarm(self._clock.now() + seconds, self._over.set)
        try:
            await self._over.wait()
        finally:
            alarm.cancel()

    def end(self) -> None:
        """Wake the sleeper; without one nothing happens."""
        self._over.set()
