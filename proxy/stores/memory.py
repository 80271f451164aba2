"""State of this process alone: what `state.url = "memory:"` keeps, gone at the end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from proxy.core.cohort import Cohort
from proxy.core.errors import FlagConflict
from proxy.core.flags import FlagChange, FlagSet
from proxy.core.ids import AgentId
from proxy.mcp.mrtr import SealKey
from proxy.ports import Clock
from proxy.stores.exchange_rules import DEFAULT_BOUNDS, Bounds, MadeKey, Taken, already_kept, end_of, turn_ring
from proxy.stores.flag_history import kept


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
        self._history = kept([*self._history, change])

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


@dataclass(slots=True)
class _Suspended:
    owner: bytes
    record: bytes
    expires_at: float
    digest: bytes | None = None
    """Of the answers that consumed it."""


class MemoryExchangeStore:
    """The ExchangeStore port in memory. `chance` gives random bytes."""

    __slots__ = ("_bounds", "_calls", "_chance", "_clock", "_owned", "_ring", "_taken")

    def __init__(self, clock: Clock, chance: Callable[[int], bytes], *, bounds: Bounds = DEFAULT_BOUNDS) -> None:
        self._clock = clock
        self._chance = chance
        self._bounds = bounds
        self._ring: tuple[MadeKey, ...] = ()
        self._calls: dict[bytes, _Suspended] = {}
        self._taken = Taken()
        self._owned: dict[bytes, Taken] = {}
        """What each owner has taken of it."""

    async def keys(self) -> Sequence[SealKey]:
        """The key ring; see the port."""
        self._ring = turn_ring(self._ring, self._chance, now=self._clock.wall())
        return tuple(made.key for made in self._ring)

    async def suspend(self, handle: bytes, record: bytes, *, owner: bytes, expires_at: float) -> None:
        """Keep a call; see the port.

        Raises:
            StateUnavailable: see the port; also for a record that is too large, or a handle that is kept.
        """
        now = self._clock.wall()
        self._bounds.check_size(record)
        await self.sweep(now=now)
        self._bounds.check_room(self._taken, self._owned.get(owner, Taken()), record)
        if handle in self._calls:
            raise already_kept()
        self._calls[handle] = _Suspended(owner, record, end_of(expires_at, now=now))
        self._count(owner, 1, len(record))

    def _count(self, owner: bytes, calls: int, record_bytes: int) -> None:
        self._taken = self._taken.more(calls, record_bytes)
        self._owned[owner] = self._owned.get(owner, Taken()).more(calls, record_bytes)
        if not self._owned[owner].calls:
            del self._owned[owner]

    async def resume(self, handle: bytes, digest: bytes, *, now: float) -> bytes | None:
        """Take up a call, once; see the port."""
        found = self._calls.get(handle)
        if found is None or now >= found.expires_at or found.digest not in {None, digest}:
            return None
        found.digest = digest
        return found.record

    async def sweep(self, *, now: float) -> None:
        """Forget what has expired."""
        for handle in [handle for handle, call in self._calls.items() if now >= call.expires_at]:
            ended = self._calls.pop(handle)
            self._count(ended.owner, -1, -len(ended.record))
