"""Pass an answer on to the Bridge, once.

Who may answer, whether it is in time and whether it fits the schema is decided here, because the Bridge checks
little of it. The first answer is claimed before it goes up; what became of it at an unclear outcome is asked of
the Bridge before it is sent a second time.

Source: ARCHITECTURE.md 2.3; BRIDGE.md 2.5.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from proxy.core.answers import GivenAnswer
from proxy.core.elicitation import Answer, AnswerKind, BridgeStatus, Elicitation
from proxy.core.errors import (
    AnswerConflict,
    AnswerInvalid,
    AnswerUndelivered,
    BridgeFault,
    BridgeRefused,
    ElicitationExpired,
    ElicitationUnknown,
    SidecarError,
    TokenRefused,
)
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.outcome import ElicitationOutcome
from proxy.core.questions import Claim
from proxy.core.schemas import compile_schema
from proxy.core.secret import Secret
from proxy.flows.credential import TOKEN_REFUSED
from proxy.flows.feeds import Feeds

_TAKEN: Final = {
    AnswerKind.ACCEPT: frozenset({BridgeStatus.ACCEPTED}),
    AnswerKind.DECLINE: frozenset({BridgeStatus.DECLINED}),
    AnswerKind.CANCEL: frozenset({BridgeStatus.DECLINED, BridgeStatus.CANCELLED}),
}
"""State at the Bridge after an answer was taken; the addressee's cancel travels as a decline."""

_OUTCOME: Final = {
    AnswerKind.ACCEPT: ElicitationOutcome.ACCEPTED,
    AnswerKind.DECLINE: ElicitationOutcome.DECLINED,
    AnswerKind.CANCEL: ElicitationOutcome.CANCELLED,
}

MAX_DOUBTFUL: Final = 10_000
"""Most answers of unknown outcome that are remembered. Source: ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerTaken:
    """An answer that stands: what happened to it, and the question it belongs to."""

    outcome: ElicitationOutcome
    question: Elicitation


class Answers:
    """Takes answers of this sidecar's agents."""

    __slots__ = ("_doubtful", "_feeds", "_in_flight")

    def __init__(self, feeds: Feeds) -> None:
        self._feeds = feeds
        self._in_flight: dict[ElicitationId, asyncio.Event] = {}
        self._doubtful: dict[ElicitationId, bytes] = {}

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
        """Take one answer.

        Raises:
            ElicitationUnknown, AnswerForbidden, AnswerInvalid, SchemaRefused, AnswerConflict, ElicitationExpired,
            InvalidInput: the agent's mistake.
            TokenRefused: the Bridge does not accept the agent's token; the question stays open.
            AnswerUndelivered: the Bridge did not take it; the question stays open.
        """
        parts, answer = self._feeds.parts, given.answer
        question = parts.book.get(answer.elicitation_id)
        if question is None:
            raise ElicitationUnknown(f"elicitation {answer.elicitation_id} is not known here")
        while True:
            claim = parts.book.claim(answer, given.agent_id, wall=parts.clock.wall())
            if claim is not Claim.WAIT:
                break
            await self._in_flight[answer.elicitation_id].wait()
        if claim is Claim.REPEAT:
            return AnswerTaken(outcome=ElicitationOutcome.DUPLICATE, question=question)
        landed = False
        self._in_flight[answer.elicitation_id] = asyncio.Event()
        try:
            _check(given, question)
            await self._send(given, credential)
            landed = True
        finally:
            if landed:
                parts.book.settle(answer.elicitation_id, now=parts.clock.now())
                self._doubtful.pop(answer.elicitation_id, None)
            else:
                parts.book.release(answer.elicitation_id)
            self._in_flight.pop(answer.elicitation_id).set()
        self._feeds.message_stored(question.from_agent)
        return AnswerTaken(outcome=_OUTCOME[answer.kind], question=question)

    async def _send(self, given: GivenAnswer, credential: Secret) -> None:
        """One answer upstream; a second try only after the Bridge said that the first did not arrive."""
        secret = self._secret_for(given.agent_id, credential)
        if await self._failed(given, secret) is None:
            return
        fault = await self._failed(given, secret)
        if fault is not None:
            raise _undelivered(given, fault) from fault

    async def _failed(self, given: GivenAnswer, secret: Secret) -> BridgeFault | None:
        """Send the answer; None when it stands, else the fault after which it may be sent again."""
        is_first = given.answer.elicitation_id not in self._doubtful
        suspect = self._suspect(given.answer)
        try:
            await self._feeds.parts.bridge.respond(given.answer, given.agent_id, secret)
        except BridgeFault as fault:
            if isinstance(fault, BridgeRefused) and fault.bridge_status in TOKEN_REFUSED:
                if is_first:  # the Bridge has not read it; an earlier one may still have arrived
                    del self._doubtful[given.answer.elicitation_id]
                raise TokenRefused("the Bridge does not accept the token of this call; open a new session") from fault
            status = await self._status_after(given, secret, fault)
            if status in _TAKEN[given.answer.kind] and suspect == given.answer.digest():
                return None
            if status is not BridgeStatus.PENDING:
                raise _over(given, status, fault) from fault
            del self._doubtful[given.answer.elicitation_id]
            if isinstance(fault, BridgeRefused) and fault.bridge_status < 500:
                raise _undelivered(given, fault) from fault
            return fault
        return None

    def _suspect(self, answer: Answer) -> bytes:
        """Digest of the answer that may have reached the Bridge already: an earlier one of unknown outcome, or this."""
        while len(self._doubtful) >= MAX_DOUBTFUL:
            del self._doubtful[next(iter(self._doubtful))]
        return self._doubtful.setdefault(answer.elicitation_id, answer.digest())

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


def _check(given: GivenAnswer, question: Elicitation) -> None:
    if given.answer.kind is not AnswerKind.ACCEPT:
        return
    content = given.answer.content or {}
    mismatch = compile_schema(question.schema).check(content)
    if mismatch is not None:
        raise AnswerInvalid(f"{mismatch.path}: expected {mismatch.expected}, got {mismatch.got}", path=mismatch.path)


def _over(given: GivenAnswer, status: BridgeStatus | None, fault: BridgeFault) -> SidecarError:
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
