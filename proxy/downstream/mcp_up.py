"""The MCP door for clients of the handshake era before a server of the envelope era.

Errors of ours are never a bare status where there is a request to answer: a 4xx destroys the session of some clients.

Source: PROTOCOL.md 3.1, 3.7, 4.2 (A2 x B3).
"""

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from proxy.core.errors import (
    BodyTooLarge,
    BridgeRefused,
    BridgeUnavailable,
    InvalidInput,
    SidecarError,
)
from proxy.core.hop import list_members
from proxy.core.outcome import Result
from proxy.downstream.connection import ENDS_WITH_PEER
from proxy.downstream.mcp_answer import SESSION
from proxy.downstream.mcp_caller import principal_of
from proxy.downstream.mcp_up_reply import UpReply
from proxy.downstream.served import Draft
from proxy.flows.era_up import EraUp
from proxy.flows.up_sessions import Caller, UpCall, UpSession
from proxy.mcp.correlation import read_cancelled
from proxy.mcp.inbound import Opening, ToolNames, classify
from proxy.mcp.jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    Batch,
    Malformed,
    Message,
    Notification,
    Request,
    RequestId,
    Response,
    error_message,
    fault_message,
    parse,
    result_message,
)
from proxy.mcp.upward import Fate, fate_of, passed_headers, read_level

_NO_TOOLS: Final = ToolNames(wait=frozenset(), respond=frozenset(), send=frozenset())

_STREAMS: Final = frozenset({b"text/event-stream", b"text/*", b"*/*"})

_ALLOWED: Final = "POST, DELETE"


@dataclass(frozen=True, slots=True)
class UpDoor:
    """The doors of one MCP path for older clients."""

    flow: EraUp

    def knows(self, request: web.Request) -> bool:
        """Whether the request names a session of ours, so that it belongs here whatever the server speaks by now."""
        return request.headers.get(SESSION, "") in self.flow.sessions

    async def serve(self, request: web.Request, draft: Draft, body: bytes | None) -> web.StreamResponse:
        """Serve one HTTP request; `body` is that of a POST.

        Raises:
            BodyTooLarge: a POST whose body was too long to be read.
        """
        match request.method:
            case "POST" if body is None:
                raise BodyTooLarge("expected a smaller MCP message")
            case "POST":
                return await self._post(request, draft, parse(body or b""))
            case "DELETE":
                return self._end(request, draft)
            case _:
                # There is no stream apart from calls. Source: PROTOCOL.md 4.2, step 1.
                draft.result, draft.status = Result.REFUSED, 405
                return web.Response(status=405, headers={"Allow": _ALLOWED})

    async def _post(self, request: web.Request, draft: Draft, message: Message) -> web.StreamResponse:
        if isinstance(message, Malformed):
            return _refuse(draft, message.id, message.code, message.text)
        if isinstance(message, Batch):
            return _refuse(draft, None, INVALID_REQUEST, "expected one message at a time, got a batch")
        if isinstance(message, Request) and message.method == "initialize":
            return await self._open(request, draft, message)
        session = self._session(request, draft, message.id if isinstance(message, Request) else None)
        if isinstance(session, web.Response):
            return session
        match message:
            case Request():
                return await self._answer(request, draft, session, message)
            case Notification(method="notifications/cancelled", params=params):
                cancelled = read_cancelled(params)
                if cancelled is not None:
                    self.flow.cancel(session, cancelled)
            case Response():
                self.flow.take(session, message)
            case Notification():
                pass  # the handshake is over, or roots have changed, which no server here knows of
        draft.status = 202
        return web.Response(status=202, headers={SESSION: session.id})

    # Sessions

    def _session(self, request: web.Request, draft: Draft, request_id: RequestId | None) -> UpSession | web.Response:
        """The session of a request, or what to say where there is none. Source: PROTOCOL.md 3.1."""
        named = request.headers.get(SESSION)
        if named is None:
            return _refuse(draft, request_id, INVALID_REQUEST, f"expected a header {SESSION}", status=400)
        session = self.flow.session(named, _caller(request))
        if session is None:
            return _refuse(draft, request_id, INVALID_REQUEST, "Session not found; initialize again", status=404)
        return session

    async def _open(self, request: web.Request, draft: Draft, message: Request) -> web.StreamResponse:
        opening = classify(message, _NO_TOOLS, default_timeout_s=0, answers_as=lambda _: None)
        if not isinstance(opening, Opening):
            return _refuse(draft, message.id, INVALID_PARAMS, "expected the parameters of initialize")
        try:
            session, result = await self.flow.open(opening, _caller(request))
        except SidecarError as error:
            return await _fail(draft, UpReply(request, None, takes_stream=False), message.id, error)
        draft.status = 200
        return await UpReply(request, session, takes_stream=False).end(result_message(message.id, result))

    def _end(self, request: web.Request, draft: Draft) -> web.StreamResponse:
        session = self._session(request, draft, None)
        if isinstance(session, web.Response):
            return session
        self.flow.end(session)
        draft.status = 200
        return web.Response()

    # Requests

    async def _answer(
        self, request: web.Request, draft: Draft, session: UpSession, message: Request
    ) -> web.StreamResponse:
        match fate_of(message.method):
            case Fate.RELAY:
                return await self._carry(request, draft, session, message)
            case Fate.UNKNOWN:
                return _refuse(draft, message.id, METHOD_NOT_FOUND, "Method not found", session=session)
            case Fate.LEVEL:
                try:
                    session.level = read_level(message.params)
                except InvalidInput as flaw:
                    return _refuse(draft, message.id, INVALID_PARAMS, flaw.detail, session=session)
            case Fate.EMPTY:
                pass
        draft.status = 200
        return _json(result_message(message.id, b"{}"), session=session)

    async def _carry(
        self, request: web.Request, draft: Draft, session: UpSession, message: Request
    ) -> web.StreamResponse:
        caller = _caller(request)
        reply = UpReply(request, session, takes_stream=caller.takes_stream)
        try:
            call = self.flow.call(session, message, caller, reply.put)
        except InvalidInput as flaw:
            return _refuse(draft, message.id, INVALID_PARAMS, flaw.detail, session=session)
        except SidecarError as error:
            return await _fail(draft, reply, message.id, error)
        request[ENDS_WITH_PEER] = True  # the call itself goes on
        try:
            await reply.until_over(call)
        finally:
            if not call.is_over:
                reply.close()
                self.flow.left(call)
        return await _conclude(draft, reply, call)


