"""The journal of a sidecar whose state lives in memory: it is kept in order, and gone at the end."""

from collections.abc import Sequence

from proxy.core.journal import Recovered, Stamped
from proxy.core.replay import Replay


class MemoryJournal:
    """The JournalStore port in memory."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state = Replay()

    async def apply(self, changes: Sequence[Stamped]) -> None:
        """Take changes; see the port."""
        for stamped in changes:
            self._state.take(stamped.change)

    async def replace(self, changes: Sequence[Stamped]) -> None:
        """Begin anew with these changes; see the port."""
        self._state = Replay()
        await self.apply(changes)

    async def recover(self) -> Recovered:
        """What was taken so far; see the port."""
        return self._state.result()

    async def prune(self, *, now: float) -> None:
        """Nothing that is over is kept here; see the port."""
