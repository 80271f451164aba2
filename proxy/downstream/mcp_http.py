"""The MCP door over streamable HTTP: the legacy wait and the answers are served here, all else is relayed.

A call is answered in the server's place only where the server itself would have taken it: from a session it knows,
with headers that agree with the body. Everything doubtful is relayed, so that the server's own refusal is heard.

Source: PROTOCOL.md 3.1, 3.4, 3.7.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from proxy.core.agent_kind import AgentKind, agent_kind
from proxy.core.errors import BridgeFault, LegacyRemoved, SidecarError
from proxy.core.hop import RawHeaders, values_of
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.outcome import Door, Result
from proxy.core.routing import Decision, Route
from proxy.downstream.body import read_body
from proxy.downstream.connection import ENDS_WITH_PEER
from proxy.downstream.mcp_answer import REVISION, SESSION, McpAnswer, Spawn
from proxy.downstream.mcp_reply import note_delivery, note_wait
from proxy.downstream.relay import OnHead, OnReply, Relay
from proxy.downstream.served import Draft, counted_as, served
from proxy.flows.mcp_clients import STATELESS, McpClient, McpClients
from proxy.flows.tool_call import Access, ToolCalls, ToolWaited
from proxy.mcp.inbound import (
    LOOKED_AT,
    AnswerCall,
    Cancel,
    Opening,
    ToolNames,
    UnreadableAnswer,
    WaitCall,
    classify,
)
from proxy.mcp.jsonrpc import RequestId, envelope_of, parse
from proxy.mcp.over_http import agreed_revision, agrees_with_envelope, is_in_order
from proxy.mcp.revisions import Era, era_of_header, revision_of
from proxy.ports import Clock, McpServer, Recorder

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""Largest message that is looked at. Source: PROTOCOL.md 3.4 (no cap below 4 MiB), with room."""

STREAM_FROM_S: Final = 10
"""Waits from here on are answered on a stream. Source: PROTOCOL.md 4.2, A1 x B1."""

PATIENT: Final = frozenset({AgentKind.HTTPX, AgentKind.AIOHTTP, AgentKind.REQUESTS})
"""Client libraries that do not give up after 60 seconds. Source: PROTOCOL.md 3.6."""