async def _conclude(draft: Draft, reply: UpReply, call: UpCall) -> web.StreamResponse:
    """Write what came of a call."""
    if call.reply is not None:
        draft.status = 200
        return await reply.end(call.reply)
    if call.error is not None:
        return await _fail(draft, reply, call.request.id, call.error)
    if call.is_cancelled:
        draft.result, draft.status = Result.GONE, 202
        return await reply.nothing()
    return await _fail(draft, reply, call.request.id, BridgeUnavailable("the sidecar gave this call up; it is ending"))


async def _fail(draft: Draft, reply: UpReply, request_id: RequestId, error: SidecarError) -> web.StreamResponse:
    draft.failed(error)
    if isinstance(error, BridgeRefused) and error.bridge_status == 401 and not reply.has_begun:
        # What a client has to see to log in. Source: PROTOCOL.md 3.7.
        return web.Response(status=401, body=error.body, headers={"Content-Type": error.content_type or "text/plain"})
    return await reply.end(fault_message(request_id, error), error=error)


def _refuse(
    draft: Draft,
    request_id: RequestId | None,
    code: int,
    text: str,
    *,
    status: int = 0,
    session: UpSession | None = None,
) -> web.Response:
    """Refuse what the client sent; a status of its own only where there is nothing to answer, or it is prescribed."""
    draft.result, draft.status = Result.REFUSED, status or (400 if request_id is None else 200)
    return _json(error_message(request_id, code, text), session=session, status=draft.status)


def _json(message: bytes, *, session: UpSession | None = None, status: int = 200) -> web.Response:
    headers = {} if session is None else {SESSION: session.id}
    return web.Response(status=status, body=message, content_type="application/json", headers=headers)


def _caller(request: web.Request) -> Caller:
    accepted = {value.partition(b";")[0].strip() for value in list_members(request.raw_headers, b"accept")}
    return Caller(
        principal=principal_of(request),
        headers=passed_headers(request.raw_headers),
        takes_stream=not accepted or not accepted.isdisjoint(_STREAMS),
    )
