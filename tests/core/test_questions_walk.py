"""The book of questions on any walk: one answer goes up, nothing is offered to the wrong agent, nothing leaks."""

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from proxy.core.claim import Claim
from proxy.core.elicitation import Answer, AnswerKind, Elicitation
from proxy.core.errors import AnswerConflict, AnswerForbidden, ElicitationExpired, ElicitationUnknown, SidecarError
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.journal import Change, KeptQuestion, Recovered
from proxy.core.journal import QuestionState as State
from proxy.core.questions import OFFERS, SEVERAL, QuestionBook
from proxy.core.replay import replay

AGENTS = [AgentId("alice"), AgentId("bob"), AgentId("carol")]
IDS = [ElicitationId(f"e{number}") for number in range(6)]
REDELIVER_S = 30.0

agents = st.sampled_from(AGENTS)
ids = st.sampled_from(IDS)
says = st.sampled_from(
    [(AnswerKind.ACCEPT, 1), (AnswerKind.ACCEPT, 2), (AnswerKind.DECLINE, 0), (AnswerKind.CANCEL, 0)]
)


def _answer(elicitation_id: ElicitationId, said: tuple[AnswerKind, int]) -> Answer:
    kind, build = said
    return Answer(
        elicitation_id=elicitation_id, kind=kind, content={"build": build} if kind is AnswerKind.ACCEPT else None
    )


