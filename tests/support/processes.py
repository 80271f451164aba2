"""Real child processes for end-to-end tests: started, heard line by line, ended, all within a time.

Two threads per child read its outputs to the end, so no pipe ever fills up and no wait is without a bound. Every child
has a process group of its own, which is killed at the end whatever happened.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from tests.support.nursery import Newborn, nursery, unmeasured

PROGRAM = (sys.executable, "-m", "proxy")
AGENT = (sys.executable, str(Path(__file__).parents[2] / "proxy" / "demo" / "legacy_agent.py"))
"""The legacy agent as a plain file, as somebody's own script."""

START_S = 30.0
"""Longest start of a process on a busy machine, seconds."""

LOOK_S = 0.02
"""Pause between two looks at something that only shows when asked, seconds."""

Line = Mapping[str, object]

Wrap = Callable[[Sequence[str]], list[str]]
"""Makes of a command another one that runs it under some condition."""


def until(is_so: Callable[[], bool], *, within_s: float, what: str) -> None:
    """Look again and again until something is so; for what another process does and no pipe tells."""
    pause = threading.Event()
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, f"{what} did not happen within {within_s:g} s"
        pause.wait(LOOK_S)


class Child:
    """One running process."""

    def __init__(self, process: "subprocess.Popen[bytes] | Newborn") -> None:
        self._heard = threading.Condition()
        self._lines: list[str] = []
        self._errors: list[str] = []
        self._open = 2
        self._process = process
        pairs = ((self._process.stdout, self._lines), (self._process.stderr, self._errors))
        self._readers = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in pairs]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def lines(self) -> list[str]:
        """Standard output so far."""
        with self._heard:
            return list(self._lines)

    @property
    def errors(self) -> str:
        """Standard error so far."""
        with self._heard:
            return "\n".join(self._errors)

    def said(self, **wanted: object) -> list[Line]:
        """The lines of JSON so far whose fields are as wanted."""
        return [line for line in map(_parse, self.lines) if all(line.get(key) == wanted[key] for key in wanted)]

    def hear(self, within_s: float = START_S, **wanted: object) -> Line:
        """The first line of JSON, also an earlier one, whose fields are as wanted."""
        with self._heard:
            self._heard.wait_for(lambda: self.said(**wanted) or not self._open, within_s)
        found = self.said(**wanted)
        assert found, f"no line with {wanted} within {within_s:g} s; it said {self.lines} and {self.errors}"
        return found[0]

    def hear_text(self, text: str, within_s: float = START_S) -> None:
        """Wait for a line of standard output that is this text."""
        with self._heard:
            self._heard.wait_for(lambda: text in self._lines or not self._open, within_s)
        assert text in self.lines, f"no line {text!r} within {within_s:g} s; it said {self.lines} and {self.errors}"

    def end(self, number: signal.Signals = signal.SIGTERM, within_s: float = 10.0) -> int:
        """Send a signal and wait for the end; the exit code, negative for a signal's own."""
        self._process.send_signal(number)
        return self.code(within_s)

    def code(self, within_s: float = START_S) -> int:
        """Wait for the end; the exit code."""
        code = self._process.wait(within_s)
        for reader in self._readers:
            reader.join(within_s)
        return code

    def poll(self) -> int | None:
        """The exit code of one that has ended; None while it runs."""
        return self._process.poll()

    def close(self) -> None:
        """Kill what is left of it, and let the pipes go."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        for reader in self._readers:
            reader.join(10)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _read(self, pipe: IO[bytes], lines: list[str]) -> None:
        for line in pipe:
            with self._heard:
                lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self._heard.notify_all()
        with self._heard:
            self._open -= 1
            self._heard.notify_all()


class Children:
    """Starts children and ends them all."""

    def __init__(self, *, fresh: bool = False) -> None:
        self._fresh = fresh
        self._children: list[Child] = []

    def run(self, *words: str, env: Mapping[str, str] | None = None, wrap: Wrap = list, fresh: bool = False) -> Child:
        """Start one command of the product, wrapped into another where a test needs it so.

        It comes from the nursery. It has a new interpreter where its environment is another one, where it is wrapped,
        and where a test wants it `fresh`, as it is about the start.
        """
        if self._fresh or fresh or env is not None or wrap is not list:
            return self._start(wrap([*PROGRAM, *words]), {**os.environ, **(env or {})})
        return self._keep(nursery().start([*PROGRAM[1:], *words], os.environ))

    def script(self, path: Path, *words: str) -> Child:
        """Run a script that has the product die in a way of its own; it comes from the nursery as well."""
        return self._keep(nursery().start([str(path), *words], unmeasured()))

    def agent(self, base: str, agent_id: str, *words: str) -> Child:
        """Start the legacy agent's script."""
        return self._start([*AGENT, "--base", base, "--agent", agent_id, *words], unmeasured())

    def _start(self, words: Sequence[str], env: Mapping[str, str]) -> Child:
        return self._keep(
            subprocess.Popen(
                list(words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=env,
                start_new_session=True,
            )
        )

    def _keep(self, process: "subprocess.Popen[bytes] | Newborn") -> Child:
        child = Child(process)
        self._children.append(child)
        return child

    def close(self) -> None:
        """Kill whoever is left."""
        for child in reversed(self._children):
            child.close()


@contextmanager
def children(*, fresh: bool = False) -> Iterator[Children]:
    """Children for as long as the block lasts; `fresh` ones never come from the nursery."""
    started = Children(fresh=fresh)
    try:
        yield started
    finally:
        started.close()


def descendants(pid: int) -> set[int]:
    """The living children, grandchildren and so on of a process."""
    parents = {child: parent for child, (parent, _) in _table().items()}
    found: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in found | {pid}} - found:
        found |= more
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not yet collected does not."""
    return _table().get(pid, (0, "Z"))[1] != "Z"


def _table() -> dict[int, tuple[int, str]]:
    """Process id to parent and state. Source: proc(5), /proc/pid/stat fields 3 and 4."""
    table = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):  # it ended while we looked
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                table[int(entry.name)] = (int(parent), state)
    return table


def _parse(line: str) -> Line:
    try:
        value = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}
