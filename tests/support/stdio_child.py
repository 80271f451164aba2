"""`elicit-sidecar stdio` as a process with a client at its standard input and output, and ways to see what is left."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.support.processes import START_S, descendants, is_alive, until

SIDECAR = (sys.executable, "-m", "proxy", "stdio", "--state", "memory:", "--set", "log.format=json")


@dataclass(slots=True)
class StdioChild:
    """One running sidecar; standard error is kept."""

    process: "subprocess.Popen[bytes]"
    errors: list[str] = field(default_factory=list)

    def write(self, data: bytes) -> None:
        """The client says something; it blocks as a client would."""
        self._stdin.write(data)

    def read(self, count: int) -> bytes:
        """So many bytes, or fewer where its output ends."""
        found = bytearray()
        while len(found) < count and (chunk := self._stdout.read(count - len(found))):
            found += chunk
        return bytes(found)

    def line(self) -> bytes:
        """One line of its output."""
        return self._stdout.readline()

    def close_input(self) -> None:
        """The client has nothing more to say."""
        self._stdin.close()

    def code(self, within_s: float = START_S) -> int:
        """Wait for its end; the exit code, negative for a signal's own."""
        return self.process.wait(within_s)

    def family(self) -> set[int]:
        """Everybody that it started."""
        return descendants(self.process.pid)

    def hear_error(self, text: str) -> None:
        """Wait until it said this on standard error."""
        until(lambda: any(text in line for line in self.errors), within_s=START_S, what=f"{text!r} in {self.errors}")

    @property
    def _stdin(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout


def all_gone(pids: set[int], *, within_s: float) -> None:
    """Fail unless every process has ended in time."""
    until(lambda: not any(is_alive(pid) for pid in pids), within_s=within_s, what=f"the end of {pids}")


@contextmanager
def started(*words: str, before: Sequence[str] = SIDECAR) -> Iterator[StdioChild]:
    """A sidecar for as long as the block lasts; then it and all that it started is killed."""
    process = subprocess.Popen(
        [*before, *words],
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if not name.startswith("ELICIT_SIDECAR_")},
        start_new_session=True,
    )
    child = StdioChild(process)
    assert process.stderr is not None
    reader = threading.Thread(target=_keep, args=(process.stderr, child.errors), daemon=True)
    reader.start()
    try:
        yield child
    finally:
        for pid in {process.pid, *child.family()}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(10)
        reader.join(10)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _keep(pipe: IO[bytes], lines: list[str]) -> None:
    while line := pipe.readline():
        lines.append(line.decode("utf-8", "replace").rstrip("\n"))


def script(folder: Path, text: str) -> tuple[str, str]:
    """A server written for one test; the command that runs it."""
    path = folder / "server.py"
    path.write_text(text, "utf-8")
    return sys.executable, str(path)
