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

from proxy.config.changes import changes_between
from proxy.config.load import Loaded
from proxy.config.problems import ConfigError
from proxy.observe.logs import configure, logger
from proxy.wiring.house import House
from proxy.wiring.watch import FileMark, watch_files

_log: Final = logger("proxy.wiring.reload")


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
    """Want a reload whenever the file is written, renamed into place, or its link points elsewhere."""
    await watch_files({} if source.path is None else {source.path: source.mark}, source.wanted)


async def reload_when_wanted(house: House, source: ConfigSource, *files: asyncio.Event) -> None:
    """Reload each time it is wanted, for as long as the house stands; these other `files` are then wanted as well."""
    while True:
        await source.wanted.wait()
        source.wanted.clear()
        for each in files:
            each.set()
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
