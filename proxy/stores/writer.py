"""One SQLite file behind one thread: writes of many callers share a commit.

Everything that touches the file runs on the thread in the order it was asked. Whatever waits in the queue is
committed together (group commit), and a caller's result is handed back only after the commit, so what was
acknowledged is on the disk (`synchronous=FULL`). A failing piece of work is undone alone, by its savepoint, and the
thread outlives every one of them: it ends only with `close`.

A file that can only be read for now (a full or read-only disk, another process that holds it) serves what only reads;
whatever writes is refused, and each time it is tried first to open the file after all. One that turns out to be
damaged, or is no longer where it was, is given up: the next piece of work finds a fresh one (see `Renew`).
"""

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import quote

from proxy.core.errors import StateUnavailable

T = TypeVar("T")

MAX_BATCH: Final = 256
"""Most pieces of work in one commit. Source: LIBS.md section 7 (measured with 256)."""

MAX_QUEUED: Final = 10_000
"""Most pieces of work that may wait; beyond it callers are refused. Source: ours."""

BUSY_S: Final = 1.0
"""Longest wait for another process that holds the file. Source: ours; a commit of another takes milliseconds."""

LOOKS: Final = 20
"""In so many parts it is waited for; at the end of the process the first is the last. Source: ours, see CLOSE_S."""

CLOSE_S: Final = 0.2
"""Longest wait for the last piece of work at the end. Source: ours, as above; what is acknowledged is on the disk."""

OPEN_S: Final = 5.0
"""The same for the start, when others may open the file at the same time. Source: ours."""

WAL_BYTES: Final = 16 << 20
"""Size that the write-ahead log is cut back to when it has been larger. Source: ours; a checkpoint begins at 4 MiB."""

_STEPS: Final = (
    """
    CREATE TABLE IF NOT EXISTS flags (version INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS flag_history (version INTEGER PRIMARY KEY, at REAL NOT NULL, author TEXT NOT NULL,
        reason TEXT NOT NULL, changes TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS forced (agent_id TEXT PRIMARY KEY, cohort TEXT NOT NULL, until REAL) STRICT
    """,
    """
    CREATE TABLE IF NOT EXISTS exchanges (handle BLOB PRIMARY KEY, expires_at REAL NOT NULL, digest BLOB,
        record BLOB NOT NULL) STRICT;
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
        number INTEGER NOT NULL, elicitation_id TEXT NOT NULL, UNIQUE (agent_id, number)) STRICT
    """,
)
"""Step i leads from schema i to schema i + 1. A step that was released is never changed: files stand on it."""

SCHEMA_VERSION: Final = len(_STEPS)
"""Of `PRAGMA user_version`; a file with a lower one is brought up to it, one with a higher one is refused."""


class _Job:
    __slots__ = ("error", "future", "loop", "result", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], object], loop: asyncio.AbstractEventLoop) -> None:
        self.work = work
        self.loop = loop
        self.future: asyncio.Future[object] = loop.create_future()
        self.result: object = None
        self.error: Exception | None = None

    def hand_back(self) -> None:
        """Give result or error to the caller, on the caller's loop."""
        with contextlib.suppress(RuntimeError):  # that loop is closed, and with it the caller
            self.loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        if self.future.done():  # the caller has left
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


def open_database(path: Path, *, wait_s: float = OPEN_S) -> sqlite3.Connection:
    """Open or create the state file with mode 0600 and the present schema; `wait_s` is the time for another's lock.

    Raises:
        StateUnavailable: it cannot be opened, is no SQLite file, or was written by a newer release.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
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
        raise StateUnavailable(f"the state file {path} cannot be used: {error}") from error
    except StateUnavailable:
        connection.close()
        raise
    return connection


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
    log = path.with_name(f"{path.name}-wal")
    try:
        try:
            return _connect_to_read(path, "mode=ro")
        except sqlite3.OperationalError as error:
            is_whole = path.is_file() and not (log.exists() and log.stat().st_size)
            if not is_whole or error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}:
                raise
        # No shared memory can be made here, and nothing is left of the write-ahead log: the file is all there is.
        return _connect_to_read(path, "mode=ro&immutable=1")
    except (OSError, sqlite3.Error) as error:
        raise StateUnavailable(f"cannot read the state file {path}: {error}") from error


def _connect_to_read(path: Path, options: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(path.absolute()))}?{options}"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_S)
    try:
        _check_schema(connection, path)
    except (sqlite3.Error, StateUnavailable):
        connection.close()
        raise
    return connection


Renew = Callable[[Path], sqlite3.Connection]
"""Sets a damaged file aside, where there is one, and opens a fresh one. Raises StateUnavailable. Blocks."""

WriteBack = Callable[[sqlite3.Connection], None]
"""Writes what must not be missing into a fresh file, where it is missing."""

GiveUp = Callable[[str], None]
"""Hears, on the writer's thread, why the file is given up: what stood in it has to be written anew."""


def _nobody(_: str) -> None:
    """Whoever does not care."""


