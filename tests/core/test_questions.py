"""The book of open questions by playbook: offers, answers, deadlines, bounds and forgetting.

The same rules on any walk through the book stand in test_questions_walk.py.
"""

import pytest

from proxy.core import questions
from proxy.core.claim import Claim
from proxy.core.elicitation import Answer, AnswerKind, Elicitation
from proxy.core.errors import AnswerConflict, AnswerForbidden, ElicitationExpired, ElicitationUnknown
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.journal import AnswerClaimed, AnswerSettled, Change
from proxy.core.journal import QuestionState as State
from proxy.core.questions import KEEP_ANSWERED_S, QuestionBook

ALICE, BOB, CAROL = AgentId("alice"), AgentId("bob"), AgentId("carol")
E1, E2, E3 = ElicitationId("e1"), ElicitationId("e2"), ElicitationId("e3")
CREATED, EXPIRES = 1_000.0, 2_000.0
REDELIVER_S = 30.0


def _question(elicitation_id: ElicitationId = E1, *, to: AgentId = BOB, asker: str = ALICE) -> Elicitation:
    return Elicitation(
        elicitation_id=elicitation_id,
        from_agent=asker,
        to_agent=to,
        message="Which build?",
        schema={},
        created_at=CREATED,
        expires_at=EXPIRES,
    )


def _accept(elicitation_id: ElicitationId = E1, *, build: int = 7) -> Answer:
    return Answer(elicitation_id=elicitation_id, kind=AnswerKind.ACCEPT, content={"build": build})


DECLINE = Answer(elicitation_id=E1, kind=AnswerKind.DECLINE)


def _book(*known: Elicitation) -> QuestionBook:
    book = QuestionBook(redeliver_s=REDELIVER_S)
    assert all(book.add(question) for question in known)
    return book


def _offered(book: QuestionBook, agent: AgentId = BOB, *, now: float = 0.0, wall: float = CREATED) -> list[str]:
    return [question.elicitation_id for question in book.offer(agent, now=now, wall=wall, limit=10)]


def _settled(*known: Elicitation, now: float = 0.0) -> QuestionBook:
    """A book whose first question was answered."""
    book = _book(*known)
    assert book.claim(_accept(known[0].elicitation_id), known[0].to_agent, wall=CREATED) is Claim.SEND
    book.settle(known[0].elicitation_id, now=now)
    return book


# Offers


@pytest.mark.requirement("questions.addressee")
def test_a_question_is_offered_to_the_agent_it_is_for_and_to_nobody_else() -> None:
    book = _book(_question(E1), _question(E2, to=CAROL))
    assert _offered(book, BOB) == [E1]
    assert _offered(book, ALICE) == []
    assert _offered(book, CAROL) == [E2]


def test_questions_are_offered_in_the_order_they_came_and_no_more_than_the_reply_holds() -> None:
    book = _book(_question(E2), _question(E1), _question(E3))
    assert [question.elicitation_id for question in book.offer(BOB, now=0, wall=CREATED, limit=2)] == [E2, E1]
    assert book.offer(BOB, now=0, wall=CREATED, limit=0) == []
    assert _offered(book) == [E3]


def test_a_known_question_is_not_noted_twice() -> None:
    book = _book(_question())
    assert not book.add(_question())
    assert not book.add(_question(to=CAROL))
    assert (len(book), book.open_count(), _offered(book, CAROL)) == (1, 1, [])


@pytest.mark.requirement("questions.redelivery")
def test_an_unanswered_question_is_offered_again_after_its_time_and_not_before() -> None:
    book = _book(_question())
    assert _offered(book, now=100.0) == [E1]
    assert _offered(book, now=129.9) == []
    assert _offered(book, now=130.0) == [E1]


@pytest.mark.requirement("questions.redelivery")
def test_the_next_time_is_that_of_the_question_that_is_due_first() -> None:
    book = _book(_question(E1))
    _offered(book, now=100.0)
    book.add(_question(E2))
    _offered(book, now=110.0)


@pytest.mark.requirement("questions.at_least_once")
def test_a_question_whose_reply_never_arrived_is_offered_again_at_once() -> None:
    book = _book(_question())
    _offered(book, now=100.0)
    book.take_back([E1, E2])
    assert _offered(book, now=100.0) == [E1]


