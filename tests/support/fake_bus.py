"""The fake Bridge as one that only stores events and waits, and the bus over it."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from proxy.core.ids import AgentId
from proxy.core.legacy import Message
from proxy.core.secret import Secret
from proxy.upstream.bridge_bus import BusBridge
from tests.support.fake_bridge import FakeBridge


@dataclass(slots=True)
class FakeLog(FakeBridge):
    """A Bridge without elicitation."""

    store_to_nowhere: bool = False
    """What is stored cannot be read."""
    clock_ahead_s: float = 0.0
    """How far the Bridge's clock is ahead of the sidecar's."""
    is_patient: bool = True
    """Whether a wait without news takes its time."""
    barren: int = 0
    """Waits that ended without news."""
    ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def store_event(self, agent_id: AgentId, data: Mapping[str, object], credential: Secret) -> int:
        """Store one event in an agent's name."""
        call = self._call("store_event", agent_id, credential)
        return await self._serve(call, lambda: self._stored(agent_id, data))

    async def _stored(self, agent_id: AgentId, data: Mapping[str, object]) -> int:
        if self.store_to_nowhere:
            return len(self.log) + 1
        sequence = self.store(data, source=agent_id)
        stored = self.log[-1]
        if stored.created_at is not None:
            self.log[-1] = replace(stored, created_at=stored.created_at + self.clock_ahead_s)
        return sequence

    async def _messages(self, since: int, hold_s: float) -> tuple[Message, ...]:
        is_impatient = not self.is_patient and not any(message.sequence > since for message in self.log)
        # Not `super()`: a slotted dataclass is another class than the one that this method was written in.
        found = () if is_impatient else await FakeBridge._messages(self, since, hold_s)
        self.barren += not found
        return found


def bus_on(log: FakeLog) -> BusBridge:
    """The bus as one sidecar has it."""
    return BusBridge(log, log.clock, mint=lambda: f"{next(log.ids):032x}")
