"""The questions that say they were made from legacy sends, and of which of them it is true.

A receiver gets the question at the place of the event it was made from, in the event's stead. So such a question is
never offered by itself: whoever has passed its place has had the one or the other. It is withheld as well until it is
known whether its mark is true; one whose mark is not is a question like any other.

Bounds: one entry for each question of the book, which is bounded; 1,000 that ended without an answer, and 100 notes
for each of 10,000 agents, of which the oldest go.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from proxy.core.elicitation import Elicitation
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.journal import Change, End, KeptQuestion, QuestionEnded, QuestionNoted
from proxy.core.legacy import Message
from proxy.core.sends import is_made_from

MAX_COPIES: Final = 100
"""Most notes of one agent that are remembered as second copies. Source: ours; they come as flags change."""

MAX_ENDED: Final = 1_000
"""Most questions that are remembered after they ended without an answer. Source: ours; for answers that come late."""

MAX_AGENTS: Final = 10_000
"""Most agents with such notes. Source: ours."""


@dataclass(slots=True)
class _Entry:
    question: Elicitation
    is_true: bool | None = None
    """Whether it was made from the event that it names; None until that was read."""


@dataclass(slots=True)
class SentQuestions:
    """All questions of one book that have the mark."""

    _entries: dict[ElicitationId, _Entry] = field(default_factory=dict)
    _by_agent: dict[AgentId, dict[ElicitationId, None]] = field(default_factory=dict)
    _parties: dict[str, int] = field(default_factory=dict)
    """How many questions somebody has asked or is asked."""
    _copies: dict[AgentId, dict[int, None]] = field(default_factory=dict)
    """Numbers of notes that were recognised as second copies when their events were read."""
    _ended: dict[ElicitationId, Elicitation] = field(default_factory=dict)

    def hear(self, change: Change) -> None:
        """Follow the book of questions."""
        match change:
            case QuestionNoted(question):
                self._add(question)
            case QuestionEnded(elicitation_id, how):
                if how is not End.FORGOTTEN and self.is_true(elicitation_id):
                    self._remember(self._entries[elicitation_id].question)
                self._drop(elicitation_id)
            case _:
                pass

    def restore(self, kept: Iterable[KeptQuestion]) -> None:
        """Begin with what an earlier process kept."""
        for each in kept:
            self._add(each.question)

    def _add(self, question: Elicitation) -> None:
        named = question.elicitation_id
        if question.made_from is None or named in self._entries:
            return
        self._entries[named] = _Entry(question)
        self._by_agent.setdefault(question.to_agent, {})[named] = None
        for party in (question.from_agent, question.to_agent):
            self._parties[party] = self._parties.get(party, 0) + 1

    def _drop(self, named: ElicitationId) -> None:
        entry = self._entries.pop(named, None)
        if entry is None:
            return
        question = entry.question
        mine = self._by_agent[question.to_agent]
        del mine[named]
        if not mine:
            del self._by_agent[question.to_agent]
        for party in (question.from_agent, question.to_agent):
            self._parties[party] -= 1
            if not self._parties[party]:
                del self._parties[party]

    def _remember(self, question: Elicitation) -> None:
        self._ended[question.elicitation_id] = question
        if len(self._ended) > MAX_ENDED:
            del self._ended[next(iter(self._ended))]

    def ended(self, elicitation_id: ElicitationId) -> Elicitation | None:
        """A true question that the book has given up without an answer."""
        return self._ended.get(elicitation_id)

    def is_party(self, agent_id: AgentId) -> bool:
        """Whether the agent has sent, or was sent, anything that became a question and is still remembered."""
        return agent_id in self._parties or agent_id in self._copies

    def saw_copies(self, agent_id: AgentId, sequences: Iterable[int]) -> None:
        """The notes with these numbers tell the agent what it has as messages; see `second_copies`."""
        for sequence in sequences:
            mine = self._copies.pop(agent_id, {})
            mine[sequence] = None
            if len(mine) > MAX_COPIES:
                del mine[next(iter(mine))]
            self._copies[agent_id] = mine
            if len(self._copies) > MAX_AGENTS:
                del self._copies[next(iter(self._copies))]

    def is_copy(self, agent_id: AgentId, sequence: int) -> bool:
        """Whether the note with this number is such a one."""
        return sequence in self._copies.get(agent_id, ())

    def withholds(self, question: Elicitation) -> bool:
        """Whether a question is not to be offered by itself."""
        entry = self._entries.get(question.elicitation_id)
        return entry is not None and entry.is_true is not False

    def is_true(self, elicitation_id: ElicitationId) -> bool:
        """Whether a question is known to be made from the event that it names."""
        entry = self._entries.get(elicitation_id)
        return entry is not None and entry.is_true is True

    def unproven(self, agent_id: AgentId) -> list[Elicitation]:
        """Questions to the agent whose events have not been read yet."""
        return [entry.question for entry in self._of(agent_id) if entry.is_true is None]

    def _of(self, agent_id: AgentId) -> list[_Entry]:
        return [self._entries[named] for named in self._by_agent.get(agent_id, ())]

    def believe(self, elicitation_id: ElicitationId) -> None:
        """We have made this question ourselves."""
        entry = self._entries.get(elicitation_id)
        if entry is not None:
            entry.is_true = True

    def judge(self, question: Elicitation, message: Message | None) -> None:
        """The message under the number that a question names was read; None: there is none."""
        entry = self._entries.get(question.elicitation_id)
        if entry is not None and entry.is_true is None:
            entry.is_true = message is not None and is_made_from(question, message)

    def made_from(self, agent_id: AgentId, message: Message) -> Elicitation | None:
        """The question to this agent that was made from a message of the log, the first one where there are several."""
        mine = [entry for entry in self._of(agent_id) if entry.question.made_from == message.sequence]
        for entry in mine:
            self.judge(entry.question, message)
        return next((entry.question for entry in mine if entry.is_true), None)

    def known_by(self, agent_id: AgentId, numbers: Iterable[int]) -> list[Elicitation]:
        """True questions to the agent that were made from an event with one of these numbers."""
        wanted = set(numbers)
        return [entry.question for entry in self._of(agent_id) if entry.is_true and entry.question.made_from in wanted]

    def is_told(self, agent_id: AgentId, asker: str, sequence: int) -> bool:
        """Whether the Bridge's note of a question tells this agent only what it gets at another place."""
        return any(question.from_agent == asker for question in self.known_by(agent_id, (sequence,)))
