"""State of this process alone: what `state.url = "memory:"` keeps, gone at the end."""

from collections.abc import Sequence

from proxy.core.cohort import Cohort
from proxy.core.errors import FlagConflict
from proxy.core.flags import FlagChange, FlagSet
from proxy.core.ids import AgentId


class MemoryFlagStore:
    """The FlagStore port in memory."""

    __slots__ = ("_flags", "_forced", "_history")

    def __init__(self) -> None:
        self._flags: FlagSet | None = None
        self._history: list[FlagChange] = []
        self._forced: dict[AgentId, tuple[Cohort, float | None]] = {}

    async def load(self) -> FlagSet | None:
        """The stored set; see the port."""
        return self._flags

    async def compare_and_set(self, flags: FlagSet, change: FlagChange, *, expected: int) -> None:
        """Store a set and its history entry; see the port."""
        if self._flags is not None and self._flags.version != expected:
            raise FlagConflict(
                f"expected version {expected}, stored is version {self._flags.version}", version=self._flags.version
            )
        self._flags = flags
        self._history.append(change)

    async def history(self, limit: int) -> Sequence[FlagChange]:
        """The latest changes, newest first."""
        return self._history[::-1][:limit]

    async def force(self, agent_id: AgentId, cohort: Cohort | None, *, until: float | None) -> None:
        """Remember or forget an override; see the port."""
        self._forced.pop(agent_id, None)
        if cohort is not None:
            self._forced[agent_id] = (cohort, until)

    async def forced(self) -> dict[AgentId, tuple[Cohort, float | None]]:
        """All overrides."""
        return dict(self._forced)
