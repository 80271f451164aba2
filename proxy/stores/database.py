"""Opens the state file: makes it, brings it up to the present schema, or finds a way to read one that is in trouble.

Everything here blocks, so nothing of it is for the event loop.
"""

import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from proxy.core.errors import StateUnavailable

BUSY_S: Final = 1.0
"""Longest wait for another process that holds the file. Source: ours; a commit of another takes milliseconds."""

LOOKS: Final = 20
"""In so many parts it is waited for, as the end of the process waits for none but the first. Source: ours."""

OPEN_S: Final = 2.0
"""The same for the start, when others may open the file at the same time. Source: ours."""

WAL_BYTES: Final = 16 << 20
"""Size that the write-ahead log is cut back to when it has been larger. Source: ours; a checkpoint begins at 4 MiB."""

_HINTS: Final = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk is full, or failing",
    sqlite3.SQLITE_BUSY: "another process holds it",
    sqlite3.SQLITE_READONLY: "it may not be written",
    sqlite3.SQLITE_CANTOPEN: "it may not be written, or its folder",
    sqlite3.SQLITE_PERM: "it may not be written",
}
"""What most likely is behind an error. Source: SQLite result codes."""

_WITHOUT_SHARED_MEMORY: Final = frozenset(
    {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL}
)
"""How it fails where the file beside the database cannot be made. Source: SQLite result codes."""

_STEPS: Final = (
    """
    CREATE TABLE IF NOT EXISTS flags (version INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS flag_history (version INTEGER PRIMARY KEY, at REAL NOT NULL, author TEXT NOT NULL,
        reason TEXT NOT NULL, changes TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS forced (agent_id TEXT PRIMARY KEY, cohort TEXT NOT NULL, until REAL) STRICT
    """,
    """
    CREATE TABLE IF NOT EXISTS exchanges (handle BLOB PRIMARY KEY, owner BLOB NOT NULL, expires_at REAL NOT NULL,
        digest BLOB, record BLOB NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS seal_keys (key_id TEXT PRIMARY KEY, secret BLOB NOT NULL, made_at REAL NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS questions (place INTEGER PRIMARY KEY AUTOINCREMENT, elicitation_id TEXT NOT NULL UNIQUE,
        from_agent TEXT NOT NULL, to_agent TEXT NOT NULL, message TEXT NOT NULL, schema BLOB NOT NULL,
        created_at REAL NOT NULL, expires_at REAL NOT NULL, state TEXT NOT NULL, digest BLOB NOT NULL,
        passed_on INTEGER NOT NULL, doubted BLOB, ended TEXT, ended_at REAL) STRICT;
    CREATE INDEX IF NOT EXISTS open_questions ON questions (place) WHERE ended IS NULL;
    CREATE TABLE IF NOT EXISTS history (place INTEGER PRIMARY KEY AUTOINCREMENT, elicitation_id TEXT NOT NULL,
        at REAL NOT NULL, what TEXT NOT NULL) STRICT;
    CREATE INDEX IF NOT EXISTS history_of ON history (elicitation_id);
    CREATE TABLE IF NOT EXISTS numbering (id INTEGER PRIMARY KEY CHECK (id = 1), "offset" INTEGER NOT NULL,
        ended INTEGER NOT NULL, highest INTEGER NOT NULL, reserved INTEGER NOT NULL, first_sequence INTEGER,
        first_created_at REAL) STRICT;
    CREATE TABLE IF NOT EXISTS cursors (place INTEGER PRIMARY KEY AUTOINCREMENT, agent_id TEXT NOT NULL UNIQUE,
        cursor INTEGER NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS dropped (place INTEGER PRIMARY KEY AUTOINCREMENT, agent_id TEXT NOT NULL UNIQUE,
        upto INTEGER NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS messages (agent_id TEXT NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL,
        created_at REAL, PRIMARY KEY (agent_id, number)) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS names (place INTEGER PRIMARY KEY AUTOINCREMENT, agent_id TEXT NOT NULL,
        number INTEGER NOT NULL, elicitation_id TEXT NOT NULL, UNIQUE (agent_id, number)) STRICT;
    CREATE TABLE IF NOT EXISTS told (place INTEGER PRIMARY KEY AUTOINCREMENT, agent_id TEXT NOT NULL,
        key BLOB NOT NULL, number INTEGER NOT NULL, is_note INTEGER NOT NULL, UNIQUE (agent_id, key)) STRICT;
    CREATE TABLE IF NOT EXISTS nonces (place INTEGER PRIMARY KEY, keyid TEXT NOT NULL, mark BLOB NOT NULL,
        expires REAL NOT NULL, UNIQUE (keyid, mark)) STRICT;
    CREATE INDEX IF NOT EXISTS ends_of_nonces ON nonces (expires);
    CREATE TABLE IF NOT EXISTS nonces_forgotten (id INTEGER PRIMARY KEY CHECK (id = 1), upto REAL NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS audit (number INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, who TEXT NOT NULL,
        what TEXT NOT NULL, subject TEXT NOT NULL, details TEXT NOT NULL, previous BLOB NOT NULL,
        digest BLOB NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS audit_head (id INTEGER PRIMARY KEY CHECK (id = 1), number INTEGER NOT NULL,
        digest BLOB NOT NULL) STRICT
    """,
)
"""Step i leads from schema i to schema i + 1. A step that was released is never changed: files stand on it."""

