"""The MCP door over streamable HTTP: the legacy wait and the answers are served here, all else is relayed.

A call is answered in the server's place only where the server itself would have taken it: from a session it knows,
with headers that agree with the body. Everything doubtful is relayed, so that the server's own refusal is heard.

Source: PROTOCOL.md 3.1, 3.4, 3.7.
"""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import orjson
from aiohttp import web

from proxy.core.agent_kind import AgentKind, agent_kind
from proxy.core.errors import BridgeFault, Fault, InvalidInput, SidecarError
from proxy.core.outcome import Door, ElicitationOutcome, Result
from proxy.core.routing import Route
from proxy.downstream.body import read_body
from proxy.downstream.relay import Relay
from proxy.downstream.served import Draft, served
from proxy.flows.mcp_clients import STATELESS, McpClient, McpClients
from proxy.flows.tool_call import ToolAnswered, ToolCalls
from proxy.mcp.inbound import LOOKED_AT, AnswerCall, Cancel, Inbound, Opening, ToolNames, WaitCall, classify
from proxy.mcp.jsonrpc import OWN_CODE_BASE, RequestId, error_message, members, parse, read_value, result_message
from proxy.mcp.revisions import Era, Revision, era_of_header, negotiated, revision_of
from proxy.mcp.sse import Splitter, read_frame, write_comment, write_event
from proxy.mcp.tools import tool_result
from proxy.ports import Clock, McpServer, Recorder

SESSION: Final = "Mcp-Session-Id"
REVISION: Final = "MCP-Protocol-Version"

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
"""Largest message that is looked at. Source: PROTOCOL.md 3.4 (no cap below 4 MiB), with room."""

KEEP_ALIVE_S: Final = 15.0
"""Pause between comments on a stream that waits. Source: PROTOCOL.md 3.5."""

STREAM_FROM_S: Final = 10
"""Waits from here on are answered on a stream, where the client takes one. Source: PROTOCOL.md 4.2, A1 x B1."""

PATIENT: Final = frozenset({AgentKind.HTTPX, AgentKind.AIOHTTP, AgentKind.REQUESTS})
"""Client libraries that do not give up after 60 seconds. Source: PROTOCOL.md 3.6."""


