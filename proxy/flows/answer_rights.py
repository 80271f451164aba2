"""Lets an answer pass in front of the Bridge only where it comes from the agent that the question was put to.

Whom a question was put to is known where its creation passed here. Else the Bridge is asked what waits for the agent
that answers, with that agent's own token: what is not there is not its own to answer. Only a Bridge that has no
elicitations is asked nothing, and a message that merely speaks of a question may pass where the Bridge knows of none.
"""

from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from proxy.core.answer_rights import GivenTo, Parties
from proxy.core.bus import is_bus_id
from proxy.core.elicitation import Elicitation
from proxy.core.errors import BridgeFault, BridgeRefused
from proxy.core.identity import Foul, Identity, Impersonation
from proxy.core.ids import ElicitationId
from proxy.core.secret import Secret
from proxy.flows.admission import Admission
from proxy.ports import Bridge

_HAS_NO_SUCH_CALL: Final = frozenset({404, 405})
"""With these a Bridge says that it has no elicitations. Source: RFC 9110 15.5.5 and 15.5.6."""

_NONE_YET: Final = b"not initialized"
"""What a Bridge says, with status 503, that has had no question yet. Source: BRIDGE.md 2.5."""


@dataclass(slots=True)
class _Case:
    """One call that answers, while it is judged."""

    given: GivenTo
    caller: Identity
    credential: Secret | None
    has_questions: bool | None = None
    """Whether the Bridge has questions for anybody; None before it was asked."""


class AnswerRights:
    """Judges the answers of one listener."""

    __slots__ = ("_admission", "_bridge", "_parties")

    def __init__(self, admission: Admission, bridge: Bridge) -> None:
        """`bridge` is the Bridge's own elicitation, whatever else carries questions."""
        self._admission = admission
        self._bridge = bridge
        self._parties = Parties()

    @property
    def is_asked(self) -> bool:
        """Whether answers are judged at all."""
        return self._admission.rules.identity != "off"

    def noted(self, question: Elicitation) -> None:
        """Remember a question that was put."""
        asker, addressee = question.from_agent, question.to_agent
        self._parties.note(question.elicitation_id, asker=asker, addressee=addressee)

    async def check(self, given: GivenTo, caller: Identity | None, credential: Secret | None) -> None:
        """Judge one call that answers; who names nobody has been judged for that.

        Raises:
            ImpersonationRefused: it answers a question that was put to another.
            BridgeFault: whose question it is cannot be told, and identities are enforced.
        """
        if caller is None or not self.is_asked:
            return
        if self._admission.rules.identity == "enforce":
            await self._check(given, caller, credential)
            return
        with suppress(BridgeFault):  # what cannot be told is not counted
            await self._check(given, caller, credential)

    async def _check(self, given: GivenTo, caller: Identity, credential: Secret | None) -> None:
        foreign = Impersonation(Foul.ANSWER, "")
        if given.is_too_much:
            self._admission.refuse_impersonation(foreign, caller)
        case = _Case(given, caller, credential)
        for each in given.question_ids:
            if not await self._may(ElicitationId(each), case):
                self._admission.refuse_impersonation(foreign, caller)

    async def _may(self, question_id: ElicitationId, case: _Case) -> bool:
        given, agent_id = case.given, case.caller.agent_id
        known = self._parties.may_answer(question_id, agent_id, is_cancel=given.is_cancel)
        if known is not None:
            return known
        if not given.is_answer and is_bus_id(question_id):
            return True  # it travels as an event, which is signed inside
        if case.credential is None:
            return False
        if case.has_questions is None:
            case.has_questions = await self._look_up(case, case.credential)
        if not case.has_questions or self._parties.may_answer(question_id, agent_id, is_cancel=False):
            return True
        # Who asked cannot be looked up; whether the caller did, the Bridge judges by itself. Source: BRIDGE.md 2.5.
        return given.is_cancel or (not given.is_answer and await self._is_none(question_id, case.credential))

    async def _look_up(self, case: _Case, credential: Secret) -> bool:
        """Note what waits for the caller, asked for once for all that its call answers; False: there are no questions.

        Raises:
            BridgeFault: it cannot be told.
        """
        try:
            for question in await self._bridge.pending(case.caller.agent_id, credential):
                self.noted(question)
        except BridgeRefused as refusal:
            if refusal.bridge_status in _HAS_NO_SUCH_CALL:
                return False
            raise
        return True

    async def _is_none(self, question_id: ElicitationId, credential: Secret) -> bool:
        """Whether the Bridge knows of no such question."""
        try:
            return await self._bridge.status(question_id, credential) is None
        except BridgeRefused as refusal:
            is_none_yet = refusal.bridge_status == HTTPStatus.SERVICE_UNAVAILABLE and _NONE_YET in refusal.body
            if is_none_yet or refusal.bridge_status in _HAS_NO_SUCH_CALL:
                return True
            raise
