"""The book of open questions: what is offered to whom, who may answer, and which answer counts.

One entry per elicitation, in one of the states new, offered, claimed, answered. The first answer wins, exactly one
goes up to the Bridge, and the same answer again is the same success without effect. Deadlines are wall-clock
seconds, as the Bridge states them; redelivery runs on the monotonic clock.

Bounds: a full book refuses new questions (the Bridge still holds them) and never evicts an open one.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from proxy.core.claim import Claim
from proxy.core.elicitation import Answer, Elicitation
from proxy.core.errors import AnswerConflict, AnswerForbidden, ElicitationExpired, ElicitationUnknown
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.journal import (
    AnswerClaimed,
    AnswerDoubted,
    AnswerPassedOn,
    AnswerSettled,
    Change,
    End,
    KeptQuestion,
    QuestionEnded,
    QuestionNoted,
    QuestionOffered,
    QuestionTakenBack,
    Write,
    write_nothing,
)
from proxy.core.journal import QuestionState as State
from proxy.core.listed_question import Listed
from proxy.core.question_entry import NEVER, Entry

MAX_PER_AGENT: Final = 1_000
"""Most questions kept for one agent. Source: ours, equal to the most that one pending reply may hold."""

MAX_IN_ALL: Final = 50_000
"""Most questions kept by one sidecar. Source: ours."""

KEEP_ANSWERED_S: Final = 600.0
"""How long an answered question is remembered, so that a repeated answer is recognised. Source: ours."""

SEVERAL: Final = b""
"""Digest of an answer that is one of several different ones: none of them can be vouched for."""

OFFERS: Final = 3
"""A question is offered again at the latest after this part of the time it has left, so that an agent which lost a
reply sees it while it can be answered. Source: ours."""


def _any(_question: Elicitation) -> bool:
    return True


def _never(_question: Elicitation) -> bool:
    return False


@dataclass(slots=True)
class QuestionBook:
    """All questions this sidecar knows of."""

    redeliver_s: float
    """Seconds after which an unanswered question is offered again."""
    write: Write = write_nothing
    """Hears of every change."""
    withholds: Callable[[Elicitation], bool] = _never
    """Whether a question is not to be offered, as it is handed out in another way; see `proxy.core.sent_questions`."""
    _entries: dict[ElicitationId, Entry] = field(default_factory=dict)
    _by_agent: dict[AgentId, dict[ElicitationId, None]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._entries)

    def open_count(self, wall: float = float("-inf")) -> int:
        """Questions that still wait for an answer, and have a deadline after `wall`."""
        return sum(
            (entry.state is State.CLAIMED or entry.is_unanswered()) and wall < entry.elicitation.expires_at
            for entry in self._entries.values()
        )

    def get(self, elicitation_id: ElicitationId) -> Elicitation | None:
        """The question of this id, if it is known."""
        entry = self._entries.get(elicitation_id)
        return entry.elicitation if entry else None

    def listing(self, agent_id: AgentId | None = None, *, wall: float, limit: int) -> list[Listed]:
        """Open questions, to one agent or to all, in the order they became known."""
        entries = self._entries.values() if agent_id is None else self._of(agent_id)
        found = (entry.listed() for entry in entries if entry.is_open(wall))
        return list(islice(found, limit))

    def listed(self, elicitation_id: ElicitationId) -> Listed | None:
        """One question as `listing` shows it, also an expired or answered one that is still remembered."""
        entry = self._entries.get(elicitation_id)
        return entry.listed() if entry else None

    def add(self, elicitation: Elicitation) -> bool:
        """Note a question; False when it is known already or the book is full."""
        mine = self._by_agent.get(elicitation.to_agent, {})
        known = self._entries.get(elicitation.elicitation_id)
        if known is not None:
            known.is_over = False
            return False
        if len(mine) >= MAX_PER_AGENT or len(self._entries) >= MAX_IN_ALL:
            return False
        self._put(Entry(elicitation))
        self.write(QuestionNoted(elicitation))
        return True

    def _put(self, entry: Entry) -> None:
        elicitation = entry.elicitation
        self._entries[elicitation.elicitation_id] = entry
        self._by_agent.setdefault(elicitation.to_agent, {})[elicitation.elicitation_id] = None

    def restore(self, kept: Iterable[KeptQuestion], *, now: float) -> None:
        """Begin with what an earlier process kept; open questions are due at once, whoever may have seen them.

        An answer that was on its way may have arrived unseen, which is written down; its question is open until the
        same answer comes again or the Bridge says that it is over.
        """
        for each in kept:
            is_answered = each.state is State.ANSWERED
            entry = Entry(each.question, state=State.ANSWERED if is_answered else State.NEW, doubted=each.doubted)
            entry.digest = each.digest if is_answered else b""
            entry.answered_at, entry.passed_on = now, each.passed_on
            self._put(entry)
            if each.state is State.CLAIMED:
                self.doubt(each.question.elicitation_id, each.digest)
                self.write(QuestionTakenBack(each.question.elicitation_id))

    def snapshot(self) -> Iterator[Change]:
        """Changes that would bring about what the book holds now."""
        for entry in self._entries.values():
            yield from entry.changes()

    def doubt(self, elicitation_id: ElicitationId, digest: bytes) -> None:
        """An answer with this digest may have reached the Bridge, now or any moment."""
        entry = self._entries.get(elicitation_id)
        if entry is None or entry.doubted in {digest, SEVERAL}:
            return
        entry.doubted = digest if entry.doubted is None else SEVERAL
        self.write(AnswerDoubted(elicitation_id, entry.doubted))

    def doubted(self, elicitation_id: ElicitationId) -> bytes | None:
        """The digest of the answer that may have reached the Bridge unseen, SEVERAL, or None."""
        entry = self._entries.get(elicitation_id)
        return entry.doubted if entry else None

    def _of(self, agent_id: AgentId) -> list[Entry]:
        return [self._entries[key] for key in self._by_agent.get(agent_id, ())]

    def offer(
        self, agent_id: AgentId, *, now: float, wall: float, limit: int, among: Callable[[Elicitation], bool] = _any
    ) -> list[Elicitation]:
        """Questions to hand to the agent now, those never offered first, and the oldest of each; they count as offered.

        One that is ignored keeps no other back.
        """
        offered: list[Elicitation] = []
        for entry in sorted(self._of(agent_id), key=lambda one: one.due_at != NEVER):
            if len(offered) >= limit:
                break
            is_due = self._is_due(entry, now=now, wall=wall)
            if is_due and among(entry.elicitation) and not self.withholds(entry.elicitation):
                self._offered(entry, now=now, wall=wall)
                offered.append(entry.elicitation)
        return offered

    def _offered(self, entry: Entry, *, now: float, wall: float) -> None:
        entry.state = State.OFFERED
        entry.due_at = now + min(self.redeliver_s, (entry.elicitation.expires_at - wall) / OFFERS)
        self.write(QuestionOffered(entry.elicitation.elicitation_id))

    def hand_out(self, elicitation_ids: Iterable[ElicitationId], *, now: float, wall: float) -> None:
        """A reply with these questions, which are not offered by themselves, is on its way to their agent."""
        for entry in map(self._entries.get, elicitation_ids):
            if entry is not None and entry.is_unanswered():
                self._offered(entry, now=now, wall=wall)

    def still_asks(self, elicitation_id: ElicitationId, *, wall: float) -> bool:
        """Whether an answer to this question is waited for, and none is on its way."""
        entry = self._entries.get(elicitation_id)
        return entry is not None and entry.is_unanswered() and entry.is_open(wall)

    def contradicts(self, answer: Answer) -> bool:
        """Whether another answer than this is known to stand."""
        entry = self._entries.get(answer.elicitation_id)
        is_known = entry is not None and entry.state is State.ANSWERED and bool(entry.digest)
        return entry is not None and is_known and entry.digest != answer.digest()

    def _is_due(self, entry: Entry, *, now: float, wall: float) -> bool:
        if wall >= entry.elicitation.expires_at or entry.is_over:
            return False
        if entry.state is State.NEW:
            return True
        return entry.state is State.OFFERED and now >= entry.due_at

    def take_back(self, elicitation_ids: Iterable[ElicitationId]) -> None:
        """The reply that carried these did not reach the agent: they are new again."""
        for elicitation_id in elicitation_ids:
            entry = self._entries.get(elicitation_id)
            if entry and entry.state is State.OFFERED:
                entry.state, entry.due_at = State.NEW, NEVER
                self.write(QuestionTakenBack(elicitation_id))

    def absent_from(self, agent_id: AgentId, listed: Iterable[ElicitationId]) -> list[ElicitationId]:
        """Unanswered questions of the agent that the Bridge no longer lists as pending."""
        still = set(listed)
        return [
            entry.elicitation.elicitation_id
            for entry in self._of(agent_id)
            if entry.is_unanswered() and entry.elicitation.elicitation_id not in still
        ]

    def withdraw(self, elicitation_id: ElicitationId) -> None:
        """The Bridge has ended this question (expired, cancelled, answered elsewhere, or by a doubted answer)."""
        entry = self._entries.get(elicitation_id)
        if entry is None or not entry.is_unanswered():
            return
        if entry.doubted is not None:
            entry.is_over = True
        else:
            self._drop(elicitation_id, End.WITHDRAWN)

    def claim(self, answer: Answer, agent_id: AgentId, *, wall: float) -> Claim:
        """Decide what becomes of an answer from this agent.

        Raises:
            ElicitationUnknown: not in the book.
            AnswerForbidden: addressed to another agent.
            AnswerConflict: a different answer was given.
            ElicitationExpired: the deadline has passed.
        """
        entry = self._entries.get(answer.elicitation_id)
        if entry is None:
            raise ElicitationUnknown(f"elicitation {answer.elicitation_id} is not known here")
        if entry.elicitation.to_agent != agent_id:
            raise AnswerForbidden(
                f"elicitation {answer.elicitation_id} is addressed to another agent, not to {agent_id}"
            )
        if entry.state is State.CLAIMED:
            return Claim.WAIT  # also another answer: the one that is on its way may not be taken
        if entry.state is State.ANSWERED:
            if entry.digest != answer.digest():
                raise AnswerConflict(
                    f"elicitation {answer.elicitation_id} was already answered differently; the first answer stands"
                )
            return Claim.REPEAT
        if wall >= entry.elicitation.expires_at and entry.doubted != answer.digest():
            late_s = wall - entry.elicitation.expires_at
            raise ElicitationExpired(
                f"elicitation {answer.elicitation_id} expired {late_s:.1f} s ago; ask its sender to ask again"
            )
        entry.state, entry.digest = State.CLAIMED, answer.digest()
        self.write(AnswerClaimed(answer.elicitation_id, entry.digest))
        return Claim.SEND

    def settle(self, elicitation_id: ElicitationId, *, now: float) -> None:
        """The claimed answer reached the Bridge."""
        entry = self._entries.get(elicitation_id)
        if entry and entry.state is State.CLAIMED:
            entry.state, entry.answered_at, entry.doubted = State.ANSWERED, now, None
            self.write(AnswerSettled(elicitation_id))

    def release(self, elicitation_id: ElicitationId) -> None:
        """The claimed answer did not reach the Bridge: the question is open again, and due when it was due before.

        A question that ended otherwise in the meantime stays over, and the answer that failed counts for nothing.
        """
        entry = self._entries.get(elicitation_id)
        if entry is None:
            return
        entry.digest = b""
        if entry.state is State.CLAIMED:
            entry.state = State.OFFERED
            self.write(QuestionTakenBack(elicitation_id))
        elif entry.state is State.ANSWERED:
            self.write(AnswerClaimed(elicitation_id, b""))
            self.write(AnswerSettled(elicitation_id))

    def asked_of(self, asker: str, addressee: str) -> list[Elicitation]:
        """Questions that `asker` put to `addressee` and whose answer the asker has not yet been shown."""
        return [
            entry.elicitation
            for entry in self._of(AgentId(addressee))
            if entry.elicitation.from_agent == asker and not entry.passed_on
        ]

    def answered_with(
        self, asker: str, addressee: str, answer: Answer, *, noted_at: float | None = None
    ) -> ElicitationId | None:
        """The question of `asker` to `addressee` that this answer (id aside), noted then, settled here, oldest first.

        None while it may as well be one in doubt. Those made from sends are not among them, see `answers_send`.
        """
        for elicitation in self.asked_of(asker, addressee):
            entry = self._entries[elicitation.elicitation_id]
            if noted_at is not None and noted_at < elicitation.created_at:
                continue
            if entry.doubted in {answer.digest(), SEVERAL}:
                return None
            is_its = entry.state is State.ANSWERED and entry.digest == answer.digest()
            if is_its and elicitation.made_from is None:
                return elicitation.elicitation_id
        return None

    def answers_send(self, asker: str, addressee: str, answer: Answer) -> bool:
        """Whether this very answer (id aside) was given here to a question made from a send of `asker`."""
        return any(
            entry.state in {State.CLAIMED, State.ANSWERED} and entry.digest == answer.digest()
            for entry in self._of(AgentId(addressee))
            if entry.elicitation.from_agent == asker and entry.elicitation.made_from is not None
        )

    def passed_on(self, elicitation_id: ElicitationId, *, now: float) -> None:
        """The asker has been shown the answer to this question; it is over, wherever it was answered."""
        entry = self._entries.get(elicitation_id)
        if entry:
            entry.passed_on = True
            self.write(AnswerPassedOn(elicitation_id))
            if entry.state is not State.ANSWERED:
                entry.state, entry.answered_at, entry.doubted = State.ANSWERED, now, None
                self.write(AnswerSettled(elicitation_id))

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
        for elicitation in expired:
            self._drop(elicitation.elicitation_id, End.EXPIRED)
        for elicitation in over:
            self._drop(elicitation.elicitation_id, End.FORGOTTEN)
        return expired

    def _drop(self, elicitation_id: ElicitationId, how: End) -> None:
        entry = self._entries.pop(elicitation_id)
        mine = self._by_agent[entry.elicitation.to_agent]
        del mine[elicitation_id]
        if not mine:
            del self._by_agent[entry.elicitation.to_agent]
        self.write(QuestionEnded(elicitation_id, how))
