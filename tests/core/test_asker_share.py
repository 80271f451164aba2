"""One asker's share of an agent's book: the first ones are within it, and others are not kept out."""

import pytest

from proxy.core import asker_share
from proxy.core.asker_share import MAX_PER_ASKER, has_share, within_share
from proxy.core.elicitation import Answer, AnswerKind, Elicitation
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.questions import QuestionBook

pytestmark = pytest.mark.requirement("questions.asker_share")

BOB = AgentId("bob")


def _question(number: int, asker: str = "mallory", *, ends_at: float = 100.0) -> Elicitation:
    return Elicitation(
        elicitation_id=ElicitationId(f"{asker}{number}"),
        from_agent=asker,
        to_agent=BOB,
        message="?",
        schema={},
        created_at=0.0,
        expires_at=ends_at,
    )


def test_of_a_listing_the_first_questions_of_each_asker_are_within_its_share() -> None:
    flood = [_question(number) for number in range(MAX_PER_ASKER + 50)]
    others = [_question(number, "alice") for number in range(3)]
    assert within_share([*flood, *others]) == [*flood[:MAX_PER_ASKER], *others]


def test_a_single_question_is_within_it_while_fewer_of_its_asker_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asker_share, "MAX_PER_ASKER", 2)
    book = QuestionBook(redeliver_s=30)
    for number in range(2):
        assert has_share(book, _question(number), wall=0)
        book.add(_question(number))
    assert not has_share(book, _question(3), wall=0)
    assert has_share(book, _question(1, "alice"), wall=0)
    book.claim(Answer(elicitation_id=ElicitationId("mallory0"), kind=AnswerKind.DECLINE, content=None), BOB, wall=0)
    book.settle(ElicitationId("mallory0"), now=0)
    assert has_share(book, _question(3), wall=0)


def test_questions_that_have_expired_take_no_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asker_share, "MAX_PER_ASKER", 1)
    book = QuestionBook(redeliver_s=30)
    book.add(_question(1, ends_at=10))
    assert not has_share(book, _question(2), wall=9)
    assert has_share(book, _question(2), wall=10)
