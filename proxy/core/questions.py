"""The book of open questions: what is offered to whom, who may answer, and which answer counts.

One entry per elicitation, in one of the states new, offered, claimed, answered. The first answer wins, exactly one
goes up to the Bridge, and the same answer again is the same success without effect. Deadlines are wall-clock
seconds, as the Bridge states them; redelivery runs on the monotonic clock.

Bounds: a full book refuses new questions (the Bridge still holds them) and never evicts an open one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from proxy.core.elicitation import Answer, AnswerKind, Elicitation
from proxy.core.errors import AnswerConflict, AnswerForbidden, ElicitationExpired, ElicitationUnknown
from proxy.core.ids import AgentId, ElicitationId

MAX_PER_AGENT: Final = 1_000
"""Most questions kept for one agent. Source: ours, equal to the most that one pending reply may hold."""

MAX_IN_ALL: Final = 50_000
"""Most questions kept by one sidecar. Source: ours."""

KEEP_ANSWERED_S: Final = 600.0
"""How long an answered question is remembered, so that a repeated answer is recognised. Source: ours."""


class State(StrEnum):
    """Life of one question in the book."""

    NEW = "new"
    OFFERED = "offered"
    CLAIMED = "claimed"
    ANSWERED = "answered"


class Claim(StrEnum):
    """What to do with an answer that may stand."""

    SEND = "send"
    """Ours to send up: the question is claimed for this answer."""
    WAIT = "wait"
    """The same answer is on its way already: wait for its outcome."""
    REPEAT = "repeat"
    """The same answer was taken before: the same success, no second effect."""


@dataclass(slots=True)
class _Entry:
    elicitation: Elicitation
    state: State = State.NEW
    offered_at: float = 0.0
    kind: AnswerKind | None = None
    digest: bytes = b""
    answered_at: float = 0.0
    passed_on: bool = False
    """The asker's stream has shown this answer."""


