"""The board remembers what children said and ends every wait when one of them died."""

import asyncio

import pytest

from proxy.core.errors import OurFault
from proxy.demo.board import MAX_KEPT, Board, Said


async def _until(board: Board, what: str, *, within_s: float = 5) -> Said:
    return await board.until(lambda said: said.what == what, within_s=within_s, what=what)


async def test_what_was_said_before_is_found_at_once() -> None:
    board = Board()
    board.post(Said("bob", {"event": "waiting", "at": 1.5}))
    found = await _until(board, "waiting")
    assert (found.child, found.seconds("at"), found.text("none")) == ("bob", 1.5, "")


async def test_what_is_said_later_ends_the_wait_for_it_and_no_other() -> None:
    board = Board()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        later = group.create_task(_until(board, "answer"))
        await asyncio.sleep(0)
        board.post(Said("bob", {"event": "question"}))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not later.done()
        board.post(Said("alice", {"event": "answer"}))
    assert later.result().child == "alice"


async def test_a_time_out_tells_what_was_missed_and_what_was_heard_last() -> None:
    board = Board()
    with pytest.raises(OurFault, match=r"answer did not come within 0 s; last heard: nothing at all"):
        await _until(board, "answer", within_s=0)
    board.post(Said("bob", {"event": "question"}))
    with pytest.raises(OurFault, match=r"last heard: bob: \{'event': 'question'\}"):
        await _until(board, "answer", within_s=0)


async def test_the_first_fault_ends_every_wait() -> None:
    board = Board()

    async def serve() -> None:
        with pytest.raises(OurFault, match="bob died"):
            await board.until_fault()

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(serve())
        await asyncio.sleep(0)
        board.post(Said("alice", {"event": "answer"}))
        await asyncio.sleep(0)
        board.fail(OurFault("bob died"))
        board.fail(OurFault("and so did the sidecar"))
    with pytest.raises(OurFault, match="bob died"):
        await _until(board, "never")


@pytest.mark.parametrize("value", [None, "soon", True])
def test_a_time_that_is_no_number_is_a_fault(value: object) -> None:
    with pytest.raises(OurFault, match="expected bob to say at in seconds"):
        Said("bob", {"at": value}).seconds("at")


async def test_only_the_latest_lines_are_kept() -> None:
    board = Board()
    board.post(Said("bob", {"event": "first"}))
    for _ in range(MAX_KEPT):
        board.post(Said("bob", {"event": "more"}))
    with pytest.raises(OurFault):
        await _until(board, "first", within_s=0)
