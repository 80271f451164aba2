"""Nonces in the state file: durable before they count, back after a restart, and never let through without it."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.core.errors import StateUnavailable
from proxy.core.nonces import NonceBounds, NonceClaim
from proxy.stores.sqlite_nonces import FORGET_AT_ONCE, SqliteNonceStore
from proxy.stores.state_file import open_state_file
from proxy.stores.writer import SqliteWriter
from tests.support.disk_faults import FULL, FailingWriter, Gate, from_nth, nth, spoil_header
from tests.support.manual_clock import START_WALL_S, settle

NOW = START_WALL_S
END = NOW + 300
CLAIMED, REPLAYED, EXPIRED = NonceClaim.CLAIMED, NonceClaim.REPLAYED, NonceClaim.EXPIRED


@asynccontextmanager
async def _opened(writer: SqliteWriter) -> AsyncIterator[SqliteWriter]:
    try:
        async with asyncio.timeout(10):
            yield writer
    finally:
        await asyncio.to_thread(writer.close)


@asynccontextmanager
async def _store(path: Path, bounds: NonceBounds | None = None) -> AsyncIterator[SqliteNonceStore]:
    async with _opened(await asyncio.to_thread(SqliteWriter, path)) as writer:
        yield SqliteNonceStore(writer, bounds or NonceBounds())


def _rows(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        count: int = connection.execute("SELECT count(*) FROM nonces").fetchone()[0]
        return count
    finally:
        connection.close()


@pytest.mark.requirement("nonces.durable")
async def test_what_was_claimed_before_a_restart_is_a_replay_after_it(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _store(path) as store:
        assert await store.claim("k", "n", expires=END, now=NOW) is CLAIMED
    async with _store(path) as store:
        assert await store.claim("k", "n", expires=END, now=NOW + 299) is REPLAYED
        assert await store.claim("k", "other", expires=END, now=NOW + 299) is CLAIMED
    async with _store(path) as store:
        assert await store.claim("k", "n", expires=END, now=END) is EXPIRED


CLAIM = """
import asyncio, os, pathlib, signal, sys
from proxy.stores.sqlite_nonces import SqliteNonceStore
from proxy.stores.writer import SqliteWriter

async def main():
    store = SqliteNonceStore(SqliteWriter(pathlib.Path(sys.argv[1])))
    assert (await store.claim("k", "n", expires=float(sys.argv[2]), now=float(sys.argv[2]) - 300)).value == "claimed"
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.requirement("nonces.durable")
async def test_a_kill_right_after_the_claim_forgets_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", CLAIM, str(path), str(END)], check=False, timeout=30
    )
    assert done.returncode == -signal.SIGKILL
    async with _store(path) as store:
        assert await store.claim("k", "n", expires=END, now=NOW) is REPLAYED


@pytest.mark.requirement("nonces.window")
async def test_a_clock_that_is_set_back_over_a_restart_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _store(path) as store:
        assert await store.claim("k", "old", expires=END, now=NOW) is CLAIMED
        assert await store.claim("k", "next", expires=END + 300, now=END) is CLAIMED
        assert _rows(path) == 1
    async with _store(path) as store:
        assert await store.claim("k", "old", expires=END, now=NOW) is EXPIRED


