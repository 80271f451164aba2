"""The audit trail in the state file; its head stands in a table of its own.

What is stored is read byte for byte, also what nobody can have written, so that a check can say where it stands. Where
head and last entry do not fit to one another, the chain goes on from the head with a number that is free: whatever was
cut off, put in or altered at the end stays a break that a check finds.
"""

import sqlite3
from collections.abc import Iterator, Sequence

from proxy.core.audit import (
    DEFAULT_BOUNDS,
    AuditBounds,
    Entry,
    Head,
    Trail,
    entry_after,
    loss_after,
    rotation_after,
)
from proxy.core.deeds import Deed
from proxy.stores.writer import SqliteWriter

_COLUMNS = (
    "number, at_ms, CAST(who AS BLOB), CAST(what AS BLOB), CAST(subject AS BLOB), CAST(details AS BLOB), "
    "CAST(previous AS BLOB), CAST(digest AS BLOB), "
    "typeof(at_ms) || typeof(who) || typeof(what) || typeof(subject) || typeof(details) || typeof(previous) "
    "|| typeof(digest)"
)
_TYPES = "integer" + 4 * "text" + 2 * "blob"
"""What the columns hold, but for a row that somebody has altered."""


class SqliteAuditTrail:
    """The AuditTrail port on SQLite; several processes may share one file.

    The last entry is remembered, so that a file which is lost while the sidecar runs leaves a trace of what it held.
    """

    __slots__ = ("_bounds", "_last", "_writer")

    def __init__(self, writer: SqliteWriter, bounds: AuditBounds = DEFAULT_BOUNDS) -> None:
        self._writer = writer
        self._bounds = bounds
        self._last: Entry | None = None
        writer.carry_over(self._write_back)

    async def append(self, deed: Deed, *, who: str, subject: str, at: float) -> Entry:
        """Write one entry; see the port."""

        def work(connection: sqlite3.Connection) -> Entry:
            head = self._rotated(connection, _next_to(connection), at)
            entry = entry_after(head, deed, who=who, subject=subject, at=at)
            _insert(connection, entry)
            return entry

        entry = await self._writer.run(work)
        if self._last is None or self._last.number < entry.number:
            self._last = entry
        return entry

    async def read(self, *, after: int, limit: int) -> Sequence[Entry]:
        """The entries behind a number; see the port."""
        return await self._writer.run(lambda connection: _read(connection, after=after, limit=limit))

    async def head(self) -> Head:
        """The head; see the port."""
        return await self._writer.run(read_head)

    async def whole(self) -> Trail:
        """All of it; see the port."""
        return await self._writer.run(
            lambda connection: Trail(entries=_read(connection, after=None, limit=-1), head=read_head(connection))
        )

    def _rotated(self, connection: sqlite3.Connection, head: Head, at: float) -> Head:
        """Take the oldest entries out where there are too many; what the next entry follows."""
        (first,) = connection.execute("SELECT min(number) FROM audit").fetchone()
        upto = None if first is None else self._bounds.rotates_upto(first=first, last=head.number)
        if upto is None:
            return head
        row = connection.execute(
            "SELECT number, CAST(digest AS BLOB) FROM audit WHERE number <= ? ORDER BY number DESC LIMIT 1", (upto,)
        ).fetchone()
        rotation = rotation_after(head, Head(*row), at=at)
        connection.execute("DELETE FROM audit WHERE number <= ?", (upto,))
        _insert(connection, rotation)
        return rotation.head

    def _write_back(self, connection: sqlite3.Connection) -> None:
        """That there was more than a fresh file holds; on the writer's thread."""
        if self._last is not None and self._last.number > read_head(connection).number:
            _insert(connection, loss_after(self._last.head, at=self._last.at_ms / 1000))


def read_head(connection: sqlite3.Connection) -> Head:
    """The head, from where it is kept apart. Blocks."""
    row = connection.execute("SELECT number, digest FROM audit_head").fetchone()
    return Head(*row) if row else Head()


def _next_to(connection: sqlite3.Connection) -> Head:
    """What the next entry follows."""
    row = connection.execute("SELECT number, CAST(digest AS BLOB) FROM audit ORDER BY number DESC LIMIT 1").fetchone()
    head, last = read_head(connection), Head(*row) if row else Head()
    if not head.number:
        return last
    return Head(max(head.number, last.number), head.digest)


def _insert(connection: sqlite3.Connection, entry: Entry) -> None:
    connection.execute(
        "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            entry.number,
            entry.at_ms,
            entry.who,
            entry.what,
            entry.subject,
            entry.details,
            entry.previous,
            entry.digest,
        ),
    )
    connection.execute(
        "INSERT INTO audit_head VALUES (1, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET number = excluded.number, digest = excluded.digest",
        (entry.number, entry.digest),
    )


def _read(connection: sqlite3.Connection, *, after: int | None, limit: int) -> tuple[Entry, ...]:
    return tuple(each_entry(connection, after=after, limit=limit))


def each_entry(connection: sqlite3.Connection, *, after: int | None, limit: int) -> Iterator[Entry]:
    """The entries as they stand there, one by one; -1 is no limit. Blocks."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM audit WHERE ?1 IS NULL OR number > ?1 ORDER BY number LIMIT ?2",  # noqa: S608  # ours
        (after, limit),
    )
    for number, at_ms, who, what, subject, details, previous, digest, types in rows:
        yield Entry(
            number=number,
            at_ms=at_ms,
            who=_text(who),
            what=_text(what),
            subject=_text(subject),
            details=_text(details),
            previous=previous or b"",
            # Columns of other types may hold the same octets: without its digest the entry is none that we wrote.
            digest=digest if types == _TYPES else b"",
        )


def _text(octets: bytes | None) -> str:
    """Text as it stands there, also where it is no UTF-8; that has no canonical form then."""
    return (octets or b"").decode("utf-8", "surrogateescape")
