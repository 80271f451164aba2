"""The Bridge's MCP server as a child process: launched, spoken to over pipes, ended with everything it started.

The child is put into a process group that a small watcher leads, a fork of this process that does nothing but wait for
the end of a pipe. However this process dies, SIGKILL included, that pipe ends and the watcher kills the group, itself
last. A death signal by prctl would reach only the child itself and not the server that a launcher such as npx or uv
runs, and a launcher of our own would be unpacked anew by a frozen program; a fork needs neither.

Source: PROTOCOL.md 3.3 (close standard input, then TERM, then KILL).
"""

import asyncio
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.ports import Alarm, Clock
from proxy.upstream.pipes import PipeSink, PipeSource

OWN_FDS: Final = Path("/proc/self/fd")
"""The descriptors of a process. Source: proc(5)."""

OUTLIVED: Final = frozenset(
    {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
)
"""Signals to the group that its watcher never takes. Source: ours, all that ask a process to end or to act."""

FROZEN_PREFIX: Final = "_PYI_"
"""Begin of the variables by which a frozen program knows itself. Source: PyInstaller 6 manual, environment."""

LIBRARY_PATH: Final = "LD_LIBRARY_PATH"
"""What a frozen program sets to its own libraries, with the user's value under this name and `_ORIG`.

Source: PyInstaller 6 manual, "Common issues", LD_LIBRARY_PATH.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How the child is ended: time after the end of its input, the signal then, and time before the kill."""

    close_s: float
    term_s: float
    number: signal.Signals = signal.SIGTERM


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A child that runs, not yet spoken to; the descriptors are ours."""

    process: "subprocess.Popen[bytes]"
    watcher: int
    """Process id of the watcher, which is the process group, too."""
    leash: int
    """What ends for the watcher when we do."""
    stdin: int
    stdout: int

    def kill(self) -> None:
        """End it before anybody has spoken to it."""
        os.killpg(self.watcher, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        for descriptor in (self.stdin, self.stdout):
            os.close(descriptor)
        self.sweep()

    def sweep(self) -> None:
        """Kill what is left of the group, its watcher with it, and let go of them."""
        os.killpg(self.watcher, signal.SIGKILL)
        os.close(self.leash)
        os.waitpid(self.watcher, 0)


def launch(command: Sequence[str], environment: Mapping[str, str]) -> Launched:
    """Start the child in a process group of its own; its standard error is ours.

    Raises:
        OSError: the command cannot be started.
    """
    watcher, leash = _start_watcher()
    child_stdin, stdin = os.pipe()
    stdout, child_stdout = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603  # the operator's own command, and no shell
            list(command), stdin=child_stdin, stdout=child_stdout, env=environment, process_group=watcher
        )
        # For a child that leaves its group.
        os.write(leash, b"%d\n" % process.pid)
    except OSError:
        os.close(stdin)
        os.close(stdout)
        os.close(leash)
        os.waitpid(watcher, 0)
        raise
    finally:
        os.close(child_stdin)
        os.close(child_stdout)
    return Launched(process=process, watcher=watcher, leash=leash, stdin=stdin, stdout=stdout)


def _start_watcher() -> tuple[int, int]:
    """Fork the watcher; its process id, and the end of the pipe that holds it."""
    held, leash = os.pipe()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, OUTLIVED)
    pid = os.fork()
    if pid == 0:  # pragma: no cover  # ends by SIGKILL, which leaves no measurement
        try:
            _watch(held)
        finally:
            os._exit(1)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    os.close(held)
    os.setpgid(pid, pid)  # here as well, as the child needs the group now
    return pid, leash


def _watch(held: int) -> None:  # pragma: no cover  # runs in the fork
    """Lead a process group; at the end of the pipe kill all of it, and the child wherever it is."""
    os.setpgid(0, 0)
    os.dup2(held, 0)
    os.closerange(1, max(int(entry.name) for entry in OWN_FDS.iterdir()) + 1)
    child = -1
    while word := os.read(0, 32):
        with suppress(OSError):  # it has ended, or the kernel has no such handle: the group is what counts
            child = os.pidfd_open(int(word))
    if child >= 0:
        with suppress(OSError):
            signal.pidfd_send_signal(child, signal.SIGKILL)
    os.killpg(0, signal.SIGKILL)


def child_environment(environment: Mapping[str, str], *, is_frozen: bool) -> dict[str, str]:
    """The environment for the child: ours, without what only a frozen program's own parts may see."""
    if not is_frozen:
        return dict(environment)
    original = environment.get(f"{LIBRARY_PATH}_ORIG")
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith(FROZEN_PREFIX) and name not in {LIBRARY_PATH, f"{LIBRARY_PATH}_ORIG"}
    }
    return kept if original is None else {**kept, LIBRARY_PATH: original}


def exit_code(status: int) -> int:
    """The exit code that tells how a child ended. Source: POSIX shell, 128 and the number of the signal."""
    return 128 - status if status < 0 else status


class StdioBridge:
    """The child as the event loop sees it; made inside of the running loop, `close` it."""

    __slots__ = ("_alarms", "_clock", "_due", "_exited", "_launched", "_loop", "_status", "input", "output")

    def __init__(self, launched: Launched, clock: Clock) -> None:
        self.input = PipeSink(launched.stdin, "to the server")
        self.output = PipeSource(launched.stdout, "from the server")
        self._launched = launched
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._exited = asyncio.Event()
        self._status = 0
        self._alarms: dict[str, Alarm] = {}
        self._due: dict[str, float] = {}
        threading.Thread(target=self._wait, name="the server's end", daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._launched.process.pid

    async def exited(self) -> int:
        """Wait for its end; the exit code that tells how it ended."""
        await self._exited.wait()
        return exit_code(self._status)

    def end(self, patience: Patience) -> None:
        """End its input, then ask it, then kill it; told again, the earlier time counts for each step."""
        self.input.close()
        ask_at = self._clock.now() + patience.close_s
        self._plan("ask", ask_at, patience.number)
        self._plan("kill", ask_at + patience.term_s, signal.SIGKILL)

    async def close(self) -> None:
        """Kill what is left of its process group, and let go of everything."""
        for alarm in self._alarms.values():
            alarm.cancel()
        self._signal(signal.SIGKILL)
        await self._exited.wait()
        self.input.close()
        self.output.stop()
        await asyncio.to_thread(self._launched.sweep)

    def _plan(self, step: str, at: float, number: signal.Signals) -> None:
        if at >= self._due.get(step, float("inf")):
            return
        if step in self._alarms:
            self._alarms[step].cancel()
        self._due[step] = at
        self._alarms[step] = self._clock.alarm(at, lambda: self._signal(number))

    def _signal(self, number: signal.Signals) -> None:
        os.killpg(self._launched.watcher, number)  # never empty: the watcher is in it until it is collected
        if self._has_left_group():
            with suppress(PermissionError):  # it has become somebody else, who may not be told
                self._launched.process.send_signal(number)

    def _has_left_group(self) -> bool:
        if self._exited.is_set():
            return False
        try:
            return os.getpgid(self.pid) != self._launched.watcher
        except ProcessLookupError:  # it has ended just now
            return False

    def _wait(self) -> None:
        status = self._launched.process.wait()
        with suppress(RuntimeError):  # the loop is closed: nobody wants to know
            self._loop.call_soon_threadsafe(self._note_end, status)

    def _note_end(self, status: int) -> None:
        self._status = status
        self._exited.set()
