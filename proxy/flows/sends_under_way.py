"""Sends that are becoming questions at this moment, so that their addressees' waits here do not overtake them."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from proxy.core.ids import AgentId
from proxy.core.sends import DualSends, Send
from proxy.flows.pause import Pause
from proxy.ports import Clock

HOLD_S: Final = 1.0
"""Longest time a message is held back for its question. Source: ours; creating one takes 10 to 40 ms (BRIDGE.md 4)."""


@dataclass(slots=True)
class SendsUnderWay:
    """The sends of one sidecar between their arrival and the end of the question's making."""

    mode: DualSends = DualSends.OFF
    """Which sends become questions here."""
    _open: dict[AgentId, list[Send]] = field(default_factory=dict)
    _held: dict[AgentId, list[Pause]] = field(default_factory=dict)

    def begin(self, send: Send) -> None:
        """A send has arrived that is to become a question."""
        self._open.setdefault(send.to_agent, []).append(send)

    def end(self, send: Send) -> None:
        """It has become one, or it stays a message."""
        mine = self._open.get(send.to_agent, [])
        with suppress(ValueError):
            mine.remove(send)
        if not mine:
            self._open.pop(send.to_agent, None)
        for pause in self._held.get(send.to_agent, ()):
            pause.end()

    def is_any(self, agent_id: AgentId) -> bool:
        """Whether anything is under way to this agent."""
        return agent_id in self._open

    async def settled(self, agent_id: AgentId, senders: Collection[str], clock: Clock) -> None:
        """Wait until nothing is under way from these senders to the agent, one second at most."""
        until = clock.now() + HOLD_S
        while self._is_open(agent_id, senders) and (left_s := until - clock.now()) > 0:
            pause = Pause(clock)
            held = self._held.setdefault(agent_id, [])
            held.append(pause)
            try:
                await pause.sleep(left_s)
            finally:
                held.remove(pause)
                if not held:
                    self._held.pop(agent_id, None)

    def _is_open(self, agent_id: AgentId, senders: Collection[str]) -> bool:
        return any(send.from_agent in senders for send in self._open.get(agent_id, ()))
