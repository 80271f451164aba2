"""The audit trail of a sidecar whose state lives in memory: it is gone at the end, so it is worth an export before."""

from collections.abc import Sequence

from proxy.core.audit import DEFAULT_BOUNDS, AuditBounds, Entry, Head, Trail, entry_after, rotation_after
from proxy.core.deeds import Deed


class MemoryAuditTrail:
    """The AuditTrail port in memory."""

    __slots__ = ("_bounds", "_entries", "_head")

    def __init__(self, bounds: AuditBounds = DEFAULT_BOUNDS) -> None:
        self._bounds = bounds
        self._entries: list[Entry] = []
        self._head = Head()

    async def append(self, deed: Deed, *, who: str, subject: str, at: float) -> Entry:
        """Write one entry; see the port."""
        written = []
        head, gone = self._head, 0
        first = self._entries[0].number if self._entries else 1
        upto = self._bounds.rotates_upto(first=first, last=head.number)
        if upto is not None:
            gone = upto - first + 1
            written.append(rotation_after(head, self._entries[gone - 1].head, at=at))
            head = written[-1].head
        entry = entry_after(head, deed, who=who, subject=subject, at=at)
        del self._entries[:gone]
        self._entries += [*written, entry]
        self._head = entry.head
        return entry

    async def read(self, *, after: int, limit: int) -> Sequence[Entry]:
        """The entries behind a number; see the port."""
        first = self._entries[0].number if self._entries else 1
        begin = max(0, after - first + 1)
        return self._entries[begin : begin + limit]

    async def head(self) -> Head:
        """The head; see the port."""
        return self._head

    async def whole(self) -> Trail:
        """All of it; see the port."""
        return Trail(entries=tuple(self._entries), head=self._head)
