"""The TLS of one sidecar: made from files, and made anew from them while it runs.

A connection is made by the context that is in force when it begins, and keeps it. Files that are not in order leave
the old context in force, which is said in the log and in readiness.
"""

import asyncio
import math
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.config.problems import ConfigError
from proxy.config.schema import Config
from proxy.config.tls import ADMIN, DATA, Made, PairKeys, bridge_context, listener_context, listener_files
from proxy.core.certificate import day_of
from proxy.observe.logs import logger
from proxy.ports import Clock
from proxy.wiring.watch import FileMark, marks_of, watch_files

BRIDGE_SIDE: Final = "bridge"
LISTENERS: Final = ("data", "admin")
"""Our ports, by the label that metrics give them."""

_log: Final = logger("proxy.wiring.tls")


class RenewableContext(ssl.SSLContext):
    """A context whose connections are made by another one, which may be replaced at any time.

    By itself it knows no certificate and no authority, so whatever went past `wrap_bio` would fail.
    """

    in_force: ssl.SSLContext

    def wrap_bio(  # noqa: PLR0917  # the library's own signature, as for the next one
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """Begin one connection."""
        return self.in_force.wrap_bio(incoming, outgoing, server_side, server_hostname, session)


@dataclass(slots=True, kw_only=True)
class _Side:
    """One use of TLS: the Bridge, or a port of ours."""

    make: Callable[[], Made | None]
    context: RenewableContext
    made: Made
    marks: dict[Path, FileMark | None]
    """Of its files, from just before they were first read."""
    trouble: str = ""
    """Why newer files were not taken up."""


class Tls:
    """All TLS of one sidecar."""

    __slots__ = ("_clock", "_config", "_sides", "wanted")

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._sides: dict[str, _Side] = {}
        self.wanted = asyncio.Event()
        """Set when somebody wants all files to be read again."""

    async def bridge(self) -> ssl.SSLContext | None:
        """How the Bridge is called; None where no URL of it has TLS.

        Raises:
            ConfigError: a file is not in order.
        """
        bridge = self._config.bridge
        files = (bridge.ca_file, bridge.client_cert_file, bridge.client_key_file)
        return await self._open(BRIDGE_SIDE, lambda: bridge_context(bridge), files, ssl.PROTOCOL_TLS_CLIENT)

    async def data(self) -> ssl.SSLContext | None:
        """How the data port is served; None without TLS.

        Raises:
            ConfigError: a file is not in order.
        """
        return await self._listener("data", DATA)

    async def admin(self) -> ssl.SSLContext | None:
        """The same for the admin port."""
        return await self._listener("admin", ADMIN)

    async def _listener(self, name: str, keys: PairKeys) -> ssl.SSLContext | None:
        listen = self._config.listen
        files = listener_files(listen, keys)
        return await self._open(name, lambda: listener_context(listen, keys), files, ssl.PROTOCOL_TLS_SERVER)

    async def _open(
        self, name: str, make: Callable[[], Made | None], files: Iterable[str], protocol: int
    ) -> ssl.SSLContext | None:
        def read() -> tuple[dict[Path, FileMark | None], Made | None]:
            return marks_of(Path(file) for file in files if file), make()

        marks, made = await asyncio.to_thread(read)
        if made is None:
            return None
        context = RenewableContext(protocol)
        context.in_force = made.context
        self._sides[name] = _Side(make=make, context=context, made=made, marks=marks)
        warning = made.warning(self._clock.wall())
        if warning:
            _log.warning("certificate out of date", problem=warning)
        return context

    async def keep_fresh(self) -> None:
        """Read the files again when one of them changes, and when it is wanted, for as long as the house stands."""
        marks = {path: mark for side in self._sides.values() for path, mark in side.marks.items()}
        async with asyncio.TaskGroup() as group:
            group.create_task(watch_files(marks, self.wanted), name="watch of certificates")
            while True:
                await self.wanted.wait()
                self.wanted.clear()
                await self._renew()

    async def _renew(self) -> None:
        for name, side in self._sides.items():
            try:
                made = await asyncio.to_thread(side.make)
            except ConfigError as error:
                side.trouble = "; ".join(map(str, error.problems))
                for problem in error.problems:
                    _log.error("TLS files refused, the old ones stay", side=name, problem=str(problem))
            else:
                if made is not None:
                    self._take_up(name, side, made)

    def _take_up(self, name: str, side: _Side, made: Made) -> None:
        is_news = bool(side.trouble) or made.certificate != side.made.certificate
        side.trouble = ""
        side.made = made
        side.context.in_force = made.context
        if is_news:
            until = day_of(made.certificate.not_after) if made.certificate else ""
            _log.info("TLS files read again, they count for new connections", side=name, valid_until=until)
        warning = made.warning(self._clock.wall())
        if warning:
            _log.warning("certificate out of date", problem=warning)

    def reasons(self) -> list[str]:
        """What is not as it should be, for operators."""
        wall = self._clock.wall()
        refused = [
            f"TLS ({name}): the new files are not in order, the old ones stay: {side.trouble}"
            for name, side in self._sides.items()
            if side.trouble
        ]
        return [*refused, *(warning for side in self._sides.values() if (warning := side.made.warning(wall)))]

    def expiry(self) -> dict[str, float]:
        """Seconds until the certificate of each port expires, less than 0 when it has; infinite without one."""
        wall = self._clock.wall()
        shown = {name: side.made.certificate for name, side in self._sides.items()}
        found = {name: shown.get(name) for name in LISTENERS}
        return {name: known.not_after - wall if known else math.inf for name, known in found.items()}
