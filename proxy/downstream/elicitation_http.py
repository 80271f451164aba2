"""The doors of answers and questions: `POST /event/store`, `/elicitation/respond` and `/elicitation/create`.

A call is looked into only as far as it may concern a question; everything else is relayed as it came.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson
from aiohttp import web

from proxy.core.answers import (
    GivenAnswer,
    addressee_of,
    parse_respond,
    parse_stored_answer,
    responded_reply,
    stored_reply,
)
from proxy.core.asked_question import check_askable, read_asked
from proxy.core.elicitation import AnswerKind, parse_created
from proxy.core.errors import (
    AgentFault,
    AnswerUndelivered,
    BridgeFault,
    BridgeRefused,
    ElicitationExpired,
    InvalidInput,
    SidecarError,
)
from proxy.core.identity import Claims
from proxy.core.ids import ElicitationId
from proxy.core.limits import ANSWERS
from proxy.core.outcome import Door, Result, counted_as
from proxy.core.routing import Route, Way
from proxy.core.secret import Secret
from proxy.downstream.body import is_readable, read_body, read_judged, refuse_coded
from proxy.downstream.gate import CALLER
from proxy.downstream.relay import Relay
from proxy.downstream.relay_edit import Rewrite
from proxy.downstream.served import Draft, served
from proxy.downstream.store_reply import StoreReply
from proxy.flows.admission import Admission
from proxy.flows.feeds import Feeds
from proxy.flows.flags import FlagBoard
from proxy.flows.respond import Answers
from proxy.flows.send_replies import SendReplies
from proxy.flows.sends import Sends
from proxy.ports import Clock, Recorder

_NAMES = (b'"elicitation_id"', b'"in_reply_to"')


@dataclass(frozen=True, slots=True, kw_only=True)
class ElicitationDoors:
    """Takes answers, notices questions, relays the rest."""

    relay: Relay
    feeds: Feeds
    answers: Answers
    sends: Sends
    replies: SendReplies
    board: FlagBoard
    admission: Admission
    recorder: Recorder
    clock: Clock

    def is_judged(self, request: web.Request) -> bool:
        """Whether elicitation is in use at all; a call without credential is the Bridge's to refuse."""
        in_use = self.board.flags.elicitation_enabled or len(self.feeds.parts.book) or self.board.forced()
        return bool(in_use) and bool(request.headers.get("Authorization"))

    def may_concern_us(self, request: web.Request) -> bool:
        """The same for an event, which may be longer than any answer: then it is a message."""
        return self.is_judged(request) and is_readable(request)

    async def store(self, request: web.Request) -> web.StreamResponse:
        """An event to store: an answer to one of our questions, or a message to relay."""
        with served(request, Door.STORE, self.recorder, self.clock) as draft:
            reply = StoreReply(self.feeds.parts.sequences)
            if not self.may_concern_us(request):
                return await self._relay(request, draft, rewrite=reply.rewrite())
            refuse_coded(request)
            body = await read_body(request)  # what only others can read is a message, as nobody else takes answers here
            given = await self._answered(request, draft, body) if any(name in body for name in _NAMES) else None
            if given is None:
                return await self._send(request, draft, body, reply)
            place = self.feeds.place_of(given.agent_id)
            timestamp_ns = int(self.clock.wall() * 1e9)
            return _json(draft, stored_reply(given.answer, sequence=place, timestamp_ns=timestamp_ns))

    async def _answered(self, request: web.Request, draft: Draft, body: bytes) -> GivenAnswer | None:
        """Take the answer in an event; None where it is a message."""
        given = self._read(body, parse_stored_answer)
        if given is not None and await self._is_ours(request, given, named=_named_in(body)):
            try:
                await self._take(request, given)
                await self._give(request, draft, given)
            except ElicitationExpired:
                # What was asked by a message may be answered by one, however late.
                if not await self.replies.hand_over(given, _credential(request)):
                    raise
                draft.result = Result.ANSWERED
            return given
        if given is not None and await self.replies.hand_over(given, _credential(request)):
            draft.agent_id, draft.result = given.agent_id, Result.ANSWERED
            return given
        meant = await self.replies.meant(body, _credential(request))
        if meant is None:
            return None
        await self._take(request, meant)
        try:
            taken = await self.answers.give(meant, _credential(request))
        except AgentFault:  # no answer that the question takes: what its sender wrote is a message
            return None
        except AnswerUndelivered:
            if self.feeds.parts.book.doubted(meant.answer.elicitation_id) is not None:
                raise  # it may have arrived
            return None
        draft.agent_id, draft.result = meant.agent_id, Result.ANSWERED
        draft.elicitations.append(taken.outcome)
        return meant

    async def _send(self, request: web.Request, draft: Draft, body: bytes, reply: StoreReply) -> web.StreamResponse:
        """Relay an event; its addressee hears of it at once, as a question where it asks one."""
        arriving = await self.sends.arrived(body, _credential(request), request.get(CALLER))

        def note(told: bytes) -> None:
            if arriving is not None:  # which is known by the Bridge's own number
                self.sends.stored(arriving, told if reply.came is None else reply.came)
            addressee = addressee_of(body)
            if addressee is not None:
                self.feeds.message_stored(addressee)

        try:
            return await self._relay(request, draft, body=body, on_taken=note, rewrite=reply.rewrite())
        finally:
            if arriving is not None:
                self.sends.gone(arriving)

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """The Bridge's own respond call."""
        with served(request, Door.RESPOND, self.recorder, self.clock) as draft:
            if not self.is_judged(request):
                return await self._relay(request, draft)
            return await self.respond_with(request, draft, await read_judged(request))

    async def respond_with(self, request: web.Request, draft: Draft, body: bytes) -> web.StreamResponse:
        """The same with a body that was read already."""
        given = self._read(body, parse_respond)
        if given is None or self._is_askers_cancel(given) or not await self._is_ours(request, given, named=()):
            return await self._relay(request, draft, body=body)
        await self._give(request, draft, given)
        return _json(draft, responded_reply(given.answer))

    async def create(self, request: web.Request) -> web.StreamResponse:
        """A question being asked: relayed, and handed at once to whoever waits for it here.

        One that is going to be put by a sidecar has to be answerable; see `proxy.core.asked_question`.
        """
        with served(request, Door.CREATE, self.recorder, self.clock) as draft:
            if not self.is_judged(request):
                return await self._relay(request, draft)
            body = await read_judged(request)
            asked = read_asked(body)
            if asked is not None and self.board.decide(asked.to_agent, Way.OPEN).route is Route.ELICITATION:
                check_askable(asked.schema)

            def note(reply: bytes) -> None:
                created = parse_created(body, reply, now=self.clock.wall())
                if created is not None:
                    self.feeds.question_seen(created)

            return await self._relay(request, draft, body=body, on_taken=note)

    def _read(self, body: bytes, parse: Callable[[bytes], GivenAnswer | None]) -> GivenAnswer | None:
        """The answer in a body, None when it holds none.

        Raises:
            InvalidInput: it names a question that we know, but cannot be read; any other is not ours to judge.
        """
        try:
            return parse(body)
        except InvalidInput:
            if any(self.answers.knows(ElicitationId(name)) for name in _named_in(body)):
                raise
            return None

    def _is_askers_cancel(self, given: GivenAnswer) -> bool:
        """Whether the asker withdraws its question, which is between it and the Bridge."""
        question = self.feeds.parts.book.get(given.answer.elicitation_id)
        return (
            given.answer.kind is AnswerKind.CANCEL
            and question is not None
            and question.from_agent == given.agent_id != question.to_agent
        )

    async def _is_ours(self, request: web.Request, given: GivenAnswer, *, named: Sequence[str]) -> bool:
        """Whether the answer belongs to a question of the elicitation way; asks the Bridge if it must.

        `named` are the elicitations that a message names, which as a message would answer none of them.

        Raises:
            AnswerUndelivered: it names one, and the Bridge cannot tell now whether that is a question.
        """
        if self.answers.knows(given.answer.elicitation_id):
            return True
        if self.board.decide(given.agent_id, Way.OPEN).route is not Route.ELICITATION:
            return False  # its question is named by a number where it is on the legacy way; see `SendReplies`
        try:
            return await self.answers.look_up(given, _credential(request))
        except BridgeRefused as refusal:
            if given.answer.elicitation_id not in named or refusal.bridge_status < 500:
                return False  # the Bridge has its own words for it
            raise _cannot_tell(given) from refusal
        except BridgeFault as fault:
            if given.answer.elicitation_id not in named:
                return False  # it cannot be told now: the legacy way is always right
            raise _cannot_tell(given) from fault

    async def _take(self, request: web.Request, given: GivenAnswer) -> None:
        """Take a stored answer from what its agent is granted; it stays an answer where that is used up.

        Raises:
            RateLimited: it is used up.
        """
        spender = self.admission.spender(request.get(CALLER), Claims((given.agent_id,)))
        await self.admission.take([ANSWERS], spender)

    async def _give(self, request: web.Request, draft: Draft, given: GivenAnswer) -> None:
        draft.agent_id = given.agent_id
        try:
            taken = await self.answers.give(given, _credential(request))
        except SidecarError as error:
            draft.elicitations.append(counted_as(error))
            raise
        draft.result = Result.ANSWERED
        draft.elicitations.append(taken.outcome)

    async def _relay(
        self,
        request: web.Request,
        draft: Draft,
        *,
        body: bytes | None = None,
        on_taken: Callable[[bytes], None] | None = None,
        rewrite: Rewrite | None = None,
    ) -> web.StreamResponse:
        def note(status: int, reply: bytes) -> None:
            if status == 200 and on_taken is not None:
                on_taken(reply)

        on_reply = note if on_taken else None
        response = await self.relay.relay(request, body=body, on_reply=on_reply, rewrite=rewrite)
        draft.status = response.status
        return response


def _credential(request: web.Request) -> Secret:
    return Secret(request.headers["Authorization"])


def _cannot_tell(given: GivenAnswer) -> AnswerUndelivered:
    return AnswerUndelivered(
        f"the Bridge cannot tell now whether {given.answer.elicitation_id} is a question; send the answer again",
        retry_after_s=1,
    )


def _named_in(body: bytes) -> list[str]:
    """Every elicitation that a JSON object may mean, at its top or in its `data`."""
    call = orjson.loads(body)
    places = [place for place in (call, call.get("data")) if isinstance(place, dict)]
    return [place["elicitation_id"] for place in places if isinstance(place.get("elicitation_id"), str)]


def _json(draft: Draft, body: bytes) -> web.Response:
    draft.status = 200
    return web.Response(body=body, content_type="application/json")
