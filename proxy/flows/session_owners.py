"""Which agent each MCP session belongs to: the one that opened it, or that was seen in it first after our start.

Only what the server has accepted is remembered, so that nobody can take a session before it exists.

Source: ARCHITECTURE.md 4 (identity); PROTOCOL.md 1.5.
"""

from typing import Final

from proxy.core.ids import AgentId

MAX_SESSIONS: Final = 10_000
"""Most sessions remembered; the one that was used longest ago is forgotten first. Source: ours."""


class SessionOwners:
    """The owners of the sessions of one MCP upstream."""

    __slots__ = ("_owners",)

    def __init__(self) -> None:
        self._owners: dict[str, AgentId] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def owner(self, session_id: str) -> AgentId | None:
        """Whose session this is, if that is known."""
        owner = self._owners.pop(session_id, None)
        if owner is not None:
            self._owners[session_id] = owner
        return owner

    def seen(self, session_id: str, agent_id: AgentId) -> None:
        """The server has taken a call of this agent in this session, which is its own unless it is another's."""
        if session_id and session_id not in self._owners:
            self._owners[session_id] = agent_id
            if len(self._owners) > MAX_SESSIONS:
                del self._owners[next(iter(self._owners))]

    def closed(self, session_id: str) -> None:
        """The session has ended."""
        self._owners.pop(session_id, None)
