"""What a journal amounts to: its changes replayed into the state that a start begins with."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from proxy.core.ids import AgentId, ElicitationId
from proxy.core.journal import (
    MAX_CURSORS,
    MAX_NAMED,
    MAX_TOLD,
    AnswerClaimed,
    AnswerDoubted,
    AnswerNamed,
    AnswerPassedOn,
    AnswerSettled,
    Change,
    CopiesDropped,
    CursorShown,
    KeptQuestion,
    MessageKept,
    NumberingChanged,
    QuestionEnded,
    QuestionNoted,
    QuestionOffered,
    QuestionState,
    QuestionTakenBack,
    QuestionTold,
    Recovered,
    TellingForgotten,
)

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True)
class Replay:
    """State that grows change by change."""

    _questions: dict[ElicitationId, KeptQuestion] = field(default_factory=dict)
    _cursors: dict[AgentId, int] = field(default_factory=dict)
    _messages: dict[AgentId, dict[int, MessageKept]] = field(default_factory=dict)
    _dropped: dict[AgentId, int] = field(default_factory=dict)
    _names: dict[tuple[AgentId, int], ElicitationId] = field(default_factory=dict)
    _told: dict[tuple[AgentId, bytes], QuestionTold] = field(default_factory=dict)
    _numbering: NumberingChanged | None = None

    def take(self, change: Change) -> None:
        """The next change."""
        match change:
            case NumberingChanged():
                self._numbering = change
            case CursorShown(agent_id, cursor):
                _set_last(self._cursors, agent_id, cursor, limit=MAX_CURSORS)
                self._pass(agent_id, cursor)
                if self._dropped.get(agent_id, 0) <= cursor:
                    self._dropped.pop(agent_id, None)
            case CopiesDropped(agent_id, upto):
                _set_last(self._dropped, agent_id, upto, limit=MAX_CURSORS)
                self._pass(agent_id, upto)
            case MessageKept(agent_id, number):
                self._messages.setdefault(agent_id, {})[number] = change
            case AnswerNamed(agent_id, number, elicitation_id):
                _set_last(self._names, (agent_id, number), elicitation_id, limit=MAX_NAMED)
            case QuestionTold() | TellingForgotten():
                self._take_of_telling(change)
            case QuestionNoted(question):
                self._questions.pop(question.elicitation_id, None)
                self._questions[question.elicitation_id] = KeptQuestion(question=question, state=QuestionState.NEW)
            case QuestionEnded(elicitation_id):
                self._questions.pop(elicitation_id, None)
            case _:
                self._take_of_question(change)

    def _take_of_telling(self, change: QuestionTold | TellingForgotten) -> None:
        key = change.agent_id, change.key
        if isinstance(change, QuestionTold):
            _set_last(self._told, key, change, limit=MAX_TOLD)
        else:
            self._told.pop(key, None)

    def _pass(self, agent_id: AgentId, cursor: int) -> None:
        mine = self._messages.pop(agent_id, {})
        left = {number: message for number, message in mine.items() if number > cursor}
        if left:
            self._messages[agent_id] = left

    def _take_of_question(
        self,
        change: QuestionOffered | QuestionTakenBack | AnswerClaimed | AnswerDoubted | AnswerSettled | AnswerPassedOn,
    ) -> None:
        kept = self._questions.get(change.elicitation_id)
        if kept is None:
            return
        match change:
            case QuestionOffered():
                kept = replace(kept, state=QuestionState.OFFERED)
            case QuestionTakenBack():
                kept = replace(kept, state=QuestionState.NEW, digest=b"")
            case AnswerClaimed(digest=digest):
                kept = replace(kept, state=QuestionState.CLAIMED, digest=digest)
            case AnswerDoubted(digest=digest):
                kept = replace(kept, doubted=digest)
            case AnswerSettled():
                kept = replace(kept, state=QuestionState.ANSWERED, doubted=None)
            case _:
                kept = replace(kept, passed_on=True)
        self._questions[change.elicitation_id] = kept

    def result(self) -> Recovered:
        """What a start would find now."""
        return Recovered(
            questions=tuple(self._questions.values()),
            numbering=self._numbering,
            cursors=tuple(CursorShown(agent_id, cursor) for agent_id, cursor in self._cursors.items()),
            messages=tuple(mine[number] for _, mine in sorted(self._messages.items()) for number in sorted(mine)),
            dropped=tuple(CopiesDropped(agent_id, upto) for agent_id, upto in self._dropped.items()),
            names=tuple(AnswerNamed(*key, elicitation_id) for key, elicitation_id in self._names.items()),
            told=tuple(self._told.values()),
        )


def _set_last(known: dict[K, V], key: K, value: V, *, limit: int) -> None:
    """Put a value at the end; the oldest goes where there are more than `limit`."""
    known.pop(key, None)
    known[key] = value
    if len(known) > limit:
        del known[next(iter(known))]


def replay(changes: Iterable[Change]) -> Recovered:
    """What a start finds after these changes."""
    state = Replay()
    for change in changes:
        state.take(change)
    return state.result()
