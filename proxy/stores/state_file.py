"""Opens the state file at a start, in whatever order it is found, and begins a fresh one when it is lost later.

- A sound file is taken up.
- A damaged one is set aside under another name, and a fresh one is begun with what could still be read of the flags,
  of the forced agents, of suspended calls and of their keys. Where the flags cannot be read at a start, the fresh state
  begins with elicitation off: no agent is moved to the elicitation way by a damage, and the legacy way serves
  everybody until an operator decides.
- One that turns out to be damaged while the sidecar runs is set aside in the same way, and so is one that somebody has
  put in its place; the fresh one goes on with what is in memory. One that was removed is begun anew.
- One that can be read but not written (disk full or read-only, held by another process) is read; the sidecar serves
  with what it says, keeps its state in memory, and writes everything as soon as the file can be written.
- One that can be neither written nor read stops the start, as stored flags must not become the configured ones unseen;
  so does one of a newer release. `state.url = "memory:"` begins without any.

Source: ARCHITECTURE.md 2.6 and 3.4.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from proxy.core.errors import StateUnavailable
from proxy.core.journal import Recovered
from proxy.stores.database import SCHEMA_VERSION, is_damage, open_database, open_read_only
from proxy.stores.journal import read_journal
from proxy.stores.writer import SqliteWriter

BESIDE: Final = ("", "-wal", "-shm")
"""What belongs to one database. Source: SQLite, "Temporary Files Used By SQLite" 2.1 to 2.3."""

CARRIED: Final[Mapping[str, str]] = {
    "flags": "version, body",
    "flag_history": "version, at, author, reason, changes",
    "forced": "agent_id, cohort, until",
    "seal_keys": "key_id, secret, made_at",
    "exchanges": "handle, owner, expires_at, digest, record",
    "nonces": "keyid, mark, expires",
    "nonces_forgotten": "id, upto",
    "audit": "number, at_ms, who, what, subject, details, previous, digest",
    "audit_head": "id, number, digest",
}
"""Tables that outlive a damage as far as they can be read, and their columns."""

SMALL: Final = ("flags", "flag_history", "forced", "seal_keys")
"""Those that are read through at each start, to see that they can be."""


class Renewer:
    """Begins a fresh state file in the place of a lost one; blocks, not for the event loop."""

    __slots__ = ("_wall", "set_aside", "told", "unreadable")

    def __init__(self, wall: Callable[[], float]) -> None:
        self.told: Callable[[str], None] = _nobody
        """Hears, on the thread that lost it, where a file was set aside."""
        self._wall = wall
        """Seconds since the epoch, told to any thread."""
        self.set_aside = ""
        """Path of the file that was set aside last; empty where none was."""
        self.unreadable: frozenset[str] = frozenset()
        """Tables of that file that could not be carried over."""

    def __call__(self, path: Path, *, is_damaged: bool) -> sqlite3.Connection:
        """Set the file aside, where there is one, and open a fresh one, with what could be read of a damaged one.

        What somebody has put in its place is not read: our own log may still stand beside it.

        Raises:
            StateUnavailable: it cannot be moved, or a fresh one cannot be made.
        """
        if not path.exists():
            return open_database(path)
        carried = _salvaged(path) if is_damaged else {}
        aside = _free_name(path, self._wall())
        try:
            for suffix in BESIDE:
                part = path.with_name(path.name + suffix)
                if part.exists():
                    part.rename(aside.with_name(aside.name + suffix))
        except OSError as error:
            raise StateUnavailable(
                f"the state file {path} is lost and cannot be set aside: {error}; move it away or set state.url"
            ) from error
        self.set_aside, self.unreadable = str(aside), frozenset(CARRIED.keys() - carried.keys())
        self.told(self.set_aside)
        return _filled(path, carried)


def _nobody(_: str) -> None:
    """Whoever does not care."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateFile:
    """A state file that is open, and what there is to say about it."""

    writer: SqliteWriter
    renewer: Renewer
    """Knows where a damaged file is now."""
    recovered: Recovered = field(default_factory=Recovered)
    """What the journal holds."""
    flags_are_lost: bool = False
    """There were flags in it, or may have been, that cannot be read."""
    trouble: str = ""
    """Why it cannot be written now; empty where it can."""


