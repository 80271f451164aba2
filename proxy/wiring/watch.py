"""Watches files: whoever waits is told when one of them was written, renamed into place, or points elsewhere."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from watchfiles import awatch

from proxy.observe.logs import logger

DEBOUNCE_MS: Final = 200
"""How long a burst of changes is gathered. Source: ours; an editor writes a file in several steps."""

LOOK_MS: Final = 1000
"""How often a file is looked at without an event. Source: ours; a look costs microseconds."""

_log: Final = logger("proxy.wiring.watch")


FileMark = tuple[int, int, int, int]
"""Time of the last writing in nanoseconds, size in bytes, inode and mode.

A file that was written, replaced or opened to others has another one.
"""


def mark_of(path: Path | None) -> FileMark | None:
    """The mark of a file now; None when there is none."""
    try:
        found = None if path is None else path.stat()
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode)


def marks_of(paths: Iterable[Path]) -> dict[Path, FileMark | None]:
    """The marks of files now. Reads the disk: not on the event loop."""
    return {path: mark_of(path) for path in paths}


async def watch_files(marks: Mapping[Path, FileMark | None], wanted: asyncio.Event) -> None:
    """Set `wanted` whenever one of the files is another than its mark says; one that is gone is waited for.

    Changes are noticed by the system's events; once a second the files are looked at all the same, because nothing
    tells of what happened before the watch stood, nor where a link leads to.
    """
    seen = dict(marks)
    if not seen:
        return
    folders = {path.absolute().parent for path in seen}
    try:
        async for _ in awatch(
            *folders, debounce=DEBOUNCE_MS, rust_timeout=LOOK_MS, yield_on_timeout=True, recursive=False
        ):
            now = await asyncio.to_thread(marks_of, seen)
            changed = {path: mark for path, mark in now.items() if mark is not None and mark != seen[path]}
            if changed:
                seen |= changed
                wanted.set()
    except (OSError, RuntimeError) as error:  # the system's limit of watches, say; the sidecar serves without one
        files = sorted(str(path) for path in seen)
        _log.warning("files are not watched; SIGHUP still reads them again", files=files, problem=str(error))
