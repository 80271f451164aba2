"""The handshake sessions that are kept at one MCP server, one for each principal, way to be asked and client name.

A session is opened when it is first needed; requests that need it at once share one opening, which goes on when the
request that began it is given up, so that no session is left at the server without anybody who knows it. One that
nobody used for a while is ended there, and so is the oldest idle one when there are too many.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from proxy.core.errors import BridgeFault, BridgeRefused
from proxy.mcp.calling import Outgoing
from proxy.mcp.client_headers import session_headers
from proxy.mcp.client_words import INITIALIZED, read_initialized, read_session_id, write_initialize
from proxy.mcp.revisions import Mode, Revision
from proxy.ports import Alarm, Clock
from proxy.upstream.joined import Joined, Spawn
from proxy.upstream.mcp_wire import Heard, McpWire

Key = tuple[str, frozenset[Mode], str]

IDLE_S: Final = 300.0
"""How long a session is kept that nobody uses, seconds. Source: ours; a client that waits comes back within one."""

MAX_SESSIONS: Final = 1_000
"""Most sessions kept; beyond it a session with nobody in it ends, or else the new one with its last request.

Source: ours.
"""


@dataclass(slots=True, eq=False)
class McpSession:
    """One session at the server."""

    id: str | None
    """None where the server keeps no sessions."""
    revision: Revision
    described: bytes
    """The result of its `initialize`."""
    headers: Mapping[str, str] = field(repr=False)
    """What the last request in it brought along: credentials above all."""
    key: Key | None
    """None for a session that is not kept."""
    is_alive: bool = True
    """Whether the server still knows it, as far as we were told."""
    users: int = 0
    idle: Alarm | None = None
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def headers_for(self, given: Mapping[str, str]) -> dict[str, str]:
        """The fields of an HTTP request in this session."""
        return session_headers(given, self.id, self.revision)


class McpSessions:
    """All sessions of ours at one MCP server."""

    __slots__ = ("_clock", "_kept", "_openings", "_spawn", "_wire")

    def __init__(self, wire: McpWire, clock: Clock, spawn: Spawn) -> None:
        self._wire = wire
        self._clock = clock
        self._spawn = spawn
        self._kept: dict[Key, McpSession] = {}
        """The longest unused first."""
        self._openings: Joined[Key, McpSession] = Joined(spawn)

    @asynccontextmanager
    async def held(self, call: Outgoing) -> AsyncIterator[McpSession]:
        """The session for a request; it is not ended as long as the block lasts.

        Raises:
            BridgeFault: it could not be opened.
        """
        key = (call.principal, call.modes, call.client_name)
        session = self._kept.get(key)
        if session is None:
            session = await self._openings.join(key, lambda: self._open(key, call), "MCP session upstream")
        session.headers = call.headers
        self._enter(session)
        try:
            yield session
        finally:
            self._leave(session)

    async def _open(self, key: Key, call: Outgoing) -> McpSession:
        session = await shake_hands(self._wire, call)
        if len(self._kept) >= MAX_SESSIONS:
            oldest = next((other for other in self._kept.values() if not other.users), None)
            if oldest is not None:
                self._end_later(oldest)
        if len(self._kept) < MAX_SESSIONS:
            session.key, self._kept[key] = key, session
        self._rest(session)
        return session

    def _enter(self, session: McpSession) -> None:
        if session.idle is not None:
            session.idle.cancel()
            session.idle = None
        session.users += 1
        if session.key is not None:
            self._kept[session.key] = self._kept.pop(session.key)

    def _leave(self, session: McpSession) -> None:
        session.users -= 1
        if session.users:
            return
        if session.key is None:
            self._end_later(session)
        else:
            self._rest(session)

    def _rest(self, session: McpSession) -> None:
        session.idle = self._clock.alarm(self._clock.now() + IDLE_S, lambda: self._end_later(session))

    def _drop(self, session: McpSession) -> None:
        if session.key is not None:
            del self._kept[session.key]
            session.key = None
        if session.idle is not None:
            session.idle.cancel()
            session.idle = None

    def lost(self, session: McpSession) -> None:
        """The server does not know it any more; the next request opens another."""
        self._drop(session)
        session.is_alive = False

    def doubt(self, session: McpSession) -> None:
        """The server may not know it any more; the next request opens another, and this one ends with its last."""
        self._drop(session)

    def tell_later(self, session: McpSession, call: Outgoing, body: bytes) -> None:
        """Send a notification that must not get lost with the request that it is about."""
        self._enter(session)
        self._spawn(self._tell(session, call, body), "last word on an MCP request")

    async def _tell(self, session: McpSession, call: Outgoing, body: bytes) -> None:
        try:
            with suppress(BridgeFault):  # a server that is gone has nothing to cancel
                await self._wire.tell(session.headers_for(call.headers), body)
        finally:
            self._leave(session)

    def _end_later(self, session: McpSession) -> None:
        self._drop(session)
        if session.is_alive and session.id is not None:
            self._spawn(end_session(self._wire, session.headers_for(session.headers)), "end of an MCP session upstream")

    async def forget(self, principal: str) -> None:
        """End the sessions of one principal; one in use ends with its last request."""
        await self._end([session for key, session in self._kept.items() if key[0] == principal])

    async def close(self) -> None:
        """End all sessions that nobody uses."""
        await self._end(list(self._kept.values()))

    async def _end(self, sessions: list[McpSession]) -> None:
        for session in sessions:
            self._drop(session)
        async with asyncio.TaskGroup() as group:
            for session in sessions:
                if not session.users and session.id is not None:
                    group.create_task(end_session(self._wire, session.headers_for(session.headers)))


async def shake_hands(wire: McpWire, call: Outgoing) -> McpSession:
    """Open a session at the server; it is not kept anywhere.

    Raises:
        BridgeRefused: the server has no handshake for us.
        BridgeFault: it could not be reached, or what it says cannot be read.
    """
    heard = await wire.ask(session_headers(call.headers, None, None), write_initialize(0, call), 0)
    if heard.response.result is None:
        raise refused(heard, "initialize")
    session_id, revision = read_session_id(heard.session_id), None
    try:
        revision = read_initialized(heard.response.result)
        await wire.tell(session_headers(call.headers, session_id, revision), INITIALIZED)
    except BridgeFault:
        if session_id is not None:
            await end_session(wire, session_headers(call.headers, session_id, revision))
        raise
    return McpSession(id=session_id, revision=revision, described=heard.response.result, headers=call.headers, key=None)


async def end_session(wire: McpWire, headers: Mapping[str, str]) -> None:
    """End the session that these headers name, if the server lets a client do that."""
    with suppress(BridgeFault):  # it may keep sessions as long as it likes, and one that is gone has none
        await wire.tell(headers, None, method="DELETE")


def refused(heard: Heard, what: str) -> BridgeRefused:
    """The error that tells of an error of the server's."""
    text = f"the MCP server refused {what}"
    return BridgeRefused(text, bridge_status=heard.status, body=heard.response.raw, content_type="application/json")
