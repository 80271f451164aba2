"""Opens what outlives this process: flags, suspended calls and the journal, in a file or in memory."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Final

from proxy.config.schema import Config
from proxy.core.journal import Recovered
from proxy.observe.logs import logger
from proxy.ports import AuditTrail, Clock, ExchangeStore, FlagStore, JournalStore, NonceStore
from proxy.stores.journal import SqliteJournal
from proxy.stores.memory import MemoryExchangeStore, MemoryFlagStore
from proxy.stores.memory_audit import MemoryAuditTrail
from proxy.stores.memory_journal import MemoryJournal
from proxy.stores.memory_nonces import MemoryNonceStore
from proxy.stores.sqlite import SqliteFlagStore
from proxy.stores.sqlite_audit import SqliteAuditTrail
from proxy.stores.sqlite_exchanges import SqliteExchangeStore
from proxy.stores.sqlite_nonces import SqliteNonceStore
from proxy.stores.state_file import StateFile, open_state_file
from proxy.stores.state_lock import StateLock
from proxy.wiring.state_use import StateUse

_LOG: Final = logger("proxy.wiring.state")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """The journal of this sidecar, what an earlier process left in it, and in what order it was found."""

    journal: JournalStore = field(default_factory=MemoryJournal)
    recovered: Recovered = field(default_factory=Recovered)
    nonces: NonceStore = field(default_factory=MemoryNonceStore)
    """The nonces of signed calls that came here."""
    audit: AuditTrail = field(default_factory=MemoryAuditTrail)
    file: StateFile | None = None
    """What the journal is kept in; None in memory."""
    use: StateUse | None = None
    """Whether another process uses that file; None in memory."""
    flags_are_lost: bool = False
    """With the damaged state of an earlier process went flags that nobody can read."""
    trouble: str = ""
    """Why nothing can be written now."""

    @property
    def set_aside(self) -> str:
        """Where the damaged state is now, of an earlier process or of this one; empty where none was damaged."""
        return "" if self.file is None else self.file.renewer.set_aside

    def watch(self, given_up: Callable[[str], None]) -> None:
        """Let somebody hear, on this event loop, why the file that the journal is kept in was given up."""
        if self.file is None:
            return
        loop = asyncio.get_running_loop()

        def tell(why: str) -> None:
            with suppress(RuntimeError):  # the loop is closed: it is the end, and the last try has been made
                loop.call_soon_threadsafe(given_up, why)

        self.file.writer.given_up = tell

    def reasons(self) -> list[str]:
        """What an operator has to know for as long as this process lives."""
        shared = [] if self.use is None else self.use.reasons()
        if not self.set_aside:
            return shared
        lost = "; its flags cannot be read: elicitation is off until they are set" if self.flags_are_lost else ""
        return [*shared, f"state was set aside: {self.set_aside}{lost}"]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All that outlives this process."""

    flags: FlagStore
    exchanges: ExchangeStore
    kept: Kept


async def open_state(config: Config, clock: Clock, stack: AsyncExitStack) -> State:
    """Open the state, which the stack closes.

    Raises:
        StateUnavailable: it cannot be opened; see `proxy.stores.state_file`.
    """
    path = config.state.sqlite_path
    if path is None:
        return State(flags=MemoryFlagStore(), exchanges=MemoryExchangeStore(clock, secrets.token_bytes), kept=Kept())
    found = await asyncio.to_thread(open_state_file, path, wall=clock.wall)
    use = StateUse(await asyncio.to_thread(StateLock, path))
    stack.push_async_callback(use.close)  # unwinds behind the writer, whose last changes are still ours
    stack.push_async_callback(asyncio.to_thread, found.writer.close)
    _tell(found)
    await use.look()
    return State(
        flags=SqliteFlagStore(found.writer),
        exchanges=SqliteExchangeStore(found.writer, clock, secrets.token_bytes),
        kept=Kept(
            journal=SqliteJournal(found.writer),
            recovered=found.recovered,
            nonces=SqliteNonceStore(found.writer),
            audit=SqliteAuditTrail(found.writer),
            file=found,
            use=use,
            flags_are_lost=found.flags_are_lost,
            trouble=found.trouble,
        ),
    )


def _tell(found: StateFile) -> None:
    aside = found.renewer.set_aside
    if aside:
        flags = "lost: elicitation is off until they are set" if found.flags_are_lost else "carried over"
        _LOG.error("state was damaged and set aside", file=aside, flags=flags, service="begins anew")
    found.renewer.told = _tell_of_later


def _tell_of_later(aside: str) -> None:
    _LOG.error("state was damaged and set aside", file=aside, flags="kept", service="goes on with what is in memory")
