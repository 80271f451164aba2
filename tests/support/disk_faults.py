"""Faults of the disk and of SQLite: full, read-only, locked by another, damaged, or failing at a chosen moment.

The first kind happens to files and to running children, the second to a SqliteWriter of this process.
"""

import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from proxy.stores.database import open_database
from proxy.stores.writer import SqliteWriter

T = TypeVar("T")

FULL: Final = "database or disk is full"
IO_ERROR: Final = "disk I/O error"
LOCKED: Final = "database is locked"
"""What SQLite says. Source: SQLite result codes 13, 10 and 5, texts of sqlite3_errstr."""

_LOCK: Final = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""

_WITHOUT_RIGHTS: Final = """
import ctypes, os, sys
for capability in (1, 2):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Drops CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH. Source: capabilities(7), prctl(2) PR_CAPBSET_DROP."""


# Files and children


@contextmanager
def disk_full(pid: int, size_bytes: int) -> Iterator[None]:
    """Let no file of a running child grow beyond a size for as long as the block lasts.

    Its writes fail with EFBIG, which SQLite tells as a disk I/O error. Source: setrlimit(2), RLIMIT_FSIZE.
    """
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        if Path(f"/proc/{pid}").exists():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


def as_mortal(words: Sequence[str]) -> list[str]:
    """A command whose process obeys the modes of files, also where it is started by root."""
    return [sys.executable, "-c", _WITHOUT_RIGHTS, *words]


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Let nobody write to a file, or into a directory and the files in it, for as long as the block lasts.

    Root may write all the same: start children that are to obey with `as_mortal`.
    """
    paths = [path, *(sorted(path.iterdir()) if path.is_dir() else [])]
    modes = {each: each.stat().st_mode for each in paths}
    for each, mode in modes.items():
        each.chmod(mode & ~0o222)
    try:
        yield
    finally:
        for each, mode in modes.items():
            if each.exists():
                each.chmod(mode)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let another process hold the database exclusively for as long as the block lasts."""
    with subprocess.Popen(
        [sys.executable, "-c", _LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        try:
            said = holder.stdout.readline() if holder.stdout else b""
            assert said == b"locked\n", "another process did not get the lock"
            yield
        finally:
            if holder.stdin:
                holder.stdin.close()
            holder.wait(10)


def spoil_header(path: Path) -> None:
    """Make a database one that SQLite does not recognise."""
    with path.open("r+b") as file:
        file.write(b"this is no database file at all " * 4)


def spoil_pages(path: Path, *, page_bytes: int = 4096) -> None:
    """Make a database one whose header is sound and whose pages are not; what stands in its log is lost too."""
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(min(page_bytes, size // 2))
        file.write(b"\xa5" * (size - file.tell()))


def cut_short(path: Path, *, share: float = 0.5) -> None:
    """Let only the beginning of a database be left."""
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * share))


# SQLite in this process


class FailingWriter(SqliteWriter):
    """A writer whose chosen jobs fail in SQLite; jobs count from 1 in the order they were given."""

    def __init__(self, path: Path, *, fails: Callable[[int], str] = lambda _: "") -> None:
        self.fails = fails
        """What SQLite says to the job of this number; nothing where it does its work."""
        self.jobs = 0
        super().__init__(path)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do the work, or fail in its place."""
        self.jobs += 1
        text = self.fails(self.jobs)

        def fail(_: sqlite3.Connection) -> T:
            raise sqlite3.OperationalError(text)

        return await super().run(fail if text else work)


def nth(number: int, text: str) -> Callable[[int], str]:
    """Fail one job."""
    return lambda job: text if job == number else ""


def from_nth(number: int, text: str) -> Callable[[int], str]:
    """Fail one job and all after it."""
    return lambda job: text if job >= number else ""


class FailingConnection(sqlite3.Connection):
    """A connection that fails at chosen statements, before they are executed."""

    plans: list[tuple[str, int, str]]
    """Beginning of a statement, how often it is still let through, and what SQLite then says, once."""

    def execute(self, sql: str, *arguments: object) -> sqlite3.Cursor:
        """Execute, or fail as planned."""
        for place, (begins, times, text) in enumerate(self.plans):
            if not sql.lstrip().startswith(begins):
                continue
            if times == 0:
                del self.plans[place]
                raise sqlite3.OperationalError(text)
            self.plans[place] = begins, times - 1, text
        return super().execute(sql, *arguments)  # type: ignore[arg-type]  # parameters of any kind, passed on


def open_failing(path: Path, *plans: tuple[str, int, str]) -> FailingConnection:
    """Open the state file, and fail at the planned statements from then on; see `FailingConnection.plans`."""
    open_database(path).close()
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, factory=FailingConnection)
    connection.plans = []
    connection.execute("PRAGMA synchronous = FULL")
    connection.plans = list(plans)
    return connection


class Gate:
    """A job that holds the writer's thread until it is opened, so that what comes behind shares a commit."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._reached = threading.Event()

    def hold(self, _: sqlite3.Connection) -> None:
        """The job; gives up after ten seconds."""
        self._reached.set()
        assert self._open.wait(10), "nobody opened the gate"

    def until_reached(self) -> None:
        """Block until the thread stands before it."""
        assert self._reached.wait(10), "the writer did not come to the gate"

    def open(self) -> None:
        """Let the thread go on."""
        self._open.set()
