"""The demo's child processes: started on a leash, heard line by line, ended all together.

Each child has a process group of its own, so that Ctrl-C in the terminal reaches the demo alone, which then ends the
children in order. What a child writes to standard error goes to a file of its own.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import orjson

from proxy.core.errors import OurFault
from proxy.demo.board import Board, Said

STOP_S: Final = 2.0
"""Time between the request to end and the kill. Source: ours; a sidecar drains in less (ARCHITECTURE.md 2.6)."""

TAIL_BYTES: Final = 2_000
"""How much of its last words a failure repeats. Source: ours."""

LEASH_COMMAND: Final = ("demo", "child")
"""The hidden command that starts any other command on a leash."""


def own_command() -> list[str]:
    """How to start this very program once more."""
    return [sys.executable] if getattr(sys, "frozen", False) else [sys.executable, "-m", "proxy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Child:
    name: str
    process: Process
    may_end: bool
    log: Path


class Household:
    """All children of one demo; whoever opens it must `stop` it."""

    __slots__ = ("_board", "_children", "_folder", "_group", "_is_stopping")

    def __init__(self, folder: Path, board: Board, group: asyncio.TaskGroup) -> None:
        self._folder = folder
        self._board = board
        self._group = group
        self._children: list[_Child] = []
        self._is_stopping = False

    async def start(self, name: str, words: Sequence[str], *, may_end: bool = False) -> None:
        """Start one command of this program; what it says is posted under `name`.

        `may_end` children may end with code 0 by themselves; any other end is a fault.

        Raises:
            OurFault: it cannot be started.
        """
        log = self._folder / f"{name}.log"
        try:
            with _open_log(log) as stderr:
                process = await asyncio.create_subprocess_exec(
                    *own_command(),
                    *LEASH_COMMAND,
                    *words,
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=stderr,
                    start_new_session=True,
                )
        except OSError as error:
            raise OurFault(f"cannot start {name}: {error}") from error
        child = _Child(name=name, process=process, may_end=may_end, log=log)
        self._children.append(child)
        self._group.create_task(self._listen(child), name=f"{name} speaks")
        self._group.create_task(self._watch(child), name=f"{name} lives")

    async def stop(self) -> None:
        """End every child: ask all, wait two seconds, kill who is left."""
        self._is_stopping = True
        for child in self._children:
            _signal(child, signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await self._all_ended()
        except TimeoutError:
            for child in self._children:
                _signal(child, signal.SIGKILL)
            await self._all_ended()

    async def _all_ended(self) -> None:
        for child in self._children:
            await child.process.wait()

    async def _listen(self, child: _Child) -> None:
        stream = child.process.stdout
        if stream is None:
            return
        async for line in stream:
            try:
                fields = orjson.loads(line)
            except orjson.JSONDecodeError:
                fields = None
            text = line.decode("utf-8", "replace").rstrip()
            said = fields if isinstance(fields, dict) else {"event": "text", "text": text}
            self._board.post(Said(child.name, said))

    async def _watch(self, child: _Child) -> None:
        code = await child.process.wait()
        is_expected = self._is_stopping or (child.may_end and code == 0)
        if not is_expected:
            words = await asyncio.to_thread(_last_words, child.log)
            self._board.fail(OurFault(f"{child.name} ended early with code {code}: {words}"))


def _signal(child: _Child, number: signal.Signals) -> None:
    if child.process.returncode is None:
        with suppress(ProcessLookupError):  # it ended by itself just now
            os.killpg(child.process.pid, number)


def _open_log(log: Path) -> BinaryIO:
    # In place, not in a thread: a file that a thread opens for a cancelled caller is nobody's.
    return log.open("ab")


def _last_words(log: Path) -> str:
    words = log.read_bytes()[-TAIL_BYTES:].decode("utf-8", "replace").strip()
    return words or "it said nothing"
