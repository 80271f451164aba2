"""What a journal amounts to: table by table, and that no change can make it fail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.ids import AgentId, ElicitationId
from proxy.core.journal import (
    AnswerClaimed,
    AnswerDoubted,
    AnswerNamed,
    AnswerPassedOn,
    AnswerSettled,
    Change,
    CursorShown,
    End,
    MessageKept,
    NumberingChanged,
    QuestionEnded,
    QuestionNoted,
    QuestionOffered,
    QuestionState,
    QuestionTakenBack,
    Recovered,
    write_nothing,
)
from proxy.core.replay import replay
from tests.support.journal_changes import changes, question

ALICE, BOB = AgentId("alice"), AgentId("bob")
ONE, TWO = ElicitationId("e1"), ElicitationId("e2")
NOTED = QuestionNoted(question(ONE))
NUMBERING = NumberingChanged(offset=1, ended=2, highest=3, reserved=4, first_sequence=1, first_created_at=5.0)


@pytest.mark.requirement("journal.replay")
@pytest.mark.parametrize(
    ("tail", "state", "digest", "doubted"),
    [
        ([], QuestionState.NEW, b"", None),
        ([QuestionOffered(ONE)], QuestionState.OFFERED, b"", None),
        ([QuestionOffered(ONE), QuestionTakenBack(ONE)], QuestionState.NEW, b"", None),
        ([AnswerClaimed(ONE, b"d")], QuestionState.CLAIMED, b"d", None),
        ([AnswerClaimed(ONE, b"d"), AnswerDoubted(ONE, b"d")], QuestionState.CLAIMED, b"d", b"d"),
        ([AnswerClaimed(ONE, b"d"), QuestionTakenBack(ONE)], QuestionState.NEW, b"", None),
        ([AnswerDoubted(ONE, b"d"), AnswerClaimed(ONE, b"d"), AnswerSettled(ONE)], QuestionState.ANSWERED, b"d", None),
        ([QuestionOffered(TWO), AnswerSettled(TWO)], QuestionState.NEW, b"", None),
    ],
)
def test_a_question_is_found_as_its_last_changes_left_it(
    tail: list[Change], state: QuestionState, digest: bytes, doubted: bytes | None
) -> None:
    (kept,) = replay([NOTED, *tail]).questions
    assert (kept.question, kept.state, kept.digest, kept.doubted) == (NOTED.question, state, digest, doubted)
    assert not kept.passed_on


def test_an_answer_that_was_passed_on_stays_so() -> None:
    (kept,) = replay([NOTED, AnswerPassedOn(ONE)]).questions
    assert kept.passed_on


@pytest.mark.parametrize("how", list(End))
def test_a_question_that_ended_is_not_found(how: End) -> None:
    assert replay([NOTED, QuestionEnded(ONE, how), QuestionEnded(TWO, how)]) == Recovered()


def test_questions_are_found_in_the_order_they_became_known() -> None:
    found = replay([NOTED, QuestionNoted(question(TWO)), QuestionEnded(ONE, End.WITHDRAWN), NOTED])
    assert [kept.question.elicitation_id for kept in found.questions] == [TWO, ONE]


def test_the_last_numbering_counts() -> None:
    old = NumberingChanged(offset=0, ended=0, highest=0, reserved=0, first_sequence=None, first_created_at=None)
    assert replay([old, NUMBERING]).numbering == NUMBERING


@pytest.mark.requirement("journal.copies")
def test_a_cursor_ends_the_copies_up_to_it_for_its_agent_only() -> None:
    copies = [MessageKept(agent, number, b"x", None) for agent in (BOB, ALICE) for number in (3, 1, 2)]
    found = replay([*copies, CursorShown(ALICE, 2), CursorShown(BOB, 9), MessageKept(BOB, 10, b"y", 1.0)])
    assert [(copy.agent_id, copy.number) for copy in found.messages] == [(ALICE, 3), (BOB, 10)]
    assert found.cursors == (CursorShown(ALICE, 2), CursorShown(BOB, 9))


@pytest.mark.parametrize("name", ["MAX_CURSORS", "MAX_NAMED"])
@pytest.mark.requirement("journal.bounds")
def test_only_so_many_cursors_and_names_are_found_and_the_oldest_go_first(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(f"proxy.core.replay.{name}", 2)
    cursors = [CursorShown(AgentId(agent), number) for number, agent in enumerate("abca")]
    names = [AnswerNamed(ALICE, number, ONE) for number in (1, 2, 3, 1)]
    found = replay([*cursors, *names])
    assert found.cursors == tuple(cursors[2:] if name == "MAX_CURSORS" else [cursors[1], *cursors[2:]])
    assert found.names == tuple(names[2:] if name == "MAX_NAMED" else [names[1], *names[2:]])


@pytest.mark.requirement("journal.replay")
@given(st.lists(changes, max_size=30))
def test_no_list_of_changes_makes_it_fail(found: list[Change]) -> None:
    assert replay(found) == replay(list(found))
    for change in found:
        write_nothing(change)
