"""Who is at the other end of each MCP session, as far as its handshake told.

A session is known when its `initialize` passed here and the server accepted it, or when the server says that it is
alive. Only then is a call answered in the server's place: an unknown session is the server's to refuse.

Source: PROTOCOL.md 3.1 (sessions), 3.5 step 1.
"""

from dataclasses import dataclass, field
from typing import Final

from proxy.core.ids import AgentId
from proxy.mcp.revisions import Mode, Revision

MAX_CLIENTS: Final = 10_000
"""Most sessions remembered; the oldest is forgotten first and asked for anew. Source: ours."""

MAX_AGENTS: Final = 100
"""Most agents remembered of one session; the one that waited longest ago is forgotten first. Source: ours."""

STATELESS: Final = ""
"""Stands for the session of a server that gives none, and so for all clients at once."""


@dataclass(slots=True)
class McpClient:
    """One session: what was agreed, and which agents it turned out to be."""

    revision: Revision | None = None
    modes: frozenset[Mode] = frozenset()
    client_name: str = ""
    is_sure: bool = True
    """Nothing has happened that looks like the end of the session."""
    _agents: dict[AgentId, None] = field(default_factory=dict)

    @property
    def agents(self) -> tuple[AgentId, ...]:
        """The agents that waited here, the latest last."""
        return tuple(self._agents)

    def waited(self, agent_id: AgentId) -> None:
        """This agent waits here."""
        self._agents.pop(agent_id, None)
        self._agents[agent_id] = None
        if len(self._agents) > MAX_AGENTS:
            del self._agents[next(iter(self._agents))]


class McpClients:
    """All sessions of one MCP upstream."""

    __slots__ = ("_clients",)

    def __init__(self) -> None:
        self._clients: dict[str, McpClient] = {}

    def get(self, session_id: str) -> McpClient | None:
        """The session, if it is known."""
        return self._clients.get(session_id)

    def opened(self, session_id: str, client: McpClient) -> None:
        """A server accepted this session."""
        self._clients.pop(session_id, None)
        self._clients[session_id] = client
        while len(self._clients) > MAX_CLIENTS:
            del self._clients[next(iter(self._clients))]

    def doubted(self, session_id: str) -> None:
        """Something looks like the end of the session: whether it lives is to be asked before it is believed again."""
        client = self._clients.get(session_id)
        if client is not None:
            client.is_sure = False

    def closed(self, session_id: str) -> None:
        """The session has ended."""
        self._clients.pop(session_id, None)
