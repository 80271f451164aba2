"""The disk faults: each one is what SQLite or the system would do, for as long as it lasts and no longer."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.core.errors import StateUnavailable
from proxy.stores.database import is_damage, open_database
from proxy.stores.writer import SqliteWriter
from tests.support.disk_faults import (
    FULL,
    IO_ERROR,
    LOCKED,
    FailingWriter,
    Gate,
    as_mortal,
    cut_short,
    disk_full,
    from_nth,
    locked,
    nth,
    open_failing,
    read_only,
    spoil_header,
    spoil_pages,
)

TRIES = """
import sys
for word in sys.stdin:
    try:
        with open(sys.argv[1], "ab") as file:
            file.write(b"x" * 100)
        print("written", flush=True)
    except OSError as error:
        print(type(error).__name__, error.errno, flush=True)
"""


class _Child:
    """A child that writes when it is told to."""

    def __init__(self, path: Path) -> None:
        words = as_mortal([sys.executable, "-c", TRIES, str(path)])
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def write(self) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("write\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.communicate(timeout=10)


def test_a_full_disk_is_full_until_there_is_room_again(tmp_path: Path) -> None:
    child = _Child(tmp_path / "file")
    try:
        assert child.write() == "written"
        with disk_full(child.process.pid, 150):
            assert child.write() == "OSError 27"
        assert child.write() == "written"
    finally:
        child.close()


def test_a_read_only_place_refuses_also_what_root_started(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "old").write_bytes(b"")
    old, new = _Child(folder / "old"), _Child(folder / "new")
    try:
        with read_only(folder):
            assert [old.write(), new.write()] == ["PermissionError 13"] * 2
        assert [old.write(), new.write()] == ["written"] * 2
    finally:
        old.close()
        new.close()


def test_a_locked_database_is_free_again_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    connection = open_database(path)
    connection.execute("PRAGMA busy_timeout = 0")
    with locked(path), pytest.raises(sqlite3.OperationalError, match=LOCKED):
        connection.execute("BEGIN IMMEDIATE")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("ROLLBACK")
    connection.close()


@pytest.mark.parametrize("spoil", [spoil_header, spoil_pages, cut_short])
def test_a_spoiled_database_is_damaged_in_the_eyes_of_sqlite(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    path = tmp_path / "state.db"
    connection = open_database(path)
    connection.execute("CREATE TABLE many (text TEXT)")
    connection.executemany("INSERT INTO many VALUES (?)", [("x" * 3_000,)] * 50)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    spoil(path)
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.DatabaseError) as found:
        connection.execute("SELECT count(text) FROM many").fetchone()
    connection.close()
    assert is_damage(found.value)


def _insert(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO flags (version, body) SELECT count(*) + 1, '{}' FROM flags")


def _count(connection: sqlite3.Connection) -> int:
    count: int = connection.execute("SELECT count(*) FROM flags").fetchone()[0]
    return count


@pytest.mark.parametrize("text", [FULL, IO_ERROR, LOCKED])
async def test_the_nth_job_fails_alone_with_what_sqlite_says(tmp_path: Path, text: str) -> None:
    writer = await asyncio.to_thread(FailingWriter, tmp_path / "state.db", fails=nth(2, text))
    try:
        await writer.run(_insert)
        with pytest.raises(StateUnavailable, match=text):
            await writer.run(_insert)
        await writer.run(_insert)
        assert await writer.run(_count) == 2
        writer.fails = from_nth(1, text)
        for _ in range(2):
            with pytest.raises(StateUnavailable, match=text):
                await writer.run(_insert)
        writer.fails = lambda _: ""
        assert await writer.run(_count) == 2
    finally:
        await asyncio.to_thread(writer.close)


async def test_a_commit_that_fails_takes_all_that_share_it(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    connection = await asyncio.to_thread(open_failing, path, ("COMMIT", 1, FULL))
    writer = await asyncio.to_thread(SqliteWriter, path, connection)
    gate = Gate()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(writer.run(gate.hold))
            await asyncio.to_thread(gate.until_reached)
            both = [group.create_task(_outcome(writer)) for _ in range(2)]
            await asyncio.sleep(0)
            gate.open()
        assert [each.result() for each in both] == [f"the state store refused to write: {FULL}"] * 2
        await writer.run(_insert)
        assert await writer.run(_count) == 1
    finally:
        await asyncio.to_thread(writer.close)


async def _outcome(writer: SqliteWriter) -> str:
    try:
        await writer.run(_insert)
    except StateUnavailable as refusal:
        return refusal.detail
    return "written"


def test_modes_and_limits_are_what_they_were(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    before = path.stat().st_mode
    with read_only(path):
        assert path.stat().st_mode != before
    assert path.stat().st_mode == before
    with disk_full(os.getpid(), 1 << 40):
        pass
    path.write_bytes(b"x")
