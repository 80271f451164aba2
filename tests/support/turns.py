"""Turns of the event loop, for tests whose clock is moved by hand while real sockets are between the two sides."""

import asyncio
from typing import Final

TURNS: Final = 15
"""Turns in which whatever has arrived is dealt with, by both sides."""

KERNEL_S: Final = 0.001
"""Real time for bytes on their way: a busy machine brings them over loopback only when it comes to it."""


async def let_others_run() -> None:
    """Let everything happen that is due now, before the clock is moved on."""
    for _ in range(TURNS):
        await asyncio.sleep(0)
    await asyncio.sleep(KERNEL_S)
