"""The McpUpstream port over streamable HTTP: the MCP server as we call it ourselves, in either era.

Source: PROTOCOL.md 2.9, "The era is a property of the server: cache per origin, re-probe on failure".
"""

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from proxy.core.contact import Contact
from proxy.core.errors import BadBridgeReply, BridgeFault, BridgeRefused, BridgeUnavailable
from proxy.mcp.calling import OnAsk, OnNote, Outgoing
from proxy.mcp.client_words import DISCOVER, INITIALIZE, read_discovered
from proxy.mcp.jsonrpc import Response, parse
from proxy.mcp.revisions import Era
from proxy.ports import Clock, Spawn
from proxy.upstream.joined import Joined
from proxy.upstream.mcp_envelope import EnvelopeCalls
from proxy.upstream.mcp_handshake import Conversation
from proxy.upstream.mcp_sessions import McpSession, McpSessions, end_session, refused, shake_hands
from proxy.upstream.mcp_wire import Heard, McpWire

YES_S: Final = 300.0
"""How long it is remembered that a server speaks an era. Source: ours."""

NO_S: Final = 30.0
"""How long it is remembered that it does not; servers learn more often than they forget. Source: ours."""

CLOSE_S: Final = 0.4
"""How long last words may take when the sidecar stops. Source: ARCHITECTURE.md 2.6, an exit takes less than 2 s."""


