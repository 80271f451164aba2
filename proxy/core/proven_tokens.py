"""Tokens that the Bridge has accepted, so that whoever only makes one up spends nothing of what its agent is granted.

Source: ours; BRIDGE.md 2.1 (at most three sessions live per agent).
"""

from typing import Final

from proxy.core.ids import AgentId

MAX_AGENTS: Final = 10_000
"""Most agents whose tokens are known; the one that was proven longest ago is forgotten first. Source: ours."""

MAX_TOKENS: Final = 3
"""Most tokens of one agent. Source: BRIDGE.md 2.1."""


class ProvenTokens:
    """Fingerprints of accepted tokens, by agent."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[AgentId, tuple[bytes, ...]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def is_proven(self, agent_id: AgentId, fingerprint: bytes) -> bool:
        """Whether the Bridge has accepted this token of this agent."""
        return fingerprint in self._known.get(agent_id, ())

    def prove(self, agent_id: AgentId, fingerprint: bytes) -> None:
        """The Bridge has accepted it."""
        others = tuple(known for known in self._known.pop(agent_id, ()) if known != fingerprint)
        self._known[agent_id] = (*others, fingerprint)[-MAX_TOKENS:]
        if len(self._known) > MAX_AGENTS:
            del self._known[next(iter(self._known))]
