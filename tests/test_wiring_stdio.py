"""The house of one client, in this process: how it ends, and that it leaves nothing open."""

import asyncio
import fcntl
import os
import signal
import sys
import termios
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.config.load import load_config
from proxy.config.shapes import Address
from proxy.core.errors import StateUnavailable
from proxy.upstream.bridge_stdio import Launched, launch
from proxy.wiring.stdio import Streams, keep_pipe
from tests.support.processes import descendants

# Threads run our code here, and coverage's own lock, which they share with the loop, would count as a blocking call.
pytestmark = pytest.mark.blocking

NOBODY = {"bridge.url": "http://127.0.0.1:1", "state.url": "memory:"}


@dataclass(slots=True, kw_only=True)
class Client:
    """The client's ends, and the house behind them."""

    to_house: int
    from_house: int
    house: "asyncio.Task[int]"
    launched: Launched

    async def write(self, data: bytes) -> None:
        await asyncio.to_thread(os.write, self.to_house, data)

    async def read(self) -> bytes:
        async with asyncio.timeout(5):
            return await asyncio.to_thread(os.read, self.from_house, 65_536)

    def close_input(self) -> None:
        os.close(self.to_house)
        self.to_house = -1

    async def code(self) -> int:
        async with asyncio.timeout(10):
            return await self.house


@asynccontextmanager
async def served(
    *command: str, parent: int | None = None, admin: bool = False, **settings: str
) -> AsyncIterator[Client]:
    """A house before this command; it is over at the end of the block."""
    loaded = load_config(None, env={}, overrides={**NOBODY, **settings})
    launched = await asyncio.to_thread(launch, command, dict(os.environ))
    stdin, to_house = os.pipe()
    from_house, stdout = os.pipe()
    parents = () if parent is None else (os.pidfd_open(parent),)
    ready = asyncio.Event()
    told: list[Address | None] = []

    def tell(bound: Address | None) -> None:
        told.append(bound)
        ready.set()

    streams = Streams(stdin=stdin, stdout=stdout, parents=parents)
    where = Address("127.0.0.1", 0) if admin else None
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        house = group.create_task(keep_pipe(loaded, launched, streams, admin=where, ready=tell))
        client = Client(to_house=to_house, from_house=from_house, house=house, launched=launched)
        await ready.wait()
        assert [bound is not None for bound in told] == [admin]
        yield client
        if client.to_house >= 0:
            client.close_input()
    os.close(from_house)


def _counted() -> tuple[int, int]:
    return len(list(Path("/proc/self/fd").iterdir())), len(descendants(os.getpid()))


@pytest.mark.requirement("stdio.no_leak")
async def test_lives_leave_no_process_and_no_descriptor() -> None:
    async def live() -> None:
        async with served("cat") as client:
            await client.write(b"one\r\n")
            assert await client.read() == b"one\r\n"
            client.close_input()
            assert await client.read() == b""
            assert await client.code() == 0

    await live()
    before = await asyncio.to_thread(_counted)
    for _ in range(10):
        await live()
    async with asyncio.timeout(5):
        while await asyncio.to_thread(_counted) != before:  # noqa: ASYNC110  # threads end without an event
            await asyncio.sleep(0)


@pytest.mark.requirement("stdio.end")
async def test_a_server_that_ends_by_itself_ends_the_house() -> None:
    async with served("sh", "-c", "read x; echo $x; exit 12") as client:
        await client.write(b"go\n")
        assert await client.read() == b"go\n"
        assert await client.read() == b""
        assert await client.code() == 12


@pytest.mark.requirement("stdio.end")
async def test_a_client_that_reads_no_more_is_learned_by_the_server() -> None:
    async with served("sh", "-c", "read x; yes; exit 11") as client:
        os.close(client.from_house)
        client.from_house = os.dup(0)
        await client.write(b"go\n")
        assert await client.code() == 11


@pytest.mark.requirement("stdio.no_orphan")
async def test_the_death_of_the_parent_is_the_end() -> None:
    parent = await asyncio.create_subprocess_exec("sleep", "1000")
    async with served("sh", "-c", "trap '' TERM; while :; do sleep 1000; done", parent=parent.pid) as client:
        parent.kill()
        await parent.wait()
        assert await client.code() == 137


@pytest.mark.requirement("stdio.end")
async def test_a_signal_goes_on_to_the_server() -> None:
    async with served("sh", "-c", "echo ready; exec sleep 1000", admin=True) as client:
        assert await client.read() == b"ready\n"
        os.kill(os.getpid(), signal.SIGINT)
        assert await client.code() == 130


@pytest.mark.requirement("stdio.end")
async def test_what_holds_the_output_after_the_servers_end_is_not_waited_for_long() -> None:
    async with served("sh", "-c", "setsid sh -c 'echo $$; exec sleep 1000' & wait $!; exit 0") as client:
        far = int(await client.read())
        os.kill(client.launched.process.pid, signal.SIGKILL)
        try:
            assert await client.code() == 137
        finally:
            os.kill(far, signal.SIGKILL)


@pytest.mark.requirement("stdio.end")
async def test_output_that_nobody_takes_is_given_up_after_a_signal() -> None:
    async with served("yes") as client:
        assert (await client.read()).startswith(b"y\n")
        os.kill(os.getpid(), signal.SIGTERM)
        assert await client.code() == 143


async def test_a_house_that_cannot_stand_kills_the_server() -> None:
    launched = await asyncio.to_thread(launch, ["sleep", "1000"], dict(os.environ))
    loaded = load_config(None, env={}, overrides={**NOBODY, "state.url": "sqlite:///dev/null/state.db"})
    stdin, to_house = os.pipe()
    from_house, stdout = os.pipe()
    with pytest.raises(StateUnavailable):
        await keep_pipe(loaded, launched, Streams(stdin=stdin, stdout=stdout))
    assert launched.process.returncode == -signal.SIGKILL
    for end in (stdin, to_house, from_house, stdout):
        os.close(end)


@pytest.mark.requirement("stdio.end")
async def test_what_is_still_said_to_a_client_that_does_not_read_is_given_up_after_a_signal() -> None:
    async with served("sh", "-c", "exec 0<&-; exec yes") as client:
        assert (await client.read()).startswith(b"y\n")
        await client.write(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n')
        await asyncio.to_thread(_until_full, client.from_house)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await client.code() == 143


def _until_full(pipe: int) -> None:
    """Wait until nothing more fits into a pipe that nobody reads."""
    held = -1
    while True:
        threading.Event().wait(0.1)
        now = int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4), sys.byteorder)
        if now == held:
            return
        held = now
