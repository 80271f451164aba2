"""One SQLite file behind one thread: writes of many callers share a commit.

Everything that touches the file runs on the thread in the order it was asked. Whatever waits in the queue is
committed together (group commit), and a caller's result is handed back only after the commit, so what was
acknowledged is on the disk (`synchronous=FULL`). A failing piece of work is undone alone, by its savepoint, and the
thread outlives every one of them: it ends only with `close`.
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

from proxy.core.errors import StateUnavailable

T = TypeVar("T")

MAX_BATCH: Final = 256
"""Most pieces of work in one commit. Source: LIBS.md section 7 (measured with 256)."""

MAX_QUEUED: Final = 10_000
"""Most pieces of work that may wait; beyond it callers are refused. Source: ours."""

SCHEMA_VERSION: Final = 1
"""Of `PRAGMA user_version`; a file with a higher one is refused."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS flags (version INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS flag_history (version INTEGER PRIMARY KEY, at REAL NOT NULL, author TEXT NOT NULL,
    reason TEXT NOT NULL, changes TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS forced (agent_id TEXT PRIMARY KEY, cohort TEXT NOT NULL, until REAL) STRICT;
PRAGMA user_version = 1;
"""


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


def open_database(path: Path) -> sqlite3.Connection:
    """Open or create the state file with mode 0600 and the present schema.

    Raises:
        StateUnavailable: it cannot be opened, is no SQLite file, or was written by a newer release.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    except (OSError, sqlite3.Error) as error:
        raise StateUnavailable(
            f"cannot open the state file {path}: {error}; set state.url to a writable place"
        ) from error
    try:
        _check_schema(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_SCHEMA)
    except sqlite3.Error as error:
        connection.close()
        raise StateUnavailable(f"the state file {path} cannot be used: {error}") from error
    except StateUnavailable:
        connection.close()
        raise
    return connection


def _check_schema(connection: sqlite3.Connection, path: Path) -> None:
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    if found > SCHEMA_VERSION:
        raise StateUnavailable(
            f"the state file {path} has schema {found}, this release reads up to {SCHEMA_VERSION}; "
            "use the newer release again or set state.url to another file"
        )


class SqliteWriter:
    """The thread that owns the state file. Started by the constructor, ended by `close`."""

    def __init__(self, path: Path) -> None:
        self._connection = open_database(path)
        self._jobs: queue.Queue[_Job | None] = queue.Queue(MAX_QUEUED)
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="state-writer", daemon=True)
        self._thread.start()

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
        """Finish what waits, then close the file. Blocks for as long as the last commit takes."""
        self._is_closed = True
        self._jobs.put(None)
        self._thread.join()
        self._connection.close()
        while not self._jobs.empty():  # came in while this began, behind the end
            if (late := self._jobs.get()) is not None:
                late.error = _closed()
                late.hand_back()

    def _run(self) -> None:
        while (first := self._jobs.get()) is not None:
            batch = [first]
            last = False
            while len(batch) < MAX_BATCH and not self._jobs.empty():
                job = self._jobs.get()
                if job is None:
                    last = True
                    break
                batch.append(job)
            self._commit(batch)
            if last:
                return

    def _commit(self, batch: list[_Job]) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                self._do(job)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):  # then the next BEGIN fails too, and says so
                self._connection.rollback()
            for job in batch:
                job.error = job.error or _refused(error)
        for job in batch:
            job.hand_back()

    def _do(self, job: _Job) -> None:
        self._connection.execute("SAVEPOINT job")
        try:
            job.result = job.work(self._connection)
        except Exception as error:  # noqa: BLE001  # boundary, see docs/decisions/0003-boundaries.md
            job.error = _refused(error) if isinstance(error, sqlite3.Error) else error
            # Where SQLite has given up the whole transaction this fails, and with it every job of the batch.
            self._connection.execute("ROLLBACK TO job")
        self._connection.execute("RELEASE job")


def _refused(error: sqlite3.Error) -> StateUnavailable:
    return StateUnavailable(f"the state store refused to write: {error}")


def _closed() -> StateUnavailable:
    return StateUnavailable("the state store is closed")
