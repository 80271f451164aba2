"""What is known of one question, and what would bring it about again."""

import pytest

from proxy.core.elicitation import Elicitation
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.journal import QuestionState
from proxy.core.question_entry import Entry
from proxy.core.replay import replay

QUESTION = Elicitation(
    elicitation_id=ElicitationId("e1"),
    from_agent="alice",
    to_agent=AgentId("bob"),
    message="Which colour?",
    schema={},
    created_at=100.0,
    expires_at=160.0,
)


@pytest.mark.requirement("journal.replay")
@pytest.mark.parametrize("state", list(QuestionState))
@pytest.mark.parametrize("doubted", [None, b"digest"])
@pytest.mark.parametrize("passed_on", [False, True])
def test_its_changes_bring_about_what_it_is(state: QuestionState, doubted: bytes | None, *, passed_on: bool) -> None:
    digest = b"answer" if state in {QuestionState.CLAIMED, QuestionState.ANSWERED} else b""
    entry = Entry(QUESTION, state=state, digest=digest, doubted=doubted, passed_on=passed_on)
    (kept,) = replay(entry.changes()).questions
    assert (kept.question, kept.state, kept.digest, kept.passed_on) == (QUESTION, state, digest, passed_on)
    assert kept.doubted == (None if state is QuestionState.ANSWERED else doubted)


@pytest.mark.requirement("questions.deadline")
def test_it_is_open_until_its_deadline_and_while_an_answer_is_on_its_way() -> None:
    for state, is_open in (
        (QuestionState.NEW, [True, False]),
        (QuestionState.OFFERED, [True, False]),
        (QuestionState.CLAIMED, [True, True]),
        (QuestionState.ANSWERED, [False, False]),
    ):
        entry = Entry(QUESTION, state=state)
        assert [entry.is_open(wall) for wall in (159.9, 160.0)] == is_open
        assert entry.listed().state is state
    over = Entry(QUESTION, is_over=True)
    assert not over.is_open(100.0)
    assert not over.is_unanswered()


def test_a_question_that_was_offered_says_so() -> None:
    fresh, offered = Entry(QUESTION), Entry(QUESTION, due_at=30.0)
    assert [each.listed().is_offered for each in (fresh, offered)] == [False, True]
