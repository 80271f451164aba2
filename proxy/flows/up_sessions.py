"""MCP sessions that the sidecar itself keeps for clients of the handshake era, as the server behind it has none.

A session belongs to whoever opened it. One that is idle for a day has ended; one with a call under way is not idle.

Source: PROTOCOL.md 1.5 (sessions are no authentication), 3.1 (sessions), 4.2 (A2 x B3).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from proxy.core.errors import SidecarError, TooManyWaits
from proxy.flows.pause import Pause
from proxy.mcp.correlation import Seat
from proxy.mcp.jsonrpc import Request, RequestId
from proxy.mcp.revisions import Mode, Revision
from proxy.mcp.upward import DEFAULT_LEVEL
from proxy.ports import Alarm

MAX_SESSIONS: Final = 10_000
"""Most sessions at once; beyond, the one idle longest ends. Source: ours, as many as are remembered of a server."""

MAX_CALLS: Final = 1_000
"""Most calls of one session under way. Source: ours, the bound of proxy/mcp/correlation.py."""

IDLE_S: Final = 86_400.0
"""How long a session may be idle, seconds. Source: ours; few clients take up a new session by themselves."""

Put = Callable[[bytes], Awaitable[bool]]
"""Put one message on the stream of a call; False when it cannot arrive any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sends a request, and what goes along with it."""

    principal: str
    """By credentials; empty for all who have none."""
    headers: Mapping[str, str]
    takes_stream: bool = True
    """The reply may be a stream, so that there is a way to ask."""


@dataclass(slots=True, kw_only=True, eq=False)
class UpCall:
    """One request of a client while the server works on it."""

    session: "UpSession"
    request: Request
    modes: frozenset[Mode]
    """How the client can be asked in this call."""
    write: Put
    pause: Pause
    """Whoever waits for the end of the call; it is ended with it."""
    reply: bytes | None = None
    """The response, when there is one."""
    error: SidecarError | None = None
    is_cancelled: bool = False
    """The client no longer wants it."""
    is_left: bool = False
    """Nobody can be reached by it any more."""
    task: "asyncio.Task[None] | None" = None
    limit: Alarm | None = None

    @property
    def is_over(self) -> bool:
        """Whether the server has no more to do with it."""
        return self.task is None or self.task.done()

    async def put(self, message: bytes) -> bool:
        """Put a message on the call's stream; False when it cannot arrive any more."""
        if not self.is_left:
            self.is_left = not await self.write(message)
        return not self.is_left

    def give_up(self) -> None:
        """End it; the server learns of it as its era has it."""
        if self.task is not None:
            self.task.cancel()


@dataclass(slots=True, kw_only=True, eq=False)
class UpSession:
    """One session: what its client said in its handshake, and its calls."""

    id: str
    principal: str
    revision: Revision
    modes: frozenset[Mode]
    client_name: str
    used_at: float
    """Monotonic seconds."""
    level: str = DEFAULT_LEVEL
    """From where on the client wants log lines."""
    calls: dict[RequestId, UpCall] = field(default_factory=dict)

    @property
    def seat(self) -> Seat:
        """Where its questions are kept."""
        return Seat(self.principal, self.id)


@dataclass(slots=True)
class UpSessions:
    """All sessions of our own, the one used longest ago first."""

    max_sessions: int = MAX_SESSIONS
    _sessions: dict[str, UpSession] = field(default_factory=dict)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._sessions)

    def add(self, session: UpSession) -> UpSession | None:
        """Keep a new session; gives the one that ends for it, if one must.

        Raises:
            TooManyWaits: there are as many as may be, and none is idle.
        """
        ended = None
        if len(self._sessions) >= self.max_sessions:
            ended = next((each for each in self._sessions.values() if not each.calls), None)
            if ended is None:
                raise TooManyWaits(f"expected fewer than {self.max_sessions} MCP sessions with calls under way")
            del self._sessions[ended.id]
        self._sessions[session.id] = session
        return ended

    def __contains__(self, session_id: str) -> bool:
        """Whether a session of this name is one of ours, whoever asks."""
        return session_id in self._sessions

    def get(self, session_id: str, principal: str, *, now: float) -> UpSession | None:
        """The session, if this is whose it is; it counts as used."""
        session = self._sessions.get(session_id)
        if session is None or session.principal != principal:
            return None
        session.used_at = now
        self._sessions[session_id] = self._sessions.pop(session_id)
        return session

    def remove(self, session: UpSession) -> None:
        """It has ended."""
        self._sessions.pop(session.id, None)

    def idle(self, *, now: float) -> list[UpSession]:
        """Take out the sessions that have been idle for too long."""
        ended: list[UpSession] = []
        for session in list(self._sessions.values()):
            if session.used_at + IDLE_S > now:
                break
            if session.calls:
                self.get(session.id, session.principal, now=now)
            else:
                ended.append(session)
                self.remove(session)
        return ended
