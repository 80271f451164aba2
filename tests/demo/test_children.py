"""Children are heard, missed when they die, and ended together."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.core.errors import OurFault
from proxy.demo import children
from proxy.demo.board import Board, Said
from proxy.demo.children import Household, own_command

# Starting a process blocks for as long as the kernel takes; the demo has nothing else to do meanwhile.
pytestmark = [pytest.mark.e2e, pytest.mark.blocking]


@asynccontextmanager
async def _household(folder: Path) -> AsyncIterator[tuple[Household, Board]]:
    board = Board()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        house = Household(folder, board, group)
        try:
            yield house, board
        finally:
            await house.stop()


async def _heard(board: Board, what: str) -> Said:
    return await board.until(lambda said: said.what == what, within_s=30, what=what)


async def test_a_child_is_heard_until_it_is_stopped(tmp_path: Path) -> None:
    async with _household(tmp_path) as (house, board):
        await house.start("bridge", ["bridge", "--listen", "127.0.0.1:0"])
        assert (await _heard(board, "ready")).child == "bridge"
    assert "development Bridge" in (tmp_path / "bridge.log").read_text()


async def test_a_child_that_may_end_is_not_missed(tmp_path: Path) -> None:
    async with _household(tmp_path) as (house, board):
        await house.start("version", ["version"], may_end=True)
        assert "elicit-sidecar" in (await _heard(board, "text")).text("text")


async def test_a_child_that_fails_is_a_fault_with_its_last_words(tmp_path: Path) -> None:
    async with _household(tmp_path) as (house, board):
        await house.start("check", ["check", str(tmp_path / "none.toml")], may_end=True)
        with pytest.raises(OurFault, match=r"(?s)check ended early with code 2: .*none\.toml"):
            await board.until_fault()


async def test_a_child_that_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf = 'import signal; signal.signal(15, signal.SIG_IGN); print(\'{"event": "deaf"}\', flush=True); signal.pause()'
    monkeypatch.setattr(children, "own_command", lambda: [sys.executable, "-c", deaf])
    monkeypatch.setattr(children, "STOP_S", 0.1)
    async with _household(tmp_path) as (house, board):
        await house.start("deaf", [])
        await _heard(board, "deaf")


async def test_a_program_that_is_not_there_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "own_command", lambda: [str(tmp_path / "none")])
    async with _household(tmp_path) as (house, _):
        with pytest.raises(OurFault, match="cannot start bob"):
            await house.start("bob", [])


def test_a_frozen_program_starts_itself_without_an_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    assert own_command() == [sys.executable, "-m", "proxy"]
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert own_command() == [sys.executable]
