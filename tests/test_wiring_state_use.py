"""Two sidecars on one state file: the second says so, and takes up what the first has left."""

import asyncio
from pathlib import Path

import pytest

from proxy.core.errors import StateUnavailable
from proxy.stores.state_lock import StateLock
from proxy.wiring.state_use import IN_USE, RETRY_S, StateUse
from tests.support.manual_clock import ManualClock

pytestmark = pytest.mark.requirement("state.shared")


async def test_what_the_other_stored_is_read_before_the_reason_goes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "proxy.wiring.state_use")
    clock, read = ManualClock(), list[str]()
    other = await asyncio.to_thread(StateLock, tmp_path / "state.db")
    use = StateUse(await asyncio.to_thread(StateLock, tmp_path / "state.db"))
    assert await asyncio.to_thread(other.take)
    await use.look()
    assert use.reasons() == [IN_USE]

    async def read_again() -> None:
        read.append("again")
        if len(read) == 1:
            raise StateUnavailable("locked")
        assert use.reasons() == [IN_USE]

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(use.keep_looking(clock, read_again))
        await asyncio.to_thread(other.close)
        while not task.done():
            await clock.advance(RETRY_S)
    assert (use.reasons(), use.is_ours, read) == ([], True, ["again", "again"])
    await use.close()
    said = [record.msg["event"] for record in caplog.records if isinstance(record.msg, dict)]
    assert said == [
        "state file in use by another process",
        "flags of another process not read yet",
        "state file is ours alone",
    ]


async def test_where_it_cannot_be_known_nothing_is_claimed_and_it_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, folder = ManualClock(), tmp_path / "later"
    use = StateUse(await asyncio.to_thread(StateLock, folder / "state.db"))
    await use.look()
    await use.look()
    assert (use.reasons(), use.is_ours, len(caplog.records)) == ([], False, 1)

    async def read_again() -> None:
        raise AssertionError("nobody else was there")

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(use.keep_looking(clock, read_again))
        await asyncio.to_thread(folder.mkdir)
        while not task.done():
            await clock.advance(RETRY_S)
    assert use.is_ours
    await use.close()
