"""The thread that owns the state file: durable before acknowledged, one bad job alone undone, a clean end."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.core.errors import FlagConflict, StateUnavailable
from proxy.stores import writer as writer_module
from proxy.stores.database import open_database
from proxy.stores.writer import MAX_BATCH, SqliteWriter

INSERT = "INSERT INTO forced VALUES (?, 'legacy', NULL)"


@asynccontextmanager
async def _open(path: Path) -> AsyncIterator[SqliteWriter]:
    made = await asyncio.to_thread(SqliteWriter, path)
    try:
        async with asyncio.timeout(20):
            yield made
    finally:
        await asyncio.to_thread(made.close)


def _insert(name: str) -> Callable[[sqlite3.Connection], str]:
    def work(connection: sqlite3.Connection) -> str:
        connection.execute(INSERT, (name,))
        return name

    return work


def _names(path: Path) -> list[str]:
    with sqlite3.connect(path) as connection:
        found = [row[0] for row in connection.execute("SELECT agent_id FROM forced ORDER BY agent_id")]
    connection.close()
    return found


def _until(holds: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(5000):
        if holds():
            return
        pause.wait(0.001)
    raise AssertionError


def _modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


class Held:
    """A piece of work that keeps the thread busy until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()

    def __call__(self, _connection: sqlite3.Connection) -> None:
        self.begun.set()
        assert self.go.wait(10)


@pytest.mark.requirement("store.durable")
async def test_what_was_acknowledged_is_found_when_the_file_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "below" / "state.db"
    async with _open(path) as made:
        assert await made.run(_insert("alice")) == "alice"
        # Seen from outside at once, not only after a clean end.
        assert _names(path) == ["alice"]
    async with _open(path) as made:
        rows = await made.run(lambda connection: connection.execute("SELECT agent_id FROM forced").fetchall())
    assert rows == [("alice",)]


@pytest.mark.requirement("store.durable")
async def test_a_commit_is_on_the_disk_before_it_counts(tmp_path: Path) -> None:
    """No test can cut the power; the settings that make SQLite wait for the disk are what can be looked at."""

    def look(connection: sqlite3.Connection) -> list[object]:
        return [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("synchronous", "journal_mode")]

    async with _open(tmp_path / "state.db") as made:
        assert await made.run(look) == [2, "wal"]


@pytest.mark.requirement("store.private")
async def test_the_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    before = os.umask(0)
    try:
        async with _open(path) as made:
            await made.run(_insert("alice"))
            modes = _modes(tmp_path)
    finally:
        os.umask(before)
    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}


