"""Bridge sessions of our own, for agents that come without a token: MCP clients have none.

At most one per agent, opened when it is first needed and again only when the Bridge has forgotten it, because a
fourth session of an agent pushes out its first.

Source: BRIDGE.md 2.1; ARCHITECTURE.md 2.2 (Bridge sessions).
"""

from typing import Final

from proxy.core.ids import AgentId
from proxy.core.secret import Secret
from proxy.ports import Bridge

MAX_SESSIONS: Final = 10_000
"""Most sessions remembered; the oldest is forgotten first, and opened again when needed. Source: ours."""


class AgentSessions:
    """The credentials of the sidecar's own sessions, one per agent."""

    __slots__ = ("_bridge", "_secrets")

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._secrets: dict[AgentId, Secret] = {}

    async def credential_for(self, agent_id: AgentId) -> Secret:
        """The credential to use in the agent's name.

        Raises:
            BridgeFault: no session could be opened.
        """
        known = self._secrets.get(agent_id)
        if known is None:
            opened = await self._bridge.open_session(agent_id)
            # Another call may have opened one meanwhile: the first stays, so that all share one feed.
            known = self._secrets.setdefault(agent_id, opened)
            while len(self._secrets) > MAX_SESSIONS:
                del self._secrets[next(iter(self._secrets))]
        return known

    def forget(self, agent_id: AgentId, refused: Secret) -> None:
        """The Bridge no longer accepts this credential: open another one next time."""
        if self._secrets.get(agent_id) is refused:
            del self._secrets[agent_id]
