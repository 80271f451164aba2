"""The MCP door over streamable HTTP: the legacy wait and the answers are served here, all else is relayed.

A call is answered in the server's place only where the server itself would have taken it: from a session it knows,
with headers that agree with the body. Everything doubtful is relayed, so that the server's own refusal is heard.

Source: PROTOCOL.md 3.1, 3.4, 3.7.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import web

from proxy.core.errors import (
    BodyTooLarge,
    BridgeFault,
    ImpersonationRefused,
    InvalidInput,
    RateLimited,
    SidecarError,
)
from proxy.core.hop import RawHeaders, values_of
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.outcome import Door, ElicitationOutcome, Result, counted_as
from proxy.downstream.body import read_body, refuse_coded
from proxy.downstream.connection import ENDS_WITH_PEER
from proxy.downstream.mcp_answer import REVISION, SESSION, McpAnswer
from proxy.downstream.mcp_caller import era_of, seat_of, session_of
from proxy.downstream.mcp_eras import EraDoors
from proxy.downstream.mcp_trust import McpTrust
from proxy.downstream.mcp_wait import McpWaits
from proxy.downstream.relay import Declined, Declines, OnHead, OnReply, Relay
from proxy.downstream.relay_upstream import REPEATABLE
from proxy.downstream.served import Draft, served
from proxy.downstream.tool_list import ToolList
from proxy.flows.client_questions import ClientQuestions
from proxy.flows.mcp_clients import STATELESS, McpClient, McpClients
from proxy.flows.tool_call import ToolCalls, take_nothing
from proxy.mcp.correlation import Verdict
from proxy.mcp.hidden import hides_call, is_looked_at
from proxy.mcp.inbound import (
    AnswerCall,
    AnswerTool,
    Cancel,
    Opening,
    ToolNames,
    ToQuestion,
    UnreadableAnswer,
    WaitCall,
    classify,
)
from proxy.mcp.jsonrpc import Malformed, Message, Request, RequestId, Response, envelope_of, parse
from proxy.mcp.over_http import agreed_revision, agrees_with_envelope, is_in_order
from proxy.mcp.revisions import Era, revision_of
from proxy.mcp.tool_claims import ToolUse
from proxy.ports import Clock, McpServer, Recorder

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""Largest message that is looked at. Source: PROTOCOL.md 3.4 (no cap below 4 MiB), with room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class McpDoor:
    """The doors of one MCP path."""

    relay: Relay
    eras: EraDoors | None
    """Bridges to a server of another era; None where such a client is left to the server's refusal."""
    calls: ToolCalls
    waits: McpWaits
    clients: McpClients
    questions: ClientQuestions
    server: McpServer
    names: ToolNames
    recorder: Recorder
    clock: Clock
    default_timeout_s: int
    tools: ToolList
    trust: McpTrust
    is_in_use: Callable[[], bool]
    """Whether elicitation is in use at all; if not, whatever comes is relayed."""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Serve one HTTP request on the MCP path."""
        with served(request, Door.MCP, self.recorder, self.clock) as draft:
            if request.method != "POST" or not self._is_readable(request):
                self.trust.judge_unread(request)
                return await self._relay(request, draft)
            body = await read_body(request, limit=MAX_BODY_BYTES)
            message = parse(body) if is_looked_at(body) else None
            try:
                use = self.trust.judge(request, message, body)
                is_parked = self.eras is not None and await self.eras.takes_up(request, body)
                if is_parked or message is None:
                    return await self._relay(request, draft, body)
                return await self._post(request, draft, message, body, use=use)
            except (ImpersonationRefused, RateLimited) as error:
                return await self._refused(request, draft, body, error)

    async def refuse(self, request: web.Request, error: SidecarError) -> web.StreamResponse:
        """Refuse a request that did not come past the gate.

        Raises:
            SidecarError: that error; it has no id to which it could be told.
        """
        with served(request, Door.MCP, self.recorder, self.clock) as draft:
            is_short = request.content_length is None or request.content_length <= MAX_BODY_BYTES
            body = b""
            if request.method == "POST" and is_short:
                with suppress(SidecarError):  # then there is no id
                    body = await read_body(request, limit=MAX_BODY_BYTES)
            return await self._refused(request, draft, body, error)

    async def _refused(
        self, request: web.Request, draft: Draft, body: bytes, error: SidecarError
    ) -> web.StreamResponse:
        """Tell a refusal as an error of the call, or as a status where no request can be told.

        Source: PROTOCOL.md 3.7.
        """
        request_id = _request_id(body)
        if request_id is None:
            raise error
        draft.failed(error)
        return await McpAnswer(request, request_id, self.clock).refusal(error)

    def _is_readable(self, request: web.Request) -> bool:
        """Whether the body may be looked into; one that may not is relayed only where nothing depends on it.

        Raises:
            BodyTooLarge: it is too long.
            InvalidInput: it is compressed.
        """
        is_short = request.content_length is None or request.content_length <= MAX_BODY_BYTES
        if self.is_in_use():
            refuse_coded(request)
            if not is_short:
                raise BodyTooLarge(f"expected a message of at most {MAX_BODY_BYTES} bytes")
        return is_short

    async def _post(
        self, request: web.Request, draft: Draft, message: Message, body: bytes, *, use: ToolUse
    ) -> web.StreamResponse:
        client = self.clients.get(session_of(request))
        waited = client.agents if client else ()

        def answers_as(elicitation_id: ElicitationId) -> AgentId | None:
            return self.calls.answers_as(elicitation_id, waited)

        inbound = classify(message, self.names, default_timeout_s=self.default_timeout_s, answers_as=answers_as)
        await self.trust.take(request, use, waited=waited, is_answer_taken=isinstance(inbound, AnswerCall))
        match inbound:
            case WaitCall() as call if await self._is_accepted(request, body):
                return await self.waits.serve(request, draft, call, partial(self._relay, request, draft, body))
            case AnswerCall() as call if await self._is_accepted(request, body):
                return await self._answer(request, draft, call, body)
            case UnreadableAnswer() as call if await self._is_known(request, call, body):
                draft.failed(call.error)
                return await McpAnswer(request, call.id, self.clock).error(call.error)
            case Opening() as opening:
                return await self._open(request, draft, opening, body)
            case ToQuestion(response) if self._is_taken(request, draft, response):
                pass
            case Cancel(request_id) if self.waits.cancel(request, request_id):
                draft.status = 202
            case _:
                return await self._leave(request, draft, message, body)
        return web.Response(status=202)

    async def _leave(self, request: web.Request, draft: Draft, message: Message, body: bytes) -> web.StreamResponse:
        """Relay what is nothing of ours, unless it is a call of our tools for somebody else.

        Raises:
            InvalidInput: it is one, and no request is known to which that could be told.
        """
        if not (self.is_in_use() and hides_call(message, body, self.names)):
            return await self._relay(request, draft, body)
        error = InvalidInput(
            "expected one call of this tool in one JSON-RPC message: in UTF-8, every member once, no batch, no task"
        )
        if not isinstance(message, Malformed | Request) or message.id is None:
            raise error
        draft.failed(error)
        return await McpAnswer(request, message.id, self.clock).error(error)

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
        """Leave a request to the server, or to the bridge that speaks its era."""
        pass_on = partial(self._pass_on, request, draft, body, on_head=on_head, on_reply=on_reply)
        if self.eras is None:
            return await pass_on()
        bridge = await self.eras.bridge_for(request, body)
        if bridge is None:
            try:
                return await pass_on(declines=partial(self.eras.needs_bridge, request, body))
            except Declined:
                bridge = self.eras.bridge_after(request)
        response = await bridge.serve(request, draft, body)
        if response.status < 300:
            self.trust.opened(request, response.headers.get(SESSION, STATELESS))
        return response

    async def _pass_on(
        self,
        request: web.Request,
        draft: Draft,
        body: bytes | None,
        *,
        on_head: OnHead | None,
        on_reply: OnReply | None,
        declines: Declines | None = None,
    ) -> web.StreamResponse:
        rewrite = None if body is None else self.tools.rewrite_for(body)
        try:
            response = await self.relay.relay(
                request, body=body, on_head=on_head, on_reply=on_reply, rewrite=rewrite, declines=declines
            )
        except BridgeFault as error:  # nothing was sent yet
            request_id = None if body is None else _request_id(body)
            if request_id is None:
                raise
            draft.failed(error)
            return await McpAnswer(request, request_id, self.clock).error(error)
        draft.status = response.status
        self._note_end(request, response.status)
        if response.status < 300 and request.method != "DELETE":
            self.trust.opened(request, session_of(request))
        return response

    def _note_end(self, request: web.Request, status: int) -> None:
        """Note the end of a session, or what looks like it: whether it lives is asked for anew."""
        session_id = request.headers.get(SESSION, STATELESS)
        if request.method == "DELETE" and status < 300:
            self.clients.closed(session_id)
            self.trust.owners.closed(session_id)
            self.questions.close(seat_of(request))
        elif status in {400, 404}:
            self.clients.doubted(session_id)

    async def _open(self, request: web.Request, draft: Draft, opening: Opening, body: bytes) -> web.StreamResponse:
        """Relay an `initialize` and remember the session that it began."""
        client = McpClient(modes=opening.modes, client_name=opening.client_name)

        def note_session(status: int, headers: RawHeaders) -> None:
            # At the head, as some clients hang up before the end.
            named = values_of(headers, SESSION.lower().encode())
            if status == 200 and named:
                session_id = named[0].decode("utf-8", "surrogateescape")
                self.clients.opened(session_id, client)
                self.trust.opened(request, session_id)

        def note_revision(status: int, reply: bytes) -> None:
            client.revision = agreed_revision(reply) if status == 200 else None

        request[REPEATABLE] = True  # a session that nobody has heard of is nobody's
        return await self._relay(request, draft, body, on_head=note_session, on_reply=note_revision)

    # Whether a call may be answered here

    async def _is_accepted(self, request: web.Request, body: bytes) -> bool:
        """Whether the server would take this call: its session is alive, or its envelope is in order."""
        if not is_in_order(request.raw_headers):
            return False
        version = request.headers.get(REVISION)
        if era_of(request) is Era.ENVELOPE:
            return agrees_with_envelope(request.raw_headers, body)
        session_id = request.headers.get(SESSION, STATELESS)
        client = self.clients.get(session_id)
        if client is not None and client.is_sure:
            self.trust.opened(request, session_id)
            return True
        asked = {
            name: request.headers[name] for name in (SESSION, REVISION, "Authorization") if name in request.headers
        }
        try:
            is_alive = await self.server.is_alive(asked)
        except BridgeFault:
            return False
        if not is_alive:
            self.clients.closed(session_id)
        elif client is None:
            self.clients.opened(session_id, McpClient(revision=revision_of(version) if version else None))
        else:
            client.is_sure = True
        if is_alive:
            self.trust.opened(request, session_id)
        return is_alive

    async def _is_known(self, request: web.Request, call: UnreadableAnswer, body: bytes) -> bool:
        return self.calls.knows(call.elicitation_id) and await self._is_accepted(request, body)

    # Answers

    def _is_taken(self, request: web.Request, draft: Draft, response: Response) -> bool:
        """Take the answer to a question that was put to the client; what is nobody's ends here as well."""
        verdict = self.questions.take(seat_of(request), response)
        if verdict is Verdict.FORWARD:
            return False
        draft.result, draft.status = Result.ANSWERED if verdict is None else Result.REFUSED, 202
        if verdict is Verdict.STRANGER:
            draft.elicitations.append(ElicitationOutcome.FORBIDDEN)
        return True

    async def _answer(self, request: web.Request, draft: Draft, call: AnswerCall, body: bytes) -> web.StreamResponse:
        draft.agent_id = call.given.agent_id
        take = self.trust.taking_answer(request, call.given.agent_id)
        if call.tool is AnswerTool.RESPOND:  # an answer also where it is not ours
            self.trust.judge_speaker(request, call.given.agent_id)
            await take()
            take = take_nothing
        request[ENDS_WITH_PEER] = False  # an answer that was given is passed on, whoever leaves
        reply = McpAnswer(request, call.id, self.clock)
        try:
            answered = await self.calls.answer(call.given, call.tool, self.waits.authorization(request), take)
        except RateLimited:
            raise
        except SidecarError as error:
            draft.failed(error)
            draft.elicitations.append(counted_as(error))
            return await reply.error(error)
        if answered is None:
            return await self._relay(request, draft, body)
        draft.elicitations.append(answered.outcome)
        draft.result, draft.status = Result.ANSWERED, 200
        return await reply.result(answered.result)


def _request_id(body: bytes) -> RequestId | None:
    """The id of the request that a body is, if it is one."""
    envelope = envelope_of(body)
    if envelope is None or not isinstance(envelope.method, str) or not isinstance(envelope.id, str | int):
        return None
    return envelope.id
