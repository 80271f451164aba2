"""A journal store that fails or stops on demand, and a watch that notes what it is told."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from proxy.core.errors import StateUnavailable
from proxy.core.journal import Change, Recovered, Stamped
from proxy.stores.memory_journal import MemoryJournal

FULL = "database or disk is full"


class Store:
    """A journal in memory that fails, or stops, on demand."""

    def __init__(self) -> None:
        self.kept = MemoryJournal()
        self.calls: list[tuple[str, list[Change]]] = []
        self.fails = ""
        self.open = asyncio.Event()
        self.open.set()
        self.prunings: list[float] = []

    async def apply(self, changes: Sequence[Stamped]) -> None:
        """Take changes, when and if it may."""
        await self._pass("apply", changes)
        await self.kept.apply(changes)

    async def replace(self, changes: Sequence[Stamped]) -> None:
        """Begin anew, when and if it may."""
        await self._pass("replace", changes)
        await self.kept.replace(changes)

    async def _pass(self, name: str, changes: Sequence[Stamped]) -> None:
        self.calls.append((name, [stamped.change for stamped in changes]))
        await self.open.wait()
        self._fail()

    def _fail(self) -> None:
        if self.fails:
            raise StateUnavailable(self.fails)

    async def recover(self) -> Recovered:
        """What was taken."""
        return await self.kept.recover()

    async def prune(self, *, now: float) -> None:
        """Note the time."""
        self.prunings.append(now)
        self._fail()


@dataclass
class Watch:
    """What the journal told of itself."""

    told: list[str] = field(default_factory=list)
    commits: list[int] = field(default_factory=list)

    def wrote(self, changes: int, seconds: float) -> None:
        """Note a commit."""
        assert seconds >= 0
        self.commits.append(changes)

    def trouble_began(self, why: str) -> None:
        """Note why."""
        self.told.append(why)

    def trouble_ended(self) -> None:
        """Note the end."""
        self.told.append("whole")
