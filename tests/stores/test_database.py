"""Ways to open a state file: the usual one, and the ones that are left when the disk is in trouble."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.core.errors import StateUnavailable
from proxy.stores.database import code_of, is_damage, open_database, open_read_only, told
from tests.support.disk_faults import as_mortal, read_only


def _error(name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("it says")
    error.sqlite_errorcode = getattr(sqlite3, name)
    return error


@pytest.mark.requirement("disk.told")
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("SQLITE_FULL", "the disk is full"),
        ("SQLITE_IOERR_WRITE", "the disk is full, or failing"),
        ("SQLITE_BUSY_SNAPSHOT", "another process holds it"),
        ("SQLITE_READONLY_DBMOVED", "it may not be written"),
        ("SQLITE_CANTOPEN", "it may not be written, or its folder"),
        ("SQLITE_PERM", "it may not be written"),
    ],
)
def test_what_sqlite_says_is_told_with_what_it_most_likely_means(name: str, hint: str) -> None:
    assert told(_error(name)) == f"it says ({hint})"


def test_what_means_nothing_in_particular_is_told_as_it_is() -> None:
    assert told(_error("SQLITE_MISUSE")) == "it says"
    assert told(sqlite3.OperationalError("ours")) == "ours"
    assert code_of(sqlite3.OperationalError("ours")) == 0
    assert not is_damage(None)


USED = """
import os, pathlib, signal, sys
from proxy.stores.database import open_database
connection = open_database(pathlib.Path(sys.argv[1]))
connection.execute("INSERT INTO forced VALUES ('bob', 'legacy', NULL)")
os.kill(os.getpid(), signal.SIGKILL)
"""


def _kill_user(path: Path) -> None:
    """A file as a kill leaves it: what was written stands in its log only."""
    done = subprocess.run([sys.executable, "-c", USED, str(path)], check=False, timeout=30)
    assert done.returncode == -signal.SIGKILL


def _read(connection: sqlite3.Connection) -> list[tuple[str]]:
    try:
        return connection.execute("SELECT agent_id FROM forced").fetchall()
    finally:
        connection.close()


READ = """
import pathlib, resource, sys
from proxy.stores.database import open_read_only
if sys.argv[2] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
print(open_read_only(pathlib.Path(sys.argv[1])).execute("SELECT agent_id FROM forced").fetchall())
"""


def _read_as(path: Path, how: str) -> str:
    words = as_mortal([sys.executable, "-c", READ, str(path), how])
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


@pytest.mark.requirement("state.read_only")
class TestReading:
    def test_what_stands_in_the_log_of_a_kill_is_read_on_a_full_disk_and_stays_there(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        _kill_user(path)
        assert path.with_name("state.db-wal").stat().st_size
        assert _read_as(path, "full") == "[('bob',)]"
        assert _read(open_database(path)) == [("bob",)]

    def test_a_file_without_a_log_is_read_on_a_full_disk_and_where_nothing_may_be_written(self, tmp_path: Path) -> None:
        path = tmp_path / "deep" / "state.db"
        path.parent.mkdir()
        _kill_user(path)
        assert _read(open_database(path)) == [("bob",)]
        assert not path.with_name("state.db-wal").exists()
        assert _read_as(path, "full") == "[('bob',)]"
        with read_only(path.parent):
            assert _read_as(path, "read-only") == "[('bob',)]"

    def test_what_a_reader_leaves_beside_a_read_only_file_does_not_stop_a_writer_later(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        open_database(path).close()
        with read_only(path):
            _read(open_read_only(path))
        connection = open_database(path)
        connection.execute("INSERT INTO forced VALUES ('bob', 'legacy', NULL)")
        assert _read(connection) == [("bob",)]

    def test_a_file_that_is_not_there_is_not_made(self, tmp_path: Path) -> None:
        with pytest.raises(StateUnavailable, match="cannot read the state file"):
            open_read_only(tmp_path / "state.db")
        assert not list(tmp_path.iterdir())
