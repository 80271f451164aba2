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
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, TypeVar

from proxy.core.errors import StateUnavailable
from proxy.stores.database import BUSY_S, LOOKS, code_of, is_damage, open_database, open_read_only, told

T = TypeVar("T")

MAX_BATCH: Final = 256
"""Most pieces of work in one commit. Source: LIBS.md section 7 (measured with 256)."""

MAX_QUEUED: Final = 10_000
"""Most pieces of work that may wait; beyond it callers are refused. Source: ours."""

CLOSE_S: Final = 0.2
"""Longest wait for the last piece of work at the end.

Source: ours, below the 2 s that an exit may take (ARCHITECTURE.md 2.6); what is acknowledged is on the disk.
"""


RETRY_S: Final = 10.0
"""When it is worth to come again, seconds. Source: ours, as the journal tries a store in trouble this often."""


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


class Renew(Protocol):
    """Begins a fresh state file in the place of a lost one."""

    def __call__(self, path: Path, *, is_damaged: bool) -> sqlite3.Connection:
        """Set aside what is there, and open a fresh file; blocks.

        What is damaged is our own, and is carried over as far as it can be read; anything else is somebody else's.

        Raises:
            StateUnavailable: a fresh file cannot be made.
        """
        ...


WriteBack = Callable[[sqlite3.Connection], None]
"""Writes what must not be missing into a fresh file, where it is missing."""

GiveUp = Callable[[str], None]
"""Hears, on the writer's thread, why the file is given up: what stood in it has to be written anew."""


def _nobody(_: str) -> None:
    """Whoever does not care."""


def open_anew(path: Path, *, is_damaged: bool) -> sqlite3.Connection:
    """Begin a fresh file only where there is none.

    Raises:
        StateUnavailable: there is one, or a fresh one cannot be made.
    """
    if path.exists():
        state = "is damaged" if is_damaged else "is another one"
        raise StateUnavailable(f"the state file {path} {state}; move it away")
    return open_database(path)


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
        renew: Renew = open_anew,
    ) -> None:
        self.given_up: GiveUp = _nobody
        self._path = path
        self._connection = connection or open_database(path)
        self._is_read_only = is_read_only
        self._why_read_only = ""
        """What the last attempt to open it for writing said."""
        self._renew = renew
        self._is_damaged = False
        self._is_taken_away = False
        """Why the file is given up."""
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
                job.error = job.error or self._as_refusal(error)
        for job in batch:
            job.hand_back()

    def _make_ready(self) -> None:
        """Find a file to write to, where the present one is not such.

        Raises:
            StateUnavailable: there is none.
        """
        if self._is_read_only:
            self._open_after_all()
        elif not (self._is_damaged or self._is_taken_away) and _files(self._path) != self._files:
            self._is_taken_away = True
            self.given_up("the state file was taken away")
        if self._is_damaged or self._is_taken_away:
            self._connection.close()  # first, as its end may take away the log that stands beside the name
            self._change_to(self._renew(self._path, is_damaged=not self._is_taken_away))
            self._connection.execute("BEGIN IMMEDIATE")
            for write_back in self._write_back:
                write_back(self._connection)
            self._connection.execute("COMMIT")
            self._is_damaged = self._is_taken_away = False

    def _open_after_all(self) -> None:
        """Open a file for writing that could only be read so far; where that fails again, reading goes on."""
        self._connection.close()  # first, as it may hold the file for itself
        try:
            found = open_database(self._path, wait_s=BUSY_S / LOOKS if self._is_closed else BUSY_S)
        except StateUnavailable as refusal:
            self._why_read_only = refusal.detail
            self._connection = open_read_only(self._path)
        else:
            self._change_to(found)

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
                is_busy = code_of(error) == sqlite3.SQLITE_BUSY
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
            job.error = self._as_refusal(error)
            # Where SQLite has given up the whole transaction this fails, and with it every job of the batch.
            self._connection.execute("ROLLBACK TO job")
        self._connection.execute("RELEASE job")

    def _as_refusal(self, error: Exception) -> Exception:
        """What the caller hears of an error."""
        if not isinstance(error, sqlite3.Error):
            return error
        if self._is_read_only and code_of(error) == sqlite3.SQLITE_READONLY:
            why = self._why_read_only
        else:
            why = f"the state store refused to write: {told(error)}"
        refusal = StateUnavailable(why, retry_after_s=RETRY_S)
        refusal.__cause__ = error
        return refusal

    def _look_for_damage(self, error: Exception) -> None:
        if is_damage(error) and not (self._is_damaged or self._is_taken_away):
            self._is_damaged = True
            self.given_up(f"the state file is damaged: {error}")


def _files(path: Path) -> tuple[int, ...]:
    """Which files stand where a database and its log stand, by their inodes; 0 for none."""
    found = []
    for name in (path, path.with_name(f"{path.name}-wal")):
        try:
            found.append(name.stat().st_ino)
        except OSError:  # it is not there, or nobody can tell
            found.append(0)
    return tuple(found)


def _closed() -> StateUnavailable:
    return StateUnavailable("the state store is closed")
