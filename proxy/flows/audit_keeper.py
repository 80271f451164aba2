"""Keeps the audit trail beside the service: what operators did, and which calls were refused, in a chain of entries.

Nothing waits for the store. What operators did is written at once and in its order; refused calls are gathered first,
see `proxy.core.refusals`. A store in trouble is tried again and again, and readiness says so meanwhile.

Bound: at most MAX_WAITING deeds wait; beyond it they are counted by their kind, and the counts make the next entries.

Changes of flags are not told here but read from their history, which is stored in one step with them: also one whose
operator left before it was answered, or that was the last thing before a crash, gets its entry.

The clock is that of this machine: the Bridge, whose dates count elsewhere, has no say in when something was done here.

Source: ARCHITECTURE.md 4 (audit).
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import orjson

from proxy.core.audit import MAX_NAME_CHARS, SIDECAR, Entry, Head, Trail
from proxy.core.deeds import Deed, DeedsMerged, FlagsChanged, Refusal, Word
from proxy.core.errors import InvalidInput, SidecarError, StateUnavailable
from proxy.core.flags import FlagChange
from proxy.core.printable import printable
from proxy.core.refusals import Kind, RefusalBook, kind_of
from proxy.core.suspicion import Suspicion
from proxy.flows.pause import Pause
from proxy.ports import AuditTrail, Clock

MAX_WAITING: Final = 1_000
"""Most deeds that wait for the store, one by one. Source: ours; operators act by hand."""

FIRST_RETRY_S: Final = 0.5
LAST_RETRY_S: Final = 10.0
"""A store in trouble is tried again after half a second, then less and less often. Source: ours, as the journal."""

CLOSE_S: Final = 0.3
"""Longest time for the last entries. Source: ours; an exit takes less than 2 s (ARCHITECTURE.md 2.6)."""

PAGE: Final = 500
"""Entries that are read at once. Source: ours; some milliseconds of the thread that writes."""

CHANGES_READ: Final = 1_000
"""Changes of flags for which entries may be missing. Source: ours; as many as the admin port shows."""

History = Callable[[int], Awaitable[Sequence[FlagChange]]]
"""The latest changes of the flags, newest first."""


class AuditKeeper:
    """Writes the audit trail of one sidecar."""

    __slots__ = (
        "_book",
        "_clock",
        "_deeds",
        "_defect",
        "_ended",
        "_history",
        "_is_closing",
        "_merged",
        "_must_read_flags",
        "_pause",
        "_read_upto",
        "_stirred",
        "_store",
        "_version",
        "trouble",
    )

    def __init__(
        self, store: AuditTrail, clock: Clock, history: History, *, defect: Callable[[str, BaseException], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._history = history
        self._defect = defect
        self._deeds: deque[tuple[Deed, str, str, float]] = deque()
        """With who, to whom, and when."""
        self._merged: Counter[str] = Counter()
        self._book = RefusalBook()
        self._must_read_flags = True
        self._version: int | None = None
        """Of the flags, up to which the trail tells of changes; None until the trail was read."""
        self._read_upto = 0
        self._stirred = asyncio.Event()
        self._pause = Pause(clock)
        self._ended: asyncio.Event | None = None
        self._is_closing = False
        self.trouble = ""
        """Why the store does not take what is written; empty while it does."""

    @property
    def waiting(self) -> int:
        """Entries that are not durable yet, those of refused calls that are still gathered included."""
        return len(self._deeds) + len(self._merged) + len(self._book)

    def reasons(self) -> list[str]:
        """What an operator has to know."""
        return [f"the audit trail is not written, {self.waiting} entries wait: {self.trouble}"] if self.trouble else []

    def note(self, deed: Deed, *, who: str, subject: str = "") -> None:
        """Take note of a deed, which gets its entry with the next write."""
        if len(self._deeds) < MAX_WAITING:
            self._deeds.append((deed, _name(who) or SIDECAR, _name(subject), self._clock.wall()))
        else:
            self._merged[deed.what] += 1
        self._stirred.set()

    @contextmanager
    def acting(self, deed: Deed, *, who: str, subject: str = "") -> Iterator[None]:
        """Note the deed when the block ends, unless it was refused; also when whoever asked for it leaves midway."""
        is_refused = False
        try:
            yield
        except SidecarError:
            is_refused = True
            raise
        finally:
            if not is_refused:
                self.note(deed, who=who, subject=subject)

    def flags_changed(self) -> None:
        """Flags were changed, or may have been."""
        self._must_read_flags = True
        self._stirred.set()

    def suspected(self, suspicion: Suspicion) -> None:
        """Count a call that a rule refuses, or would refuse."""
        self._count(kind_of(suspicion, subject=_name(suspicion.agent_id)))

    def refused(self, why: Refusal, *, subject: str) -> None:
        """Count a call of the admin port that was refused; the subject is where it came from."""
        self._count(Kind(subject=_name(subject), why=why))

    def _count(self, kind: Kind) -> None:
        # A flood stirs nobody: what is not due yet, the alarm that is set already writes.
        if self._book.note(kind, self._clock.now()):
            self._stirred.set()

    async def read(self, *, after: int | None, limit: int) -> tuple[Sequence[Entry], Head]:
        """Entries behind a number, oldest first, or (None) the last ones; and the head.

        Raises:
            StateUnavailable: the store cannot be read.
        """
        head = await self._store.head()
        return await self._store.read(after=max(0, head.number - limit) if after is None else after, limit=limit), head

    async def whole(self) -> Trail:
        """All of it. Raises StateUnavailable."""
        return await self._store.whole()

    async def run(self) -> None:
        """Write until `close`."""
        self._ended = asyncio.Event()
        retry_s = FIRST_RETRY_S
        try:
            while True:
                is_written = await self._flush()
                if self._is_closing:
                    return
                if is_written:
                    retry_s = FIRST_RETRY_S
                    await self._rest()
                else:
                    await self._pause.sleep(retry_s)
                    retry_s = min(retry_s * 2, LAST_RETRY_S)
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
                await self._flush()
        except TimeoutError:  # what the store has begun it ends by itself
            self.trouble = "the state store did not take the last entries in time"

    async def _rest(self) -> None:
        """Until something is to be written."""
        at = self._book.due_at()
        alarm = None if at is None else self._clock.alarm(at, self._stirred.set)
        try:
            await self._stirred.wait()
        finally:
            if alarm is not None:
                alarm.cancel()
        self._stirred.clear()

    async def _flush(self) -> bool:
        """Write all that is due; False when the store did not take it."""
        try:
            if self._must_read_flags:
                await self._write_flags()
            await self._write_deeds()
            await self._write_refusals()
        except StateUnavailable as error:
            self.trouble = error.detail
            return False
        self.trouble = ""
        return True

    async def _write_flags(self) -> None:
        """Write entries for the changes of flags that have none, whoever made them."""
        self._must_read_flags = False  # before the first await: what changes from now on is read again
        try:
            told = self._version = await self._version_told()
            for change in reversed(await self._history(CHANGES_READ)):
                if told is None or change.version > told:
                    flags = tuple(map(Word, change.changes))
                    deed = FlagsChanged(version=change.version, flags=flags)
                    await self._append(deed, _name(change.author) or SIDECAR, "", self._clock.wall())
                    self._version = change.version
        except StateUnavailable:
            self._must_read_flags = True
            raise

    async def _version_told(self) -> int | None:
        """The latest version of the flags that the trail tells of, its new entries by another sidecar included."""
        version, first = self._version, 0
        while page := await self._store.read(after=self._read_upto, limit=PAGE):
            first = first or page[0].number
            self._read_upto = page[-1].number
            found = [told for entry in page if (told := _version_in(entry)) is not None]
            version = max([*found, *([] if version is None else [version])], default=None)
        if version is None and first > 1:  # the entries of old changes were taken out, by the rule
            return max((change.version for change in await self._history(1)), default=None)
        return version

    async def _write_deeds(self) -> None:
        while self._deeds:
            await self._append(*self._deeds[0])
            self._deeds.popleft()
        for what, deeds in (+self._merged).items():  # a copy, without what a try that failed has written
            await self._append(DeedsMerged(of=Word(what), deeds=deeds), SIDECAR, "", self._clock.wall())
            self._merged[what] -= deeds
        self._merged = +self._merged

    async def _write_refusals(self) -> None:
        take = self._book.take_last if self._is_closing else lambda: self._book.take(self._clock.now())
        while found := take():
            kind, calls = found
            try:
                await self._append(kind.deed(calls), SIDECAR, kind.subject, self._clock.wall())
            except StateUnavailable:
                self._book.put_back(kind, calls)
                raise

    async def _append(self, deed: Deed, who: str, subject: str, at: float) -> None:
        try:
            await self._store.append(deed, who=who, subject=subject, at=at)
        except InvalidInput as error:  # of what we made ourselves: one entry is missing, of which the log tells
            self._defect(f"audit entry {deed.what}", error)


def _name(text: str) -> str:
    return printable(text)[:MAX_NAME_CHARS]


def _version_in(entry: Entry) -> int | None:
    if entry.what != FlagsChanged.what:
        return None
    try:
        details = orjson.loads(entry.details)
    except (orjson.JSONDecodeError, UnicodeEncodeError):  # somebody has altered it, which a check of the trail finds
        return None
    match details:
        case {"version": int(version)}:
            return version
        case _:
            return None
