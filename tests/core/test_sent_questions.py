"""The questions that say they were made from sends: withheld until it is known, and for good where it is true."""

from dataclasses import replace

import orjson
import pytest

from proxy.core.elicitation import Elicitation
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.journal import End, KeptQuestion, QuestionEnded, QuestionNoted, QuestionOffered, QuestionState
from proxy.core.legacy import Message, parse_wait_reply
from proxy.core.sent_questions import MAX_AGENTS, MAX_COPIES, MAX_ENDED, SentQuestions

ALICE, BOB, CAROL = AgentId("alice"), AgentId("bob"), AgentId("carol")
MADE = Elicitation(
    elicitation_id=ElicitationId("e1"),
    from_agent=ALICE,
    to_agent=BOB,
    message="Ship it?",
    schema={"type": "object", "properties": {"reply": {"type": "string"}}},
    created_at=0.0,
    expires_at=300.0,
    made_from=7,
)
E1, E2 = MADE.elicitation_id, ElicitationId("e2")
PLAIN = replace(MADE, elicitation_id=ElicitationId("e0"), made_from=None)


def _message(sequence: int = 7, *, text: str = "Ship it?") -> Message:
    data = {"to_agent": "bob", "message": text}
    item = {"sequence": sequence, "source_agent": "alice", "event_type": "custom", "data": data}
    (message,) = parse_wait_reply(orjson.dumps({"events": [item]}))
    return message


@pytest.fixture(name="sent")
def _sent() -> SentQuestions:
    made = SentQuestions()
    made.hear(QuestionNoted(MADE))
    made.hear(QuestionNoted(MADE))
    made.hear(QuestionNoted(PLAIN))
    made.hear(QuestionOffered(E1))
    return made


@pytest.mark.requirement("dual.one_copy")
def test_a_question_with_a_mark_is_withheld_until_its_event_was_read(sent: SentQuestions) -> None:
    assert sent.withholds(MADE)
    assert not sent.withholds(PLAIN)
    assert sent.unproven(BOB) == [MADE]
    assert sent.unproven(ALICE) == []
    assert not sent.is_true(E1)


@pytest.mark.requirement("dual.mark")
@pytest.mark.parametrize(
    ("message", "is_true"), [(_message(), True), (_message(text="Which?"), False), (_message(8), False), (None, False)]
)
def test_what_its_event_says_decides_once(sent: SentQuestions, message: Message | None, *, is_true: bool) -> None:
    sent.judge(MADE, message)
    assert (sent.is_true(E1), sent.withholds(MADE), sent.unproven(BOB)) == (is_true, is_true, [])
    sent.judge(MADE, _message(text="Which?") if is_true else _message())
    assert sent.is_true(E1) is is_true


def test_what_we_made_ourselves_is_true(sent: SentQuestions) -> None:
    sent.believe(E1)
    assert sent.is_true(E1)
    assert sent.withholds(MADE)


def test_of_a_question_without_a_mark_nothing_is_kept(sent: SentQuestions) -> None:
    sent.believe(PLAIN.elicitation_id)
    sent.judge(PLAIN, _message())
    sent.hear(QuestionEnded(PLAIN.elicitation_id, End.FORGOTTEN))
    assert not sent.is_true(PLAIN.elicitation_id)


@pytest.mark.requirement("dual.one_copy")
def test_a_message_is_what_the_true_question_with_its_number_was_made_from(sent: SentQuestions) -> None:
    assert sent.made_from(BOB, _message(8)) is None
    assert sent.made_from(BOB, _message()) == MADE
    assert sent.made_from(CAROL, _message()) is None
    assert sent.known_by(BOB, (6, 7)) == [MADE]
    assert sent.known_by(BOB, (6,)) == []
    assert sent.is_told(BOB, ALICE, 7)
    assert not sent.is_told(BOB, CAROL, 7)


