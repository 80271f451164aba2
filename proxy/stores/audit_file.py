"""Reads the audit trail out of a state file without writing to it, while its sidecar runs and after it died."""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from proxy.core.audit import Entry, Head, Trail
from proxy.core.errors import StateUnavailable
from proxy.stores.database import is_damage, open_read_only, told
from proxy.stores.sqlite_audit import each_entry, read_head


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The file is damaged where the trail stands."""

    behind: int
    """Number of the last entry that can be read, 0 for none."""
    why: str


def read_audit(path: Path) -> Trail | Unreadable:
    """The trail as it stands at one moment. Blocks.

    Raises:
        StateUnavailable: there is no such file, it may not be read, or it is of a release without a trail.
    """
    entries: list[Entry] = []
    try:
        connection = open_read_only(path)
        try:
            head = _read_into(entries, connection)
        finally:
            connection.close()
    except (sqlite3.Error, StateUnavailable) as error:
        said = told(error) if isinstance(error, sqlite3.Error) else error.detail
        why = f"the audit trail in {path} cannot be read: {said}"
        if is_damage(error):
            return Unreadable(entries[-1].number if entries else 0, why)
        raise StateUnavailable(why) from error
    return Trail(entries=tuple(entries), head=head)


def _read_into(entries: list[Entry], connection: sqlite3.Connection) -> Head:
    connection.execute("BEGIN")  # one moment for head and entries
    head = read_head(connection)
    entries.extend(each_entry(connection, after=None, limit=-1))
    return head