@pytest.mark.requirement("store.group_commit")
async def test_work_that_waits_together_is_committed_together(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    commits: list[str] = []
    held = Held()
    async with _open(path) as made:
        made._connection.set_trace_callback(lambda text: commits.append(text) if text == "COMMIT" else None)
        async with asyncio.TaskGroup() as group:
            group.create_task(made.run(held))
            await asyncio.to_thread(held.begun.wait)
            for number in range(MAX_BATCH + 44):
                group.create_task(made.run(_insert(f"{number:03}")))
            await asyncio.sleep(0)
            held.go.set()
    assert len(commits) == 3  # the held one, a full batch, the rest
    assert len(_names(path)) == MAX_BATCH + 44


@pytest.mark.requirement("store.undone_alone")
async def test_a_job_that_fails_is_undone_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"

    def conflicts(connection: sqlite3.Connection) -> None:
        connection.execute(INSERT, ("half",))
        raise FlagConflict("no")

    def repeats(connection: sqlite3.Connection) -> None:
        connection.execute(INSERT, ("other half",))
        connection.execute(INSERT, ("alice",))

    def is_broken(connection: sqlite3.Connection) -> None:
        connection.execute(INSERT, ("third half",))
        connection.execute(INSERT, (2**70,))

    held, caught = Held(), dict[str, Exception]()

    async def attempt(made: SqliteWriter, name: str, work: Callable[[sqlite3.Connection], object]) -> None:
        try:
            await made.run(work)
        except (FlagConflict, StateUnavailable, OverflowError) as error:
            caught[name] = error

    async with _open(path) as made, asyncio.TaskGroup() as group:
        group.create_task(made.run(held))
        await asyncio.to_thread(held.begun.wait)
        group.create_task(made.run(_insert("alice")))
        group.create_task(attempt(made, "conflict", conflicts))
        group.create_task(attempt(made, "repeat", repeats))
        group.create_task(attempt(made, "defect", is_broken))
        group.create_task(made.run(_insert("bob")))
        await asyncio.sleep(0)
        held.go.set()
    assert {name: type(error) for name, error in caught.items()} == {
        "conflict": FlagConflict,
        "repeat": StateUnavailable,
        "defect": OverflowError,
    }
    assert "UNIQUE constraint failed" in str(caught["repeat"])
    assert _names(path) == ["alice", "bob"]


@pytest.mark.requirement("store.undone_alone")
async def test_where_sqlite_gives_up_the_transaction_everybody_is_told_and_the_next_batch_works(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    held, refused = Held(), list[str]()

    def gives_up(connection: sqlite3.Connection) -> None:
        connection.execute("ROLLBACK")
        raise sqlite3.OperationalError("disk I/O error")

    async def attempt(made: SqliteWriter, name: str, work: Callable[[sqlite3.Connection], object]) -> None:
        try:
            await made.run(work)
        except StateUnavailable:
            refused.append(name)

    async with _open(path) as made:
        async with asyncio.TaskGroup() as group:
            group.create_task(attempt(made, "held", held))
            await asyncio.to_thread(held.begun.wait)
            group.create_task(attempt(made, "alice", _insert("alice")))
            group.create_task(attempt(made, "broken", gives_up))
            group.create_task(attempt(made, "bob", _insert("bob")))
            await asyncio.sleep(0)
            held.go.set()
        assert refused == ["alice", "broken", "bob"]
        await made.run(_insert("carol"))
    assert _names(path) == ["carol"]


@pytest.mark.requirement("store.durable")
async def test_a_commit_that_fails_is_no_success(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _open(path) as made:
        await made.run(_insert("alice"))
        with sqlite3.connect(path, isolation_level=None) as other:
            made._connection.execute("PRAGMA busy_timeout = 1")
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StateUnavailable, match="locked"):
                await made.run(_insert("bob"))
            other.execute("ROLLBACK")
        other.close()
        await made.run(_insert("carol"))
    assert _names(path) == ["alice", "carol"]


@pytest.mark.requirement("store.overload")
async def test_a_full_queue_refuses_more_work_and_says_when_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "MAX_QUEUED", 2)
    path, held = tmp_path / "state.db", Held()
    async with _open(path) as made, asyncio.TaskGroup() as group:
        group.create_task(made.run(held))
        await asyncio.to_thread(held.begun.wait)
        for name in ("alice", "bob"):
            group.create_task(made.run(_insert(name)))
        await asyncio.sleep(0)
        with pytest.raises(StateUnavailable, match="overloaded") as caught:
            await made.run(_insert("carol"))
        held.go.set()
    assert caught.value.retry_after_s == 1
    assert _names(path) == ["alice", "bob"]


@pytest.mark.requirement("store.undone_alone")
async def test_a_caller_that_leaves_does_not_disturb_the_others(tmp_path: Path) -> None:
    path, held = tmp_path / "state.db", Held()
    async with _open(path) as made:
        async with asyncio.TaskGroup() as group:
            group.create_task(made.run(held))
            await asyncio.to_thread(held.begun.wait)
            leaving = group.create_task(made.run(_insert("alice")))
            staying = group.create_task(made.run(_insert("bob")))
            await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.sleep(0)
            held.go.set()
        assert leaving.cancelled()
        assert staying.result() == "bob"
        # Its work was under way and stands: who leaves does not know the outcome, but nothing is half done.
        assert _names(path) == ["alice", "bob"]


@pytest.mark.requirement("store.end")
async def test_the_end_finishes_what_waits_and_then_refuses(tmp_path: Path) -> None:
    path, held = tmp_path / "state.db", Held()
    made = await asyncio.to_thread(SqliteWriter, path)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(made.run(held))
        await asyncio.to_thread(held.begun.wait)
        tasks = [group.create_task(made.run(_insert(name))) for name in ("alice", "bob")]
        await asyncio.sleep(0)
        closing = group.create_task(asyncio.to_thread(made.close))
        await asyncio.to_thread(_until, lambda: made._jobs.qsize() == 3)  # the two, and the end
        held.go.set()
        await closing
    assert [task.result() for task in tasks] == ["alice", "bob"]
    assert _names(path) == ["alice", "bob"]
    with pytest.raises(StateUnavailable, match="closed"):
        await made.run(_insert("carol"))
    await asyncio.to_thread(made.close)


@pytest.mark.requirement("store.end")
async def test_work_that_slips_in_behind_the_end_is_refused_instead_of_waiting_for_ever(tmp_path: Path) -> None:
    path, held = tmp_path / "state.db", Held()
    made = await asyncio.to_thread(SqliteWriter, path)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(made.run(held))
        await asyncio.to_thread(held.begun.wait)
        made._jobs.put_nowait(None)  # the end, as `close` queues it, before anybody is told

        async def late() -> None:
            with pytest.raises(StateUnavailable, match="closed"):
                await made.run(_insert("late"))

        group.create_task(late())
        await asyncio.sleep(0)
        held.go.set()
        await asyncio.to_thread(made.close)
    assert _names(path) == []


def test_a_caller_whose_loop_is_gone_does_not_end_the_thread(tmp_path: Path) -> None:
    made, held = SqliteWriter(tmp_path / "state.db"), Held()

    async def leave_behind() -> None:
        task = asyncio.get_running_loop().create_task(made.run(held))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave_behind())
    held.go.set()
    assert asyncio.run(made.run(_insert("alice"))) == "alice"
    made.close()


KILLED = """
import asyncio, pathlib, sys
from proxy.stores.writer import SqliteWriter

async def main():
    writer = SqliteWriter(pathlib.Path(sys.argv[1]))
    async def one(n):
        await writer.run(lambda c: c.execute("INSERT INTO forced VALUES (?, 'legacy', NULL)", (f"{n:06}",)))
        print(n, flush=True)
    for first in range(0, 1_000_000, 8):
        async with asyncio.TaskGroup() as group:
            for n in range(first, first + 8):
                group.create_task(one(n))

asyncio.run(main())
"""


@pytest.mark.requirement("store.durable")
def test_kill_dash_nine_right_after_acknowledged_writes_loses_none_of_them(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        acknowledged = [int(child.stdout.readline()) for _ in range(40)]
        os.kill(child.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in child.stdout.read().splitlines()]
    assert child.returncode == -signal.SIGKILL
    kept = {int(name) for name in _names(path)}
    assert set(acknowledged) <= kept
    open_database(path).close()