_ABOUT_THE_CALLER: Final = frozenset({401, 403, 407, 408, 421, 425, 429})
"""Statuses that say nothing of eras: who asks, how often, or through whom. Source: RFC 9110 section 15.5."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    speaks: bool
    until: float


class HttpMcpUpstream:
    """The McpUpstream port over streamable HTTP."""

    __slots__ = (
        "_clock",
        "_envelope",
        "_is_closed",
        "_probes",
        "_sessions",
        "_spawn",
        "_under_way",
        "_verdicts",
        "_wire",
    )

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: URL,
        *,
        clock: Clock,
        spawn: Spawn,
        request_timeout_s: float,
        contact: Contact | None = None,
    ) -> None:
        contact = contact or Contact("the MCP server", clock.now)
        self._wire = McpWire(session, url, request_timeout_s=request_timeout_s, contact=contact)
        self._clock = clock
        self._spawn = spawn
        self._under_way: set[asyncio.Task[None]] = set()
        """What goes on although its caller may have gone."""
        self._is_closed = False
        self._sessions = McpSessions(self._wire, clock, self._begin)
        self._envelope = EnvelopeCalls(self._wire, clock)
        self._verdicts: dict[Era, _Verdict] = {}
        self._probes: Joined[Era, bool] = Joined(self._begin)

    def _begin(self, work: Coroutine[object, object, None], name: str) -> None:
        task = self._spawn(work, name)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        if self._is_closed:
            self._end_in_time(task)

    def _end_in_time(self, task: "asyncio.Task[None]") -> None:
        self._clock.alarm(self._clock.now() + CLOSE_S, lambda: _cancel(task))

    async def speaks(self, era: Era, headers: Mapping[str, str]) -> bool:
        """Whether the server speaks this era; see the port."""
        known = self.known(era)
        if known is not None:
            return known
        return await self._probes.join(era, lambda: self._probe(era, headers), f"probe for the {era} era")

    def known(self, era: Era) -> bool | None:
        """What is remembered of that; see the port."""
        verdict = self._verdicts.get(era)
        return verdict.speaks if verdict is not None and self._clock.now() < verdict.until else None

    async def _probe(self, era: Era, headers: Mapping[str, str]) -> bool:
        found = await self._finds(era, headers)
        self._verdicts[era] = _Verdict(found, self._clock.now() + (YES_S if found else NO_S))
        return found

    async def _finds(self, era: Era, headers: Mapping[str, str]) -> bool:
        try:
            return await (self._discovers(headers) if era is Era.ENVELOPE else self._shakes_hands(headers))
        except BadBridgeReply:
            return False  # it answered, but not as a server of this era does
        except BridgeRefused as refusal:
            if refusal.bridge_status >= 500 or refusal.bridge_status in _ABOUT_THE_CALLER:
                raise
            bare = {name: value for name, value in headers.items() if name.lower() == "authorization"}
            if len(bare) == len(headers) or isinstance(parse(refusal.body), Response):
                return False
        # It may be about something else that this caller sends along, while the verdict is for all callers.
        try:
            return await self._finds(era, bare)
        except BridgeFault:
            return False

    async def _discovers(self, headers: Mapping[str, str]) -> bool:
        heard = await self._envelope.discover(Outgoing(method=DISCOVER, headers=headers))
        if heard.status in _ABOUT_THE_CALLER:
            raise refused(heard, DISCOVER)
        return read_discovered(heard.response)

    async def _shakes_hands(self, headers: Mapping[str, str]) -> bool:
        session = await shake_hands(self._wire, Outgoing(method=INITIALIZE, headers=headers))
        if session.id is not None:
            self._begin(end_session(self._wire, session.headers_for(headers)), "end of a probe")
        return True

    async def describe(self, era: Era, call: Outgoing) -> bytes:
        """What the server says of itself; see the port."""
        with self._doubting():
            if era is Era.HANDSHAKE:
                async with self._sessions.held(call) as session:
                    return session.described
            heard = await self._envelope.discover(call)
            if heard.response.result is None:
                raise refused(heard, DISCOVER)
            return heard.response.result

    async def request(self, era: Era, call: Outgoing, *, on_ask: OnAsk, on_note: OnNote) -> Response:
        """Send one request and wait for its response; see the port.

        Raises:
            BridgeFault: no response came, or none that can be read.
            InvalidInput: the parameters are no JSON object.
        """
        with self._doubting():
            if era is Era.HANDSHAKE:
                heard = await self._in_session(call, on_ask, on_note)
            else:
                heard = await self._envelope.request(call, on_ask=on_ask, on_note=on_note)
        if heard.is_of_another_era:
            self._verdicts.clear()
        return heard.response

    @contextmanager
    def _doubting(self) -> Iterator[None]:
        """After a failure ask again which eras the server speaks."""
        try:
            yield
        except BridgeFault as fault:
            if not isinstance(fault, BridgeRefused) or fault.bridge_status not in _ABOUT_THE_CALLER:
                self._verdicts.clear()
            raise

    async def _in_session(self, call: Outgoing, on_ask: OnAsk, on_note: OnNote) -> Heard:
        for _ in range(2):
            async with self._sessions.held(call) as session:
                heard = await self._talk(session, call, on_ask, on_note)
                if heard is None:
                    self._sessions.lost(session)
                    continue
                if heard.is_of_another_era:
                    self._sessions.doubt(session)
                return heard
        raise BridgeUnavailable("the MCP server forgets its sessions at once")

    async def _talk(self, session: McpSession, call: Outgoing, on_ask: OnAsk, on_note: OnNote) -> Heard | None:
        talk = Conversation(self._wire, session, call, clock=self._clock, on_ask=on_ask, on_note=on_note)
        is_over = False
        try:
            heard = await talk.run()
            is_over = True
        finally:
            if not is_over:
                self._sessions.tell_later(session, call, talk.farewell)
        return heard

    async def forget(self, principal: str) -> None:
        """End the sessions that are kept for this principal; see the port."""
        self._envelope.forget(principal)
        await self._sessions.forget(principal)

    async def close(self) -> None:
        """Say the last words to the server, as far as it listens; for when the sidecar stops."""
        self._is_closed = True
        for task in self._under_way:
            self._end_in_time(task)
        self._begin(self._sessions.close(), "end of all MCP sessions upstream")
        await asyncio.wait(tuple(self._under_way))


def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
