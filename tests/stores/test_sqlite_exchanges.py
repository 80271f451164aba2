"""Suspended calls in the state file: what only a file can promise; the rest is in the contract suite."""

import asyncio
import hashlib
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.core.errors import StateUnavailable
from proxy.mcp.mrtr import open_state, seal
from proxy.stores.sqlite_exchanges import SqliteExchangeStore
from proxy.stores.writer import SqliteWriter
from tests.support.manual_clock import START_WALL_S, ManualClock

NOW = START_WALL_S
END = int(NOW) + 600
HANDLE = b"one handle------"


@asynccontextmanager
async def _open(path: Path) -> AsyncIterator[SqliteExchangeStore]:
    writer = await asyncio.to_thread(SqliteWriter, path)
    try:
        async with asyncio.timeout(20):
            yield SqliteExchangeStore(writer, ManualClock(), secrets.token_bytes)
    finally:
        await asyncio.to_thread(writer.close)


@pytest.mark.requirement("store.exchanges.durable")
async def test_a_suspended_call_is_taken_up_after_the_file_was_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _open(path) as store:
        await store.suspend(HANDLE, b"record", owner=b"alice", expires_at=END)
        state = seal(HANDLE, expires_at=END, ring=await store.keys(), binding=b"alice")
    async with _open(path) as store:
        opened = open_state(state, now=NOW, ring=await store.keys(), binding=b"alice")
        assert await store.resume(opened.handle, b"first", now=NOW) == b"record"


@pytest.mark.requirement("store.exchanges.durable")
async def test_a_call_that_was_consumed_stays_consumed_after_the_file_was_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _open(path) as store:
        await store.suspend(HANDLE, b"record", owner=b"alice", expires_at=END)
        await store.resume(HANDLE, b"first", now=NOW)
    async with _open(path) as store:
        assert await store.resume(HANDLE, b"second", now=NOW) is None
        assert await store.resume(HANDLE, b"first", now=NOW) == b"record"


@pytest.mark.requirement("store.exchanges.once")
async def test_of_two_processes_that_share_the_file_one_takes_a_call_up_and_both_seal_alike(tmp_path: Path) -> None:
    """Two writers are to the file what two processes are: two connections that know nothing of each other."""
    path = tmp_path / "state.db"
    async with _open(path) as one, _open(path) as other:
        async with asyncio.TaskGroup() as group:
            rings = [group.create_task(store.keys()) for store in (one, other)]
        assert rings[0].result() == rings[1].result()
        for number in range(20):
            handle = number.to_bytes(16)
            await one.suspend(handle, b"record", owner=b"alice", expires_at=END)
            async with asyncio.TaskGroup() as group:
                calls = ((one, b"1"), (other, b"2"), (one, b"3"), (other, b"4"))
                tasks = [group.create_task(store.resume(handle, digest, now=NOW)) for store, digest in calls]
            assert sorted(task.result() or b"" for task in tasks) == [b"", b"", b"", b"record"]


async def test_a_file_that_is_closed_answers_as_the_port_says(tmp_path: Path) -> None:
    async with _open(tmp_path / "state.db") as store:
        pass
    for use in (
        store.keys(),
        store.suspend(HANDLE, b"", owner=b"alice", expires_at=END),
        store.resume(HANDLE, b"", now=NOW),
    ):
        with pytest.raises(StateUnavailable, match="closed"):
            await use
    with pytest.raises(StateUnavailable, match="closed"):
        await store.sweep(now=NOW)


KILLED = """
import asyncio, pathlib, secrets, sys
from proxy.mcp.mrtr import seal
from proxy.stores.sqlite_exchanges import SqliteExchangeStore
from proxy.stores.writer import SqliteWriter
from tests.support.manual_clock import ManualClock

async def main():
    store = SqliteExchangeStore(SqliteWriter(pathlib.Path(sys.argv[1])), ManualClock(), secrets.token_bytes)
    for n in range(1_000_000):
        handle = n.to_bytes(16)
        await store.suspend(handle, b"record %d" % n, owner=b"%d" % n, expires_at=int(sys.argv[2]))
        state = seal(handle, expires_at=int(sys.argv[2]), ring=await store.keys())
        if n % 2:
            await store.resume(handle, b"first", now=0)
        print(n, state, flush=True)

asyncio.run(main())
"""


@pytest.mark.requirement("store.exchanges.durable")
async def test_kill_dash_nine_loses_no_call_whose_state_was_given_out_and_none_that_was_consumed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state.db"
    lines = await asyncio.to_thread(_suspend_and_kill, path)
    async with _open(path) as store:
        ring = await store.keys()
        for number, state in lines:
            handle = open_state(state, now=NOW, ring=ring).handle
            record = b"record %d" % number
            # The odd ones had been taken up with the first answers.
            assert await store.resume(handle, b"second", now=NOW) == (None if number % 2 else record)
            assert await store.resume(handle, b"first", now=NOW) == (record if number % 2 else None)


def _suspend_and_kill(path: Path) -> list[tuple[int, str]]:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path), str(END)], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(20)]
        os.kill(child.pid, signal.SIGKILL)
        lines += child.stdout.read().splitlines(keepends=True)
    assert child.returncode == -signal.SIGKILL
    whole = (line.split() for line in lines if line.endswith("\n"))
    return [(int(number), state) for number, state in whole]


async def test_a_record_stands_in_the_file_as_it_was_given_and_its_owner_beside_it_as_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _open(path) as store:
        await store.suspend(HANDLE, b"record", owner=b"alice", expires_at=END)
    assert await asyncio.to_thread(_rows, path) == [(b"record", hashlib.sha256(b"alice").digest())]


def _rows(path: Path) -> list[tuple[bytes, bytes]]:
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT record, owner FROM exchanges").fetchall()
    connection.close()
    return found


async def test_what_is_no_longer_needed_is_gone_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _open(path) as store:
        await store.suspend(HANDLE, b"record", owner=b"alice", expires_at=END)
        await store.sweep(now=END)
    assert await asyncio.to_thread(_count, path) == 0


def _count(path: Path) -> int:
    connection = sqlite3.connect(path)
    found: int = connection.execute("SELECT count(*) FROM exchanges").fetchone()[0]
    connection.close()
    return found