Spawn = Callable[[Coroutine[object, object, None], str], "asyncio.Task[None]"]


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
        message = parse(body)
        client = self.clients.get(request.headers.get(SESSION, STATELESS))
        agent_id = client.agent_id if client else None
        inbound: Inbound | None
        try:
            inbound = classify(message, self.names, default_timeout_s=self.default_timeout_s, answering_agent=agent_id)
        except InvalidInput:  # an answer that cannot be read: the tool itself says so
            inbound = None
        match inbound:
            case WaitCall() if await self._is_accepted(request, body):
                return await self._wait(request, draft, inbound, body)
            case AnswerCall() if await self._is_accepted(request, body):
                return await self._answer(request, draft, inbound, body)
            case Opening():
                return await self._open(request, draft, inbound, body)
            case Cancel(request_id) if self._cancel(request, request_id):
                draft.status = 202
                return web.Response(status=202)
            case _:
                return await self._relay(request, draft, body)

    async def _relay(self, request: web.Request, draft: Draft, body: bytes | None = None) -> web.StreamResponse:
        response = await self.relay.relay(request, body=body)
        draft.status = response.status
        if request.method == "DELETE" and response.status < 300:
            self.clients.closed(request.headers.get(SESSION, STATELESS))
        return response

    async def _open(self, request: web.Request, draft: Draft, opening: Opening, body: bytes) -> web.StreamResponse:
        """Relay an `initialize` and remember what it ended with."""
        agreed: list[Revision] = []

        def note(status: int, reply: bytes) -> None:
            revision = _agreed_revision(reply) if status == 200 else None
            if revision is not None:
                agreed.append(revision)

        response = await self.relay.relay(request, body=body, on_reply=note)
        draft.status = response.status
        if agreed:
            session_id = response.headers.get(SESSION, STATELESS)
            client = McpClient(revision=agreed[0], modes=opening.modes, client_name=opening.client_name)
            self.clients.opened(session_id, client)
        return response

    async def _is_accepted(self, request: web.Request, body: bytes) -> bool:
        """Whether the server would take this call: its session is alive, or its envelope is in order."""
        accept = request.headers.get("Accept", "")
        if "application/json" not in accept or "text/event-stream" not in accept:
            return False
        version = request.headers.get(REVISION)
        if era_of_header(version) is Era.ENVELOPE:
            return _is_enveloped(request.headers, body)
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

    async def _wait(self, request: web.Request, draft: Draft, call: WaitCall, body: bytes) -> web.StreamResponse:
        draft.agent_id = call.ask.agent_id
        decision = self.calls.decide(call.ask.agent_id)
        draft.decided(decision)
        session_id = request.headers.get(SESSION, STATELESS)
        client = self.clients.get(session_id)
        if client is not None:
            client.agent_id = call.ask.agent_id
        if decision.route is Route.LEGACY:
            return await self._relay(request, draft, body)
        cap_s = call.ask.hold_s if agent_kind(request.headers.get("User-Agent", "")) in PATIENT else self.hold_cap_s
        writer = _ResultWriter(request, call.id, is_stream=min(call.ask.hold_s, cap_s) >= STREAM_FROM_S)
        key = (session_id, call.id)
        try:
            async with asyncio.timeout(None) as scope, writer.kept_alive(self.spawn):
                self.in_flight[key] = scope
                authorization = request.headers.get("Authorization", "")
                answered = await self.calls.wait(call.ask, decision, authorization, hold_cap_s=cap_s)
        except TimeoutError:  # the client cancelled
            draft.result, draft.status = Result.GONE, 202
            return await writer.end_without_answer()
        except SidecarError as error:
            draft.failed(error)
            return await writer.error(error)
        finally:
            self.in_flight.pop(key, None)
        if answered is None:
            return await self._relay_late(request, draft, body, writer)
        return await self._write_wait(draft, answered, writer)

    async def _relay_late(
        self, request: web.Request, draft: Draft, body: bytes, writer: "_ResultWriter"
    ) -> web.StreamResponse:
        """Hand a call to the server after all; possible as long as nothing was written."""
        if writer.has_begun:
            error = BridgeFault("the Bridge cannot be reached for this wait; call the tool again")
            draft.failed(error)
            return await writer.error(error)
        return await self._relay(request, draft, body)

    async def _write_wait(self, draft: Draft, answered: ToolAnswered, writer: "_ResultWriter") -> web.StreamResponse:
        result = answered.served
        if result is not None:
            draft.route, draft.reason = result.exchange.route, result.exchange.reason
            draft.fell_back, draft.empty_wakes_saved = result.exchange.fell_back, result.empty_wakes
        arrived = False
        try:
            response = await writer.result(answered.result)
            arrived = True
        finally:
            if result is not None and not arrived:
                self.calls.take_back(result)
        if result is not None:
            draft.result, draft.items = result.result, len(result.found.items)
            draft.delivery_seconds = tuple(max(0.0, self.clock.wall() - at) for at in result.found.created_at)
            draft.elicitations.extend(ElicitationOutcome.OFFERED for _ in result.found.elicitation_ids)
        draft.status = 200
        return response

    async def _answer(self, request: web.Request, draft: Draft, call: AnswerCall, body: bytes) -> web.StreamResponse:
        draft.agent_id = call.given.agent_id
        writer = _ResultWriter(request, call.id, is_stream=False)
        try:
            answered = await self.calls.answer(call.given, request.headers.get("Authorization", ""))
        except SidecarError as error:
            draft.failed(error)
            return await writer.error(error)
        if answered is None:
            return await self._relay(request, draft, body)
        if answered.outcome is not None:
            draft.elicitations.append(answered.outcome)
        draft.result, draft.status = Result.ANSWERED, 200
        return await writer.result(answered.result)

    def _cancel(self, request: web.Request, request_id: RequestId) -> bool:
        """End one of the calls that wait here; False when it is none of them."""
        scope = self.in_flight.pop((request.headers.get(SESSION, STATELESS), request_id), None)
        if scope is None:
            return False
        scope.reschedule(asyncio.get_running_loop().time())
        return True


