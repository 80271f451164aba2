"""Pass an answer on to the Bridge, once.

Who may answer, whether it is in time and whether it fits the schema is decided here, because the Bridge checks
little of it. The first answer is claimed before it goes up, and goes up whatever becomes of the call that gave it;
what became of it at an unclear outcome is asked of the Bridge before it is sent a second time. Only an answer that
broke off on the way may have arrived unseen; one that the Bridge has refused has not.

Source: ARCHITECTURE.md 2.3; BRIDGE.md 2.5.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from proxy.core.answers import GivenAnswer
from proxy.core.bridge_token import is_not_the_speakers, issued_to
from proxy.core.claim import Claim
from proxy.core.elicitation import Answer, AnswerKind, BridgeStatus, Elicitation
from proxy.core.errors import (
    AgentFault,
    AnswerConflict,
    AnswerForbidden,
    AnswerInvalid,
    AnswerUndelivered,
    BridgeFault,
    BridgeRefused,
    BridgeUnavailable,
    ElicitationExpired,
    ElicitationUnknown,
    OurFault,
    SidecarError,
    TokenRefused,
)
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.outcome import ElicitationOutcome
from proxy.core.schemas import compile_schema
from proxy.core.secret import Secret
from proxy.core.send_replies import sealed
from proxy.flows.credential import TOKEN_REFUSED
from proxy.flows.feeds import Feeds

_TAKEN: Final = {
    AnswerKind.ACCEPT: frozenset({BridgeStatus.ACCEPTED}),
    AnswerKind.DECLINE: frozenset({BridgeStatus.DECLINED}),
    AnswerKind.CANCEL: frozenset({BridgeStatus.DECLINED, BridgeStatus.CANCELLED}),
}
"""State at the Bridge after an answer was taken; the addressee's cancel travels as a decline."""

OF_A_GATEWAY: Final = frozenset({502, 504})
"""Said by something in front of the Bridge, which may have taken the answer. Source: RFC 9110 15.6.3 and 15.6.5."""

_OUTCOME: Final = {
    AnswerKind.ACCEPT: ElicitationOutcome.ACCEPTED,
    AnswerKind.DECLINE: ElicitationOutcome.DECLINED,
    AnswerKind.CANCEL: ElicitationOutcome.CANCELLED,
}


Tell = Callable[[Elicitation, Answer, Secret], Awaitable[None]]
"""Bring an answer to whoever asked, with the answering agent's token; it raises nothing."""


