"""What agents do with questions that travel over the bus, as their own Bridge cannot: ask, look, answer, take back."""

from proxy.core.answers import GivenAnswer
from proxy.core.bus import Ask
from proxy.core.elicitation import AnswerKind, BridgeStatus, Elicitation
from proxy.core.errors import BridgeFault, ElicitationUnknown
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.outcome import ElicitationOutcome
from proxy.core.secret import Secret
from proxy.flows.feeds import Feeds
from proxy.flows.respond import Answers
from proxy.ports import QuestionBus


class BusQuestions:
    """The agents' side of a QuestionBus."""

    __slots__ = ("_answers", "_bus", "_feeds")

    def __init__(self, bus: QuestionBus, feeds: Feeds, answers: Answers) -> None:
        self._bus = bus
        self._feeds = feeds
        self._answers = answers

    async def takes_new(self, credential: Secret) -> bool:
        """Whether a question asked now travels over the bus; where it cannot be told, the Bridge shall answer."""
        try:
            return await self._bus.carries(credential)
        except BridgeFault:
            return False

    async def is_in_use(self, credential: Secret) -> bool:
        """Whether questions travel over the bus, or some that did are still open."""
        return await self.takes_new(credential) or self._bus.has_open()

    async def ask(self, ask: Ask, credential: Secret) -> Elicitation:
        """Put a question, and hand it at once to whoever waits for it here.

        Raises:
            InvalidInput, AnswerForbidden: the asker's mistake.
            TooManyQuestions: as many are open as may be.
            BridgeFault: it could not be stored, or may not have been.
        """
        question = await self._bus.ask(ask, credential)
        self._feeds.question_seen(question)
        return question

    async def listed(self, agent_id: AgentId, credential: Secret) -> tuple[Elicitation, ...]:
        """The open questions to one agent, whichever way they came.

        Raises:
            BridgeFault: the Bridge could not be asked.
        """
        return await self._feeds.parts.bridge.pending(agent_id, credential)

    async def standing(self, elicitation_id: ElicitationId, credential: Secret) -> tuple[Elicitation, BridgeStatus]:
        """One question and its state.

        Raises:
            ElicitationUnknown: there is no such question.
            BridgeFault: the Bridge could not be asked.
        """
        status = await self._feeds.parts.bridge.status(elicitation_id, credential)
        question = None if status is None else await self._bus.find(elicitation_id, credential)
        if question is None or status is None:
            raise ElicitationUnknown("Elicitation not found")
        return question, status

    async def answer(self, given: GivenAnswer, credential: Secret) -> ElicitationOutcome:
        """Take the addressee's answer, or the asker's cancel; what became of the question.

        Raises:
            SidecarError: as `Answers.give` does.
            BridgeFault: the question could not be looked for, or is no longer the asker's to cancel.
        """
        named = given.answer.elicitation_id
        question = self._feeds.parts.book.get(named) or await self._bus.find(named, credential)
        is_asker = question is not None and question.from_agent == given.agent_id != question.to_agent
        if is_asker and given.answer.kind is AnswerKind.CANCEL:
            await self._bus.withdraw(named, given.agent_id, credential)
            self._feeds.parts.book.withdraw(named)
            return ElicitationOutcome.CANCELLED
        await self._answers.look_up(given, credential)
        return (await self._answers.give(given, credential)).outcome