class _ResultWriter:
    """Writes one response: as JSON, or on a stream that is kept alive until then."""

    def __init__(self, request: web.Request, request_id: RequestId, *, is_stream: bool) -> None:
        self._request = request
        self._id = request_id
        self._is_stream = is_stream
        self._is_enveloped = era_of_header(request.headers.get(REVISION)) is Era.ENVELOPE
        self._stream: web.StreamResponse | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the head of the reply was sent."""
        return self._stream is not None

    @asynccontextmanager
    async def kept_alive(self, spawn: Spawn) -> AsyncIterator[None]:
        """Begin the stream, if it is one, and write a comment every 15 seconds for as long as the block lasts."""
        if not self._is_stream:
            yield
            return
        headers = {
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-cache, no-transform",
            "X-Accel-Buffering": "no",
        }
        self._stream = web.StreamResponse(headers=headers)
        await self._stream.prepare(self._request)
        comments = spawn(self._comment(self._stream), "comments on a stream")
        try:
            yield
        finally:
            comments.cancel()

    @staticmethod
    async def _comment(stream: web.StreamResponse) -> None:
        try:
            while True:
                await asyncio.sleep(KEEP_ALIVE_S)
                await stream.write(write_comment("waiting"))
        except ConnectionError:  # the client has left, which ends its call by itself
            return

    async def result(self, result: Mapping[str, object]) -> web.StreamResponse:
        """Answer with a result."""
        shown = {**result, "resultType": "complete"} if self._is_enveloped else dict(result)
        return await self._write(result_message(self._id, shown))

    async def error(self, error: SidecarError) -> web.StreamResponse:
        """Answer with an error: of the tool where the agent can mend it, else of the request, never a bare status.

        Source: PROTOCOL.md 3.7 (a 4xx or 5xx destroys the session of python clients).
        """
        if error.fault is Fault.AGENT:
            told = orjson.dumps({"error": error.detail, "code": error.code})
            return await self.result(tool_result(told, is_error=True))
        data: dict[str, object] = {"code": error.code, "retryable": error.retryable}
        if error.retry_after_s is not None:
            data["retryAfterMs"] = int(error.retry_after_s * 1000)
        return await self._write(error_message(self._id, OWN_CODE_BASE + error.status, error.detail, data))

    async def end_without_answer(self) -> web.StreamResponse:
        """End the reply to a call that the client cancelled."""
        if self._stream is None:
            return web.Response(status=202)
        await self._stream.write_eof()
        return self._stream

    async def _write(self, message: bytes) -> web.StreamResponse:
        if self._stream is not None:
            await self._stream.write(write_event(message))
            await self._stream.write_eof()
            return self._stream
        response = web.Response(body=message, content_type="application/json")
        await response.prepare(self._request)
        await response.write_eof()
        return response


def _agreed_revision(reply: bytes) -> Revision | None:
    """The revision that an `initialize` ended with, from a JSON or an event-stream reply."""
    is_json = reply.lstrip().startswith(b"{")
    messages = [reply] if is_json else [read_frame(raw).data for raw in Splitter(MAX_BODY_BYTES).feed(reply)]
    for data in messages:
        try:
            result = members(members(data or b"").get("result", b"{}"))
            version = read_value(result.get("protocolVersion", b"null"))
        except InvalidInput:
            continue
        if isinstance(version, str):
            return negotiated(version)
    return None


def _is_enveloped(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether headers and metadata of a modern `tools/call` agree; else the server has to refuse it.

    Source: PROTOCOL.md 2.2, 2.3.
    """
    version = headers.get(REVISION, "")
    revision = revision_of(version)
    try:
        params = members(members(body).get("params", b"{}"))
        name = read_value(params.get("name", b"null"))
        meta = members(params.get("_meta", b"{}"))
        told = read_value(meta.get("io.modelcontextprotocol/protocolVersion", b"null"))
        capabilities = read_value(meta.get("io.modelcontextprotocol/clientCapabilities", b"null"))
    except InvalidInput:
        return False
    is_named = headers.get("Mcp-Method") == "tools/call" and _decoded(headers.get("Mcp-Name", "")) == name
    return revision is not None and is_named and told == version and isinstance(capabilities, dict)


def _decoded(value: str) -> str | None:
    if not (value.startswith("=?base64?") and value.endswith("?=")):
        return value
    try:
        return base64.b64decode(value[9:-2], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