async def tell_nobody(_question: Elicitation, _answer: Answer, _credential: Secret) -> None:
    """The asker reads the Bridge's note of the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerTaken:
    """An answer that stands: what happened to it, and the question it belongs to."""

    outcome: ElicitationOutcome
    question: Elicitation


@dataclass(slots=True)
class _Ended:
    """How the sending of an answer ended."""

    error: SidecarError | None = None


class Answers:
    """Takes answers of this sidecar's agents."""

    __slots__ = ("_feeds", "_in_flight", "_tell")

    def __init__(self, feeds: Feeds, tell: Tell = tell_nobody) -> None:
        """`tell` hears of each answer that the Bridge has taken, before it counts as settled."""
        self._feeds = feeds
        self._tell = tell
        self._in_flight: dict[ElicitationId, asyncio.Task[None]] = {}

    def knows(self, elicitation_id: ElicitationId) -> bool:
        """Whether the question is in the book."""
        return self._feeds.parts.book.get(elicitation_id) is not None

    async def look_up(self, given: GivenAnswer, credential: Secret) -> bool:
        """Ask the Bridge for a question that is not in the book; True when it is there now.

        Raises:
            BridgeFault: the Bridge could not tell.
        """
        if not self.knows(given.answer.elicitation_id):
            for elicitation in await self._feeds.parts.bridge.pending(given.agent_id, credential):
                self._feeds.question_created(elicitation)
        return self.knows(given.answer.elicitation_id)

    async def give(self, given: GivenAnswer, credential: Secret) -> AnswerTaken:
        """Take one answer; once it is on its way, it goes on even when the caller is cancelled.

        Raises:
            ElicitationUnknown, AnswerForbidden, AnswerInvalid, SchemaRefused, AnswerConflict, ElicitationExpired,
            InvalidInput: the agent's mistake.
            TokenRefused: the Bridge does not accept the agent's token; the question stays open.
            AnswerUndelivered: the Bridge did not take it; the question stays open.
        """
        parts, answer = self._feeds.parts, given.answer
        question_id = answer.elicitation_id
        question = parts.book.get(question_id)
        if question is None:
            raise ElicitationUnknown(f"elicitation {question_id} is not known here")
        if not await self._claimed(given):
            return AnswerTaken(outcome=ElicitationOutcome.DUPLICATE, question=question)
        ended = _Ended()
        sending = parts.errands.begin(self._deliver(given, credential, question, ended), f"answer to {question_id}")
        self._in_flight[question_id] = sending
        await _over(sending)
        if ended.error is not None:
            raise ended.error
        return AnswerTaken(outcome=_OUTCOME[answer.kind], question=question)

    async def _claimed(self, given: GivenAnswer) -> bool:
        """Claim the question for this answer; False when the same answer stands already."""
        parts = self._feeds.parts
        while True:
            claim = parts.book.claim(given.answer, given.agent_id, wall=parts.clock.wall())
            if claim is not Claim.WAIT:
                return claim is Claim.SEND
            await _over(self._in_flight[given.answer.elicitation_id])

    async def _deliver(self, given: GivenAnswer, credential: Secret, question: Elicitation, ended: _Ended) -> None:
        """Bring a claimed answer to its end, which is on record whatever becomes of the call that gave it."""
        parts, question_id = self._feeds.parts, question.elicitation_id
        landed = False
        try:
            _check(given, question)
            # From here on a crash leaves on record which answer may have arrived.
            await parts.synced()
            await self._send(given, credential)
            if question.made_from is not None:
                # Whoever answers again after a crash here is known by this, and tells the sender once more.
                self._doubt(given.answer)
                await self._tell(question, given.answer, self._secret_for(given.agent_id, credential))
            landed = True
        except SidecarError as error:
            ended.error = error
        except Exception as error:  # noqa: BLE001  # boundary, see docs/decisions/0003-boundaries.md
            parts.recorder.defect("answer", error)
            ended.error = OurFault(f"the answer to {question_id} met a defect of the sidecar")
        finally:
            if landed:
                parts.book.settle(question_id, now=parts.clock.now())
            else:
                parts.book.release(question_id)
            del self._in_flight[question_id]
        if landed:
            self._feeds.message_stored(question.from_agent)

    async def _send(self, given: GivenAnswer, credential: Secret) -> None:
        """One answer upstream; a second try only after the Bridge said that the question is still open."""
        secret = self._secret_for(given.agent_id, credential)
        if self._feeds.parts.book.doubted(given.answer.elicitation_id) is not None and await self._stands(
            given, secret, BridgeUnavailable("whether an earlier answer has arrived is not known")
        ):
            return
        if await self._failed(given, secret) is None:
            return
        fault = await self._failed(given, secret)
        if fault is not None:
            raise _undelivered(given, fault) from fault

    async def _failed(self, given: GivenAnswer, secret: Secret) -> BridgeFault | None:
        """Send the answer; None when it stands, else the fault after which it may be sent again."""
        try:
            question = self._feeds.parts.book.get(given.answer.elicitation_id)
            answer = given.answer if question is None else sealed(given.answer, question)
            await self._feeds.parts.bridge.respond(answer, given.agent_id, secret)
        except BridgeRefused as refusal:  # it was read and not taken: only an earlier try may have arrived
            wrong_token = _wrong_token(refusal, given.agent_id, secret)
            if wrong_token is not None:
                raise wrong_token from refusal
            if refusal.bridge_status in OF_A_GATEWAY:
                self._doubt(given.answer)
            if await self._stands(given, secret, refusal):
                return None
            if refusal.bridge_status < 500:
                raise _undelivered(given, refusal) from refusal
            return refusal
        except asyncio.CancelledError:
            self._doubt(given.answer)
            raise
        except BridgeFault as fault:
            self._doubt(given.answer)
            return None if await self._stands(given, secret, fault) else fault
        return None

    def _doubt(self, answer: Answer) -> None:
        """The answer may have reached the Bridge, now or any moment."""
        self._feeds.parts.book.doubt(answer.elicitation_id, answer.digest())

    async def _stands(self, given: GivenAnswer, secret: Secret, fault: BridgeFault) -> bool:
        """Whether the question is over by this very answer; False when it is still open.

        Raises:
            AnswerConflict, ElicitationExpired: it is over in another way, or may be.
            AnswerUndelivered: the Bridge cannot tell.
        """
        status = await self._status_after(given, secret, fault)
        if status is BridgeStatus.PENDING:
            return False
        is_suspect = self._feeds.parts.book.doubted(given.answer.elicitation_id) == given.answer.digest()
        if is_suspect and status in _TAKEN[given.answer.kind]:
            return True
        raise _over_otherwise(given, status, fault) from fault

    async def _status_after(self, given: GivenAnswer, secret: Secret, fault: BridgeFault) -> BridgeStatus | None:
        try:
            return await self._feeds.parts.bridge.status(given.answer.elicitation_id, secret)
        except BridgeFault as unclear:
            raise _undelivered(given, fault) from unclear

    def _secret_for(self, agent_id: AgentId, credential: Secret) -> Secret:
        """The agent's token, or the one that took its place after a restart of the Bridge."""
        fingerprint = credential.fingerprint()
        for feed in self._feeds.of(agent_id):
            if feed.access.stands_for(fingerprint):
                return feed.access.secret
        return credential


