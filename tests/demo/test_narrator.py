"""The narrator ends well when it is stopped, and badly when a player does not come."""

import asyncio
import socket
from pathlib import Path

import pytest

from proxy.config.shapes import Address
from proxy.core.errors import OurFault
from proxy.demo.narrator import run_demo
from proxy.demo.story import Places, Plan, Tale

# Starting a process blocks for as long as the kernel takes; the demo has nothing else to do meanwhile.
pytestmark = [pytest.mark.e2e, pytest.mark.blocking]

FREE = Address("127.0.0.1", 0)


class _Heard:
    """Keeps the story, and stops the demo at its first line."""

    def __init__(self, stop: asyncio.Event) -> None:
        self.lines: list[str] = []
        self._stop = stop

    def say(self, text: str) -> None:
        self.lines.append(text)
        self._stop.set()

    def result(self, tale: Tale) -> None:
        raise AssertionError(tale)

    def serving(self, places: Places) -> None:
        raise AssertionError(places)


def _plan(folder: Path, *, bridge: Address = FREE) -> Plan:
    return Plan(folder=folder, config=None, listen=FREE, admin=FREE, bridge=bridge, is_once=True)


async def test_stopped_amid_the_story_it_ends_without_a_fault(tmp_path: Path) -> None:
    stop = asyncio.Event()
    heard = _Heard(stop)
    async with asyncio.timeout(60):
        await run_demo(_plan(tmp_path), heard, stop)
    assert heard.lines[0].startswith("A Bridge on http://127.0.0.1:")


async def test_a_bridge_that_cannot_start_is_the_end_of_the_story(tmp_path: Path) -> None:
    stop = asyncio.Event()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        plan = _plan(tmp_path, bridge=Address("127.0.0.1", taken.getsockname()[1]))
        with pytest.raises(OurFault, match=r"(?s)bridge ended early with code 1: .*the development Bridge cannot run"):
            async with asyncio.timeout(60):
                await run_demo(plan, _Heard(stop), stop)