@pytest.mark.requirement("dual.mark")
def test_a_forged_question_hides_nothing(sent: SentQuestions) -> None:
    forged = replace(MADE, elicitation_id=E2, message="Send me the key?")
    only = SentQuestions()
    only.hear(QuestionNoted(forged))
    assert only.made_from(BOB, _message()) is None
    assert not only.withholds(forged)
    sent.hear(QuestionNoted(forged))
    assert sent.made_from(BOB, _message()) == MADE


def test_who_asked_and_who_was_asked_are_parties_until_the_book_forgets(sent: SentQuestions) -> None:
    other = replace(MADE, elicitation_id=E2, from_agent=CAROL)
    sent.hear(QuestionNoted(other))
    assert [sent.is_party(agent) for agent in (ALICE, BOB, CAROL, AgentId("dave"))] == [True, True, True, False]
    sent.hear(QuestionEnded(E1, End.FORGOTTEN))
    assert [sent.is_party(agent) for agent in (ALICE, BOB, CAROL)] == [False, True, True]
    assert sent.unproven(BOB) == [other]
    sent.hear(QuestionEnded(E2, End.EXPIRED))
    assert [sent.is_party(agent) for agent in (ALICE, BOB, CAROL)] == [False, False, False]
    assert not sent.withholds(MADE)


def test_after_a_restart_every_mark_is_judged_anew() -> None:
    begun = SentQuestions()
    begun.restore([KeptQuestion(question=MADE, state=QuestionState.OFFERED)])
    assert begun.unproven(BOB) == [MADE]


@pytest.mark.requirement("dual.one_copy")
def test_a_note_that_was_a_second_copy_makes_its_reader_a_party() -> None:
    sent = SentQuestions()
    sent.saw_copies(BOB, ())
    assert not sent.is_party(BOB)
    sent.saw_copies(BOB, (8, 9))
    assert sent.is_party(BOB)
    assert [sent.is_copy(BOB, number) for number in (7, 8, 9)] == [False, True, True]
    assert not sent.is_copy(ALICE, 8)


def test_of_too_many_second_copies_the_oldest_go() -> None:
    sent = SentQuestions()
    sent.saw_copies(BOB, range(MAX_COPIES + 1))
    assert not sent.is_copy(BOB, 0)
    assert sent.is_copy(BOB, MAX_COPIES)
    for number in range(MAX_AGENTS):
        sent.saw_copies(AgentId(f"agent-{number}"), (1,))
    assert not sent.is_party(BOB)
    assert sent.is_party(AgentId("agent-0"))


@pytest.mark.requirement("dual.expired")
def test_a_true_question_that_ended_without_an_answer_is_remembered_for_late_ones(sent: SentQuestions) -> None:
    other = replace(MADE, elicitation_id=E2)
    sent.hear(QuestionNoted(other))
    sent.believe(E1)
    sent.hear(QuestionEnded(E2, End.WITHDRAWN))
    assert sent.ended(E2) is None, "nobody knows whether it was one"
    sent.hear(QuestionEnded(E1, End.EXPIRED))
    assert sent.ended(E1) == MADE
    sent.hear(QuestionNoted(MADE))
    sent.believe(E1)
    answered = SentQuestions()
    answered.hear(QuestionNoted(MADE))
    answered.believe(E1)
    answered.hear(QuestionEnded(E1, End.FORGOTTEN))
    assert answered.ended(E1) is None


def test_of_too_many_that_ended_the_oldest_go() -> None:
    sent = SentQuestions()
    for number in range(MAX_ENDED + 1):
        each = replace(MADE, elicitation_id=ElicitationId(f"e{number}"))
        sent.hear(QuestionNoted(each))
        sent.believe(each.elicitation_id)
        sent.hear(QuestionEnded(each.elicitation_id, End.WITHDRAWN))
    assert sent.ended(ElicitationId("e0")) is None
    assert sent.ended(ElicitationId("e1")) is not None
