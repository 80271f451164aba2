"""Everything the development Bridge holds while it runs, and the few steps that touch more than one part of it."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from proxy.devbridge.content import Allowance, check_content, security_error
from proxy.devbridge.elicitations import SYSTEM, ElicitationBook
from proxy.devbridge.events import Draft, EventLog, StoredEvent
from proxy.devbridge.experts import ExpertBook
from proxy.devbridge.pace import Pace
from proxy.devbridge.sessions import SessionBook
from proxy.devbridge.settings import Settings, Switches
from proxy.devbridge.statefile import StateFile

STORES_PER_MINUTE: Final = 1000
"""Events one agent may store in a minute. Source: BRIDGE.md 2.2."""


class BridgeState:
    """One development Bridge: its log, its books, its switches, its counters."""

    def __init__(self, settings: Settings, pace: Pace) -> None:
        # Keys live as long as the process: every token of an earlier one is dead. Source: BRIDGE.md 2.2.
        secret = secrets.token_bytes(32)
        self.settings = settings
        self.pace = pace
        self.switches: Switches = settings.switches
        self.sessions = SessionBook(secret)
        self.log = EventLog()
        self.book = ElicitationBook(self.append, secret, settings.sweep_s)
        self.experts = ExpertBook()
        self.arrived: Counter[str] = Counter()
        self.parked_waits = 0
        self._stores = Allowance(STORES_PER_MINUTE)
        self._unsaved: list[StoredEvent] = []
        self._file = StateFile(settings.state_file) if settings.state_file is not None else None
        self._switched = asyncio.Event()

    async def open(self) -> None:
        """Read the state file, if there is one, and log that the Bridge is here: the first event of a process.

        Raises:
            ValueError: the state file holds something else.
            OSError: the state file cannot be opened.
        """
        if self._file is not None:
            self.log = EventLog(await self._file.load())
        draft = Draft(
            event_type="agent_registered",
            data={"agent_id": "development_bridge", "role": "system_agent"},
            source_agent=None,
            source_component="development_bridge",
            aggregate_id="development_bridge",
            aggregate_type="agent",
        )
        self._store(draft, self.pace.wall_s())

    async def save(self) -> None:
        """Write out every event so far; called before any reply that could show one."""
        if self._file is not None:
            await self._file.save(self._unsaved)

    async def close(self) -> None:
        """Write out the rest and let the state file go."""
        await self.save()
        if self._file is not None:
            await self._file.close()

    def tick(self) -> float:
        """Do what is due by now (the sweep), and say what time it is: seconds since the epoch."""
        now = self.pace.wall_s()
        self.book.sweep(now)
        return now

    def append(self, draft: Draft, now: float) -> StoredEvent:
        """Store one event of an agent.

        Raises:
            WireError: 500, refused content or more than 1000 a minute.
        """
        check_content(draft.data)
        agent_id = draft.source_agent or ""
        is_limited = self.switches.rate_limits and agent_id != SYSTEM
        if is_limited and not self._stores.take(agent_id, now):
            raise security_error(f"Rate limit exceeded for agent {agent_id}: {STORES_PER_MINUTE}/min")
        return self._store(draft, now)

    def has_session(self, token: str, agent_id: str, now: float) -> bool:
        """Whether the token is this agent's and may be used now; each asking counts as a request of the session."""
        return self.sessions.validate(token, agent_id, now, abuse_rule=self.switches.abuse_rule)

    def set_switches(self, patch: Mapping[str, object]) -> None:
        """Change some switches; whoever hangs looks again.

        Raises:
            ValueError: an unknown switch or an impossible value.
        """
        self.switches = self.switches.patched(patch)
        self._switched.set()
        self._switched = asyncio.Event()

    async def until_switched(self) -> None:
        """Wait for the next change of a switch."""
        await self._switched.wait()

    @contextmanager
    def parked(self) -> Iterator[None]:
        """Count one wait as parked for as long as the block runs."""
        self.parked_waits += 1
        try:
            yield
        finally:
            self.parked_waits -= 1

    def _store(self, draft: Draft, now: float) -> StoredEvent:
        event = self.log.append(draft, now, self.pace.monotonic_ns())
        if self._file is not None:
            self._unsaved.append(event)
        return event
