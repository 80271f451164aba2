"""How each question was first told its agent: as an elicitation, or as the Bridge's note of it, and never as both.

The Bridge writes a note of each question into its log, which is all that the legacy way has of it. A wait that falls
back, a change of flags or a rollback takes an agent from the one way to the other while the note is still ahead of its
cursor, or the question still open. What it was told first then holds: the note is left out, or the question is not put
to it by itself.

Bounds: 10,000 questions, 1,000 of one agent, of which the oldest go; such a question may be told a second time. A note
that does not say until when it can be answered is known from no other, and kept out of this.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

import orjson

from proxy.core.bookkeeping import NoteKind, read_note
from proxy.core.bus import is_bus_id
from proxy.core.elicitation import Elicitation
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.journal import (
    MAX_TOLD,
    AnswerSettled,
    Change,
    KeptQuestion,
    QuestionEnded,
    QuestionNoted,
    QuestionOffered,
    QuestionState,
    QuestionTold,
    TellingForgotten,
    Write,
    write_nothing,
)
from proxy.core.legacy import Message
from proxy.core.sends import json_of

_TOLD_TO_MS: Final = 1_000
"""Deadlines are compared to the millisecond, as they are written and read as decimal numbers on the way."""


MAX_TOLD_EACH: Final = 1_000
"""Most of one agent among them, so that its notes push nobody else's out. Source: ours, as many as it may be asked."""


class Telling(Enum):
    """How a question was told."""

    ELICITATION = "elicitation"
    NOTE = "note"


def key_of_note(message: Message, agent_id: AgentId) -> bytes | None:
    """Which question to this agent a message of the log is the note of; None where it is no such note.

    A question that was made from a send has a place of its own, see `sent_questions`.
    """
    note = read_note(message)
    if note is None or note.kind is not NoteKind.QUESTION or note.addressee != agent_id or note.made_from is not None:
        return None
    if note.elicitation_id is not None:
        return _digest(note.elicitation_id)
    data = json_of(message.data)
    if not isinstance(data, dict):
        return None
    words = [data.get(name) for name in ("from_agent", "to_agent", "message", "schema")]
    return _digest(words, data.get("expires_at"))


def key_of(question: Elicitation) -> bytes | None:
    """What the note of a question can be known by: over a bus it names the question, else it has its words."""
    if is_bus_id(question.elicitation_id):
        return _digest(question.elicitation_id)
    words = [question.from_agent, question.to_agent, question.message, question.wire_schema]
    return _digest(words, question.expires_at)


def _digest(said: object, until: object = 0) -> bytes | None:
    if isinstance(until, bool) or not isinstance(until, int | float):
        return None
    try:
        rounded = round(until * _TOLD_TO_MS)
        return hashlib.sha256(orjson.dumps([said, rounded], option=orjson.OPT_SORT_KEYS)).digest()
    except (ValueError, OverflowError, orjson.JSONEncodeError):
        return None


@dataclass(slots=True)
class _Told:
    telling: Telling
    number: int = 0
    """The agent's number of the note; 0 until it was read."""
    named: ElicitationId | None = None
    """Its id, once it is in the book."""
    is_open: bool = False
    """It is in the book, without answer."""


