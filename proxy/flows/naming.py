"""Which question an answer in the Bridge's log belongs to, and what the asker reads in its place.

The Bridge's note of an answer names the responder but neither the elicitation nor its asker, and anybody may write
one. Only an answer that went through this sidecar is known for sure, by its content, and read under its question's
name. Any other note is passed on as it is: better raw than lost, and better raw than under the wrong name. On a bus an
answer names its question itself, and has been judged before it comes here.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from proxy.core.bookkeeping import answer_item, is_for_others, read_note
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.journal import MAX_NAMED, AnswerNamed, Change, Write, write_nothing
from proxy.core.legacy import Message
from proxy.core.questions import QuestionBook
from proxy.ports import Clock

NOBODYS: Final = ElicitationId("")
"""Stands for the question of an answer until it is known."""


class AnswerNames:
    """The answers of the log that were matched to their questions."""

    __slots__ = ("_book", "_clock", "_named", "_write")

    def __init__(self, book: QuestionBook, clock: Clock, write: Write = write_nothing) -> None:
        self._book = book
        self._clock = clock
        self._write = write
        self._named: dict[tuple[AgentId, int], ElicitationId] = {}

    def restore(self, kept: Iterable[AnswerNamed]) -> None:
        """Begin with what an earlier process kept."""
        self._named.update({(name.agent_id, name.number): name.elicitation_id for name in kept})

    def snapshot(self) -> Iterator[Change]:
        """Changes that would bring about what is known now."""
        for key, elicitation_id in self._named.items():
            yield AnswerNamed(*key, elicitation_id)

    def learn(self, agent_id: AgentId, batch: Iterable[tuple[int, Message]]) -> None:
        """Match the answers in a batch to questions that this agent asked; each message comes with its number."""
        for number, message in batch:
            note = read_note(message)
            key = agent_id, number
            if note is None or is_for_others(note, agent_id) or key in self._named:
                continue
            named = note.elicitation_id or self._book.answered_with(
                agent_id, note.responding_agent, note.as_answer(NOBODYS)
            )
            if named is not None:
                self._remember(key, named)

    def _remember(self, key: tuple[AgentId, int], elicitation_id: ElicitationId) -> None:
        while len(self._named) >= MAX_NAMED:
            del self._named[next(iter(self._named))]
        self._named[key] = elicitation_id
        self._write(AnswerNamed(*key, elicitation_id))
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
        named = note.elicitation_id or self._named.get((agent_id, sequence))
        return body if named is None else answer_item(note, message, named, sequence=sequence)