@pytest.mark.requirement("questions.at_least_once")
def test_taking_back_a_question_that_was_answered_meanwhile_changes_nothing() -> None:
    book = _settled(_question())
    book.take_back([E1])
    assert _offered(book, now=1_000_000.0) == []
    claimed = _book(_question())
    claimed.claim(_accept(), BOB, wall=CREATED)
    claimed.take_back([E1])
    assert _offered(claimed, now=1_000_000.0) == []


@pytest.mark.requirement("questions.deadline")
def test_a_question_past_its_deadline_is_not_offered() -> None:
    book = _book(_question())
    assert _offered(book, wall=EXPIRES) == []
    assert _offered(book, wall=EXPIRES - 0.001) == [E1]
    assert _offered(book, now=1_000.0, wall=EXPIRES) == []


# Answers


@pytest.mark.requirement("answers.first_wins")
def test_the_first_answer_goes_up_and_the_same_one_waits_for_it_and_repeats_it() -> None:
    book = _book(_question())
    assert book.claim(_accept(), BOB, wall=CREATED) is Claim.SEND
    assert book.claim(_accept(), BOB, wall=CREATED) is Claim.WAIT
    assert book.open_count() == 1
    book.settle(E1, now=0.0)
    assert book.claim(_accept(), BOB, wall=CREATED) is Claim.REPEAT
    assert book.open_count() == 0


@pytest.mark.requirement("answers.first_wins")
@pytest.mark.parametrize("other", [_accept(build=8), DECLINE], ids=lambda answer: answer.kind.value)
def test_a_different_answer_waits_while_the_first_is_on_its_way_and_is_refused_after(other: Answer) -> None:
    book = _book(_question())
    book.claim(_accept(), BOB, wall=CREATED)
    assert book.claim(other, BOB, wall=CREATED) is Claim.WAIT
    book.settle(E1, now=0.0)
    with pytest.raises(AnswerConflict, match="the first answer stands"):
        book.claim(other, BOB, wall=CREATED)


@pytest.mark.requirement("answers.first_wins")
def test_an_answer_that_came_to_nothing_keeps_no_other_out() -> None:
    book = _book(_question())
    book.claim(_accept(), BOB, wall=CREATED)
    book.release(E1)
    assert book.claim(DECLINE, BOB, wall=CREATED) is Claim.SEND


@pytest.mark.requirement("questions.redelivery")
def test_a_question_that_is_new_comes_before_those_that_were_ignored() -> None:
    book = _book(_question(E1))
    _offered(book, now=0.0)
    book.add(_question(E2))
    assert [each.elicitation_id for each in book.offer(BOB, now=REDELIVER_S, wall=CREATED, limit=1)] == [E2]


@pytest.mark.requirement("answers.addressee_only")
def test_an_answer_of_another_agent_is_refused_in_every_state() -> None:
    book = _book(_question())
    for step in (lambda: book.claim(_accept(), BOB, wall=CREATED), lambda: book.settle(E1, now=0.0), lambda: None):
        with pytest.raises(AnswerForbidden, match="not to carol"):
            book.claim(_accept(), CAROL, wall=CREATED)
        with pytest.raises(AnswerForbidden):
            book.claim(_accept(), ALICE, wall=EXPIRES)
        step()


@pytest.mark.requirement("questions.deadline")
def test_an_answer_at_the_deadline_is_too_late_and_is_told_by_how_much() -> None:
    book = _book(_question())
    with pytest.raises(ElicitationExpired, match=r"expired 0\.0 s ago"):
        book.claim(_accept(), BOB, wall=EXPIRES)
    with pytest.raises(ElicitationExpired, match=r"expired 12\.5 s ago"):
        book.claim(_accept(), BOB, wall=EXPIRES + 12.5)
    assert book.claim(_accept(), BOB, wall=EXPIRES - 0.001) is Claim.SEND


@pytest.mark.requirement("answers.first_wins")
def test_the_same_answer_again_after_the_deadline_is_still_the_same_success() -> None:
    book = _settled(_question())
    assert book.claim(_accept(), BOB, wall=EXPIRES + 1) is Claim.REPEAT


