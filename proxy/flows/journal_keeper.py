"""Keeps the journal beside the service: what happens is written in its order, and nothing waits for a slow disk.

A store in trouble never stops an agent, as the Bridge holds what was said. While it lasts the sidecar goes on in
memory and says so; when the store is back, everything that is still open is written anew in the place of the gap, so
that the journal is whole again whatever was missed.

Bound: what waits for the store is at most MAX_WAITING changes and MAX_WAITING_BYTES of content; beyond it the store
counts as in trouble. What was written between two awaits is committed together or not at all.

Source: ARCHITECTURE.md 2.6.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from proxy.core.errors import StateUnavailable
from proxy.core.ids import AgentId
from proxy.core.journal import Change, CopiesDropped, CursorShown, MessageKept, NumberingChanged, QuestionNoted, Stamped
from proxy.flows.pause import Pause
from proxy.ports import Clock, JournalStore, JournalWatch

MAX_WAITING: Final = 100_000
"""Most changes that wait for the store. Source: ours; some seconds of the heaviest load."""

MAX_WAITING_BYTES: Final = 64 << 20
"""Most bytes of messages and questions among them. Source: ours, as for all copies together."""

ROUGH_SCHEMA_BYTES: Final = 1_024
"""What a schema counts for among these. Source: ours; the book shares it, and its bound is another one's."""

FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 10.0
"""A store in trouble is tried again after half a second, then less and less often. Source: ours."""

SYNC_S: Final = 2.0
"""Longest time that anything waits for the store. Source: ours; twice the wait for a file that another one holds."""

CLOSE_S: Final = 0.3
"""The same at the end. Source: ours; an exit takes less than 2 s (ARCHITECTURE.md 2.6)."""

PRUNE_S: Final = 600.0
PRUNE_AFTER: Final = 20_000
"""How often what is long over is forgotten: after so many seconds, or so many changes. Source: ours."""

Snapshot = Callable[[], Iterable[Change]]
"""Everything that is open now, as changes that would bring it about."""