@dataclass(frozen=True, slots=True, kw_only=True)
class McpDoor:
    """The doors of one MCP path."""

    relay: Relay
    calls: ToolCalls
    clients: McpClients
    server: McpServer
    names: ToolNames
    recorder: Recorder
    clock: Clock
    spawn: Spawn
    """Start a task in the TaskGroup of the house, under a name."""
    default_timeout_s: int
    hold_cap_s: int
    """Longest wait of a client that may give up after 60 seconds."""
    guide_url: str
    is_bridge: bool
    """The MCP server is the Bridge itself, so that a token for the one is a token for the other."""
    in_flight: dict[tuple[str, RequestId], asyncio.Timeout] = field(default_factory=dict)
    """Calls that wait here, by session and id."""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serve one HTTP request on the MCP path."""
        with served(request, Door.MCP, self.recorder, self.clock) as draft:
            length = request.content_length
            if request.method != "POST" or (length is not None and length > MAX_BODY_BYTES):
                return await self._relay(request, draft)
            body = await read_body(request, limit=MAX_BODY_BYTES)
            if not any(mark in body for mark in LOOKED_AT):
                return await self._relay(request, draft, body)
            return await self._post(request, draft, body)

    async def _post(self, request: web.Request, draft: Draft, body: bytes) -> web.StreamResponse:
        client = self.clients.get(_session_of(request))
        waited = client.agents if client else ()

        def answers_as(elicitation_id: ElicitationId) -> AgentId | None:
            return self.calls.answers_as(elicitation_id, waited)

        match classify(parse(body), self.names, default_timeout_s=self.default_timeout_s, answers_as=answers_as):
            case WaitCall() as call if await self._is_accepted(request, body):
                return await self._wait(request, draft, call, body)
            case AnswerCall() as call if await self._is_accepted(request, body):
                return await self._answer(request, draft, call, body)
            case UnreadableAnswer() as call if await self._is_known(request, call, body):
                draft.failed(call.error)
                return await McpAnswer(request, call.id, self.clock).error(call.error)
            case Opening() as opening:
                return await self._open(request, draft, opening, body)
            case Cancel(request_id) if self._cancel(request, request_id):
                draft.status = 202
                return web.Response(status=202)
            case _:
                return await self._relay(request, draft, body)

    # What is relayed

    async def _relay(
        self,
        request: web.Request,
        draft: Draft,
        body: bytes | None = None,
        *,
        on_head: OnHead | None = None,
        on_reply: OnReply | None = None,
    ) -> web.StreamResponse:
        try:
            response = await self.relay.relay(request, body=body, on_head=on_head, on_reply=on_reply)
        except BridgeFault as error:  # nothing was sent yet
            request_id = None if body is None else _request_id(body)
            if request_id is None:
                raise
            draft.failed(error)
            return await McpAnswer(request, request_id, self.clock).error(error)
        draft.status = response.status
        if response.status in {400, 404} or (request.method == "DELETE" and response.status < 300):
            # Its end, or what looks like it: whether the session lives is asked for anew.
            self.clients.closed(request.headers.get(SESSION, STATELESS))
        return response

    async def _open(self, request: web.Request, draft: Draft, opening: Opening, body: bytes) -> web.StreamResponse:
        """Relay an `initialize` and remember the session that it began."""
        client = McpClient(modes=opening.modes, client_name=opening.client_name)

        def note_session(status: int, headers: RawHeaders) -> None:
            # At the head, as some clients hang up before the end.
            named = values_of(headers, SESSION.lower().encode())
            if status == 200 and named:
                self.clients.opened(named[0].decode("utf-8", "surrogateescape"), client)

        def note_revision(status: int, reply: bytes) -> None:
            client.revision = agreed_revision(reply) if status == 200 else None

        return await self._relay(request, draft, body, on_head=note_session, on_reply=note_revision)

    # Whether a call may be answered here

    async def _is_accepted(self, request: web.Request, body: bytes) -> bool:
        """Whether the server would take this call: its session is alive, or its envelope is in order."""
        if not is_in_order(request.raw_headers):
            return False
        version = request.headers.get(REVISION)
        if era_of_header(version) is Era.ENVELOPE:
            return agrees_with_envelope(request.raw_headers, body)
        session_id = request.headers.get(SESSION, STATELESS)
        if self.clients.get(session_id) is not None:
            return True
        asked = {
            name: request.headers[name] for name in (SESSION, REVISION, "Authorization") if name in request.headers
        }
        try:
            is_alive = await self.server.is_alive(asked)
        except BridgeFault:
            return False
        if is_alive:
            self.clients.opened(session_id, McpClient(revision=revision_of(version) if version else None))
        return is_alive

    async def _is_known(self, request: web.Request, call: UnreadableAnswer, body: bytes) -> bool:
        return self.calls.knows(call.elicitation_id) and await self._is_accepted(request, body)

    # Waits

    async def _wait(self, request: web.Request, draft: Draft, call: WaitCall, body: bytes) -> web.StreamResponse:
        draft.agent_id = call.ask.agent_id
        decision = self.calls.decide(call.ask.agent_id)
        draft.decided(decision)
        session_id = _session_of(request)
        client = self.clients.get(session_id)
        if client is not None and session_id != STATELESS:
            client.waited(call.ask.agent_id)
        match decision.route:
            case Route.LEGACY:
                return await self._relay(request, draft, body)
            case Route.REMOVED:
                error = LegacyRemoved(
                    f"{call.call.name} was removed; use elicitation instead, see {self.guide_url}",
                    guide=self.guide_url,
                )
                draft.failed(error)
                return await McpAnswer(request, call.id, self.clock).error(error)
            case Route.ELICITATION:
                return await self._elicit(request, draft, call, body, decision=decision)

    async def _elicit(
        self, request: web.Request, draft: Draft, call: WaitCall, body: bytes, *, decision: Decision
    ) -> web.StreamResponse:
        reply = McpAnswer(request, call.id, self.clock)
        try:
            async with self._cancellable(request, call.id):
                authorization = self._authorization(request)
                # Before anything is written: without it the server itself can still answer.
                access = await self.calls.access_for(call.ask.agent_id, authorization)
                waited = None if access is None else await self._hold(request, decision, call, access, reply=reply)
        except TimeoutError:  # the client cancelled
            draft.result, draft.status = Result.GONE, 202
            return await reply.nothing()
        except SidecarError as error:
            draft.failed(error)
            return await reply.error(error)
        if waited is None:
            return await self._relay(request, draft, body)
        return await self._write(draft, waited, reply)

    async def _hold(
        self, request: web.Request, decision: Decision, call: WaitCall, access: Access, *, reply: McpAnswer
    ) -> ToolWaited | None:
        is_patient = agent_kind(request.headers.get("User-Agent", "")) in PATIENT
        cap_s = call.ask.hold_s if is_patient else min(call.ask.hold_s, self.hold_cap_s)
        if cap_s < STREAM_FROM_S:
            return await self.calls.wait(call.ask, decision, access, hold_cap_s=cap_s)
        async with reply.kept_alive(self.spawn):
            return await self.calls.wait(call.ask, decision, access, hold_cap_s=cap_s)

    def _authorization(self, request: web.Request) -> str:
        """The caller's token for the Bridge; one for another server must not reach it. Source: PROTOCOL.md 1.5."""
        return request.headers.get("Authorization", "") if self.is_bridge else ""

    @asynccontextmanager
    async def _cancellable(self, request: web.Request, request_id: RequestId) -> AsyncIterator[None]:
        """Let `_cancel` end the block; without a session nobody could tell whose call is meant.

        Raises:
            TimeoutError: it did.
        """
        key = (_session_of(request), request_id)
        async with asyncio.timeout(None) as scope:
            if key[0] != STATELESS:
                self.in_flight[key] = scope
            try:
                yield
            finally:
                if self.in_flight.get(key) is scope:
                    del self.in_flight[key]

    def _cancel(self, request: web.Request, request_id: RequestId) -> bool:
        """End one of the calls that wait here; False when it is none of them."""
        scope = self.in_flight.pop((_session_of(request), request_id), None)
        if scope is None:
            return False
        scope.reschedule(asyncio.get_running_loop().time())
        return True

    async def _write(self, draft: Draft, waited: ToolWaited, reply: McpAnswer) -> web.StreamResponse:
        note_wait(draft, waited.served)
        arrived = False
        try:
            response = await reply.result(waited.result)
            arrived = True
        finally:
            if not arrived:
                self.calls.take_back(waited.served)
        note_delivery(draft, waited.served, wall=self.clock.wall())
        return response

    # Answers

    async def _answer(self, request: web.Request, draft: Draft, call: AnswerCall, body: bytes) -> web.StreamResponse:
        draft.agent_id = call.given.agent_id
        request[ENDS_WITH_PEER] = False  # an answer that was given is passed on, whoever leaves
        reply = McpAnswer(request, call.id, self.clock)
        try:
            answered = await self.calls.answer(call.given, call.tool, self._authorization(request))
        except SidecarError as error:
            draft.failed(error)
            draft.elicitations.append(counted_as(error))
            return await reply.error(error)
        if answered is None:
            return await self._relay(request, draft, body)
        draft.elicitations.append(answered.outcome)
        draft.result, draft.status = Result.ANSWERED, 200
        return await reply.result(answered.result)


def _session_of(request: web.Request) -> str:
    """The MCP session that a call belongs to; the envelope era has none, whatever is sent. Source: PROTOCOL.md 2.1."""
    if era_of_header(request.headers.get(REVISION)) is Era.ENVELOPE:
        return STATELESS
    return request.headers.get(SESSION, STATELESS)


def _request_id(body: bytes) -> RequestId | None:
    """The id of the request that a body is, if it is one."""
    envelope = envelope_of(body)
    if envelope is None or not isinstance(envelope.method, str) or not isinstance(envelope.id, str | int):
        return None
    return envelope.id
