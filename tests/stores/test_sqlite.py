"""The flag store on SQLite: what only it promises; the rest is in the contract suite."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.core.cohort import Cohort
from proxy.core.errors import FlagConflict, StateUnavailable
from proxy.core.flags import FlagSet, describe_change, parse_patch
from proxy.core.ids import AgentId
from proxy.stores.sqlite import SqliteFlagStore
from proxy.stores.writer import SqliteWriter

ALICE = AgentId("alice")


@asynccontextmanager
async def _open(path: Path) -> AsyncIterator[SqliteFlagStore]:
    writer = await asyncio.to_thread(SqliteWriter, path)
    try:
        yield SqliteFlagStore(writer)
    finally:
        await asyncio.to_thread(writer.close)


async def _set(store: SqliteFlagStore, before: FlagSet, **flags: object) -> FlagSet:
    after = before.patched(parse_patch(flags))
    change = describe_change(before, after, at=1.5, author="op", reason="why")
    await store.compare_and_set(after, change, expected=before.version)
    return after


def _write(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.requirement("flags.persisted")
async def test_flags_history_and_overrides_are_back_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _open(path) as store:
        flags = await _set(store, FlagSet(), elicitation_percentage=33.333, elicitation_whitelist=["a", "b"])
        flags = await _set(store, flags, elicitation_enabled=True)
        await store.force(ALICE, Cohort.ELICITATION, until=12.5)
    async with _open(path) as store:
        assert await store.load() == flags
        assert [change.version for change in await store.history(10)] == [3, 2]
        assert await store.forced() == {ALICE: (Cohort.ELICITATION, 12.5)}


async def test_only_the_present_set_is_kept_beside_its_history(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _open(path) as store:
        flags = FlagSet()
        for percentage in range(5):
            flags = await _set(store, flags, elicitation_percentage=percentage)
    connection = sqlite3.connect(path)
    counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("flags", "flag_history")]  # noqa: S608  # our own names
    connection.close()
    assert counts == [1, 5]


@pytest.mark.requirement("flags.compare_and_set")
async def test_two_sidecars_on_one_file_cannot_overwrite_one_another(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _open(path) as one, _open(path) as other:
        await _set(one, FlagSet(), elicitation_enabled=True)
        with pytest.raises(FlagConflict):
            await _set(other, FlagSet(), elicitation_percentage=100)


@pytest.mark.parametrize("body", ["{", "[]", "{}", '{"surprise": true}', '{"elicitation_percentage": 101}'])
async def test_flags_that_cannot_be_read_are_said_so_instead_of_guessed(tmp_path: Path, body: str) -> None:
    path = tmp_path / "state.db"
    async with _open(path):
        pass
    await asyncio.to_thread(_write, path, f"INSERT INTO flags VALUES (4, '{body}')")  # noqa: S608  # our own text
    async with _open(path) as store:
        with pytest.raises(StateUnavailable, match="version 4"):
            await store.load()


async def test_flags_of_an_older_release_get_todays_defaults_for_what_they_lack(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _open(path):
        pass
    await asyncio.to_thread(_write, path, """INSERT INTO flags VALUES (4, '{"elicitation_enabled": true}')""")
    async with _open(path) as store:
        assert await store.load() == FlagSet(elicitation_enabled=True, version=4)


async def test_an_override_to_a_cohort_that_there_is_not_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _open(path):
        pass
    await asyncio.to_thread(_write, path, "INSERT INTO forced VALUES ('alice', 'both', NULL)")
    async with _open(path) as store:
        with pytest.raises(StateUnavailable, match="'both'"):
            await store.forced()


async def test_a_file_that_was_damaged_under_way_refuses_instead_of_lying(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _open(path) as store:
        await _set(store, FlagSet(), elicitation_enabled=True)
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StateUnavailable):
        async with _open(path) as store:
            await store.load()
