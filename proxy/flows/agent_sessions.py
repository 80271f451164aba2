"""Bridge sessions of our own, for agents without a token (MCP clients) and for those whose token died with the Bridge.

At most one per agent, opened when it is first needed and again only when the Bridge has forgotten it, because a
fourth session of an agent pushes out its first. Calls that need it at once share one opening, which goes on when the
call that began it is given up: the Bridge counts it either way.

Source: BRIDGE.md 2.1; ARCHITECTURE.md 2.2 (Bridge sessions).
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Final

from proxy.core.errors import BridgeFault, BridgeUnavailable
from proxy.core.ids import AgentId
from proxy.core.secret import Secret
from proxy.ports import Bridge

MAX_SESSIONS: Final = 10_000
"""Most sessions remembered; the oldest is forgotten first, and opened again when needed. Source: ours."""


@dataclass(slots=True)
class _Opening:
    """A session that is being opened."""

    task: "asyncio.Task[None] | None" = None
    """Goes on when whoever began it has gone."""
    over: asyncio.Event = field(default_factory=asyncio.Event)
    found: Secret | BridgeFault = field(default_factory=lambda: BridgeUnavailable("the sidecar stops"))


class AgentSessions:
    """The credentials of the sidecar's own sessions, one per agent."""

    __slots__ = ("_bridge", "_opening", "_secrets", "_spawn")

    def __init__(
        self, bridge: Bridge, spawn: Callable[[Coroutine[object, object, None], str], "asyncio.Task[None]"]
    ) -> None:
        self._bridge = bridge
        self._spawn = spawn
        self._secrets: dict[AgentId, Secret] = {}
        self._opening: dict[AgentId, _Opening] = {}

    def known(self, agent_id: AgentId) -> Secret | None:
        """The credential that is open already, if there is one."""
        return self._secrets.get(agent_id)

    async def credential_for(self, agent_id: AgentId) -> Secret:
        """The credential to use in the agent's name.

        Raises:
            BridgeFault: no session could be opened.
        """
        known = self._secrets.get(agent_id)
        if known is not None:
            return known
        opening = self._opening.get(agent_id)
        if opening is None:
            opening = self._opening[agent_id] = _Opening()
            opening.task = self._spawn(self._open(agent_id, opening), f"session of {agent_id}")
        await opening.over.wait()
        if isinstance(opening.found, BridgeFault):
            raise opening.found
        return opening.found

    async def _open(self, agent_id: AgentId, opening: _Opening) -> None:
        try:
            opening.found = self._secrets[agent_id] = await self._bridge.open_session(agent_id)
            while len(self._secrets) > MAX_SESSIONS:
                del self._secrets[next(iter(self._secrets))]
        except BridgeFault as fault:
            opening.found = fault
        finally:
            del self._opening[agent_id]
            opening.over.set()

    def forget(self, agent_id: AgentId, refused: Secret) -> None:
        """The Bridge no longer accepts this credential: open another one next time."""
        if self._secrets.get(agent_id) is refused:
            del self._secrets[agent_id]
