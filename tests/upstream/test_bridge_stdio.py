"""The server as a child process: spoken to, ended with everything it started, and nothing of it left behind."""

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proxy.ports import Clock
from proxy.upstream.bridge_stdio import Launched, Patience, StdioBridge, child_environment, exit_code, launch
from proxy.wiring.clock import LoopClock
from tests.support.manual_clock import ManualClock
from tests.support.processes import descendants, is_alive

# Threads run our code here, and coverage's own lock, which they share with the loop, would count as a blocking call.
pytestmark = pytest.mark.blocking

CLOSED = Patience(close_s=2.0, term_s=2.0)
AT_ONCE = Patience(close_s=0.0, term_s=0.0)

SLOW_TO_END = ["sh", "-c", "echo $$; cat > /dev/null; exec sleep 1000"]
STUBBORN = ["sh", "-c", "trap '' TERM; echo $$; cat > /dev/null; exec sleep 1000"]
WITH_HELPER = ["sh", "-c", "sleep 1000 & echo $!; exec cat"]
FAR_AWAY = ["setsid", "sh", "-c", "echo $$; exec sleep 1000"]


async def _launched(command: Sequence[str]) -> Launched:
    return await asyncio.to_thread(launch, command, dict(os.environ))


@asynccontextmanager
async def running(command: Sequence[str], clock: Clock | None = None) -> AsyncIterator[StdioBridge]:
    """A child that is closed with the block."""
    child = StdioBridge(await _launched(command), clock or LoopClock())
    try:
        async with asyncio.timeout(20):
            yield child
    finally:
        async with asyncio.timeout(10):
            await child.close()


async def _line(child: StdioBridge) -> bytes:
    said = b""
    async with asyncio.timeout(5):
        while not said.endswith(b"\n"):
            said += await child.output.read()
    return said


async def _ends(child: StdioBridge) -> int:
    async with asyncio.timeout(5):
        return await child.exited()


async def _gone(pid: int) -> None:
    async with asyncio.timeout(5):
        while await asyncio.to_thread(is_alive, pid):  # noqa: ASYNC110  # no event tells of somebody else's child
            await asyncio.sleep(0)


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.requirement("stdio.untouched")
async def test_bytes_go_both_ways_and_the_end_of_input_ends_it() -> None:
    async with running(["cat"]) as child:
        await child.input.write(b'{"a": 1}\r\nno json\xff\n')
        assert await _line(child) == b'{"a": 1}\r\nno json\xff\n'
        child.end(CLOSED)
        assert await _ends(child) == 0
        assert await child.output.read() == b""