def open_state_file(path: Path, *, wall: Callable[[], float]) -> StateFile:
    """Open the state file; see above. `wall` tells any thread the seconds since the epoch. Blocks.

    Raises:
        StateUnavailable: it can be neither written nor read, or was written by a newer release.
    """
    renewer = Renewer(wall)
    try:
        connection = open_database(path)
    except StateUnavailable as refusal:
        if is_damage(refusal):
            return _begin_anew(path, renewer)
        return _read_for_now(path, refusal, renewer)
    try:
        _read_all(connection, SMALL)
        recovered = read_journal(connection)
    except (sqlite3.DatabaseError, StateUnavailable) as error:
        connection.close()
        if isinstance(error, StateUnavailable) or is_damage(error):
            return _begin_anew(path, renewer)
        raise StateUnavailable(f"the state file {path} cannot be read: {error}") from error
    return StateFile(writer=SqliteWriter(path, connection, renew=renewer), renewer=renewer, recovered=recovered)


def _begin_anew(path: Path, renewer: Renewer) -> StateFile:
    writer = SqliteWriter(path, renewer(path, is_damaged=True), renew=renewer)
    return StateFile(writer=writer, renewer=renewer, flags_are_lost="flags" in renewer.unreadable)


def _read_for_now(path: Path, refusal: StateUnavailable, renewer: Renewer) -> StateFile:
    try:
        connection = open_read_only(path)
    except StateUnavailable:
        raise refusal from None
    try:
        is_present = connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
        _read_all(connection, ("flags", "forced"))
        recovered = read_journal(connection) if is_present else Recovered()
    except (sqlite3.Error, StateUnavailable):
        connection.close()
        raise refusal from None
    return StateFile(
        writer=SqliteWriter(path, connection, is_read_only=True, renew=renewer),
        renewer=renewer,
        recovered=recovered,
        trouble=refusal.detail,
    )


def _read_all(connection: sqlite3.Connection, tables: Sequence[str]) -> dict[str, list[tuple[object, ...]]]:
    return {
        table: connection.execute(f"SELECT {CARRIED[table]} FROM {table}").fetchall()  # noqa: S608  # names of our own
        for table in tables
    }


def _filled(path: Path, carried: Mapping[str, Sequence[tuple[object, ...]]]) -> sqlite3.Connection:
    """A fresh state file with these rows."""
    connection = open_database(path)
    try:
        connection.execute("BEGIN IMMEDIATE")
        for table, rows in carried.items():
            places = ", ".join("?" * len(CARRIED[table].split(",")))
            connection.executemany(
                f"INSERT OR IGNORE INTO {table} ({CARRIED[table]}) VALUES ({places})",  # noqa: S608  # names of our own
                rows,
            )
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        connection.close()
        raise StateUnavailable(f"the fresh state file {path} cannot be written: {error}") from error
    return connection


def _free_name(path: Path, now: float) -> Path:
    stamp = f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}"
    names = (path.with_name(f"{path.name}.corrupt-{stamp}{more}") for more in ("", *(f"-{n}" for n in range(1, 1_000))))
    return next(name for name in names if not name.exists())


def _salvaged(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """The tables that can be read to their end."""
    found: dict[str, list[tuple[object, ...]]] = {}
    try:
        connection = open_read_only(path)
    except StateUnavailable:
        return found
    for table in CARRIED:
        try:
            found |= _read_all(connection, (table,))
        except sqlite3.Error:  # this one is lost, which the caller sees
            continue
    connection.close()
    return found
