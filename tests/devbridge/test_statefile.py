"""The event log on disk."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.devbridge.events import Draft, EventLog, StoredEvent, write_line
from proxy.devbridge.statefile import StateFile


def events(count: int) -> list[StoredEvent]:
    log = EventLog()
    for number in range(count):
        draft = Draft(
            event_type="custom",
            data={"n": number},
            source_agent="alice",
            source_component="t",
            aggregate_id="a",
            aggregate_type="t",
        )
        log.append(draft, 1.5)
    return log.everything()


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[StateFile]:
    kept = StateFile(path)
    try:
        yield kept
    finally:
        await kept.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


async def test_what_was_saved_is_loaded_again_in_order(path: Path) -> None:
    async with opened(path) as first:
        assert await first.load() == []
        unsaved = events(3)
        await first.save(unsaved)
        assert unsaved == []
        await first.save(unsaved)
    async with opened(path) as second:
        assert await second.load() == events(3)


async def test_a_torn_last_line_is_cut_off_and_the_next_event_follows_cleanly(path: Path) -> None:
    whole, torn = write_line(events(2)[0]), write_line(events(2)[1])[:-5]
    await asyncio.to_thread(path.write_bytes, whole + torn)
    async with opened(path) as first:
        assert await first.load() == events(1)
        await first.save([events(2)[1]])
    async with opened(path) as second:
        assert await second.load() == events(2)


async def test_what_a_caller_that_left_had_given_is_written_before_what_follows(path: Path) -> None:
    told, gate = events(3), threading.Event()
    async with opened(path) as first:
        await first.load()
        held = first._thread.submit(gate.wait, 5)
        for event in told[:2]:
            leaving = asyncio.get_running_loop().create_task(first.save([event]))
            await asyncio.sleep(0)
            leaving.cancel()
        gate.set()
        await first.save(told[2:])
        assert held.result(0)
    async with opened(path) as second:
        assert await second.load() == told


async def test_a_file_of_something_else_is_refused(path: Path) -> None:
    await asyncio.to_thread(path.write_bytes, b"hello\n")
    async with opened(path) as kept:
        with pytest.raises(ValueError, match="line 1 of the state file"):
            await kept.load()


async def test_a_file_that_was_never_opened_takes_nothing_and_closes(path: Path) -> None:
    async with opened(path) as kept:
        await kept.save(events(1))
    assert not await asyncio.to_thread(path.exists)
