"""A sleep on the Clock port, for what is tried again after a while."""

import asyncio

from proxy.ports import Clock


async def sleep_on(clock: Clock, seconds: float) -> None:
    """Return after `seconds` of the clock."""
    over = asyncio.Event()
    alarm = clock.alarm(clock.now() + seconds, over.set)
    try:
        await over.wait()
    finally:
        alarm.cancel()
