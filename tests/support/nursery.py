"""Processes of the product that start at once: forks of one that has loaded it, instead of new interpreters.

Loading takes longer than all that most tests have a process do. Who comes from the nursery is a process like any
other, with its own session, environment and standard streams; only its parent is another one. Tests about the start
itself take a new interpreter.
"""

import atexit
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Final

PROCESS: Final = "tests.support.nursery_process"

REPLY_S: Final = 60.0
"""Longest wait for a birth, seconds: the first one waits until everything is loaded."""

END_S: Final = 10.0

LONGEST: Final = 1024
"""More bytes than any news has."""


def unmeasured() -> dict[str, str]:
    """The environment for processes that end without telling what they covered, as measuring takes them time."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


class Newborn:
    """A process from the nursery, with as much of `subprocess.Popen` as tests need."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.stdin: IO[bytes] | None = None
        self.stdout: IO[bytes] | None = None
        self.stderr: IO[bytes] | None = None
        self.returncode: int | None = None
        self._ended = threading.Event()

    def ended(self, code: int) -> None:
        """Tell that it has ended so; its id may be somebody else's from now on."""
        self.returncode = code
        self._ended.set()

    def poll(self) -> int | None:
        """The exit code of one that has ended; None while it runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; the exit code, negative for a signal's own.

        Raises:
            subprocess.TimeoutExpired: it still runs after so many seconds.
        """
        self._ended.wait(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it lives; it may have ended, and nobody has told yet."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL, if it lives."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process that has loaded everything, and who was born there."""

    def __init__(self) -> None:
        self._control, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", PROCESS, str(there.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[there.fileno()],
            env=unmeasured(),  # its children measure themselves
        )
        there.close()
        self._lock = threading.Lock()
        self._living: dict[int, Newborn] = {}
        self._born: queue.SimpleQueue[Newborn | None] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True, name="nursery")
        self._listener.start()

    def start(
        self, words: Sequence[str], env: Mapping[str, str], *, with_input: bool = False, buffering: int = -1
    ) -> Newborn:
        """Start what a new interpreter would run with these words, in a session of its own.

        Its output and error are pipes, its input as well or nothing; `buffering` is that of this side of the pipes.
        """
        stdin, to_stdin = os.pipe() if with_input else (os.open(os.devnull, os.O_RDONLY), None)
        (from_stdout, stdout), (from_stderr, stderr) = os.pipe(), os.pipe()
        order = json.dumps({"words": list(words), "env": dict(env), "cwd": str(Path.cwd())}).encode()
        with self._lock:
            socket.send_fds(self._control, [order], (stdin, stdout, stderr))
            newborn = self._born.get(timeout=REPLY_S)
        for descriptor in (stdin, stdout, stderr):
            os.close(descriptor)
        assert newborn is not None, "the nursery has ended; it said why on standard error"
        newborn.stdin = None if to_stdin is None else os.fdopen(to_stdin, "wb", buffering)
        newborn.stdout = os.fdopen(from_stdout, "rb", buffering)
        newborn.stderr = os.fdopen(from_stderr, "rb", buffering)
        return newborn

    def close(self) -> None:
        """End the nursery; whoever was born there lives on."""
        self._control.shutdown(socket.SHUT_RDWR)
        self._process.wait(END_S)
        self._control.close()

    def _listen(self) -> None:
        while told := self._control.recv(LONGEST):
            news = json.loads(told)
            pid = news["pid"]
            if "code" in news:
                self._living.pop(pid).ended(news["code"])
            else:
                self._living[pid] = Newborn(pid)
                self._born.put(self._living[pid])
        self._born.put(None)


@cache
def nursery() -> Nursery:
    """The nursery of this process, opened when it is first needed."""
    opened = Nursery()
    atexit.register(opened.close)
    return opened
