"""Tells operators for as long as another process uses our state file, and takes up what it left there afterwards."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from proxy.core.errors import StateUnavailable
from proxy.flows.pause import Pause
from proxy.observe.logs import logger
from proxy.ports import Clock
from proxy.stores.state_lock import StateLock

RETRY_S: Final = 3.0
"""How often the lock is tried again. Source: ours; an old process drains within 2 s."""

IN_USE: Final = "the state file is in use by another process: flags changed there are not seen here"
"""The reason in readiness and health."""

_LOG: Final = logger("proxy.wiring.state_use")


class StateUse:
    """Whether the state file is ours alone, as far as can be known."""

    __slots__ = ("_is_taken", "_is_untold", "_lock", "is_shared")

    def __init__(self, lock: StateLock) -> None:
        self._lock = lock
        self._is_taken = False
        self._is_untold = True
        self.is_shared = False
        """Another process has it, or had it and what it left was not read yet."""

    @property
    def is_ours(self) -> bool:
        """Nobody else has it, and all that is stored is known here."""
        return self._is_taken and not self.is_shared

    def reasons(self) -> list[str]:
        """What an operator has to know."""
        return [IN_USE] if self.is_shared else []

    async def look(self) -> None:
        """Take the lock if it is to be had; without it all goes on, as an old process may be about to end."""
        try:
            self._is_taken = await asyncio.to_thread(self._lock.take)
        except OSError as error:  # a full or a read-only disk: nobody knows
            if self._is_untold:
                self._is_untold = False
                _LOG.warning("not known whether another process uses the state file", problem=str(error))
            return
        if not self._is_taken and not self.is_shared:
            self.is_shared = True
            _LOG.warning("state file in use by another process", file=str(self._lock.file))

    async def keep_looking(self, clock: Clock, read_again: Callable[[], Awaitable[None]]) -> None:
        """Until the file is ours alone and `read_again` has taken up the flags that another process stored."""
        pause = Pause(clock)
        while not self.is_ours:
            await pause.sleep(RETRY_S)
            await self.look()
            if self._is_taken and self.is_shared:
                await self._catch_up(read_again)

    async def _catch_up(self, read_again: Callable[[], Awaitable[None]]) -> None:
        try:
            await read_again()
        except StateUnavailable as error:  # the next round does it
            _LOG.warning("flags of another process not read yet", problem=error.detail)
            return
        self.is_shared = False
        _LOG.info("state file is ours alone", file=str(self._lock.file))

    async def close(self) -> None:
        """Let others have it."""
        await asyncio.to_thread(self._lock.close)
