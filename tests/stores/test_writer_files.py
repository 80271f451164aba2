"""Which files the state writer opens, brings up to date, or refuses: with a clear text, and left as they are."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.core.cohort import Cohort
from proxy.core.errors import StateUnavailable
from proxy.core.flags import FlagChange, FlagSet
from proxy.core.ids import AgentId
from proxy.stores.database import SCHEMA_VERSION, open_database
from proxy.stores.sqlite import SqliteFlagStore
from proxy.stores.writer import SqliteWriter

VERSION_1 = """
CREATE TABLE IF NOT EXISTS flags (version INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS flag_history (version INTEGER PRIMARY KEY, at REAL NOT NULL, author TEXT NOT NULL,
    reason TEXT NOT NULL, changes TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS forced (agent_id TEXT PRIMARY KEY, cohort TEXT NOT NULL, until REAL) STRICT;
PRAGMA user_version = 1;
"""
"""As the first release made it."""


def _make_version_1(path: Path) -> None:
    """A state file as the first release left it, in use for a while."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(VERSION_1)
    body = '{"elicitation_enabled":true,"elicitation_percentage":25.0,"elicitation_whitelist":["ops"]}'
    connection.execute("INSERT INTO flags VALUES (7, ?)", (body,))
    connection.execute("INSERT INTO flag_history VALUES (7, 12.5, 'op', 'why', '{}')")
    connection.execute("INSERT INTO forced VALUES ('alice', 'legacy', 99.5)")
    connection.close()


def _schema(path: Path) -> tuple[int, set[str]]:
    connection = sqlite3.connect(path)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    return version, tables


FIRST_TABLES = {"flags", "flag_history", "forced"}
JOURNAL = {"questions", "history", "numbering", "cursors", "dropped", "messages", "names", "told", "sqlite_sequence"}
TRUST = {"nonces", "nonces_forgotten", "audit", "audit_head"}
TABLES = FIRST_TABLES | {"exchanges", "seal_keys"} | JOURNAL | TRUST


@contextmanager
def _mode(path: Path, mode: int) -> Iterator[None]:
    before = stat.S_IMODE(path.stat().st_mode)
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(before)


@pytest.mark.requirement("store.brought_up")
async def test_a_file_of_the_first_release_opens_and_keeps_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    await asyncio.to_thread(_make_version_1, path)
    for _ in range(2):
        writer = await asyncio.to_thread(SqliteWriter, path)
        try:
            store = SqliteFlagStore(writer)
            assert await store.load() == FlagSet(
                version=7, elicitation_enabled=True, elicitation_percentage=25.0, elicitation_whitelist=("ops",)
            )
            assert list(await store.history(9)) == [
                FlagChange(version=7, at=12.5, author="op", reason="why", changes={})
            ]
            assert await store.forced() == {AgentId("alice"): (Cohort.LEGACY, 99.5)}
        finally:
            await asyncio.to_thread(writer.close)
        assert await asyncio.to_thread(_schema, path) == (SCHEMA_VERSION, TABLES)


@pytest.mark.requirement("store.brought_up")
def test_a_fresh_file_and_one_that_was_brought_up_are_the_same(tmp_path: Path) -> None:
    _make_version_1(tmp_path / "old.db")
    made = []
    for name in ("old.db", "new.db"):
        open_database(tmp_path / name).close()
        connection = sqlite3.connect(tmp_path / name)
        rows = connection.execute("SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master")
        made.append({" ".join(" ".join(row).split()) for row in rows})
        connection.close()
    assert made[0] == made[1]


@pytest.mark.requirement("store.brought_up")
def test_many_that_open_an_old_file_at_once_bring_it_up_once(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    _make_version_1(path)
    with ThreadPoolExecutor(4) as pool:
        for connection in pool.map(open_database, [path] * 8):
            connection.close()
    assert _schema(path) == (SCHEMA_VERSION, TABLES)


@pytest.mark.requirement("store.brought_up")
def test_a_file_that_cannot_be_brought_up_stays_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    _make_version_1(path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("CREATE INDEX seal_keys ON flags (body)")
    connection.close()
    with pytest.raises(StateUnavailable, match="cannot be used: there is already an index named seal_keys"):
        open_database(path)
    assert _schema(path) == (1, FIRST_TABLES)


@pytest.mark.requirement("store.brought_up")
def test_a_file_that_an_old_release_marked_as_its_own_again_opens_nevertheless(tmp_path: Path) -> None:
    """The first release sets its version whenever it opens a file, and may have looked before we did."""
    path = tmp_path / "state.db"
    open_database(path).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(VERSION_1)
    connection.close()
    open_database(path).close()
    assert _schema(path) == (SCHEMA_VERSION, TABLES)


@pytest.mark.requirement("store.refused_file")
def test_a_file_of_a_newer_release_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StateUnavailable, match=f"schema {SCHEMA_VERSION + 1}.*up to {SCHEMA_VERSION}"):
        open_database(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"this is no database, but long enough to be read as one" * 40, b"SQLite format 3\0"]
)
@pytest.mark.requirement("store.refused_file")
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(content)
    with pytest.raises(StateUnavailable, match=str(path)):
        open_database(path)
    assert path.read_bytes() == content


@pytest.mark.requirement("store.refused_file")
def test_a_directory_in_the_place_of_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StateUnavailable, match=r"set state\.url to a writable place"):
        open_database(tmp_path)


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StateUnavailable, match=r"set state\.url to a writable place"):
        open_database(tmp_path / "file" / "state.db")


READ_ONLY = """
import os, pathlib, sys
from proxy.core.errors import StateUnavailable
from proxy.stores.database import open_database
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    open_database(pathlib.Path(sys.argv[1]))
except StateUnavailable as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["state.db", "below/state.db"])
@pytest.mark.requirement("store.refused_file")
def test_a_read_only_directory_is_refused(tmp_path: Path, name: str) -> None:
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o755)
    with _mode(tmp_path, 0o555):
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(tmp_path / name)],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
            env={**os.environ, "HOME": str(tmp_path)},
        )
    assert "set state.url to a writable place" in done.stdout
    assert str(tmp_path / name) in done.stdout