class BookWalk(RuleBasedStateMachine):
    """Walks through a book and remembers, per question, only what the rules speak of."""

    def __init__(self) -> None:
        super().__init__()
        self.journal: list[Change] = []
        self.book = QuestionBook(redeliver_s=REDELIVER_S, write=self.journal.append)
        self.now = 0.0
        self.known: dict[ElicitationId, Elicitation] = {}
        self.in_flight: dict[ElicitationId, bytes] = {}
        """Digest of the answer that is on its way up."""
        self.settled: dict[ElicitationId, bytes] = {}
        """Digest of the answer that stands; empty when it came by another way."""
        self.due_at: dict[ElicitationId, float] = {}
        self.doubted: dict[ElicitationId, bytes] = {}
        """Digest of the answer that may have arrived unseen; empty for several."""
        self.over: set[ElicitationId] = set()
        """Ended by the Bridge while such an answer was about."""

    @property
    def wall(self) -> float:
        return self.now + 10_000

    def _forget_over(self) -> None:
        for elicitation_id in [known for known in self.known if self.book.get(known) is None]:
            assert elicitation_id not in self.in_flight
            for memory in (self.known, self.settled, self.due_at, self.doubted):
                memory.pop(elicitation_id, None)
            self.over.discard(elicitation_id)

    def _open(self) -> set[ElicitationId]:
        return self.known.keys() - self.in_flight.keys() - self.settled.keys() - self.over

    @rule(seconds=st.sampled_from([0.5, 10.0, REDELIVER_S, 300.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(elicitation_id=ids, to=agents, asker=agents, lives_s=st.sampled_from([-5.0, 5.0, 60.0, 10_000.0]))
    def note(self, elicitation_id: ElicitationId, to: AgentId, asker: AgentId, lives_s: float) -> None:
        question = Elicitation(
            elicitation_id=elicitation_id,
            from_agent=asker,
            to_agent=to,
            message="",
            schema={},
            created_at=self.wall,
            expires_at=self.wall + lives_s,
        )
        assert self.book.add(question) is (elicitation_id not in self.known)
        self.known.setdefault(elicitation_id, question)
        self.over.discard(elicitation_id)

    @rule(agent=agents, limit=st.integers(0, 3))
    def offer(self, agent: AgentId, limit: int) -> None:
        due = [
            known
            for known, question in self.known.items()
            if question.to_agent == agent
            and known in self._open()
            and self.wall < question.expires_at
            and self.now >= self.due_at.get(known, float("-inf"))
        ]
        offered = [
            question.elicitation_id for question in self.book.offer(agent, now=self.now, wall=self.wall, limit=limit)
        ]
        assert len(offered) == len(set(offered)) == min(limit, len(due))
        assert set(offered) <= set(due)
        for known in offered:
            left_s = self.known[known].expires_at - self.wall
            self.due_at[known] = self.now + min(REDELIVER_S, left_s / OFFERS)

    @rule(lost=st.lists(ids, max_size=3))
    def reply_never_arrived(self, lost: list[ElicitationId]) -> None:
        self.book.take_back(lost)
        for elicitation_id in lost:
            if elicitation_id not in self.in_flight and elicitation_id not in self.settled:
                self.due_at.pop(elicitation_id, None)

    @rule(elicitation_id=ids, agent=agents, said=says)
    def answer(self, elicitation_id: ElicitationId, agent: AgentId, said: tuple[AnswerKind, int]) -> None:
        answer = _answer(elicitation_id, said)
        expected = self._expected(answer, agent)
        if not isinstance(expected, Claim):
            with pytest.raises(expected):
                self.book.claim(answer, agent, wall=self.wall)
            return
        assert self.book.claim(answer, agent, wall=self.wall) is expected
        if expected is Claim.SEND:
            assert elicitation_id not in self.in_flight
            self.in_flight[elicitation_id] = answer.digest()

    def _expected(self, answer: Answer, agent: AgentId) -> Claim | type[SidecarError]:
        question = self.known.get(answer.elicitation_id)
        if question is None:
            return ElicitationUnknown
        if question.to_agent != agent:
            return AnswerForbidden
        for standing, claim in ((self.settled, Claim.REPEAT), (self.in_flight, Claim.WAIT)):
            if answer.elicitation_id in standing:
                return claim if standing[answer.elicitation_id] == answer.digest() else AnswerConflict
        is_late = self.wall >= question.expires_at
        may_stand = self.doubted.get(answer.elicitation_id) == answer.digest()
        return ElicitationExpired if is_late and not may_stand else Claim.SEND

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def answer_may_have_arrived(self, data: st.DataObject) -> None:
        elicitation_id = data.draw(st.sampled_from(sorted(self.in_flight)))
        self._doubt(elicitation_id, self.in_flight[elicitation_id])
        self.book.doubt(elicitation_id, self.in_flight[elicitation_id])

    def _doubt(self, elicitation_id: ElicitationId, digest: bytes) -> None:
        known = self.doubted.setdefault(elicitation_id, digest)
        if known != digest:
            self.doubted[elicitation_id] = SEVERAL

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), arrived=st.booleans())
    def answer_ends(self, data: st.DataObject, *, arrived: bool) -> None:
        elicitation_id = data.draw(st.sampled_from(sorted(self.in_flight)))
        digest = self.in_flight.pop(elicitation_id)
        if arrived:
            self.book.settle(elicitation_id, now=self.now)
            self.settled.setdefault(elicitation_id, digest)
            self.doubted.pop(elicitation_id, None)
        else:
            self.book.release(elicitation_id)
            if elicitation_id in self.settled:
                self.settled[elicitation_id] = b""

    @rule(elicitation_id=ids)
    def asker_reads_the_answer(self, elicitation_id: ElicitationId) -> None:
        self.book.passed_on(elicitation_id, now=self.now)
        if elicitation_id in self.known:
            if elicitation_id not in self.settled:
                self.doubted.pop(elicitation_id, None)
            self.settled.setdefault(elicitation_id, self.in_flight.get(elicitation_id, b""))
            assert self.known[elicitation_id] not in self.book.asked_of(
                self.known[elicitation_id].from_agent, self.known[elicitation_id].to_agent
            )

    @rule()
    def crash_and_start(self) -> None:
        """Nothing settled is open again, nothing open is lost, and an answer on its way leaves its digest."""
        kept = replay(self.journal)
        claimed = {each.question.elicitation_id: each.digest for each in kept.questions if each.state is State.CLAIMED}
        assert claimed == {known: digest for known, digest in self.in_flight.items() if known not in self.settled}
        self.book = QuestionBook(redeliver_s=REDELIVER_S, write=self.journal.append)
        self.book.restore(kept.questions, now=self.now)
        for elicitation_id, digest in claimed.items():
            self._doubt(elicitation_id, digest)
        self.in_flight.clear()
        self.over.clear()
        for elicitation_id in self.known.keys() - self.settled.keys():
            self.due_at.pop(elicitation_id, None)

    @rule(elicitation_id=ids)
    def bridge_ends_it(self, elicitation_id: ElicitationId) -> None:
        self.book.withdraw(elicitation_id)
        if elicitation_id in self._open() and elicitation_id in self.doubted:
            self.over.add(elicitation_id)  # kept for the same answer, if it comes again
        is_gone = elicitation_id not in self.known or elicitation_id in self._open()
        assert (self.book.get(elicitation_id) is None) is is_gone
        self._forget_over()

    @precondition(lambda self: not self.in_flight)
    @rule()
    def prune(self) -> None:
        before = dict(self.known)
        expired = self.book.prune(now=self.now, wall=self.wall)
        for question in expired:
            assert question.expires_at < self.wall
            assert question.elicitation_id not in self.settled
        self._forget_over()
        assert {known for known in before if known not in self.known and known in self.settled} == set()

    @invariant()
    def the_book_holds_what_is_known_and_nothing_else(self) -> None:
        assert len(self.book) == len(self.known)
        assert self.book.open_count() == len(
            self.known.keys() - self.settled.keys() - (self.over - self.in_flight.keys())
        )
        assert {known: self.book.doubted(known) for known in self.known} == {
            known: self.doubted.get(known) for known in self.known
        }
        assert all(self.book.get(known) == question for known, question in self.known.items())

    @invariant()
    def the_index_by_agent_holds_every_question_once_and_no_empty_agent(self) -> None:
        index = {agent: set(mine) for agent, mine in self.book._by_agent.items()}
        assert all(index.values())
        assert {known: agent for agent, mine in index.items() for known in mine} == {
            known: question.to_agent for known, question in self.known.items()
        }

    @invariant()
    def open_questions_can_be_told_from_those_the_bridge_still_lists(self) -> None:
        for agent in AGENTS:
            still_open = {
                known for known, question in self.known.items() if question.to_agent == agent and known in self._open()
            }
            assert set(self.book.absent_from(agent, ())) == still_open
            assert self.book.absent_from(agent, IDS) == []

    @invariant()
    def a_snapshot_of_the_book_amounts_to_its_journal(self) -> None:
        assert _without_offers(replay(self.book.snapshot())) == _without_offers(replay(self.journal))


def _without_offers(found: Recovered) -> list[KeptQuestion]:
    """The questions of a journal; one that an earlier process offered is new in the book."""
    return [replace(each, state=State.NEW) if each.state is State.OFFERED else each for each in found.questions]


@pytest.mark.requirement("answers.first_wins")
@pytest.mark.requirement("questions.forgetting")
@pytest.mark.requirement("journal.book")
def test_the_rules_of_the_book_hold_on_any_walk() -> None:
    run_state_machine_as_test(BookWalk, settings=settings(max_examples=150, stateful_step_count=40, deadline=None))