def test_an_answer_to_a_question_nobody_knows_is_told_so() -> None:
    with pytest.raises(ElicitationUnknown, match="e1 is not known here"):
        _book().claim(_accept(), BOB, wall=CREATED)


@pytest.mark.requirement("answers.released")
def test_an_answer_that_did_not_arrive_leaves_the_question_open_for_any_answer() -> None:
    book = _book(_question())
    _offered(book, now=100.0)
    book.claim(_accept(), BOB, wall=CREATED)
    book.release(E1)
    assert _offered(book, now=129.9) == []
    assert book.claim(DECLINE, BOB, wall=CREATED) is Claim.SEND


@pytest.mark.requirement("answers.released")
def test_a_question_that_was_answered_before_it_was_offered_is_due_at_once_when_the_answer_fails() -> None:
    book = _book(_question())
    book.claim(_accept(), BOB, wall=CREATED)
    book.release(E1)
    assert _offered(book, now=0.0) == [E1]


@pytest.mark.requirement("answers.released")
def test_a_question_taken_back_and_then_answered_in_vain_is_due_at_once() -> None:
    book = _book(_question())
    _offered(book, now=100.0)
    book.take_back([E1])
    book.claim(_accept(), BOB, wall=CREATED)
    book.release(E1)
    assert _offered(book, now=100.0) == [E1]


@pytest.mark.requirement("answers.asker_sees_it_over")
def test_a_question_whose_answer_the_asker_has_read_stays_over_when_ours_fails() -> None:
    book = _book(_question())
    book.claim(_accept(), BOB, wall=CREATED)
    book.passed_on(E1, now=5.0)
    book.release(E1)
    assert book.open_count() == 0
    assert _offered(book, now=1_000.0) == []
    with pytest.raises(AnswerConflict):
        book.claim(_accept(), BOB, wall=CREATED)


@pytest.mark.requirement("answers.asker_sees_it_over")
def test_a_question_whose_answer_the_asker_has_read_before_ours_settled_stays_answered_by_ours() -> None:
    book = _book(_question())
    book.claim(_accept(), BOB, wall=CREATED)
    book.passed_on(E1, now=5.0)
    book.settle(E1, now=6.0)
    assert book.claim(_accept(), BOB, wall=CREATED) is Claim.REPEAT


@pytest.mark.requirement("answers.asker_sees_it_over")
def test_a_question_that_was_answered_elsewhere_is_over() -> None:
    book = _book(_question())
    _offered(book)
    book.passed_on(E1, now=5.0)
    with pytest.raises(AnswerConflict):
        book.claim(_accept(), BOB, wall=CREATED)


def test_the_end_of_an_answer_whose_question_was_forgotten_meanwhile_changes_nothing() -> None:
    book = _book(_question())
    book.claim(_accept(), BOB, wall=CREATED)
    book.passed_on(E1, now=0.0)
    book.prune(now=KEEP_ANSWERED_S, wall=CREATED)
    book.settle(E1, now=KEEP_ANSWERED_S)
    book.release(E1)
    book.passed_on(E1, now=KEEP_ANSWERED_S)
    assert len(book) == 0


# What the Bridge says


def test_questions_that_the_bridge_no_longer_lists_are_told_while_they_are_open() -> None:
    book = _book(_question(E1), _question(E2), _question(E3, to=CAROL))
    _offered(book)
    assert book.absent_from(BOB, [E1]) == [E2]
    assert book.absent_from(BOB, []) == [E1, E2]
    book.claim(_accept(E1), BOB, wall=CREATED)
    assert book.absent_from(BOB, []) == [E2]


def test_a_question_that_the_bridge_has_ended_is_forgotten_unless_an_answer_is_on_its_way() -> None:
    book = _book(_question(E1), _question(E2), _question(E3))
    book.claim(_accept(E1), BOB, wall=CREATED)
    for elicitation_id in (E1, E2, ElicitationId("never seen")):
        book.withdraw(elicitation_id)
    assert [book.get(known) is not None for known in (E1, E2, E3)] == [True, False, True]
    book.settle(E1, now=0.0)
    book.withdraw(E1)
    assert book.get(E1) == _question(E1)


