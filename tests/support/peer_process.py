"""A child process that is talked to line by line over its pipes: lines of JSON go in and come out.

Two threads per process read its outputs to the end, so no pipe fills up. Its standard input ends with this process,
however that ends, and the peers end with their standard input: none of them stays behind.
"""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Final

START_S: Final = 60.0
"""Longest start of a peer on a busy machine, seconds; fastmcp alone imports for three."""

END_S: Final = 10.0
"""Longest end of a process, seconds."""

Line = Mapping[str, object]

QUIET: Final = {"PYTHONWARNINGS": "ignore", "FASTMCP_CHECK_FOR_UPDATES": "off", "NO_COLOR": "1"}
"""What keeps peers from saying what no test is about."""


class PeerProcess:
    """One running peer."""

    def __init__(self, words: Sequence[str]) -> None:
        self._heard = threading.Condition()
        self._lines: list[Line] = []
        self._words: list[str] = []
        self._open = 2
        self._process = subprocess.Popen(
            list(words),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | QUIET,
            start_new_session=True,
        )
        targets = ((self._process.stdout, self._take_line), (self._process.stderr, self._words.append))
        self._readers = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in targets]
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self._process.poll() is not None

    @property
    def errors(self) -> str:
        """The end of its standard error so far."""
        return "\n".join(self._words[-30:])

    def tell(self, line: Line) -> None:
        """Send one line."""
        pipe = self._process.stdin
        assert pipe is not None
        pipe.write(json.dumps(line).encode() + b"\n")
        pipe.flush()

    def said(self, **wanted: object) -> list[Line]:
        """The lines so far whose fields are as wanted."""
        with self._heard:
            lines = list(self._lines)
        return [line for line in lines if all(line.get(key) == value for key, value in wanted.items())]

    def hear(self, within_s: float = START_S, *, count: int = 1, **wanted: object) -> Line:
        """Wait for the line, or the `count`-th one, whose fields are as wanted; an earlier one will do."""
        with self._heard:
            self._heard.wait_for(lambda: len(self.said(**wanted)) >= count or not self._open, within_s)
        found = self.said(**wanted)
        assert len(found) >= count, (
            f"no line with {wanted} within {within_s:g} s; it said {self.said()} and on standard error {self.errors}"
        )
        return found[count - 1]

    def finish(self, within_s: float = END_S) -> int:
        """End its standard input and wait for its end; the exit code, negative for a signal's own."""
        with suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        return self._process.wait(within_s)

    def kill(self) -> None:
        """End it as a crash or the system would, without a word."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(END_S)

    def close(self) -> None:
        """Kill what is left of it, and let the pipes go."""
        self.kill()
        for reader in self._readers:
            reader.join(END_S)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()

    def _take_line(self, text: str) -> None:
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = None
        self._lines.append(value if isinstance(value, dict) else {"kind": "text", "text": text})

    def _read(self, pipe: IO[bytes], take: Callable[[str], None]) -> None:
        for line in pipe:
            with self._heard:
                take(line.decode("utf-8", "replace").rstrip("\n"))
                self._heard.notify_all()
        with self._heard:
            self._open -= 1
            self._heard.notify_all()