async def _over(sending: "asyncio.Task[None]") -> None:
    """Wait for the end of a sending, which goes on when this wait is cancelled.

    Raises:
        AnswerUndelivered: it was given up.
    """
    await asyncio.wait({sending})
    if sending.cancelled():
        raise AnswerUndelivered("the sidecar stops; whether the answer has arrived is not known", retry_after_s=1)


def _check(given: GivenAnswer, question: Elicitation) -> None:
    if given.answer.kind is not AnswerKind.ACCEPT:
        return
    content = given.answer.content or {}
    mismatch = compile_schema(question.schema).check(content)
    if mismatch is not None:
        raise AnswerInvalid(f"{mismatch.path}: expected {mismatch.expected}, got {mismatch.got}", path=mismatch.path)


def _wrong_token(refusal: BridgeRefused, agent_id: AgentId, secret: Secret) -> AgentFault | None:
    """The agent's mistake where the Bridge refuses its token, or refuses it for this agent."""
    is_not_its_own = is_not_the_speakers(refusal.bridge_status, refusal.body)
    if is_not_its_own and issued_to(secret) not in {None, agent_id}:
        return AnswerForbidden(f"the token of this call is not {agent_id}'s; answer with a token of {agent_id}'s own")
    if is_not_its_own or refusal.bridge_status in TOKEN_REFUSED:
        return TokenRefused(f"the Bridge does not accept the token of this call for {agent_id}; open a new session")
    return None


def _over_otherwise(given: GivenAnswer, status: BridgeStatus | None, fault: BridgeFault) -> SidecarError:
    """The error of an answer whose question the Bridge has ended in another way."""
    elicitation_id = given.answer.elicitation_id
    if status is None:
        return _undelivered(given, fault)
    if status is BridgeStatus.EXPIRED:
        return ElicitationExpired(f"elicitation {elicitation_id} expired at the Bridge")
    return AnswerConflict(f"elicitation {elicitation_id} is {status.value} at the Bridge already, not by this answer")


def _undelivered(given: GivenAnswer, fault: BridgeFault) -> AnswerUndelivered:
    said = fault.body[:200].decode("utf-8", "replace") if isinstance(fault, BridgeRefused) else fault.detail
    return AnswerUndelivered(
        f"the Bridge did not take the answer to {given.answer.elicitation_id}: {said}", retry_after_s=1
    )