@dataclass(slots=True)
class QuestionBook:
    """All questions this sidecar knows of."""

    redeliver_s: float
    """Seconds after which an unanswered question is offered again."""
    _entries: dict[ElicitationId, _Entry] = field(default_factory=dict)
    _by_agent: dict[AgentId, dict[ElicitationId, None]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._entries)

    def open_count(self) -> int:
        """Questions that still wait for an answer."""
        return sum(entry.state is not State.ANSWERED for entry in self._entries.values())

    def get(self, elicitation_id: ElicitationId) -> Elicitation | None:
        """The question of this id, if it is known."""
        entry = self._entries.get(elicitation_id)
        return entry.elicitation if entry else None

    def add(self, elicitation: Elicitation) -> bool:
        """Note a question; False when it is known already or the book is full."""
        mine = self._by_agent.get(elicitation.to_agent, {})
        if elicitation.elicitation_id in self._entries:
            return False
        if len(mine) >= MAX_PER_AGENT or len(self._entries) >= MAX_IN_ALL:
            return False
        self._entries[elicitation.elicitation_id] = _Entry(elicitation)
        self._by_agent.setdefault(elicitation.to_agent, {})[elicitation.elicitation_id] = None
        return True

    def _of(self, agent_id: AgentId) -> list[_Entry]:
        return [self._entries[key] for key in self._by_agent.get(agent_id, ())]

    def offer(self, agent_id: AgentId, *, now: float, wall: float, limit: int) -> list[Elicitation]:
        """Questions to hand to the agent now, oldest first; they count as offered from here on."""
        offered: list[Elicitation] = []
        for entry in self._of(agent_id):
            if len(offered) >= limit:
                break
            if self._is_due(entry, now=now, wall=wall):
                entry.state = State.OFFERED
                entry.offered_at = now
                offered.append(entry.elicitation)
        return offered

    def _is_due(self, entry: _Entry, *, now: float, wall: float) -> bool:
        if wall >= entry.elicitation.expires_at:
            return False
        if entry.state is State.NEW:
            return True
        return entry.state is State.OFFERED and now >= entry.offered_at + self.redeliver_s

    def next_due(self, agent_id: AgentId) -> float | None:
        """Monotonic time at which an offered question is due again, or None when there is none."""
        due = [entry.offered_at + self.redeliver_s for entry in self._of(agent_id) if entry.state is State.OFFERED]
        return min(due, default=None)

    def take_back(self, elicitation_ids: Iterable[ElicitationId]) -> None:
        """The reply that carried these did not reach the agent: they are new again."""
        for elicitation_id in elicitation_ids:
            entry = self._entries.get(elicitation_id)
            if entry and entry.state is State.OFFERED:
                entry.state = State.NEW

    def absent_from(self, agent_id: AgentId, listed: Iterable[ElicitationId]) -> list[ElicitationId]:
        """Unanswered questions of the agent that the Bridge no longer lists as pending."""
        still = set(listed)
        return [
            entry.elicitation.elicitation_id
            for entry in self._of(agent_id)
            if entry.state in {State.NEW, State.OFFERED} and entry.elicitation.elicitation_id not in still
        ]

    def withdraw(self, elicitation_id: ElicitationId) -> None:
        """The Bridge has ended this question (expired, cancelled, answered elsewhere)."""
        entry = self._entries.get(elicitation_id)
        if entry and entry.state in {State.NEW, State.OFFERED}:
            self._drop(elicitation_id)

    def claim(self, answer: Answer, agent_id: AgentId, *, wall: float) -> Claim:
        """Decide what becomes of an answer from this agent.

        Raises:
            ElicitationUnknown: not in the book.
            AnswerForbidden: addressed to another agent.
            AnswerConflict: a different answer was given, or is on its way.
            ElicitationExpired: the deadline has passed.
        """
        entry = self._entries.get(answer.elicitation_id)
        if entry is None:
            raise ElicitationUnknown(f"elicitation {answer.elicitation_id} is not known here")
        if entry.elicitation.to_agent != agent_id:
            raise AnswerForbidden(
                f"elicitation {answer.elicitation_id} is addressed to another agent, not to {agent_id}"
            )
        if entry.state in {State.CLAIMED, State.ANSWERED}:
            if entry.digest != answer.digest():
                raise AnswerConflict(
                    f"elicitation {answer.elicitation_id} was already answered differently; the first answer stands"
                )
            return Claim.REPEAT if entry.state is State.ANSWERED else Claim.WAIT
        if wall >= entry.elicitation.expires_at:
            late_s = wall - entry.elicitation.expires_at
            raise ElicitationExpired(
                f"elicitation {answer.elicitation_id} expired {late_s:.1f} s ago; ask its sender to ask again"
            )
        entry.state, entry.kind, entry.digest = State.CLAIMED, answer.kind, answer.digest()
        return Claim.SEND

    def settle(self, elicitation_id: ElicitationId, *, now: float) -> None:
        """The claimed answer reached the Bridge."""
        entry = self._entries[elicitation_id]
        entry.state, entry.answered_at = State.ANSWERED, now

    def release(self, elicitation_id: ElicitationId) -> None:
        """The claimed answer did not reach the Bridge: the question is open again, as if offered just now."""
        entry = self._entries[elicitation_id]
        entry.state, entry.kind, entry.digest = State.OFFERED, None, b""

    def asked_of(self, asker: str, addressee: str) -> list[Elicitation]:
        """Questions that `asker` put to `addressee` and whose answer the asker has not yet been shown."""
        return [
            entry.elicitation
            for entry in self._of(AgentId(addressee))
            if entry.elicitation.from_agent == asker and not entry.passed_on
        ]

    def answered_with(self, asker: str, addressee: str, answer: Answer) -> ElicitationId | None:
        """The question of `asker` to `addressee` that this very answer (id aside) settled here, oldest first."""
        for elicitation in self.asked_of(asker, addressee):
            entry = self._entries[elicitation.elicitation_id]
            if entry.state is State.ANSWERED and entry.digest == answer.digest():
                return elicitation.elicitation_id
        return None

    def passed_on(self, elicitation_id: ElicitationId, *, now: float) -> None:
        """The asker has been shown the answer to this question; it is over, wherever it was answered."""
        entry = self._entries.get(elicitation_id)
        if entry:
            entry.passed_on = True
            if entry.state is not State.ANSWERED:
                entry.state, entry.answered_at = State.ANSWERED, now

    def prune(self, *, now: float, wall: float) -> list[Elicitation]:
        """Forget what is long over; returns the questions that expired without an answer."""
        expired = [
            entry.elicitation
            for entry in self._entries.values()
            if entry.state in {State.NEW, State.OFFERED} and wall >= entry.elicitation.expires_at + KEEP_ANSWERED_S
        ]
        over = [
            entry.elicitation
            for entry in self._entries.values()
            if entry.state is State.ANSWERED and now >= entry.answered_at + KEEP_ANSWERED_S
        ]
        for elicitation in (*expired, *over):
            self._drop(elicitation.elicitation_id)
        return expired

    def _drop(self, elicitation_id: ElicitationId) -> None:
        entry = self._entries.pop(elicitation_id)
        mine = self._by_agent[entry.elicitation.to_agent]
        del mine[elicitation_id]
        if not mine:
            del self._by_agent[entry.elicitation.to_agent]
