"""The event log on disk: append-only lines of JSON, written before any reply that could show them.

All reading and writing happens in one thread of its own, so the loop never waits for the disk.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from proxy.devbridge.events import StoredEvent, read_line, write_line


class StateFile:
    """One file of events, held open while the Bridge runs."""

    __slots__ = ("_file", "_lock", "_path", "_pending", "_thread")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="devbridge-state")
        self._lock = asyncio.Lock()
        self._file: BinaryIO | None = None
        self._pending: list[bytes] = []
        """Lines that are not written yet; the loop appends, the thread takes away what it has written."""

    async def load(self) -> list[StoredEvent]:
        """Open the file, create it where there is none, and read what it holds.

        A last line without its end was torn by a kill; it was never shown to anybody and is cut off.

        Raises:
            ValueError: a line is not an event of this program.
            OSError: the file cannot be opened.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._load)

    async def save(self, unsaved: list[StoredEvent]) -> None:
        """Write the events out and take them from the list; returns when all that were given before are written.

        Where the caller leaves, what it gave is written with the next save, and nothing that follows before it.

        Raises:
            OSError: the disk refuses.
        """
        self._pending.extend(write_line(event) for event in unsaved)
        unsaved.clear()
        async with self._lock:
            if self._pending:
                await asyncio.get_running_loop().run_in_executor(self._thread, self._write)

    async def close(self) -> None:
        """Finish what is being written and let file and thread go."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _load(self) -> list[StoredEvent]:
        self._file = self._path.open("a+b")
        self._file.seek(0)
        lines = self._file.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            torn = lines.pop()
            self._file.truncate(self._file.tell() - len(torn))
        return [read_line(line, number) for number, line in enumerate(lines, start=1)]

    def _write(self) -> None:
        lines = self._pending[:]
        if self._file is not None:
            self._file.write(b"".join(lines))
            self._file.flush()
        del self._pending[: len(lines)]

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
