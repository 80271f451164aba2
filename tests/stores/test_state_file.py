"""How a state file is found at a start: sound, damaged, locked, read-only, or beyond reading."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.core.cohort import Cohort
from proxy.core.errors import StateUnavailable
from proxy.core.flags import FlagChange, FlagSet
from proxy.core.ids import AgentId
from proxy.core.journal import QuestionNoted, Recovered
from proxy.core.replay import replay
from proxy.stores import database as database_module
from proxy.stores import state_file as state_file_module
from proxy.stores import writer as writer_module
from proxy.stores.journal import SqliteJournal
from proxy.stores.sqlite import SqliteFlagStore
from proxy.stores.state_file import Renewer, StateFile, open_state_file
from proxy.stores.writer import SqliteWriter
from tests.support.journal_changes import IDS, question, stamped

NOW = 1_800_000_000.0
ASIDE = "state.db.corrupt-20270115T080000Z"
NOTED = QuestionNoted(question(IDS[0]))
FLAGS = FlagSet(version=1, elicitation_enabled=True, elicitation_percentage=25.0)
CHANGE = FlagChange(version=1, at=1.0, author="op", reason="week 5", changes={})


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    """A state file that was in use: flags, a forced agent, and an open question."""
    path = tmp_path / "state.db"
    asyncio.run(_use(path))
    return path


async def _use(path: Path) -> None:
    writer = SqliteWriter(path)
    try:
        flags = SqliteFlagStore(writer)
        await flags.compare_and_set(FLAGS, CHANGE, expected=0)
        await flags.force(AgentId("bob"), Cohort.LEGACY, until=None)
        await SqliteJournal(writer).apply(stamped([NOTED]))
    finally:
        writer.close()


@contextmanager
def _opened(path: Path) -> Iterator[StateFile]:
    found = open_state_file(path, wall=lambda: NOW)
    try:
        yield found
    finally:
        found.writer.close()


async def _flags(found: StateFile) -> tuple[FlagSet | None, dict[AgentId, tuple[Cohort, float | None]]]:
    store = SqliteFlagStore(found.writer)
    return await store.load(), await store.forced()


KEPT = (FLAGS, {AgentId("bob"): (Cohort.LEGACY, None)})
GONE: tuple[None, dict[AgentId, tuple[Cohort, float | None]]] = (None, {})


def _damage_table(path: Path, table: str) -> None:
    """Overwrite the first page of one table with noise."""
    connection = sqlite3.connect(path)
    (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)


def test_a_sound_file_is_taken_up(path: Path) -> None:
    with _opened(path) as found:
        assert (found.renewer.set_aside, found.flags_are_lost, found.trouble) == ("", False, "")
        assert found.recovered == replay([NOTED])
        assert asyncio.run(_flags(found)) == KEPT


def test_a_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    with _opened(tmp_path / "deep" / "state.db") as found:
        assert (found.recovered, found.trouble) == (Recovered(), "")


@pytest.mark.requirement("state.damaged")
class TestDamaged:
    def test_it_is_set_aside_and_a_fresh_one_goes_on_with_the_flags(self, path: Path) -> None:
        _damage_table(path, "questions")
        with _opened(path) as found:
            assert Path(found.renewer.set_aside).name == ASIDE
            assert b"\xa5" * 4096 in Path(found.renewer.set_aside).read_bytes()
            assert (found.recovered, found.flags_are_lost, found.trouble) == (Recovered(), False, "")
            assert asyncio.run(_flags(found)) == KEPT
            asyncio.run(SqliteJournal(found.writer).apply(stamped([NOTED])))
        with _opened(path) as found:
            assert (found.renewer.set_aside, found.recovered) == ("", replay([NOTED]))
        assert path.stat().st_mode & 0o777 == 0o600

    def test_flags_that_cannot_be_read_are_known_to_be_lost_and_the_rest_is_carried_over(self, path: Path) -> None:
        _damage_table(path, "flags")
        with _opened(path) as found:
            assert found.flags_are_lost
            assert asyncio.run(_flags(found)) == (None, KEPT[1])

    @pytest.mark.parametrize("content", [b"SQLite format 3\0", b"no database at all, but long enough for a page" * 100])
    def test_nothing_is_carried_over_where_nothing_can_be_read(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        with _opened(path) as found:
            assert found.flags_are_lost
            assert asyncio.run(_flags(found)) == GONE
            assert Path(found.renewer.set_aside).read_bytes() == content

    def test_what_stands_in_the_journal_but_was_never_written_there_is_a_damage_too(self, path: Path) -> None:
        connection = sqlite3.connect(path)
        with connection:
            connection.execute("UPDATE questions SET schema = x'7b'")
        connection.close()
        with _opened(path) as found:
            assert (Path(found.renewer.set_aside).name, found.flags_are_lost) == (ASIDE, False)

    def test_the_files_beside_it_go_with_it_and_an_earlier_one_is_left_alone(self, path: Path) -> None:
        earlier = path.with_name(ASIDE)
        earlier.write_bytes(b"earlier")
        path.write_bytes(b"noise" * 1000)
        path.with_name("state.db-wal").write_bytes(b"log")
        found = state_file_module._begin_anew(path, Renewer(lambda: NOW))
        found.writer.close()
        assert Path(found.renewer.set_aside).name == f"{ASIDE}-1"
        assert path.with_name(f"{ASIDE}-1-wal").read_bytes() == b"log"
        assert earlier.read_bytes() == b"earlier"

    def test_one_that_cannot_be_moved_stops_the_start(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuses(*_args: object) -> None:
            raise PermissionError("not yours")

        path.write_bytes(b"noise" * 1000)
        monkeypatch.setattr(Path, "rename", refuses)
        with pytest.raises(StateUnavailable, match="lost and cannot be set aside: not yours; move it away"):
            open_state_file(path, wall=lambda: NOW)


@pytest.mark.requirement("state.read_only")
class TestReadForNow:
    @pytest.fixture(autouse=True)
    def _impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(database_module, "BUSY_S", 0.05)
        monkeypatch.setattr(writer_module, "BUSY_S", 0.05)
        monkeypatch.setattr(database_module.open_database, "__kwdefaults__", {"wait_s": 0.05})

    def test_a_file_that_another_process_holds_is_read_and_written_as_soon_as_it_is_free(self, path: Path) -> None:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with _opened(path) as found:
            assert "database is locked" in found.trouble
            assert found.recovered == replay([NOTED])
            assert asyncio.run(_flags(found)) == KEPT
            with pytest.raises(StateUnavailable):
                asyncio.run(SqliteJournal(found.writer).replace(stamped([])))
            other.execute("ROLLBACK")
            asyncio.run(SqliteJournal(found.writer).replace(stamped([])))
            assert asyncio.run(SqliteJournal(found.writer).recover()) == Recovered()
        other.close()

    def test_one_that_is_held_so_that_it_cannot_even_be_read_stops_the_start(self, path: Path) -> None:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM flags")
        with pytest.raises(StateUnavailable, match="database is locked"):
            open_state_file(path, wall=lambda: NOW)
        other.close()
        with _opened(path) as found:
            assert asyncio.run(_flags(found)) == KEPT

    def test_a_file_of_a_newer_release_stops_the_start(self, path: Path) -> None:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
        with pytest.raises(StateUnavailable, match="schema 99"):
            open_state_file(path, wall=lambda: NOW)

    def test_another_error_while_reading_stops_the_start(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(_connection: object) -> Recovered:
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(state_file_module, "read_journal", fails)
        with pytest.raises(StateUnavailable, match="cannot be read: disk I/O error"):
            open_state_file(path, wall=lambda: NOW)


AS_NOBODY = """
import asyncio, os, pathlib, sys
from proxy.core.errors import StateUnavailable
from proxy.stores.sqlite import SqliteFlagStore
from proxy.stores.state_file import open_state_file
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    found = open_state_file(pathlib.Path(sys.argv[1]), wall=lambda: 0.0)
except StateUnavailable as error:
    print("refused", error)
else:
    flags = asyncio.run(SqliteFlagStore(found.writer).load())
    print(flags.elicitation_percentage, len(found.recovered.questions), found.trouble)
    found.writer.close()
"""


def _as_nobody(path: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env={**os.environ, "HOME": str(path.parent)},
    )
    return done.stdout


def _let_in(path: Path) -> None:
    """Let everybody into the folders of pytest above a test's own, of which xdist makes one more."""
    for folder in path.parents[1:]:
        if folder == Path(tempfile.gettempdir()):
            return
        folder.chmod(0o755)


@pytest.mark.requirement("state.read_only")
def test_a_read_only_disk_is_read_with_its_flags_and_questions(path: Path) -> None:
    _let_in(path)
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        said = _as_nobody(path)
    finally:
        path.parent.chmod(0o755)
    assert said.startswith("25.0 1 ")
    assert "set state.url to a writable place" in said


@pytest.mark.requirement("state.read_only")
def test_a_file_that_may_not_be_read_stops_the_start(path: Path) -> None:
    _let_in(path)
    path.parent.chmod(0o755)
    path.chmod(0o000)
    assert _as_nobody(path).startswith("refused cannot open the state file")