@dataclass(slots=True)
class ToldQuestions:
    """What was told to whom, and how."""

    write: Write = write_nothing
    """Hears of every change."""
    _told: dict[AgentId, dict[bytes, _Told]] = field(default_factory=dict)
    _order: dict[tuple[AgentId, bytes], None] = field(default_factory=dict)
    _open: dict[ElicitationId, tuple[AgentId, bytes]] = field(default_factory=dict)
    """The questions of the book without answer, and what their notes are known by."""
    _open_by_key: dict[tuple[AgentId, bytes], ElicitationId] = field(default_factory=dict)
    _seen: dict[AgentId, dict[bytes, int]] = field(default_factory=dict)
    """Under which numbers notes were read whose questions have not been told in any way."""

    def hear(self, change: Change) -> None:
        """Follow the book of questions."""
        match change:
            case QuestionNoted(question) if question.made_from is None and (key := key_of(question)) is not None:
                self._open[question.elicitation_id] = question.to_agent, key
                self._open_by_key[question.to_agent, key] = question.elicitation_id
                told = self._of(question.to_agent).get(key)
                if told is not None:
                    told.named, told.is_open = question.elicitation_id, True
            case QuestionOffered(elicitation_id) if elicitation_id in self._open:
                agent_id, key = self._open[elicitation_id]
                if self.was_told(agent_id, key) is None:
                    number = self._take_seen(agent_id, key)
                    self._tell(agent_id, key, _Told(Telling.ELICITATION, number, elicitation_id, is_open=True))
            case QuestionEnded(elicitation_id) | AnswerSettled(elicitation_id) if elicitation_id in self._open:
                agent_id, key = self._open.pop(elicitation_id)
                self._open_by_key.pop((agent_id, key), None)
                if key in self._of(agent_id):
                    self._told[agent_id][key].is_open = False
            case _:
                pass

    def restore(self, kept: Iterable[QuestionTold], questions: Iterable[KeptQuestion]) -> None:
        """Begin with what an earlier process kept."""
        for each in kept:
            telling = Telling.NOTE if each.is_note else Telling.ELICITATION
            self._put(each.agent_id, each.key, _Told(telling, each.number))
        for one in questions:
            self.hear(QuestionNoted(one.question))
            if one.state is QuestionState.ANSWERED:
                self.hear(AnswerSettled(one.question.elicitation_id))
            if one.state in {QuestionState.OFFERED, QuestionState.CLAIMED}:
                self.hear(QuestionOffered(one.question.elicitation_id))

    def snapshot(self) -> Iterator[Change]:
        """Changes that would bring about what is known now."""
        for agent_id, key in self._order:
            yield _change(agent_id, key, self._told[agent_id][key])

    def was_told(self, agent_id: AgentId, key: bytes) -> Telling | None:
        """How the question with this note was told; None when it was not, as far as is known."""
        told = self._of(agent_id).get(key)
        return told.telling if told else None

    def open_as(self, agent_id: AgentId, key: bytes) -> ElicitationId | None:
        """The id of the question with this note that was told, while it is in the book without answer."""
        told = self._of(agent_id).get(key)
        return told.named if told is not None and told.is_open else None

    def named_at(self, agent_id: AgentId, number: int) -> ElicitationId | None:
        """The id of the question whose note the agent has read, or comes to, under this number."""
        return next((told.named for told in self._of(agent_id).values() if told.number == number), None)

    def as_note(self, agent_id: AgentId, key: bytes, number: int) -> None:
        """The agent is being told of a question by its note; how it was told first stays."""
        if self.was_told(agent_id, key) is None:
            self._take_seen(agent_id, key)
            self._leave_number(agent_id, number)
            named = self._open_by_key.get((agent_id, key))
            self._tell(agent_id, key, _Told(Telling.NOTE, number, named, is_open=named is not None))

    def stands_at(self, agent_id: AgentId, key: bytes, number: int) -> None:
        """The note of a question was read under this number of the agent's."""
        told = self._of(agent_id).get(key)
        if told is None:
            self._note_seen(agent_id, key, number)
        elif not told.number:
            self._leave_number(agent_id, number)
            self._tell(agent_id, key, replace(told, number=number))

    def _leave_number(self, agent_id: AgentId, number: int) -> None:
        """A number that another note has now was given anew, by a Bridge that lost its log."""
        for key, told in list(self._of(agent_id).items()):
            if told.number == number:
                self._tell(agent_id, key, replace(told, number=0))

    def _note_seen(self, agent_id: AgentId, key: bytes, number: int) -> None:
        mine = self._seen.pop(agent_id, {})
        mine[key] = number
        if len(mine) > MAX_TOLD_EACH:
            del mine[next(iter(mine))]
        self._seen[agent_id] = mine
        if len(self._seen) > MAX_TOLD:
            del self._seen[next(iter(self._seen))]

    def _take_seen(self, agent_id: AgentId, key: bytes) -> int:
        mine = self._seen.get(agent_id, {})
        number = mine.pop(key, 0)
        if not mine:
            self._seen.pop(agent_id, None)
        return number

    def was_asked(self, question: Elicitation) -> bool:
        """Whether a question of the book was told as an elicitation."""
        agent_id, key = self._open.get(question.elicitation_id, (question.to_agent, b""))
        return self.was_told(agent_id, key) is Telling.ELICITATION

    def untold(self, agent_id: AgentId) -> list[tuple[int, ElicitationId]]:
        """Questions of the book whose notes the agent's waits have come to, and that it was not told in any way.

        Each with the number of its note.
        """
        mine = self._seen.get(agent_id, {})
        known = self._open_by_key
        return [(number, known[agent_id, key]) for key, number in mine.items() if (agent_id, key) in known]

    def withholds(self, question: Elicitation) -> bool:
        """Whether a question is not to be put to its agent by itself, as it has it as a note."""
        agent_id, key = self._open.get(question.elicitation_id, (question.to_agent, b""))
        return self.was_told(agent_id, key) is Telling.NOTE

    def is_ahead(self, agent_id: AgentId, cursor: int) -> bool:
        """Whether something is still to come for an agent of what it had as an elicitation.

        As it reads on from its cursor, the note of that; or that once more, as it has not answered.
        """
        return any(
            told.telling is Telling.ELICITATION and (told.is_open or not told.number or told.number > cursor)
            for told in self._of(agent_id).values()
        )

    def passed(self, agent_id: AgentId, cursor: int) -> None:
        """The agent has everything up to here: of what is over it meets no note any more."""
        for key, told in list(self._of(agent_id).items()):
            if told.telling is Telling.ELICITATION and 0 < told.number <= cursor and not told.is_open:
                self._forget(agent_id, key)
                self.write(TellingForgotten(agent_id, key))

    def _of(self, agent_id: AgentId) -> Mapping[bytes, _Told]:
        return self._told.get(agent_id, {})

    def _tell(self, agent_id: AgentId, key: bytes, told: _Told) -> None:
        self._put(agent_id, key, told)
        self.write(_change(agent_id, key, told))

    def _put(self, agent_id: AgentId, key: bytes, told: _Told) -> None:
        self._order.pop((agent_id, key), None)
        self._order[agent_id, key] = None
        mine = self._told.setdefault(agent_id, {})
        mine.pop(key, None)
        mine[key] = told
        if len(mine) > MAX_TOLD_EACH:
            self._forget(agent_id, next(iter(mine)))
        if len(self._order) > MAX_TOLD:
            self._forget(*next(iter(self._order)))

    def _forget(self, agent_id: AgentId, key: bytes) -> None:
        del self._order[agent_id, key]
        mine = self._told[agent_id]
        del mine[key]
        if not mine:
            del self._told[agent_id]


def _change(agent_id: AgentId, key: bytes, told: _Told) -> QuestionTold:
    return QuestionTold(agent_id=agent_id, key=key, number=told.number, is_note=told.telling is Telling.NOTE)