SCHEMA_VERSION: Final = len(_STEPS)
"""Of `PRAGMA user_version`; a file with a lower one is brought up to it, one with a higher one is refused."""


def open_database(path: Path, *, wait_s: float = OPEN_S) -> sqlite3.Connection:
    """Open or create the state file with mode 0600 and the present schema; `wait_s` is the time for another's lock.

    Raises:
        StateUnavailable: it cannot be opened, is no SQLite file, or was written by a newer release.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        _free_files_beside(path)
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=wait_s)
    except (OSError, sqlite3.Error) as error:
        raise StateUnavailable(
            f"cannot open the state file {path}: {error}; set state.url to a writable place"
        ) from error
    try:
        _check_schema(connection, path)
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only a file without tables takes it
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        _bring_up(connection, path)
        connection.execute(f"PRAGMA busy_timeout = {BUSY_S / LOOKS * 1000:.0f}")
    except sqlite3.Error as error:
        connection.close()
        raise StateUnavailable(f"the state file {path} cannot be used: {told(error)}") from error
    except StateUnavailable:
        connection.close()
        raise
    return connection


def _free_files_beside(path: Path) -> None:
    """Make log and shared memory writable again: whoever read the file while it was not made them in its likeness."""
    for suffix in ("-wal", "-shm"):
        with suppress(OSError):  # there is none, or it is somebody else's, of which SQLite then tells
            path.with_name(path.name + suffix).chmod(0o600)


def _check_schema(connection: sqlite3.Connection, path: Path) -> int:
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > SCHEMA_VERSION:
        raise StateUnavailable(
            f"the state file {path} has schema {found}, this release reads up to {SCHEMA_VERSION}; "
            "use the newer release again or set state.url to another file"
        )
    return found


def _bring_up(connection: sqlite3.Connection, path: Path) -> None:
    """Take the steps that are missing, all or none; whoever opens the file at the same time waits and finds them."""
    connection.execute("BEGIN IMMEDIATE")
    missing = _STEPS[_check_schema(connection, path) :]
    for step in missing:
        for statement in step.split(";"):
            connection.execute(statement)
    if missing:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open a state file of this or an older schema that cannot be written now.

    Raises:
        StateUnavailable: there is none, it cannot be read, or it was written by a newer release.
    """
    try:
        try:
            return _connect_to_read(path, "mode=ro")
        except sqlite3.OperationalError as error:
            if code_of(error) not in _WITHOUT_SHARED_MEMORY or not path.is_file():
                raise
        # What a log needs in shared memory, a file beside it, cannot be made here.
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and log.stat().st_size:
            return _connect_to_read(path, "mode=rw", is_alone=True)
        return _connect_to_read(path, "mode=ro&immutable=1")
    except (OSError, sqlite3.Error) as error:
        raise StateUnavailable(f"cannot read the state file {path}: {error}") from error


def _connect_to_read(path: Path, options: str, *, is_alone: bool = False) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?{options}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_S)
    try:
        if is_alone:  # so that the index of the log is kept in memory. Source: SQLite, "Write-Ahead Logging" 8
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        _check_schema(connection, path)
    except (sqlite3.Error, StateUnavailable):
        connection.close()
        raise
    return connection


def is_damage(error: BaseException | None) -> bool:
    """Whether this error, or what caused it, says that the file is no sound database.

    Source: SQLite result codes 11 (SQLITE_CORRUPT) and 26 (SQLITE_NOTADB), of which the lowest byte counts.
    """
    while error is not None and not isinstance(error, sqlite3.DatabaseError):
        error = error.__cause__
    code = getattr(error, "sqlite_errorcode", None)  # set where SQLite itself has refused
    return isinstance(code, int) and code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def told(error: sqlite3.Error) -> str:
    """What SQLite says, and what that most likely means."""
    hint = _HINTS.get(code_of(error))
    return f"{error} ({hint})" if hint else str(error)


def code_of(error: sqlite3.Error) -> int:
    """The primary result code; 0 where SQLite itself has not said anything."""
    code = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF if isinstance(code, int) else 0
