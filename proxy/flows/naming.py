"""Which question an answer in the Bridge's log belongs to, and what the asker reads in its place.

The Bridge's note of an answer names the responder but neither the elicitation nor its asker, and anybody may write
one. Only an answer that went through this sidecar is known for sure, by its content, and read under its question's
name. Any other note is passed on as it is: better raw than lost, and better raw than under the wrong name.
"""

from collections.abc import Iterable
from typing import Final

from proxy.core.bookkeeping import answer_item, is_for_others, read_note
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import Message
from proxy.core.questions import QuestionBook
from proxy.core.sequences import SequenceMap
from proxy.ports import Clock

MAX_NAMED: Final = 10_000
"""Most answers whose question is remembered, so that a repeated reading gives the same item. Source: ours."""

NOBODYS: Final = ElicitationId("")
"""Stands for the question of an answer until it is known."""


class AnswerNames:
    """The answers of the log that were matched to their questions."""

    __slots__ = ("_book", "_clock", "_named", "_sequences")

    def __init__(self, book: QuestionBook, sequences: SequenceMap, clock: Clock) -> None:
        self._book = book
        self._clock = clock
        self._sequences = sequences
        self._named: dict[tuple[str, int], ElicitationId] = {}

    def learn(self, agent_id: AgentId, batch: Iterable[Message]) -> None:
        """Match the answers in a batch to questions that this agent asked."""
        for message in batch:
            note = read_note(message)
            key = agent_id, self._sequences.to_agent(message.sequence)
            if note is None or is_for_others(note, agent_id) or key in self._named:
                continue
            named = self._book.answered_with(agent_id, note.responding_agent, note.as_answer(NOBODYS))
            if named is not None:
                self._remember(key, named)

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
        return body if named is None else answer_item(note, message, named, sequence=sequence)