class JournalKeeper:
    """Writes the journal of one sidecar."""

    __slots__ = (
        "_clock",
        "_ended",
        "_is_behind",
        "_is_closing",
        "_is_writing",
        "_pause",
        "_prune_at",
        "_prune_from",
        "_snapshot",
        "_stirred",
        "_store",
        "_synced",
        "_waiting",
        "_waiting_bytes",
        "_watch",
        "trouble",
        "written",
    )

    def __init__(self, store: JournalStore, clock: Clock, snapshot: Snapshot, watch: JournalWatch) -> None:
        self._store = store
        self._clock = clock
        self._snapshot = snapshot
        self._watch = watch
        self._waiting: list[Stamped] = []
        self._waiting_bytes = 0
        self._synced: list[asyncio.Future[bool]] = []
        self._stirred = asyncio.Event()
        self._pause = Pause(clock)
        self._ended: asyncio.Event | None = None
        self._is_writing = False
        self._is_closing = False
        self._is_behind = False
        """Changes were let go; only a snapshot makes the journal whole."""
        self._prune_at = clock.now() + PRUNE_S
        self._prune_from = PRUNE_AFTER
        self.trouble = ""
        """Why the store does not take what is written; empty while it does."""
        self.written = 0
        """Changes that are durable."""

    @property
    def waiting(self) -> int:
        """Changes that are not durable yet."""
        return len(self._waiting)

    def write(self, change: Change) -> None:
        """Take note of a change, which becomes durable with the next group commit."""
        if self._is_behind:
            return
        size = _size_of(change)
        if len(self._waiting) >= MAX_WAITING or self._waiting_bytes + size > MAX_WAITING_BYTES:
            self.fall_behind(f"{len(self._waiting)} changes wait for the state store, as many as may")
            return
        self._waiting.append(Stamped(self._clock.wall(), change))
        self._waiting_bytes += size
        self._stirred.set()

    async def synced(self) -> bool:
        """Wait until everything written before is durable; False when the store does not take it in time."""
        if self.trouble or self._is_closing:
            return False
        if not self._waiting and not self._is_writing:
            return True
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._synced.append(done)
        self._stirred.set()
        alarm = self._clock.alarm(self._clock.now() + SYNC_S, lambda: self._too_late(done))
        try:
            return await done
        finally:
            alarm.cancel()

    def _too_late(self, done: "asyncio.Future[bool]") -> None:
        if not done.done():
            self._begin_trouble(f"no answer from the state store within {SYNC_S:g} s")
            done.set_result(False)

    def fall_behind(self, why: str) -> None:
        """Let go of what waits, for this reason; a snapshot takes its place as soon as the store takes one."""
        self._is_behind = True
        self._waiting, self._waiting_bytes = [], 0
        self._begin_trouble(why)
        self._stirred.set()

    def _begin_trouble(self, why: str) -> None:
        if not self.trouble:
            self._watch.trouble_began(why)
        self.trouble = why

    async def run(self) -> None:
        """Write until `close`."""
        self._ended = asyncio.Event()
        retry_s = FIRST_RETRY_S
        try:
            while True:
                await self._stirred.wait()
                self._stirred.clear()
                is_written = await self._flush()
                if self._is_closing:
                    if not is_written or not (self._waiting or self._is_behind):
                        return
                    self._stirred.set()
                elif is_written:
                    retry_s = FIRST_RETRY_S
                    await self._prune()
                else:
                    await self._pause.sleep(retry_s)
                    retry_s = min(retry_s * 2, LAST_RETRY_S)
                    self._stirred.set()
        finally:
            self._ended.set()

    async def close(self) -> None:
        """Write what waits, once more; give up after CLOSE_S seconds."""
        self._is_closing = True
        self._stirred.set()
        self._pause.end()
        try:
            async with asyncio.timeout(CLOSE_S):
                if self._ended is not None:
                    await self._ended.wait()
                if self._waiting:  # it never ran, or was ended in another way
                    await self._flush()
        except TimeoutError:  # what the store has begun it ends by itself
            self._begin_trouble("the state store did not take the last changes in time")

    async def _flush(self) -> bool:
        """One group commit; False when the store did not take it."""
        synced, self._synced = self._synced, []
        began = self._clock.now()
        self._is_writing = True
        try:
            count = await self._commit()
        except StateUnavailable as error:
            self.fall_behind(error.detail)
            _tell(synced, is_durable=False)
            return False
        finally:
            self._is_writing = False
        if count:
            self.written += count
            self._watch.wrote(count, self._clock.now() - began)
        if self.trouble and not self._is_behind:
            self.trouble = ""
            self._watch.trouble_ended()
        _tell(synced, is_durable=True)
        return True

    async def _commit(self) -> int:
        """Bring what waits to the store; how many changes that were."""
        if self._is_behind:
            self._is_behind = False
            at = self._clock.wall()
            batch = [Stamped(at, change) for change in self._snapshot()]
            await self._store.replace(batch)
            return len(batch)
        batch, self._waiting, self._waiting_bytes = coalesced(self._waiting), [], 0
        if batch:
            await self._store.apply(batch)
        return len(batch)

    async def _prune(self) -> None:
        if self._clock.now() < self._prune_at and self.written < self._prune_from:
            return
        self._prune_at, self._prune_from = self._clock.now() + PRUNE_S, self.written + PRUNE_AFTER
        try:
            await self._store.prune(now=self._clock.wall())
        except StateUnavailable as error:
            self.fall_behind(error.detail)


def coalesced(changes: Iterable[Stamped]) -> list[Stamped]:
    """The changes in their order, without what later ones of the same batch make good for nothing.

    That is a numbering or a cursor that another one replaces, and a copy that a cursor has passed or that went.
    """
    kept: dict[object, Stamped] = {}
    ends: dict[object, int] = {}
    copies: dict[AgentId, list[tuple[int, int]]] = {}
    for place, stamped in enumerate(changes):
        key: object = place
        match stamped.change:
            case CursorShown(agent_id, upto) | CopiesDropped(agent_id, upto):
                kind = type(stamped.change), agent_id
                if upto >= ends.get(kind, 0):
                    key, ends[kind] = kind, upto
                for number, where in copies.pop(agent_id, ()):
                    if number <= upto:
                        del kept[where]
                    else:
                        copies.setdefault(agent_id, []).append((number, where))
            case MessageKept(agent_id, number):
                copies.setdefault(agent_id, []).append((number, place))
            case NumberingChanged():
                key = NumberingChanged
            case _:
                pass
        kept.pop(key, None)
        kept[key] = stamped
    return list(kept.values())


def _size_of(change: Change) -> int:
    match change:
        case MessageKept(body=body):
            return len(body)
        case QuestionNoted(question):
            return len(question.message) + ROUGH_SCHEMA_BYTES
        case _:
            return 0


def _tell(synced: Iterable["asyncio.Future[bool]"], *, is_durable: bool) -> None:
    for done in synced:
        if not done.done():  # whoever waited may have left
            done.set_result(is_durable)
