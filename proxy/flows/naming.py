"""Which question an answer in the Bridge's log belongs to, and what the asker reads in its place.

The Bridge's note of an answer names the responder but neither the elicitation nor its asker. An answer that went
through this sidecar is known by its content. For the others the states of this asker's questions at the Bridge decide:
just one of them must be over in the way the note says, and no second note of that responder may compete for it, be it
in this batch or in one that follows. An answer that cannot be named is passed on as it is: better raw than lost, and
better raw than under the wrong name.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from proxy.core.bookkeeping import Note, NoteKind, answer_item, is_for_others, read_note
from proxy.core.elicitation import AnswerKind, BridgeStatus, Elicitation
from proxy.core.errors import BridgeFault
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import ITEMS_PER_REPLY, Message
from proxy.core.questions import QuestionBook
from proxy.core.secret import Secret
from proxy.core.sequences import SequenceMap
from proxy.ports import Bridge, Clock

MAX_NAMED: Final = 10_000
"""Most answers whose question is remembered, so that a repeated reading gives the same item. Source: ours."""

MAX_STATES: Final = 5
"""Most states asked of the Bridge for one batch, as each is a call on the asker's token. Source: ours."""

_ENDED: Final = {
    AnswerKind.ACCEPT: BridgeStatus.ACCEPTED,
    AnswerKind.DECLINE: BridgeStatus.DECLINED,
    AnswerKind.CANCEL: BridgeStatus.CANCELLED,
}
"""State at the Bridge of a question whose answer is noted in this way. Source: BRIDGE.md 2.5."""


class AnswerNames:
    """The answers of the log that were matched to their questions."""

    __slots__ = ("_book", "_bridge", "_clock", "_named", "_sequences")

    def __init__(self, book: QuestionBook, sequences: SequenceMap, bridge: Bridge, clock: Clock) -> None:
        self._book = book
        self._bridge = bridge
        self._clock = clock
        self._sequences = sequences
        self._named: dict[tuple[str, int], ElicitationId] = {}

    async def learn(
        self, agent_id: AgentId, batch: Sequence[Message], credential: Secret, *, spend: Callable[[], None]
    ) -> None:
        """Match the answers in a batch to questions that this agent asked; `spend` is called for each call upstream."""
        unnamed: list[tuple[Message, Note]] = []
        for message in batch:
            note = read_note(message)
            if note is None or is_for_others(note, agent_id) or self._key(agent_id, message) in self._named:
                continue
            exact = self._book.answered_with(agent_id, note.responding_agent, note.as_answer(ElicitationId("")))
            if exact is not None:
                self._remember(self._key(agent_id, message), exact)
            else:
                unnamed.append((message, note))
        if len(batch) < ITEMS_PER_REPLY:  # else there is more, and the note that belongs to the state may be in it
            await self._match_by_state(agent_id, unnamed, credential, spend)

    def _key(self, agent_id: AgentId, message: Message) -> tuple[str, int]:
        return agent_id, self._sequences.to_agent(message.sequence)

    async def _match_by_state(
        self, asker: AgentId, unnamed: list[tuple[Message, Note]], credential: Secret, spend: Callable[[], None]
    ) -> None:
        rivals = Counter((note.responding_agent, note.answer_kind) for _, note in unnamed)
        left = MAX_STATES
        for message, note in unnamed:
            asked = self._book.asked_of(asker, note.responding_agent)
            if rivals[note.responding_agent, note.answer_kind] > 1 or len(asked) > left:
                continue
            left -= len(asked)
            ended = await self._ended(asked, note.answer_kind, credential, spend)
            if len(ended) == 1:
                self._remember(self._key(asker, message), ended[0])

    async def _ended(
        self, asked: Iterable[Elicitation], kind: AnswerKind, credential: Secret, spend: Callable[[], None]
    ) -> list[ElicitationId]:
        """Which of these questions ended at the Bridge in this way; none when it cannot tell of each."""
        ended = []
        for question in asked:
            spend()
            try:
                status = await self._bridge.status(question.elicitation_id, credential)
            except BridgeFault:
                return []
            if status is _ENDED[kind]:
                ended.append(question.elicitation_id)
        return ended

    def _remember(self, key: tuple[str, int], elicitation_id: ElicitationId) -> None:
        while len(self._named) >= MAX_NAMED:
            del self._named[next(iter(self._named))]
        self._named[key] = elicitation_id
        self._book.passed_on(elicitation_id, now=self._clock.now())

    def translate(self, agent_id: AgentId, message: Message, body: bytes, *, sequence: int) -> bytes | None:
        """What an agent in the elicitation cohort reads for a message; None where it has nothing to read.

        `body` is the message under the agent's `sequence`.
        """
        note = read_note(message)
        if note is None:
            return body
        if is_for_others(note, agent_id):
            return None
        named = self._named.get((agent_id, sequence))
        if named is None or note.kind is not NoteKind.ANSWER:
            return body
        return answer_item(note, message, named, sequence=sequence)