# What is shown of it


def test_open_questions_are_listed_without_what_they_ask_and_without_what_was_answered() -> None:
    book = _book(_question(E1), _question(E2, to=CAROL), _question(E3))
    _offered(book)
    book.claim(_accept(E3), BOB, wall=CREATED)
    shown = {one.elicitation_id: (one.state, one.is_offered) for one in book.listing(wall=CREATED, limit=9)}
    assert shown == {E1: (State.OFFERED, True), E2: (State.NEW, False), E3: (State.CLAIMED, True)}
    assert [shown.elicitation_id for shown in book.listing(BOB, wall=EXPIRES, limit=9)] == [E3]
    assert [shown.elicitation_id for shown in book.listing(wall=CREATED, limit=1)] == [E1]


def test_one_question_is_shown_as_long_as_it_is_remembered() -> None:
    book = _settled(_question())
    assert book.listing(wall=CREATED, limit=9) == []
    shown = book.listed(E1)
    assert shown is not None
    times = {"created_at": CREATED, "expires_at": EXPIRES}
    assert shown.as_json() == {"id": E1, "from": ALICE, "to": BOB, "state": "answered", "offered": False, **times}
    assert book.listed(E2) is None


# Answers on their way back to the asker


@pytest.mark.requirement("answers.back_to_asker")
def test_an_answer_is_matched_to_the_question_it_settled_here() -> None:
    book = _book(_question(E1), _question(E2), _question(E3, asker=CAROL))
    for elicitation_id, build in ((E1, 7), (E2, 8), (E3, 8)):
        book.claim(_accept(elicitation_id, build=build), BOB, wall=CREATED)
    nameless = _accept(ElicitationId(""), build=8)
    assert book.answered_with(ALICE, BOB, nameless) is None
    for elicitation_id in (E1, E2, E3):
        book.settle(elicitation_id, now=0.0)
    assert book.answered_with(ALICE, BOB, nameless) == E2
    assert book.answered_with(CAROL, BOB, nameless) == E3
    assert book.answered_with(ALICE, CAROL, nameless) is None


@pytest.mark.requirement("answers.back_to_asker")
def test_the_same_answer_to_two_questions_is_matched_to_each_in_turn() -> None:
    book = _settled(_question(E1), _question(E2))
    book.claim(_accept(E2), BOB, wall=CREATED)
    book.settle(E2, now=0.0)
    matched = []
    for _ in range(3):
        found = book.answered_with(ALICE, BOB, _accept(ElicitationId("")))
        matched.append(found)
        if found:
            book.passed_on(found, now=0.0)
    assert matched == [E1, E2, None]


def test_what_an_asker_still_waits_to_be_told_is_listed() -> None:
    book = _book(_question(E1), _question(E2), _question(E3, asker=CAROL))
    assert [question.elicitation_id for question in book.asked_of(ALICE, BOB)] == [E1, E2]
    book.passed_on(E1, now=0.0)
    assert [question.elicitation_id for question in book.asked_of(ALICE, BOB)] == [E2]
    assert book.asked_of(ALICE, "nobody") == []


# Bounds and forgetting


@pytest.mark.requirement("questions.bounds")
def test_a_full_book_refuses_new_questions_and_drops_no_open_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions, "MAX_PER_AGENT", 2)
    monkeypatch.setattr(questions, "MAX_IN_ALL", 3)
    book = _book(_question(E1), _question(E2))
    assert not book.add(_question(E3))
    assert book.add(_question(E3, to=CAROL))
    assert not book.add(_question(ElicitationId("e4"), to=ALICE))
    assert (len(book), _offered(book), _offered(book, CAROL)) == (3, [E1, E2], [E3])
    book.withdraw(E1)
    assert book.add(_question(ElicitationId("e4"), to=ALICE))


@pytest.mark.requirement("questions.bounds")
def test_one_agent_cannot_fill_the_book_for_the_others() -> None:
    book = _book()
    taken = [book.add(_question(ElicitationId(f"e{number}"))) for number in range(1_001)]
    assert taken == [True] * 1_000 + [False]
    assert book.add(_question(ElicitationId("other"), to=CAROL))