@pytest.mark.requirement("nonces.bound")
async def test_the_table_shrinks_as_nonces_expire(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _store(path) as store:
        for number in range(3 * FORGET_AT_ONCE):
            assert await store.claim("k", str(number), expires=NOW + 1, now=NOW) is CLAIMED
        for number in range(4):
            assert await store.claim("k", f"new {number}", expires=END, now=NOW + 1) is CLAIMED
        assert _rows(path) == 4


@pytest.mark.requirement("nonces.bound")
async def test_bounds_count_what_was_claimed_before_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    bounds = NonceBounds(per_key=2, total=3)
    async with _store(path, bounds) as store:
        for nonce in "ab":
            assert await store.claim("k", nonce, expires=END, now=NOW) is CLAIMED
    async with _store(path, bounds) as store:
        assert await store.claim("k", "c", expires=END, now=NOW) is NonceClaim.KEY_FULL
        assert await store.claim("k2", "c", expires=END, now=NOW) is CLAIMED
        assert await store.claim("k2", "d", expires=END, now=NOW) is NonceClaim.FULL


@pytest.mark.requirement("nonces.durable")
async def test_a_claim_returns_after_its_commit_and_a_replay_waits_for_no_disk(tmp_path: Path) -> None:
    gate = Gate()
    path = tmp_path / "state.db"
    async with _opened(await asyncio.to_thread(SqliteWriter, path)) as writer:
        store = SqliteNonceStore(writer)
        assert await store.claim("k", "before", expires=END, now=NOW) is CLAIMED
        async with asyncio.TaskGroup() as group:
            held = group.create_task(writer.run(gate.hold))
            await asyncio.to_thread(gate.until_reached)
            first = group.create_task(store.claim("k", "n", expires=END, now=NOW))
            await settle()
            assert not first.done()
            assert await store.claim("k", "n", expires=END, now=NOW) is REPLAYED
            assert await store.claim("k", "before", expires=END, now=NOW) is REPLAYED
            assert _rows(path) == 1
            gate.open()
        assert (held.result(), first.result()) == (None, CLAIMED)
        assert _rows(path) == 2


@pytest.mark.requirement("nonces.durable")
async def test_a_claim_whose_caller_leaves_stays_one(tmp_path: Path) -> None:
    gate = Gate()
    async with _opened(await asyncio.to_thread(SqliteWriter, tmp_path / "state.db")) as writer:
        store = SqliteNonceStore(writer)
        async with asyncio.TaskGroup() as group:
            held = group.create_task(writer.run(gate.hold))
            await asyncio.to_thread(gate.until_reached)
            gone = group.create_task(store.claim("k", "n", expires=END, now=NOW))
            await settle()
            gone.cancel()
            await settle()
            gate.open()
        assert held.done()
        assert gone.cancelled()
        assert await store.claim("k", "m", expires=END, now=NOW) is CLAIMED
        assert await store.claim("k", "m", expires=END, now=NOW) is REPLAYED


@pytest.mark.requirement("nonces.durable")
async def test_without_a_disk_nothing_is_let_through_and_the_same_call_may_come_again(tmp_path: Path) -> None:
    writer = await asyncio.to_thread(lambda: FailingWriter(tmp_path / "state.db", fails=nth(2, FULL)))
    async with _opened(writer):
        store = SqliteNonceStore(writer)
        with pytest.raises(StateUnavailable, match="full"):
            await store.claim("k", "n", expires=END, now=NOW)
        assert await store.claim("k", "n", expires=END, now=NOW) is CLAIMED
        assert await store.claim("k", "n", expires=END, now=NOW) is REPLAYED


@pytest.mark.requirement("nonces.durable")
async def test_what_cannot_be_read_at_first_is_read_with_the_next_claim(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _store(path) as store:
        assert await store.claim("k", "n", expires=END, now=NOW) is CLAIMED
    writer = await asyncio.to_thread(lambda: FailingWriter(path, fails=from_nth(1, FULL)))
    async with _opened(writer):
        store = SqliteNonceStore(writer)
        with pytest.raises(StateUnavailable):
            await store.claim("k", "n", expires=END, now=NOW)
        writer.fails = lambda _: ""
        assert await store.claim("k", "n", expires=END, now=NOW) is REPLAYED


@pytest.mark.requirement("nonces.once")
async def test_of_two_processes_that_share_a_file_one_claims_a_nonce(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _store(path) as one, _store(path) as other:
        assert await one.claim("k", "first", expires=END, now=NOW) is CLAIMED
        assert await other.claim("k", "second", expires=END, now=NOW) is CLAIMED
        assert await one.claim("k", "second", expires=END, now=NOW) is REPLAYED
        assert await one.claim("k", "second", expires=END, now=NOW) is REPLAYED
        assert await other.claim("k", "third", expires=NOW + 1, now=NOW) is CLAIMED
        assert await one.claim("k", "third", expires=END, now=NOW + 1) is CLAIMED, "it had expired, swept or not"


@pytest.mark.requirement("nonces.durable")
@pytest.mark.parametrize("is_damaged", [True, False])
async def test_a_file_that_is_lost_while_it_is_used_takes_no_nonce_along(tmp_path: Path, *, is_damaged: bool) -> None:
    path = tmp_path / "state.db"
    found = await asyncio.to_thread(open_state_file, path, wall=lambda: NOW)
    async with _opened(found.writer) as writer:
        store = SqliteNonceStore(writer)
        assert await store.claim("k", "old", expires=NOW + 1, now=NOW) is CLAIMED
        assert await store.claim("k", "n", expires=END, now=NOW + 1) is CLAIMED
        for name in (path, path.with_name("state.db-wal"), path.with_name("state.db-shm")):
            name.unlink()
        if is_damaged:
            path.write_bytes(b"")
            spoil_header(path)
        assert await store.claim("k", "m", expires=END, now=NOW + 1) is CLAIMED
        assert await store.claim("k", "m", expires=END, now=NOW + 1) is REPLAYED
    async with _store(path) as store:
        assert await store.claim("k", "n", expires=END, now=NOW + 1) is REPLAYED
        assert await store.claim("k", "m", expires=END, now=NOW + 1) is REPLAYED
        assert await store.claim("k", "old", expires=NOW + 1, now=NOW) is EXPIRED
