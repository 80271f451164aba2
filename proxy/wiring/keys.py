"""The keys of one running sidecar: read from their file, and read anew while it runs.

Whoever signs or verifies asks for the ring each time, or is given each new one. A file that is not in order leaves
the old ring in force, which is said in the log and in readiness.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from proxy.config.keys import read_key_ring, variable_of
from proxy.config.problems import ConfigError
from proxy.config.schema import Config
from proxy.core.key_file import write_keys
from proxy.core.key_ring import KeyRing
from proxy.observe.logs import logger
from proxy.wiring.watch import FileMark, mark_of, watch_files

_log: Final = logger("proxy.wiring.keys")


class Keys:
    """The keys by which agents sign, as they are now."""

    __slots__ = ("_config", "_hearers", "_mark", "_trouble", "ring", "wanted")

    def __init__(self, config: Config) -> None:
        self._config = config
        self._mark: FileMark | None = None
        self._hearers: list[Callable[[KeyRing], None]] = []
        self._trouble = ""
        self.ring = KeyRing()
        self.wanted = asyncio.Event()
        """Set when somebody wants the file to be read again."""

    async def open(self) -> None:
        """Read the file for the first time, if there is one.

        Raises:
            ConfigError: it is not in order.
        """

        def read() -> tuple[FileMark | None, KeyRing]:
            return mark_of(self._path), read_key_ring(self._config)

        self._mark, self.ring = await asyncio.to_thread(read)

    def give(self, hear: Callable[[KeyRing], None]) -> None:
        """Give the ring to somebody, now and whenever it is another."""
        self._hearers.append(hear)
        hear(self.ring)

    async def keep_fresh(self) -> None:
        """Read the file again when it changes, and when it is wanted, for as long as the house stands."""
        path = self._path
        if path is None:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(watch_files({path: self._mark}, self.wanted), name="watch of the key file")
            while True:
                await self.wanted.wait()
                self.wanted.clear()
                await self._renew()

    def reasons(self) -> list[str]:
        """What is not as it should be, for operators."""
        return [f"keys: the new file is not in order, the old keys stay: {self._trouble}"] if self._trouble else []

    @property
    def _path(self) -> Path | None:
        name = self._config.signatures.keys_file
        return Path(name) if name and variable_of(name) is None else None

    async def _renew(self) -> None:
        try:
            ring = await asyncio.to_thread(read_key_ring, self._config)
        except ConfigError as error:
            self._trouble = "; ".join(map(str, error.problems))
            for problem in error.problems:
                _log.error("key file refused, the old keys stay", problem=str(problem))
            return
        is_news = bool(self._trouble) or write_keys(ring) != write_keys(self.ring)
        self._trouble = ""
        self.ring = ring
        for hear in self._hearers:
            hear(ring)
        if is_news:
            usable = sum(key.is_usable for key in ring.keys)
            _log.info("key file read again", usable=usable, revoked=len(ring.keys) - usable)