@pytest.mark.requirement("questions.forgetting")
def test_a_question_is_forgotten_some_time_after_its_deadline_and_told_once() -> None:
    book = _book(_question(E1), _question(E2))
    _offered(book)
    book.claim(_accept(E2), BOB, wall=CREATED)
    assert book.prune(now=0.0, wall=EXPIRES + KEEP_ANSWERED_S - 0.001) == []
    assert book.prune(now=0.0, wall=EXPIRES + KEEP_ANSWERED_S) == [_question(E1)]
    assert book.prune(now=0.0, wall=EXPIRES + KEEP_ANSWERED_S) == []
    assert (book.get(E1), book.get(E2)) == (None, _question(E2))


@pytest.mark.requirement("questions.forgetting")
def test_an_answered_question_is_remembered_for_a_while_and_is_then_forgotten_without_a_word() -> None:
    book = _settled(_question(), now=100.0)
    assert book.prune(now=100.0 + KEEP_ANSWERED_S - 0.001, wall=EXPIRES + 10_000) == []
    assert book.claim(_accept(), BOB, wall=EXPIRES) is Claim.REPEAT
    assert book.prune(now=100.0 + KEEP_ANSWERED_S, wall=CREATED) == []
    assert len(book) == 0
    with pytest.raises(ElicitationUnknown):
        book.claim(_accept(), BOB, wall=CREATED)


@pytest.mark.requirement("questions.forgetting")
def test_an_agent_whose_questions_are_all_over_leaves_nothing_behind() -> None:
    book = _book(*(_question(ElicitationId(f"e{n}"), to=AgentId(f"agent-{n}")) for n in range(100)))
    for number in range(100):
        book.withdraw(ElicitationId(f"e{number}"))
    assert len(book) == 0
    assert book._by_agent == {}


# The journal


@pytest.mark.requirement("journal.book")
def test_a_claim_that_fails_after_the_question_was_answered_otherwise_leaves_an_answer_that_nobody_can_repeat() -> None:
    journal: list[Change] = []
    book = _book(_question())
    book.write = journal.append
    book.claim(_accept(), BOB, wall=CREATED)
    book.passed_on(E1, now=0.0)
    book.release(E1)
    assert journal[-2:] == [AnswerClaimed(E1, b""), AnswerSettled(E1)]
    with pytest.raises(AnswerConflict):
        book.claim(_accept(), BOB, wall=CREATED)


@pytest.mark.requirement("journal.book")
def test_what_becomes_of_a_question_that_is_not_in_the_book_is_nobodys_business() -> None:
    journal: list[Change] = []
    book = QuestionBook(redeliver_s=REDELIVER_S, write=journal.append)
    book.doubt(E1, b"d")
    book.withdraw(E1)
    book.release(E1)
    book.passed_on(E1, now=0.0)
    assert (journal, book.doubted(E1)) == ([], None)


@pytest.mark.requirement("answers.unclear_outcome")
def test_the_same_answer_may_come_again_after_the_deadline_when_it_may_have_arrived_in_time() -> None:
    book = _book(_question())
    book.claim(_accept(), BOB, wall=CREATED)
    book.doubt(E1, _accept().digest())
    book.release(E1)
    with pytest.raises(ElicitationExpired):
        book.claim(DECLINE, BOB, wall=EXPIRES)
    assert book.claim(_accept(), BOB, wall=EXPIRES) is Claim.SEND


def test_what_nobody_claimed_is_released_without_effect() -> None:
    book = _book(_question())
    changes: list[Change] = []
    book.write = changes.append
    book.release(E1)
    assert changes == []
    assert _offered(book) == [E1]


@pytest.mark.requirement("delivery.told_once")
def test_what_is_offered_can_be_chosen() -> None:
    book = _book(_question(E1), _question(E2))
    (first,) = book.offer(BOB, now=0.0, wall=CREATED, limit=1)
    assert book.offer(BOB, now=0.0, wall=CREATED, limit=9, among=first.__eq__) == []
    assert book.offer(BOB, now=REDELIVER_S, wall=CREATED, limit=9, among=first.__eq__) == [first]
