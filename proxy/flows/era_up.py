"""Serve a client of the handshake era by a server of the envelope era.

The handshake and the session are ours. Each request is one call of the server, however many rounds that takes; what
the server asks meanwhile is put to the client on the stream of its own request.

A client that leaves does not cancel: its call goes on for a while, as it would at a server of its own era. Nobody
is left to get the result then, and a question that comes up ends it.

Source: PROTOCOL.md 3.4 to 3.6, 4.2 (A2 x B3; A1 x B3).
"""

import asyncio
import itertools
import uuid
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from proxy.core.elicitation import AnswerKind
from proxy.core.errors import InvalidInput, OurFault, SchemaRefused, SidecarError, TooManyWaits
from proxy.flows.client_questions import NO_WORDS, ClientLine, ClientQuestions
from proxy.flows.mcp_clients import McpClient, McpClients
from proxy.flows.parked_call import Defect
from proxy.flows.pause import Pause
from proxy.flows.up_sessions import MAX_CALLS, Caller, Put, UpCall, UpSession, UpSessions
from proxy.mcp.ask import Answered, CannotBeAsked, Question, Reply, UrlQuestion
from proxy.mcp.calling import Outgoing, ServerAsk
from proxy.mcp.correlation import write_cancelled
from proxy.mcp.inbound import Opening
from proxy.mcp.jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    Request,
    RequestId,
    Response,
    envelope_of,
)
from proxy.mcp.revisions import Era, counter_offer
from proxy.mcp.upward import outgoing_params, passes, reply_message, welcome
from proxy.ports import Clock, McpUpstream

SESSION_BYTES: Final = 16
"""Chance in the id of a session. Source: ours; PROTOCOL.md 1.5 wants it random."""

TAKE_BACK_S: Final = 1.0
"""Longest attempt to tell a client that it need not answer any more, seconds. Source: ours."""

_HAS_NO_WAY: Final = frozenset({INVALID_REQUEST, METHOD_NOT_FOUND})
"""Errors of a client that cannot be asked at all. Source: PROTOCOL.md 3.5."""

Edit = Callable[[str, bytes], bytes]
"""Gives the result of a method as its client gets it."""