class SqliteWriter:
    """The thread that owns the state file. Started by the constructor, ended by `close`.

    `connection` is the open file; one of `open_read_only` is replaced as soon as the file can be written.
    """

    def __init__(
        self,
        path: Path,
        connection: sqlite3.Connection | None = None,
        *,
        is_read_only: bool = False,
        renew: Renew = open_database,
    ) -> None:
        self.given_up: GiveUp = _nobody
        self._path = path
        self._connection = connection or open_database(path)
        self._is_read_only = is_read_only
        self._renew = renew
        self._why_renew = ""
        """Why the file is given up; empty while it is not."""
        self._write_back: list[WriteBack] = []
        self._files = _files(path)
        self._jobs: queue.Queue[_Job | None] = queue.Queue(MAX_QUEUED)
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="state-writer", daemon=True)
        self._thread.start()

    def carry_over(self, write_back: WriteBack) -> None:
        """Let something be written into a file that takes the place of a lost one, in the same commit."""
        self._write_back.append(write_back)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on the thread, inside the next commit; returns after the commit.

        Raises:
            StateUnavailable: too much work waits, SQLite refused it, or the store is closed.
        """
        if self._is_closed:
            raise _closed()
        job = _Job(work, asyncio.get_running_loop())
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise StateUnavailable("the state store is overloaded; retry later", retry_after_s=1) from None
        return await job.future  # type: ignore[return-value]  # the job's work returns T

    def close(self) -> None:
        """Finish what waits, then close the file; blocks for CLOSE_S seconds at most.

        A disk that takes longer keeps the thread, which ends with the process: nobody was told that this is written.
        """
        self._is_closed = True
        try:
            self._jobs.put(None, timeout=CLOSE_S)
        except queue.Full:  # the disk hangs with more work behind it than it will ever do
            return
        self._thread.join(CLOSE_S)
        if self._thread.is_alive():
            return
        while not self._jobs.empty():  # came in while this began, behind the end
            if (late := self._jobs.get()) is not None:
                late.error = _closed()
                late.hand_back()

    def _run(self) -> None:
        last = False
        while not last and (first := self._jobs.get()) is not None:
            batch = [first]
            while len(batch) < MAX_BATCH and not self._jobs.empty():
                job = self._jobs.get()
                if job is None:
                    last = True
                    break
                batch.append(job)
            self._commit(batch)
        self._connection.close()

    def _commit(self, batch: list[_Job]) -> None:
        try:
            self._make_ready()
            self._begin()
            for job in batch:
                self._do(job)
            self._connection.execute("COMMIT")
        except (sqlite3.Error, StateUnavailable) as error:
            self._look_for_damage(error)
            with contextlib.suppress(sqlite3.Error):  # then the next BEGIN fails too, and says so
                self._connection.rollback()
            for job in batch:
                job.error = job.error or (_refused(error) if isinstance(error, sqlite3.Error) else error)
        for job in batch:
            job.hand_back()

    def _make_ready(self) -> None:
        """Find a file to write to, where the present one is not such.

        Raises:
            StateUnavailable: there is none.
        """
        if self._is_read_only:
            with contextlib.suppress(StateUnavailable):  # reading goes on
                self._change_to(open_database(self._path, wait_s=BUSY_S / LOOKS if self._is_closed else BUSY_S))
        elif not self._why_renew and _files(self._path) != self._files:
            self._give_up("the state file was taken away")
        if self._why_renew:
            self._connection.close()  # first, as its end may take away the log that stands beside the name
            self._change_to(self._renew(self._path))
            self._connection.execute("BEGIN IMMEDIATE")
            for write_back in self._write_back:
                write_back(self._connection)
            self._connection.execute("COMMIT")
            self._why_renew = ""

    def _change_to(self, connection: sqlite3.Connection) -> None:
        self._connection.close()
        self._connection, self._is_read_only, self._files = connection, False, _files(self._path)

    def _begin(self) -> None:
        """Begin a transaction; look again while another process holds the file, but not when the end has come."""
        statement = "BEGIN" if self._is_read_only else "BEGIN IMMEDIATE"
        for look in range(1, LOOKS + 1):
            try:
                self._connection.execute(statement)
            except sqlite3.OperationalError as error:
                is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not is_busy or self._is_closed or look == LOOKS:
                    raise
            else:
                return

    def _do(self, job: _Job) -> None:
        self._connection.execute("SAVEPOINT job")
        try:
            job.result = job.work(self._connection)
        except Exception as error:  # noqa: BLE001  # boundary, see docs/decisions/0003-boundaries.md
            self._look_for_damage(error)
            job.error = _refused(error) if isinstance(error, sqlite3.Error) else error
            # Where SQLite has given up the whole transaction this fails, and with it every job of the batch.
            self._connection.execute("ROLLBACK TO job")
        self._connection.execute("RELEASE job")

    def _look_for_damage(self, error: Exception) -> None:
        if is_damage(error):
            self._give_up(f"the state file is damaged: {error}")

    def _give_up(self, why: str) -> None:
        if not self._why_renew:
            self._why_renew = why
            self.given_up(why)


def _files(path: Path) -> tuple[int, ...]:
    """Which files stand where a database and its log stand, by their inodes; 0 for none."""
    found = []
    for name in (path, path.with_name(f"{path.name}-wal")):
        try:
            found.append(name.stat().st_ino)
        except OSError:  # it is not there, or nobody can tell
            found.append(0)
    return tuple(found)


def _refused(error: sqlite3.Error) -> StateUnavailable:
    refusal = StateUnavailable(f"the state store refused to write: {error}")
    refusal.__cause__ = error
    return refusal


def is_damage(error: BaseException | None) -> bool:
    """Whether this error, or what caused it, says that the file is no sound database.

    Source: SQLite result codes 11 (SQLITE_CORRUPT) and 26 (SQLITE_NOTADB), of which the lowest byte counts.
    """
    while error is not None and not isinstance(error, sqlite3.DatabaseError):
        error = error.__cause__
    code = getattr(error, "sqlite_errorcode", None)  # set where SQLite itself has refused
    return isinstance(code, int) and code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def _closed() -> StateUnavailable:
    return StateUnavailable("the state store is closed")
