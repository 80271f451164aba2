"""The book of questions, as far as some of them are handed out in another way."""

import pytest

from proxy.core.elicitation import Answer, AnswerKind, Elicitation
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.questions import QuestionBook

BOB = AgentId("bob")
E1, E2 = ElicitationId("e1"), ElicitationId("e2")


def _question(name: ElicitationId, made_from: int | None = None) -> Elicitation:
    return Elicitation(
        elicitation_id=name,
        from_agent="alice",
        to_agent=BOB,
        message="Ship it?",
        schema={},
        created_at=0.0,
        expires_at=300.0,
        made_from=made_from,
    )


def _accept(name: ElicitationId = E1, *, build: int = 7) -> Answer:
    return Answer(elicitation_id=name, kind=AnswerKind.ACCEPT, content={"build": build})


@pytest.fixture(name="book")
def _book() -> QuestionBook:
    made = QuestionBook(redeliver_s=30.0, withholds=lambda question: question.made_from is not None)
    made.add(_question(E1, made_from=7))
    made.add(_question(E2))
    return made


def _offered(book: QuestionBook, now: float) -> list[str]:
    return [question.elicitation_id for question in book.offer(BOB, now=now, wall=now, limit=10)]


@pytest.mark.requirement("dual.one_copy")
def test_a_question_that_is_withheld_is_never_offered_by_itself(book: QuestionBook) -> None:
    assert _offered(book, 0.0) == ["e2"]
    book.hand_out([E1], now=0.0, wall=0.0)
    assert _offered(book, 100.0) == ["e2"]


def test_one_that_was_handed_out_is_listed_as_offered_until_it_is_taken_back(book: QuestionBook) -> None:
    book.hand_out([E1, ElicitationId("unknown")], now=0.0, wall=0.0)
    assert [listed.is_offered for listed in book.listing(wall=0.0, limit=10)] == [True, False]
    book.take_back([E1])
    assert [listed.is_offered for listed in book.listing(wall=0.0, limit=10)] == [False, False]


def test_one_that_is_answered_is_not_handed_out_again(book: QuestionBook) -> None:
    book.claim(_accept(), BOB, wall=0.0)
    book.hand_out([E1], now=0.0, wall=0.0)
    assert not book.still_asks(E1, wall=0.0)
    book.release(E1)
    assert book.still_asks(E1, wall=0.0)
    assert not book.still_asks(E1, wall=300.0)
    assert not book.still_asks(ElicitationId("unknown"), wall=0.0)


@pytest.mark.requirement("dual.answer")
def test_another_answer_than_the_one_that_stands_is_known_to_be_false(book: QuestionBook) -> None:
    book.claim(_accept(), BOB, wall=0.0)
    assert not book.contradicts(_accept(build=8)), "not before it stands"
    book.settle(E1, now=0.0)
    assert book.contradicts(_accept(build=8))
    assert not book.contradicts(_accept())
    assert not book.contradicts(_accept(ElicitationId("unknown")))
    book.passed_on(E2, now=0.0)
    assert not book.contradicts(_accept(E2)), "of an answer given elsewhere nothing is known"


@pytest.mark.requirement("dual.answer")
def test_answers_to_sends_and_to_questions_are_matched_apart(book: QuestionBook) -> None:
    for name in (E1, E2):
        book.claim(_accept(name), BOB, wall=0.0)
        book.settle(name, now=0.0)
    assert book.answered_with("alice", "bob", _accept()) == E2
    book.passed_on(E1, now=0.0)
    assert book.answers_send("alice", "bob", _accept())
    assert not book.answers_send("alice", "bob", _accept(build=8))
    assert not book.answers_send("carol", "bob", _accept())