@dataclass(slots=True, kw_only=True)
class EraUp:
    """All clients of the handshake era before one server of the envelope era."""

    upstream: McpUpstream
    questions: ClientQuestions
    clients: McpClients
    """Where every session is known by its id, so that the wait tool is served in it."""
    clock: Clock
    begin: Callable[[Coroutine[object, object, None], str], "asyncio.Task[None]"]
    """Start work that goes on when its caller has left."""
    defect: Defect
    edit: Edit
    """What a result of this method becomes on its way."""
    park_s: float
    """How long a question waits for its answer, and a call goes on without its client."""
    max_parked: int
    """Calls of one principal that may go on without their client."""
    sessions: UpSessions = field(default_factory=UpSessions)
    _parked: set[UpCall] = field(default_factory=set)
    _refs: Iterator[int] = field(default_factory=itertools.count)

    # Sessions

    async def open(self, opening: Opening, caller: Caller) -> tuple[UpSession, bytes]:
        """Answer a handshake: the new session, and the result of `initialize`.

        Raises:
            BridgeFault: the server does not say what it is.
            TooManyWaits: there are as many sessions as may be.
        """
        revision = counter_offer(opening.revision)
        modes = opening.modes & revision.modes
        asked = Outgoing(
            method="server/discover",
            headers=caller.headers,
            principal=caller.principal,
            modes=modes,
            client_name=opening.client_name,
        )
        result = welcome(await self.upstream.describe(Era.ENVELOPE, asked), revision)
        session = UpSession(
            id=self.questions.chance(SESSION_BYTES).hex(),
            principal=caller.principal,
            revision=revision,
            modes=modes,
            client_name=opening.client_name,
            used_at=self.clock.now(),
        )
        pushed_out = self.sessions.add(session)
        for ended in (*([pushed_out] if pushed_out else []), *self.sessions.idle(now=self.clock.now())):
            self._forget(ended)
        self._introduce(session)
        return session, result

    def session(self, session_id: str, caller: Caller) -> UpSession | None:
        """The session of this name, if it is the caller's and has not ended."""
        for ended in self.sessions.idle(now=self.clock.now()):
            self._forget(ended)
        session = self.sessions.get(session_id, caller.principal, now=self.clock.now())
        if session is not None and self.clients.get(session_id) is None:
            self._introduce(session)
        return session

    def _introduce(self, session: UpSession) -> None:
        known = McpClient(revision=session.revision, modes=session.modes, client_name=session.client_name)
        self.clients.opened(session.id, known)

    def end(self, session: UpSession) -> None:
        """The client has ended its session, and with it all that runs in it."""
        self.sessions.remove(session)
        for call in session.calls.values():
            call.is_cancelled = True
            call.give_up()
        self._forget(session)

    def _forget(self, session: UpSession) -> None:
        self.questions.close(session.seat)
        self.clients.closed(session.id)

    def take(self, session: UpSession, response: Response) -> None:
        """Take a response of the client; one that answers nothing of ours ends here, as nobody else can have asked."""
        self.questions.take(session.seat, response)

    # Calls

    def call(self, session: UpSession, request: Request, caller: Caller, write: Put) -> UpCall:
        """Begin a call; its notifications and questions go to `write`.

        Raises:
            InvalidInput: its parameters cannot be read, or its id is in use.
            TooManyWaits: as many calls of the session are under way as may be.
        """
        if request.id in session.calls:
            raise InvalidInput("expected an id that no other request under way has")
        if len(session.calls) >= MAX_CALLS:
            raise TooManyWaits(f"expected at most {MAX_CALLS} calls under way in one MCP session")
        modes = session.modes if caller.takes_stream else frozenset()
        outgoing = Outgoing(
            method=request.method,
            params=outgoing_params(request.params, level=session.level),
            headers=caller.headers,
            principal=caller.principal,
            modes=modes,
            client_name=session.client_name,
        )
        call = UpCall(session=session, request=request, modes=modes, write=write, pause=Pause(self.clock))
        session.calls[request.id] = call
        call.task = self.begin(self._run(call, outgoing), f"{request.method} of an older client")
        call.task.add_done_callback(partial(self._over, call))
        return call

    async def _run(self, call: UpCall, outgoing: Outgoing) -> None:
        async def ask(asked: ServerAsk) -> Reply:
            return await self._ask(call, asked)

        async def note(message: bytes) -> None:
            if passes(message):
                await call.put(message)

        try:
            response = await self.upstream.request(Era.ENVELOPE, outgoing, on_ask=ask, on_note=note)
            if response.result is not None:
                response = replace(response, result=self.edit(call.request.method, response.result))
            call.reply = reply_message(call.request, response)
        except SidecarError as error:
            call.error = error
        except Exception as error:  # noqa: BLE001  # boundary, see docs/decisions/0003-boundaries.md
            self.defect("era bridge", error)
            call.error = OurFault("the call met a defect of the sidecar")

    def _over(self, call: UpCall, _: "asyncio.Task[None]") -> None:
        del call.session.calls[call.request.id]
        call.session.used_at = self.clock.now()
        self._parked.discard(call)
        if call.limit is not None:
            call.limit.cancel()
        call.pause.end()

    @staticmethod
    def cancel(session: UpSession, request_id: RequestId) -> None:
        """The client no longer wants this response; without such a call nothing happens."""
        call = session.calls.get(request_id)
        if call is not None:
            call.is_cancelled = True
            call.give_up()

    def left(self, call: UpCall) -> None:
        """The client's connection is gone: the call goes on for `park_s`, or ends where too many do so already."""
        call.is_left = True
        if call.is_over:
            return
        principal = call.session.principal
        if sum(each.session.principal == principal for each in self._parked) >= self.max_parked:
            call.give_up()
            return
        self._parked.add(call)
        call.limit = self.clock.alarm(self.clock.now() + self.park_s, call.give_up)

    # Questions

    async def _ask(self, call: UpCall, asked: ServerAsk) -> Reply:
        session, ref = call.session, f"up:{next(self._refs)}"
        sent: list[bytes] = []

        async def put(message: bytes) -> bool:
            sent.append(message)
            return await call.put(message)

        line = ClientLine(
            seat=session.seat, call_id=call.request.id, revision=session.revision, modes=call.modes, write=put
        )
        until = self.clock.now() + self.park_s
        try:
            reply = await self.questions.ask(line, self._named(asked.question), ref=ref, until=until)
        except asyncio.CancelledError:
            await _take_back(call, sent)
            raise
        except SchemaRefused as error:
            return CannotBeAsked(INVALID_PARAMS, error.detail)
        finally:
            self.questions.settle(session.seat, ref)
        if reply is None and self.clock.now() < until:
            # Nobody can see the question, or we stop: that is no answer, and the server need not remember anything.
            call.give_up()
            await asyncio.sleep(0)
        return _judge(call, reply)

    def _named(self, question: Question) -> Question:
        """The question; a link gets the id that its revision wants. Source: PROTOCOL.md 1.3."""
        if not isinstance(question, UrlQuestion) or question.elicitation_id:
            return question
        return replace(question, elicitation_id=str(uuid.UUID(bytes=self.questions.chance(16), version=4)))


def _judge(call: UpCall, reply: Reply | None) -> Reply:
    """What the server gets to hear."""
    if reply is NO_WORDS:
        # Source: PROTOCOL.md 4.2, A1 x B2: so that the call proceeds.
        return Answered(AnswerKind.DECLINE)
    if reply is None:
        return Answered(AnswerKind.CANCEL)
    if isinstance(reply, CannotBeAsked) and reply.code in _HAS_NO_WAY:
        call.session.modes = call.modes = frozenset()
    return reply


async def _take_back(call: UpCall, sent: list[bytes]) -> None:
    """Tell the client that a question which is open on its stream is over, unless it was told."""
    envelope = envelope_of(sent[0]) if len(sent) == 1 else None
    if envelope is None or not isinstance(envelope.id, str):
        return
    try:
        async with asyncio.timeout(TAKE_BACK_S):
            await call.put(write_cancelled(envelope.id, "the call is over"))
    except TimeoutError:
        return  # it reads nothing any more
