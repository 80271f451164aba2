"""Which question an answer in the Bridge's log belongs to, and what the asker reads in its place.

The Bridge's note of an answer names the responder but not the elicitation. What this sidecar saw being asked or
answered settles it; where several questions to the same agent are open, their states at the Bridge do. An answer
that cannot be named is passed on as it is: better raw than lost.
"""

from collections.abc import Iterable
from typing import Final

from proxy.core.bookkeeping import Note, NoteKind, answer_item, is_for_others, read_note
from proxy.core.elicitation import BridgeStatus
from proxy.core.errors import BridgeFault
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import Message
from proxy.core.questions import QuestionBook
from proxy.core.secret import Secret
from proxy.core.sequences import SequenceMap
from proxy.ports import Bridge, Clock

MAX_NAMED: Final = 10_000
"""Most answers whose question is remembered, so that a repeated reading gives the same item. Source: ours."""


class AnswerNames:
    """The answers of the log that were matched to their questions."""

    __slots__ = ("_book", "_bridge", "_clock", "_named", "_sequences")

    def __init__(self, book: QuestionBook, sequences: SequenceMap, bridge: Bridge, clock: Clock) -> None:
        self._book = book
        self._bridge = bridge
        self._clock = clock
        self._sequences = sequences
        self._named: dict[tuple[str, int], ElicitationId] = {}

    async def learn(self, agent_id: AgentId, batch: Iterable[Message], credential: Secret) -> None:
        """Match the answers in a batch to questions that this agent asked."""
        for message in batch:
            note = read_note(message)
            if note is None or is_for_others(note, agent_id):
                continue
            key = (agent_id, self._sequences.to_agent(message.sequence))
            if key in self._named:
                continue
            named = await self._match(agent_id, note, credential)
            if named is not None:
                self._remember(key, named)

    async def _match(self, asker: AgentId, note: Note, credential: Secret) -> ElicitationId | None:
        exact = self._book.answered_with(asker, note.responding_agent, note.as_answer(ElicitationId("")))
        if exact is not None:
            return exact
        asked = self._book.asked_of(asker, note.responding_agent)
        if len(asked) < 2:
            return asked[0].elicitation_id if asked else None
        over = []
        for question in asked:
            try:
                status = await self._bridge.status(question.elicitation_id, credential)
            except BridgeFault:
                return None
            if status in {BridgeStatus.ACCEPTED, BridgeStatus.DECLINED, BridgeStatus.CANCELLED}:
                over.append(question.elicitation_id)
        return over[0] if len(over) == 1 else None

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
