"""A state file that is lost while the sidecar runs, and an end that no disk holds up."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.core.cohort import Cohort
from proxy.core.errors import StateUnavailable
from proxy.core.flags import FlagChange, FlagSet
from proxy.core.ids import AgentId
from proxy.core.journal import QuestionNoted
from proxy.core.replay import replay
from proxy.stores import writer as writer_module
from proxy.stores.database import open_database
from proxy.stores.journal import SqliteJournal
from proxy.stores.sqlite import SqliteFlagStore
from proxy.stores.state_file import Renewer, StateFile, open_state_file
from proxy.stores.writer import SqliteWriter
from tests.support.disk_faults import Gate
from tests.support.journal_changes import IDS, question, stamped

NOTED = QuestionNoted(question(IDS[0]))
FLAGS = FlagSet(version=2, elicitation_enabled=True, elicitation_percentage=25.0)
CHANGE = FlagChange(version=2, at=1.0, author="op", reason="x" * 3_000, changes={})
MANY = 1_500
"""Rows of the history: more than SQLite keeps in memory, so that some are read from the disk."""


@asynccontextmanager
async def _open(path: Path) -> AsyncIterator[StateFile]:
    found = await asyncio.to_thread(open_state_file, path, wall=lambda: 1_800_000_000.0)
    try:
        async with asyncio.timeout(30):
            yield found
    finally:
        await asyncio.to_thread(found.writer.close)


class Told:
    """Hears that the file was given up, on whatever thread."""

    def __init__(self, found: StateFile) -> None:
        self.why: list[str] = []
        self.aside: list[str] = []
        found.writer.given_up = self.why.append
        found.renewer.told = self.aside.append


def _fill(connection: sqlite3.Connection) -> None:
    connection.executemany(
        "INSERT INTO flag_history VALUES (?, 1.0, 'op', ?, '{}')", [(n, "x" * 3_000) for n in range(10, 10 + MANY)]
    )


def _spoil_middle(path: Path) -> None:
    """Overwrite half of a database in its middle, where the history stands."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 4 // 4096 * 4096)
        file.write(b"\xa5" * (size // 2))


@pytest.mark.requirement("state.lost")
class TestDamaged:
    async def test_it_is_given_up_set_aside_and_begun_anew_with_what_is_in_memory(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        async with _open(path) as found:
            told, flags, journal = Told(found), SqliteFlagStore(found.writer), SqliteJournal(found.writer)
            await flags.compare_and_set(FLAGS, CHANGE, expected=1)
            await flags.force(AgentId("bob"), Cohort.LEGACY, until=None)
            await found.writer.run(_fill)
            await asyncio.to_thread(_checkpoint_of_another, path)
            await asyncio.to_thread(_spoil_middle, path)
            with pytest.raises(StateUnavailable, match="malformed"):
                await flags.history(10**6)
            (why,) = told.why
            assert why.startswith("the state file is damaged: ")
            await journal.replace(stamped([NOTED]))
            assert await flags.load() == FLAGS
            assert await flags.forced() == {AgentId("bob"): (Cohort.LEGACY, None)}
            assert (len(told.why), told.aside) == (1, [found.renewer.set_aside])
            assert await asyncio.to_thread(_holds_noise, Path(found.renewer.set_aside))
        async with _open(path) as found:
            assert (found.recovered, found.renewer.set_aside) == (replay([NOTED]), "")
            assert await SqliteFlagStore(found.writer).load() == FLAGS

    async def test_where_it_cannot_be_set_aside_everything_is_refused_until_it_can(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuses(*_: object) -> None:
            raise PermissionError("not yours")

        path = tmp_path / "state.db"
        async with _open(path) as found:
            flags = SqliteFlagStore(found.writer)
            await flags.compare_and_set(FLAGS, CHANGE, expected=1)
            await asyncio.to_thread(_exchange, path)
            with monkeypatch.context() as patched:
                patched.setattr(Path, "rename", refuses)
                for _ in range(2):
                    with pytest.raises(StateUnavailable, match="cannot be set aside: not yours"):
                        await flags.load()
            assert await flags.load() == FLAGS

    def test_one_that_cannot_be_filled_is_refused_and_tried_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "state.db"
        open_database(path).close()

        def without_tables(there: Path) -> sqlite3.Connection:
            return sqlite3.connect(there, isolation_level=None, check_same_thread=False)

        monkeypatch.setattr("proxy.stores.state_file.open_database", without_tables)
        with pytest.raises(StateUnavailable, match=r"the fresh state file .* cannot be written: no such table"):
            Renewer(lambda: 0.0)(path, is_damaged=True)


def _checkpoint_of_another(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _holds_noise(path: Path) -> bool:
    return b"\xa5" * 4096 in path.read_bytes()


def _exchange(path: Path) -> None:
    path.unlink()
    open_database(path).close()


def _remove(path: Path) -> None:
    path.unlink()


@pytest.mark.requirement("state.lost")
class TestTakenAway:
    @pytest.mark.parametrize("take_away", [_remove, _exchange])
    async def test_what_is_written_afterwards_is_on_the_disk_with_the_flags(
        self, tmp_path: Path, take_away: Callable[[Path], None]
    ) -> None:
        path = tmp_path / "state.db"
        async with _open(path) as found:
            told, flags, journal = Told(found), SqliteFlagStore(found.writer), SqliteJournal(found.writer)
            await flags.compare_and_set(FLAGS, CHANGE, expected=1)
            await flags.force(AgentId("bob"), Cohort.LEGACY, until=None)
            await flags.force(AgentId("carol"), Cohort.LEGACY, until=None)
            await flags.force(AgentId("carol"), None, until=None)
            await asyncio.to_thread(take_away, path)
            await journal.apply(stamped([NOTED]))
            assert told.why == ["the state file was taken away"]
            await journal.replace(stamped([NOTED]))
        async with _open(path) as found:
            flags = SqliteFlagStore(found.writer)
            assert (await flags.load(), found.recovered) == (FLAGS, replay([NOTED]))
            assert await flags.forced() == {AgentId("bob"): (Cohort.LEGACY, None)}

    async def test_without_anybody_who_cares_it_is_begun_anew_all_the_same(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        writer = await asyncio.to_thread(SqliteWriter, path)
        try:
            await asyncio.to_thread(_remove, path)
            await writer.run(lambda connection: connection.execute("DELETE FROM flags"))
            await asyncio.to_thread(_exchange, path)
            with pytest.raises(StateUnavailable, match="is another one; move it away"):
                await writer.run(lambda connection: connection.execute("DELETE FROM flags"))
        finally:
            await asyncio.to_thread(writer.close)


@pytest.mark.requirement("store.end")
class TestEnd:
    async def test_a_disk_that_hangs_holds_it_up_no_longer_than_its_time(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writer_module, "CLOSE_S", 0.05)
        writer, gate = await asyncio.to_thread(SqliteWriter, tmp_path / "state.db"), Gate()
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            working = group.create_task(writer.run(gate.hold))
            await asyncio.to_thread(gate.until_reached)
            await asyncio.to_thread(writer.close)
            assert not working.done()
            gate.open()  # whatever the disk still takes is done
        await asyncio.to_thread(writer.close)

    async def test_a_queue_that_is_full_behind_it_holds_it_up_no_longer_either(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writer_module, "CLOSE_S", 0.05)
        monkeypatch.setattr(writer_module, "MAX_QUEUED", 1)
        writer, gate = await asyncio.to_thread(SqliteWriter, tmp_path / "state.db"), Gate()
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            group.create_task(writer.run(gate.hold))
            await asyncio.to_thread(gate.until_reached)
            group.create_task(writer.run(lambda _: None))
            await asyncio.sleep(0)
            await asyncio.to_thread(writer.close)
            gate.open()
        await asyncio.to_thread(writer.close)

    async def test_a_file_that_another_process_holds_is_not_waited_for_any_more(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(writer_module, "LOOKS", 10_000)
        path = tmp_path / "state.db"
        writer = await asyncio.to_thread(SqliteWriter, path)
        other = await asyncio.to_thread(open_database, path)
        await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            refused = group.create_task(_refusal(writer))
            await asyncio.sleep(0)
            await asyncio.to_thread(writer.close)
            assert "another process holds it" in (await refused).detail
        await asyncio.to_thread(other.close)


async def _refusal(writer: SqliteWriter) -> StateUnavailable:
    with pytest.raises(StateUnavailable) as caught:
        await writer.run(lambda connection: connection.execute("DELETE FROM flags"))
    return caught.value