@pytest.mark.requirement("stdio.exit_code")
@pytest.mark.parametrize(("words", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $$", 143)])
async def test_its_exit_code_tells_how_it_ended(words: str, code: int) -> None:
    async with running(["sh", "-c", words]) as child:
        assert await _ends(child) == code


def test_a_signal_is_told_as_a_shell_does() -> None:
    assert [exit_code(status) for status in (0, 255, -signal.SIGHUP)] == [0, 255, 129]


@pytest.mark.requirement("stdio.end")
async def test_it_is_asked_two_seconds_after_the_end_of_its_input() -> None:
    clock = ManualClock()
    async with running(SLOW_TO_END, clock) as child:
        await _line(child)
        child.end(CLOSED)
        await clock.advance(1.9)
        assert is_alive(child.pid)
        await clock.advance(0.1)
        assert await _ends(child) == 143


@pytest.mark.requirement("stdio.end")
async def test_who_does_not_listen_is_killed_two_seconds_later() -> None:
    clock = ManualClock()
    async with running(STUBBORN, clock) as child:
        await _line(child)
        child.end(CLOSED)
        await clock.advance(2.0)
        await clock.advance(1.9)
        assert is_alive(child.pid)
        await clock.advance(0.1)
        assert await _ends(child) == 137


@pytest.mark.requirement("stdio.end")
async def test_told_again_the_earlier_time_counts() -> None:
    clock = ManualClock()
    async with running(STUBBORN, clock) as child:
        await _line(child)
        child.end(CLOSED)
        child.end(Patience(close_s=0.0, term_s=0.5))
        child.end(CLOSED)
        assert clock.waiting() == [clock.now() + 0.5]
        await clock.advance(0.5)
        assert await _ends(child) == 137


async def test_the_signal_may_be_another() -> None:
    async with running(SLOW_TO_END) as child:
        await _line(child)
        child.end(Patience(close_s=0.0, term_s=5.0, number=signal.SIGINT))
        assert await _ends(child) == 130


@pytest.mark.requirement("stdio.no_orphan")
async def test_what_it_started_ends_with_it() -> None:
    async with running(WITH_HELPER) as child:
        helper = int(await _line(child))
        assert await asyncio.to_thread(is_alive, helper)
        child.input.close()
        assert await _ends(child) == 0
    await _gone(helper)


@pytest.mark.requirement("stdio.no_orphan")
async def test_a_child_that_left_its_group_is_ended_like_any_other() -> None:
    async with running(FAR_AWAY) as child:
        assert int(await _line(child)) == child.pid
        child.end(AT_ONCE)
        assert await _ends(child) in {137, 143}


@pytest.mark.requirement("stdio.no_orphan")
@pytest.mark.parametrize("command", [SLOW_TO_END, STUBBORN, WITH_HELPER, FAR_AWAY], ids=lambda words: words[-1])
async def test_the_end_of_the_leash_which_is_our_own_end_kills_all_of_it(command: list[str]) -> None:
    launched = await _launched(command)
    child = StdioBridge(launched, LoopClock())
    named = int(await _line(child))
    os.close(launched.leash)
    assert await _ends(child) == 137
    await _gone(named)
    await asyncio.to_thread(os.waitpid, launched.watcher, 0)
    child.input.close()


@pytest.mark.requirement("stdio.no_orphan")
async def test_a_watcher_that_was_killed_takes_nothing_away_from_the_end() -> None:
    async with running(WITH_HELPER) as child:
        helper = int(await _line(child))
        watcher = os.getpgid(child.pid)
        os.kill(watcher, signal.SIGKILL)
        await _gone(watcher)
        child.end(AT_ONCE)
        assert await _ends(child) in {0, 137, 143}
    await _gone(helper)


async def test_the_watcher_outlives_what_the_group_is_asked_by() -> None:
    async with running(["sh", "-c", "trap 'echo asked' TERM INT HUP; echo ready; while :; do read x; done"]) as child:
        await _line(child)
        watcher = os.getpgid(child.pid)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.killpg(watcher, number)
            assert await _line(child) == b"asked\n"
        assert await asyncio.to_thread(is_alive, watcher)
        child.end(Patience(close_s=9.0, term_s=9.0))


async def test_an_output_that_ends_is_not_the_end() -> None:
    async with running(["sh", "-c", "exec 1>&-; cat > /dev/null"]) as child:
        async with asyncio.timeout(5):
            assert await child.output.read() == b""
        await child.input.write(b"still there\n")
        child.end(CLOSED)
        assert await _ends(child) == 0


@pytest.mark.requirement("stdio.flow")
async def test_floods_in_both_directions_do_not_stop_each_other() -> None:
    count = 3_000_000
    async with running(["sh", "-c", f"head -c {count} /dev/zero; wc -c"]) as child, asyncio.timeout(20):
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(child.input.write(b"x" * count))
            seen = 0
            while seen < count:
                seen += len(await child.output.read())
        assert writing.done()
        child.input.close()
        assert int(await _line(child)) == count


@pytest.mark.requirement("stdio.exit_code")
def test_what_cannot_be_launched_leaves_nothing(tmp_path: Path) -> None:
    before, children = _descriptors(), descendants(os.getpid())
    with pytest.raises(FileNotFoundError):
        launch([str(tmp_path / "nothing")], {})
    with pytest.raises(PermissionError):
        launch([str(tmp_path)], {})
    assert _descriptors() == before
    assert descendants(os.getpid()) == children


def test_a_child_that_nobody_spoke_to_can_be_killed() -> None:
    before = _descriptors()
    launched = launch(["sleep", "1000"], dict(os.environ))
    launched.kill()
    assert not is_alive(launched.process.pid)
    assert not is_alive(launched.watcher)
    assert _descriptors() == before


def test_the_environment_is_ours() -> None:
    environment = {"PATH": "/bin", "LD_LIBRARY_PATH": "/mine", "_PYI_X": "1"}
    assert child_environment(environment, is_frozen=False) == environment


@pytest.mark.parametrize(
    ("original", "left"), [({"LD_LIBRARY_PATH_ORIG": "/mine"}, {"LD_LIBRARY_PATH": "/mine"}), ({}, {})]
)
def test_a_frozen_program_keeps_its_own_libraries_to_itself(original: dict[str, str], left: dict[str, str]) -> None:
    environment = {"PATH": "/bin", "LD_LIBRARY_PATH": "/unpacked", "_PYI_ARCHIVE_FILE": "x", **original}
    assert child_environment(environment, is_frozen=True) == {"PATH": "/bin", **left}


@pytest.mark.requirement("stdio.no_leak")
async def test_two_hundred_lives_leave_no_process_descriptor_or_thread() -> None:
    async def live() -> None:
        async with running(["cat"]) as child:
            await child.input.write(b"x\n")
            await _line(child)
            child.end(CLOSED)
            await _ends(child)

    await live()
    before = await asyncio.to_thread(_counted)
    for _ in range(200):
        await live()
    async with asyncio.timeout(5):
        while await asyncio.to_thread(_counted) != before:  # noqa: ASYNC110  # threads end without an event
            await asyncio.sleep(0)


def _counted() -> tuple[int, int, int]:
    return _descriptors(), len(descendants(os.getpid())), threading.active_count()
