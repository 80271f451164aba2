"""What the book shows of its questions to those who watch over them."""

from dataclasses import replace

import pytest

from proxy.core.elicitation import Answer, AnswerKind, Elicitation
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.listed_question import Listed
from proxy.core.questions import QuestionBook

BOB, CAROL = AgentId("bob"), AgentId("carol")
QUESTION = Elicitation(
    elicitation_id=ElicitationId("q1"),
    from_agent="alice",
    to_agent=BOB,
    message="What is the secret?",
    schema={"type": "object", "title": "the secret's schema"},
    created_at=1_000.0,
    expires_at=1_060.0,
)


def _question(name: str, to_agent: AgentId = BOB) -> Elicitation:
    return replace(QUESTION, elicitation_id=ElicitationId(name), to_agent=to_agent)


@pytest.fixture
def book() -> QuestionBook:
    """A book with two questions to bob and one to carol."""
    made = QuestionBook(redeliver_s=5.0)
    for question in (_question("q1"), _question("q2", CAROL), _question("q3")):
        assert made.add(question)
    return made


def _shown(listing: list[Listed]) -> list[tuple[str, str, bool]]:
    return [(listed.elicitation_id, listed.state, listed.is_offered) for listed in listing]


def _answer(name: str) -> Answer:
    return Answer(elicitation_id=ElicitationId(name), kind=AnswerKind.ACCEPT, content={"secret": "xyzzy"})


def test_a_question_is_shown_without_what_it_asks(book: QuestionBook) -> None:
    listed = book.listed(ElicitationId("q1"))
    assert listed is not None
    assert listed.as_json() == {
        "id": "q1",
        "from": "alice",
        "to": "bob",
        "state": "new",
        "created_at": 1_000.0,
        "expires_at": 1_060.0,
        "offered": False,
    }
    assert book.listed(ElicitationId("q9")) is None


def test_open_questions_are_listed_in_the_order_they_became_known(book: QuestionBook) -> None:
    assert _shown(book.listing(wall=1_000.0, limit=9)) == [
        ("q1", "new", False),
        ("q2", "new", False),
        ("q3", "new", False),
    ]
    assert _shown(book.listing(wall=1_000.0, limit=2)) == [("q1", "new", False), ("q2", "new", False)]
    assert _shown(book.listing(BOB, wall=1_000.0, limit=9)) == [("q1", "new", False), ("q3", "new", False)]
    assert book.listing(AgentId("nobody"), wall=1_000.0, limit=9) == []


def test_looking_changes_nothing(book: QuestionBook) -> None:
    book.listing(wall=1_000.0, limit=9)
    book.listed(ElicitationId("q1"))
    assert [offered.elicitation_id for offered in book.offer(BOB, now=1.0, wall=1_000.0, limit=9)] == ["q1", "q3"]


def test_an_offered_question_is_shown_as_such_until_its_reply_is_taken_back(book: QuestionBook) -> None:
    book.offer(BOB, now=0.0, wall=1_000.0, limit=1)
    assert _shown(book.listing(BOB, wall=1_000.0, limit=1)) == [("q1", "offered", True)]
    book.take_back([ElicitationId("q1")])
    assert _shown(book.listing(BOB, wall=1_000.0, limit=1)) == [("q1", "new", False)]


def test_an_answer_on_its_way_keeps_a_question_open_and_its_arrival_ends_it(book: QuestionBook) -> None:
    book.claim(_answer("q1"), BOB, wall=1_000.0)
    assert _shown(book.listing(BOB, wall=9_000.0, limit=9)) == [("q1", "claimed", False)]
    book.settle(ElicitationId("q1"), now=1.0)
    assert _shown(book.listing(BOB, wall=1_000.0, limit=9)) == [("q3", "new", False)]
    listed = book.listed(ElicitationId("q1"))
    assert listed is not None
    assert listed.state == "answered"


def test_a_question_past_its_deadline_is_open_no_more(book: QuestionBook) -> None:
    book.offer(CAROL, now=0.0, wall=1_000.0, limit=9)
    assert len(book.listing(wall=1_059.9, limit=9)) == 3
    assert book.listing(wall=1_060.0, limit=9) == []
    assert book.listed(ElicitationId("q2")) is not None
