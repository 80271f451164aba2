"""Takes up a changed configuration while the house stands: on SIGHUP, and when the file changes.

A file that is in order is taken up as far as a running sidecar can; what needs a restart is said. A file that is not
in order changes nothing, and every problem is said.
"""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from watchfiles import awatch

from proxy.config.changes import changes_between
from proxy.config.load import Loaded
from proxy.config.problems import ConfigError
from proxy.observe.logs import configure, logger
from proxy.wiring.house import House

DEBOUNCE_MS: Final = 200
"""How long a burst of changes to the file is gathered. Source: ours; an editor writes a file in several steps."""

LOOK_MS: Final = 1000
"""How often the file is looked at without an event. Source: ours; a look costs microseconds."""

_log: Final = logger("proxy.wiring.reload")


FileMark = tuple[int, int, int]
"""Change time in nanoseconds, size in bytes and inode: a file that was written or replaced has another one."""


def mark_of(path: Path | None) -> FileMark | None:
    """The mark of a file now; None when there is none."""
    try:
        found = None if path is None else path.stat()
    except OSError:
        return None
    return None if found is None else (found.st_mtime_ns, found.st_size, found.st_ino)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigSource:
    """Where the configuration comes from, to read it again."""

    path: Path | None
    """The file to watch, if there is one."""
    mark: FileMark | None
    """Of the file, from just before it was first read."""
    load: Callable[[], Loaded]
    """Read file, environment and command line again. Raises ConfigError."""
    wanted: asyncio.Event
    """Set when somebody wants it read again: SIGHUP, or the watch of the file."""


async def watch_file(source: ConfigSource) -> None:
    """Want a reload whenever the file is written, renamed into place, or its link points elsewhere.

    Changes are noticed by the system's events; once a second the file is looked at all the same, because nothing
    tells of what happened before the watch stood.
    """
    path, mark = source.path, source.mark
    if path is None:
        return
    try:
        async for _ in awatch(
            path.absolute().parent,
            debounce=DEBOUNCE_MS,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
            recursive=False,
        ):
            now = await asyncio.to_thread(mark_of, path)
            if now is not None and now != mark:
                mark = now
                source.wanted.set()
    except (OSError, RuntimeError) as error:  # the system's limit of watches, say; the sidecar serves without one
        _log.warning("the configuration file is not watched; SIGHUP still reads it again", problem=str(error))


async def reload_when_wanted(house: House, source: ConfigSource) -> None:
    """Reload each time it is wanted, for as long as the house stands."""
    while True:
        await source.wanted.wait()
        source.wanted.clear()
        try:
            loaded = await asyncio.to_thread(source.load)
        except ConfigError as error:
            for problem in error.problems:
                _log.error("configuration refused, the old one stays", problem=str(problem))
            continue
        take_up(house, loaded)


def take_up(house: House, loaded: Loaded) -> None:
    """Apply what a running sidecar can take up, and say what became of each changed key."""
    changes = changes_between(house.config, loaded.config)
    if not changes:
        _log.info("configuration read again, nothing has changed")
        return
    house.take_up(loaded)
    configure(loaded.config.log.level, loaded.config.log.format, sys.stderr)
    _log.info(
        "configuration read again",
        applied=list(changes.live),
        needs_restart=list(changes.at_restart),
        only_for_a_fresh_state=list(changes.at_first_start),
    )
