"""Serves the wait of MCP clients over HTTP: held, its questions put to the client where it is to be so, answered.

Source: PROTOCOL.md 3.5 to 3.7, 4.2 (A1 x B1, A2 x B1, A3 x B1).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from proxy.core.agent_kind import AgentKind, agent_kind
from proxy.core.errors import InvalidState, LegacyRemoved, SidecarError
from proxy.core.outcome import ElicitationOutcome, Result
from proxy.core.routing import Decision, Route
from proxy.downstream.mcp_answer import REVISION, McpAnswer
from proxy.downstream.mcp_asking import Asking, note_told
from proxy.downstream.mcp_caller import era_of, principal_of, seat_of, session_of
from proxy.downstream.mcp_reply import note_wait
from proxy.downstream.served import Draft
from proxy.flows.asked_wait import AskedCall, ToldWait
from proxy.flows.client_questions import ClientLine
from proxy.flows.mcp_clients import STATELESS, McpClient, McpClients
from proxy.flows.suspended_wait import SuspendedCall
from proxy.flows.tool_call import Access, ToolCalls, ToolWaited
from proxy.mcp.correlation import write_cancelled
from proxy.mcp.inbound import WaitCall
from proxy.mcp.jsonrpc import RequestId
from proxy.mcp.revisions import Era, Mode, Revision, revision_of
from proxy.ports import Clock, Spawn

STREAM_FROM_S: Final = 10
"""Waits from here on are answered on a stream. Source: PROTOCOL.md 4.2, A1 x B1."""

PATIENT: Final = frozenset({AgentKind.HTTPX, AgentKind.AIOHTTP, AgentKind.REQUESTS})
"""Client libraries that do not give up after 60 seconds. Source: PROTOCOL.md 3.6."""

RelayIt = Callable[[], Awaitable[web.StreamResponse]]
"""Leave the call to the MCP server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One wait while it is served."""

    request: web.Request
    draft: Draft
    call: WaitCall
    decision: Decision
    reply: McpAnswer

    def suspended(self, access: Access) -> SuspendedCall:
        """It as a wait that may be suspended."""
        return SuspendedCall(
            principal=principal_of(self.request),
            call=self.call.call,
            ask=self.call.ask,
            access=access,
            note=self.draft.elicitations.append,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class McpWaits:
    """The waits of one MCP path."""

    calls: ToolCalls
    clients: McpClients
    asking: Asking
    clock: Clock
    spawn: Spawn
    """Start a task in the TaskGroup of the house, under a name."""
    hold_cap_s: int
    """Longest wait of a client that may give up after 60 seconds."""
    guide_url: str
    is_bridge: bool
    """The MCP server is the Bridge itself, so that a token for the one is a token for the other."""
    server_asks: bool
    """The MCP server puts its questions to its clients by itself, as far as they can be asked."""
    in_flight: dict[tuple[str, RequestId], asyncio.Timeout] = field(default_factory=dict)
    """Calls that wait here, by session and id."""

    async def serve(self, request: web.Request, draft: Draft, call: WaitCall, relay: RelayIt) -> web.StreamResponse:
        """Serve a wait that the server itself would take."""
        draft.agent_id = call.ask.agent_id
        decision = self.calls.decide(call.ask.agent_id)
        draft.decided(decision)
        reply = McpAnswer(request, call.id, self.clock, self.spawn)
        on = _Call(request=request, draft=draft, call=call, decision=decision, reply=reply)
        session_id = session_of(request)
        client = self.clients.get(session_id)
        if client is not None and session_id != STATELESS:
            client.waited(call.ask.agent_id)
        if call.call.retry is not None:
            return await self._resume(on, relay)
        match decision.route:
            case Route.LEGACY:
                return await relay()
            case Route.REMOVED:
                error = LegacyRemoved(
                    f"{call.call.name} was removed; use elicitation instead, see {self.guide_url}",
                    guide=self.guide_url,
                )
                draft.failed(error)
                return await reply.error(error)
            case Route.ELICITATION if self.server_asks and self._can_be_asked(on):
                return await relay()
            case Route.ELICITATION:
                told = await self._elicit(on)
                return await relay() if told is None else told

    def authorization(self, request: web.Request) -> str:
        """The caller's token for the Bridge; one for another server must not reach it. Source: PROTOCOL.md 1.5."""
        return request.headers.get("Authorization", "") if self.is_bridge else ""

    async def _elicit(self, on: "_Call") -> web.StreamResponse | None:
        draft, reply = on.draft, on.reply
        try:
            async with self._cancellable(on.request, on.call.id):
                # Before anything is written: without it the server itself can still answer.
                access = await self.calls.access_for(on.call.ask.agent_id, self.authorization(on.request))
                told = None if access is None else await self._hold(on, access)
        except TimeoutError:  # the client cancelled
            draft.result, draft.status = Result.GONE, 202
            for own_id in self.asking.questions.left_open(seat_of(on.request), on.call.id):
                await reply.put(write_cancelled(own_id, "the call was cancelled"))
            return await reply.nothing()
        except SidecarError as error:
            draft.failed(error)
            return await reply.error(error)
        return None if told is None else await self._write(draft, told, reply)

    async def _hold(self, on: "_Call", access: Access) -> ToldWait | None:
        ask = on.call.ask
        is_patient = agent_kind(on.request.headers.get("User-Agent", "")) in PATIENT
        cap_s = ask.hold_s if is_patient else min(ask.hold_s, self.hold_cap_s)
        began = self.clock.now()
        async with on.reply.kept_alive(at_once=cap_s >= STREAM_FROM_S):
            waited = await self.calls.wait(ask, on.decision, access, hold_cap_s=cap_s)
            if waited is None:
                return None
            told = None
            try:
                if era_of(on.request) is Era.ENVELOPE:
                    told = await self._suspended(on, access, waited)
                else:
                    told = await self._asked(on, access, waited, began=began, until=began + cap_s)
            finally:
                if told is None:
                    self.calls.take_back(waited.served)
            return told

    def _can_be_asked(self, on: "_Call") -> bool:
        """Whether the client of a call declared that it can fill in forms."""
        if era_of(on.request) is Era.ENVELOPE:
            return Mode.FORM in on.call.call.modes
        client = self.clients.get(session_of(on.request))
        return client is not None and Mode.FORM in client.modes

    def _elicits(self, call: WaitCall, client_name: str) -> bool:
        return self.asking.rule.elicits(self.calls.member(call.ask.agent_id), client_name)

    # Clients of the handshake era

    async def _asked(self, on: "_Call", access: Access, waited: ToolWaited, *, began: float, until: float) -> ToldWait:
        """Put what was found to the client, where that is its way to be asked."""
        seat, call = seat_of(on.request), on.call
        # Without a session nobody could tell whose answer comes in.
        client = None if seat.session == STATELESS else self.clients.get(seat.session)
        if client is None or Mode.FORM not in client.modes or not self._elicits(call, client.client_name):
            return ToldWait(waited=waited)
        revision = _revision(on.request, client)
        if revision is None:
            return ToldWait(waited=waited)
        line = ClientLine(seat=seat, call_id=call.id, revision=revision, modes=client.modes, write=on.reply.put)
        asked = AskedCall(
            line=line,
            client=client,
            ask=call.ask,
            access=access,
            began=began,
            until=until,
            note=on.draft.elicitations.append,
        )
        return await self.asking.asked.tell(waited, asked)

    # Clients of the envelope era

    async def _suspended(self, on: "_Call", access: Access, waited: ToolWaited) -> ToldWait:
        """Ask for the answers to what was found, where the client can be asked so."""
        told, call = ToldWait(waited=waited), on.call.call
        if Mode.FORM not in call.modes or not self._elicits(on.call, call.client_name):
            return told
        return await self.asking.suspended.suspend(told, on.suspended(access))

    async def _resume(self, on: "_Call", relay: RelayIt) -> web.StreamResponse:
        """Take up a wait that was suspended; whatever the flags say by now, nobody else could."""
        draft, reply, suspended = on.draft, on.reply, self.asking.suspended
        access = None
        if suspended.may_be_ours(on.call.call):
            access = await self.calls.access_for(on.call.ask.agent_id, self.authorization(on.request))
        if access is None:
            return await relay()
        try:
            resumed = await suspended.resume(on.suspended(access))
        except InvalidState as error:
            draft.failed(error)
            return await reply.refused(error)
        except SidecarError as error:
            draft.failed(error)
            return await reply.error(error)
        arrived = False
        try:
            response = await reply.result(resumed.result)
            arrived = True
        finally:
            if not arrived:
                self.calls.take_back_ids(resumed.left)
        draft.result, draft.status, draft.items = Result.DELIVERED, 200, resumed.items
        draft.elicitations.extend(ElicitationOutcome.OFFERED for _ in resumed.left)
        return response

    # The end of a call

    @asynccontextmanager
    async def _cancellable(self, request: web.Request, request_id: RequestId) -> AsyncIterator[None]:
        """Let `cancel` end the block; without a session nobody could tell whose call is meant.

        Raises:
            TimeoutError: it did.
        """
        key = (session_of(request), request_id)
        async with asyncio.timeout(None) as scope:
            if key[0] != STATELESS:
                self.in_flight[key] = scope
            try:
                yield
            finally:
                if self.in_flight.get(key) is scope:
                    del self.in_flight[key]

    def cancel(self, request: web.Request, request_id: RequestId) -> bool:
        """End one of the calls that wait here; False when it is none of them."""
        scope = self.in_flight.pop((session_of(request), request_id), None)
        if scope is None:
            return False
        scope.reschedule(asyncio.get_running_loop().time())
        return True

    async def _write(self, draft: Draft, told: ToldWait, reply: McpAnswer) -> web.StreamResponse:
        note_wait(draft, told.waited.served)
        arrived = False
        try:
            response = await reply.result(told.waited.result)
            arrived = True
        finally:
            if not arrived:
                self.calls.take_back(told.waited.served)
        note_told(draft, told, wall=self.clock.wall())
        return response


def _revision(request: web.Request, client: McpClient) -> Revision | None:
    """What the session was agreed on; some replies tell it only when they are over."""
    version = request.headers.get(REVISION)
    return client.revision or (None if version is None else revision_of(version))
