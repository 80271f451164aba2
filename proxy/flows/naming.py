"""Which question an answer in the Bridge's log belongs to, and what the asker reads in its place.

The Bridge's note of an answer names the responder but neither the elicitation nor its asker, and anybody may write
one. Only an answer that went through this sidecar is known for sure, by its content, and read under its question's
name. Any other note is passed on as it is: better raw than lost, and better raw than under the wrong name. On a bus an
answer names its question itself, and has been judged before it comes here.

An answer to a send is in the log twice, as the Bridge's note and as a message, and both name what they answer. The
sender is given the one that it comes to first.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from proxy.core.bookkeeping import Note, NoteKind, answer_item, is_for_others, read_note
from proxy.core.elicitation import Answer, AnswerKind
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.journal import MAX_NAMED, AnswerNamed, Change, Write, write_nothing
from proxy.core.legacy import Message
from proxy.core.questions import QuestionBook
from proxy.ports import Clock

NOBODYS: Final = ElicitationId("")
"""Stands for the question of an answer until it is known."""


class AnswerNames:
    """The answers of the log that were matched to their questions."""

    __slots__ = ("_book", "_clock", "_given", "_named", "_write")

    def __init__(self, book: QuestionBook, clock: Clock, write: Write = write_nothing) -> None:
        self._book = book
        self._clock = clock
        self._write = write
        self._named: dict[tuple[AgentId, int], ElicitationId] = {}
        self._given: dict[AgentId, dict[ElicitationId, int]] = {}
        """Under which number an agent was given the answer to a send, since it has come this way."""

    def restore(self, kept: Iterable[AnswerNamed]) -> None:
        """Begin with what an earlier process kept."""
        self._named.update({(name.agent_id, name.number): name.elicitation_id for name in kept})

    def snapshot(self) -> Iterator[Change]:
        """Changes that would bring about what is known now."""
        for key, elicitation_id in self._named.items():
            yield AnswerNamed(*key, elicitation_id)

    def learn(self, agent_id: AgentId, batch: Iterable[tuple[int, Message]], *, on_elicitation: bool = True) -> bool:
        """Match the answers in a batch to questions that this agent asked; each message comes with its number.

        Whether any was matched that was not before. What is forgotten of it, by a crash or because the agent read the
        answer on the legacy way, would give the name a second time, to another answer in the same words.
        """
        is_news = False
        for number, message in batch:
            note = read_note(message)
            key = agent_id, number
            if note is None or is_for_others(note, agent_id) or self.was_given(agent_id, note, number):
                continue
            if note.made_from is not None and not on_elicitation:
                continue
            named = self._named.get(key) or self._name_of(agent_id, note, noted_at=message.created_at)
            if named is None:
                continue
            if key not in self._named:
                self._remember(key, named)
                is_news = True
            if note.made_from is not None:
                self._given.setdefault(agent_id, {})[named] = number
        return is_news

    def _name_of(self, agent_id: AgentId, note: Note, *, noted_at: float | None) -> ElicitationId | None:
        if note.made_from is not None:
            return note.elicitation_id if self._is_believed(agent_id, note) else None
        if note.elicitation_id is not None:
            return note.elicitation_id
        given = _given_as(note, NOBODYS)
        found = (
            self._book.answered_with(agent_id, note.responding_agent, answer, noted_at=noted_at) for answer in given
        )
        return next((named for named in found if named is not None), None)

    def _is_told_apart(self, agent_id: AgentId, note: Note) -> bool:
        """Whether it may answer a send whose schema forbade it to say so, and nothing else: a message follows it."""
        given = _given_as(note, NOBODYS) if note.kind is NoteKind.ANSWER else []
        return any(self._book.answers_send(agent_id, note.responding_agent, answer) for answer in given)

    def _is_believed(self, agent_id: AgentId, note: Note) -> bool:
        """Whether an answer to a send is what it says, as far as can be told here."""
        if note.asker != agent_id or note.elicitation_id is None:
            return False
        question = self._book.get(note.elicitation_id)
        if question is None:
            return True
        told = (agent_id, note.responding_agent, note.made_from)
        is_its = (question.from_agent, question.to_agent, question.made_from) == told
        return is_its and not all(self._book.contradicts(each) for each in _given_as(note, note.elicitation_id))

    def was_given(self, agent_id: AgentId, note: Note, number: int) -> bool:
        """Whether the agent was given this answer to a send of its own at another place of the log."""
        if note.made_from is None or note.elicitation_id is None or not self._is_believed(agent_id, note):
            return False
        return self._given.get(agent_id, {}).get(note.elicitation_id, number) != number

    def passes_as_legacy(self, agent_id: AgentId, since: int) -> None:
        """What comes after the number `since` the agent reads on the legacy way: no answer was given it there."""
        for elicitation_id, number in tuple(self._given.get(agent_id, {}).items()):
            if number > since:
                self._take_back(agent_id, elicitation_id)

    def _take_back(self, agent_id: AgentId, elicitation_id: ElicitationId) -> None:
        mine = self._given.get(agent_id, {})
        mine.pop(elicitation_id, None)
        if not mine:
            self._given.pop(agent_id, None)

    def _remember(self, key: tuple[AgentId, int], elicitation_id: ElicitationId) -> None:
        while len(self._named) >= MAX_NAMED:
            oldest = next(iter(self._named))
            self._take_back(oldest[0], self._named.pop(oldest))
        self._named[key] = elicitation_id
        self._write(AnswerNamed(*key, elicitation_id))
        self._book.passed_on(elicitation_id, now=self._clock.now())

    def translate(self, agent_id: AgentId, message: Message, body: bytes, *, sequence: int) -> bytes | None:
        """What an agent in the elicitation cohort reads for a message; None where it has nothing to read.

        `body` is the message under the agent's `sequence`.
        """
        note = read_note(message)
        if note is None or (note.is_reply and note.asker != agent_id):
            return body
        if is_for_others(note, agent_id) or self.was_given(agent_id, note, sequence):
            return None
        named = self._named.get((agent_id, sequence))
        if note.made_from is None or self._is_believed(agent_id, note):
            named = note.elicitation_id or named
        if named is None:
            return None if note.made_from is None and self._is_told_apart(agent_id, note) else body
        return answer_item(note, message, named, sequence=sequence)


def _given_as(note: Note, named: ElicitationId) -> list[Answer]:
    """The answers that may have left this note: the addressee's cancel goes up as a decline.

    Source: docs/decisions/0005-cancel-by-the-addressee.md.
    """
    answer = note.as_answer(named)
    if answer.kind is not AnswerKind.DECLINE:
        return [answer]
    return [answer, replace(answer, kind=AnswerKind.CANCEL)]
