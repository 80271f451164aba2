"""What an agent was told of a question first, and what follows from it."""

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.bookkeeping import Note, NoteKind, marked
from proxy.core.elicitation import Elicitation
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.journal import (
    MAX_TOLD,
    AnswerSettled,
    Change,
    End,
    KeptQuestion,
    QuestionEnded,
    QuestionNoted,
    QuestionOffered,
    QuestionState,
    QuestionTold,
    TellingForgotten,
)
from proxy.core.legacy import Message, parse_wait_reply
from proxy.core.replay import replay
from proxy.core.told_questions import MAX_TOLD_EACH, Telling, ToldQuestions, key_of, key_of_note

pytestmark = pytest.mark.requirement("delivery.told_once")

BOB = AgentId("bob")
SCHEMA = {"type": "object", "properties": {"colour": {"type": "string"}}}
QUESTION = Elicitation(
    elicitation_id=ElicitationId("elicit_1"),
    from_agent="alice",
    to_agent=BOB,
    message="Which colour?",
    schema=SCHEMA,
    created_at=100.0,
    expires_at=160.1234567,
)
NUMBER = 7
BUS_ID = "0f" * 16


def _note(data: object, **members: object) -> Message:
    item = {"sequence": NUMBER, "event_type": "custom", "source_agent": "alice", "data": data, **members}
    (message,) = parse_wait_reply(orjson.dumps({"events": [item]}))
    return message


def _data(question: Elicitation, **changes: object) -> dict[str, object]:
    return {
        "elicitation_type": "elicitation_requested",
        "from_agent": question.from_agent,
        "to_agent": question.to_agent,
        "message": question.message,
        "schema": question.schema,
        "expires_at": question.expires_at,
        "nonce": "n",
        **changes,
    }


def _key(question: Elicitation = QUESTION) -> bytes:
    key = key_of(question)
    assert key is not None
    return key


class Journal:
    """A telling whose changes are kept."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.told = ToldQuestions(self.changes.append)

    def note(self, question: Elicitation = QUESTION) -> None:
        """The book notes a question."""
        self.told.hear(QuestionNoted(question))

    def offer(self, question: Elicitation = QUESTION) -> None:
        """The book offers it."""
        self.told.hear(QuestionOffered(question.elicitation_id))


def test_a_note_is_known_by_its_words_and_its_deadline() -> None:
    assert key_of_note(_note(_data(QUESTION)), BOB) == _key()
    again = orjson.loads(orjson.dumps(SCHEMA | {"title": "t"}))
    words: list[dict[str, object]] = [{"message": "Which size?"}, {"from_agent": "carol"}, {"schema": again}]
    other: list[dict[str, object]] = [*words, {"expires_at": 160.2}]
    keys = {key_of_note(_note(_data(QUESTION, **change)), BOB) for change in other}
    assert len(keys) == len(other)
    assert _key() not in keys
    assert None not in keys


@pytest.mark.parametrize(
    "data",
    [
        "no object",
        {"text": "a message"},
        _data(QUESTION, to_agent="carol"),
        _data(QUESTION, expires_at=None),
        _data(QUESTION, expires_at=True),
        _data(QUESTION, expires_at=1e308 * 10),
        _data(QUESTION, elicitation_type="elicitation_accepted", responding_agent="bob", response_data={}),
    ],
)
def test_what_is_no_note_of_a_question_to_the_agent_or_tells_no_deadline_has_no_key(data: object) -> None:
    assert key_of_note(_note(data), BOB) is None


def test_a_deadline_that_is_no_number_of_time_gives_no_key() -> None:
    assert [key_of(replace(QUESTION, expires_at=until)) for until in (float("nan"), float("inf"))] == [None, None]
    assert key_of(replace(QUESTION, message="\ud800")) is None


def test_over_a_bus_a_note_names_its_question() -> None:
    on_bus = replace(QUESTION, elicitation_id=ElicitationId(BUS_ID))
    note = Note(kind=NoteKind.QUESTION, addressee="bob", elicitation_id=on_bus.elicitation_id)
    by_id = key_of_note(marked(_note({}), note), BOB)
    assert by_id == key_of(on_bus) == key_of(replace(on_bus, message="in other words"))
    assert by_id != _key()


def test_a_note_that_is_no_json_object_has_no_key() -> None:
    note = Note(kind=NoteKind.QUESTION, addressee="bob")
    assert key_of_note(marked(_note([1]), note), BOB) is None


def test_what_was_told_first_stays() -> None:
    first, second = Journal(), Journal()
    for each in (first, second):
        each.note()
        assert each.told.was_told(BOB, _key()) is None
    first.offer()
    first.told.as_note(BOB, _key(), NUMBER)
    second.told.as_note(BOB, _key(), NUMBER)
    second.offer()
    assert first.told.was_told(BOB, _key()) is Telling.ELICITATION
    assert second.told.was_told(BOB, _key()) is Telling.NOTE
    assert not first.told.withholds(QUESTION)
    assert second.told.withholds(QUESTION)
    assert not second.told.withholds(replace(QUESTION, elicitation_id=ElicitationId("elicit_2"), message="another"))


def test_a_question_that_becomes_known_after_its_note_was_read_is_withheld() -> None:
    made = Journal()
    made.told.as_note(BOB, _key(), NUMBER)
    assert not made.told.withholds(QUESTION), "it is not in the book"
    made.note()
    assert made.told.withholds(QUESTION)


def test_one_that_was_made_from_a_send_has_its_own_rule() -> None:
    made = Journal()
    sent = replace(QUESTION, made_from=3)
    made.note(sent)
    made.offer(sent)
    assert made.changes == []
    assert key_of_note(_note(_data(QUESTION, schema=sent.wire_schema)), BOB) is None


def test_an_open_one_is_known_by_its_note_until_it_is_over() -> None:
    made = Journal()
    assert made.told.open_as(BOB, _key()) is None
    made.note()
    made.offer()
    assert made.told.open_as(BOB, _key()) == QUESTION.elicitation_id
    made.told.hear(AnswerSettled(QUESTION.elicitation_id))
    assert made.told.open_as(BOB, _key()) is None
    made.told.hear(QuestionEnded(QUESTION.elicitation_id, End.FORGOTTEN))
    assert made.told.was_told(BOB, _key()) is Telling.ELICITATION


def test_a_note_is_ahead_until_the_cursor_has_passed_it() -> None:
    made = Journal()
    assert not made.told.is_ahead(BOB, 0)
    made.note()
    made.offer()
    assert made.told.is_ahead(BOB, 10**6), "it was not read yet"
    made.told.stands_at(BOB, _key(), NUMBER)
    made.told.stands_at(BOB, _key(), NUMBER + 1)
    assert made.told.is_ahead(BOB, 10**6), "it is not answered yet"
    made.told.hear(AnswerSettled(QUESTION.elicitation_id))
    assert [made.told.is_ahead(BOB, cursor) for cursor in (NUMBER - 1, NUMBER)] == [True, False]
    made.told.stands_at(BOB, b"of another", NUMBER)
    made.told.as_note(BOB, b"read as a note", 99)
    assert not made.told.is_ahead(BOB, NUMBER), "a note stays a note"


def test_it_is_forgotten_when_it_is_over_and_passed_and_not_before() -> None:
    made = Journal()
    made.note()
    made.offer()
    made.told.stands_at(BOB, _key(), NUMBER)
    made.told.passed(BOB, NUMBER)
    assert made.told.was_told(BOB, _key()) is Telling.ELICITATION, "it is open"
    made.told.hear(AnswerSettled(QUESTION.elicitation_id))
    made.told.passed(BOB, NUMBER - 1)
    assert made.told.was_told(BOB, _key()) is Telling.ELICITATION, "its note comes yet"
    made.told.passed(BOB, NUMBER)
    assert made.told.was_told(BOB, _key()) is None
    assert made.changes[-1] == TellingForgotten(BOB, _key())
    assert replay(made.changes).told == ()


def test_a_start_goes_on_where_the_last_process_was() -> None:
    made = Journal()
    made.note()
    made.offer()
    made.told.stands_at(BOB, _key(), NUMBER)
    made.told.as_note(BOB, b"another", 9)
    recovered = replay(made.changes)
    again = ToldQuestions()
    kept = KeptQuestion(question=QUESTION, state=QuestionState.NEW)
    again.restore(recovered.told, [kept])
    assert list(again.snapshot()) == list(made.told.snapshot()) == list(recovered.told)
    assert again.open_as(BOB, _key()) == QUESTION.elicitation_id
    again.hear(AnswerSettled(QUESTION.elicitation_id))
    assert [again.is_ahead(BOB, cursor) for cursor in (NUMBER - 1, NUMBER)] == [True, False]


def test_a_note_that_was_read_before_its_question_was_told_has_its_number() -> None:
    made = Journal()
    made.note()
    made.told.stands_at(BOB, _key(), NUMBER)
    assert made.told.untold(BOB) == [(NUMBER, QUESTION.elicitation_id)]
    assert made.told.untold(AgentId("carol")) == []
    assert not made.told.was_asked(QUESTION)
    made.offer()
    assert made.told.was_asked(QUESTION)
    assert made.told.untold(BOB) == []
    made.told.hear(AnswerSettled(QUESTION.elicitation_id))
    assert [made.told.is_ahead(BOB, cursor) for cursor in (NUMBER - 1, NUMBER)] == [True, False]


def test_a_number_that_a_new_log_gives_anew_names_the_new_question() -> None:
    made = Journal()
    other = replace(QUESTION, elicitation_id=ElicitationId("elicit_2"), message="Which size?")
    for question in (QUESTION, other):
        made.note(question)
        made.told.as_note(BOB, _key(question), NUMBER)
    assert made.told.named_at(BOB, NUMBER) == other.elicitation_id
    assert [each.number for each in replay(made.changes).told] == [0, NUMBER]


def test_of_notes_that_nobody_was_told_of_each_agent_has_its_share() -> None:
    made = Journal()
    made.note()
    made.told.stands_at(BOB, _key(), NUMBER)
    for number in range(MAX_TOLD_EACH + 1):
        made.told.stands_at(AgentId("carol"), b"%d" % number, number)
    assert made.told.untold(BOB) == [(NUMBER, QUESTION.elicitation_id)]
    for number in range(MAX_TOLD):
        made.told.stands_at(AgentId(f"a{number}"), b"one", 1)
    assert made.told.untold(BOB) == []


def test_the_oldest_note_of_an_agent_that_it_was_not_told_of_goes_first() -> None:
    made = Journal()
    made.note()
    made.told.stands_at(BOB, _key(), NUMBER)
    for number in range(MAX_TOLD_EACH):
        made.told.stands_at(BOB, b"%d" % number, number)
    assert made.told.untold(BOB) == []


def test_what_was_read_as_a_note_is_known_by_its_number_before_and_after_the_answer() -> None:
    early, late = Journal(), Journal()
    early.note()
    early.told.as_note(BOB, _key(), NUMBER)
    late.told.as_note(BOB, _key(), NUMBER)
    assert late.told.named_at(BOB, NUMBER) is None
    late.note()
    for made in (early, late):
        assert made.told.named_at(BOB, NUMBER) == QUESTION.elicitation_id
        assert made.told.named_at(BOB, NUMBER + 1) is None
        made.told.hear(AnswerSettled(QUESTION.elicitation_id))
        assert made.told.named_at(BOB, NUMBER) == QUESTION.elicitation_id
        again = ToldQuestions()
        again.restore(replay(made.changes).told, [KeptQuestion(question=QUESTION, state=QuestionState.ANSWERED)])
        assert again.named_at(BOB, NUMBER) == QUESTION.elicitation_id
        assert again.open_as(BOB, _key()) is None


@pytest.mark.parametrize(
    ("state", "telling"),
    [
        (QuestionState.NEW, None),
        (QuestionState.OFFERED, Telling.ELICITATION),
        (QuestionState.CLAIMED, Telling.ELICITATION),
        (QuestionState.ANSWERED, None),
    ],
)
def test_a_question_that_was_offered_is_taken_for_told_at_a_start(
    state: QuestionState, telling: Telling | None
) -> None:
    again = ToldQuestions()
    again.restore([], [KeptQuestion(question=QUESTION, state=state)])
    assert again.was_told(BOB, _key()) is telling


def test_one_agent_takes_no_more_than_its_share() -> None:
    told = ToldQuestions()
    told.as_note(AgentId("alice"), b"hers", 1)
    for number in range(MAX_TOLD_EACH + 1):
        told.as_note(BOB, b"%d" % number, number)
    assert told.was_told(AgentId("alice"), b"hers") is Telling.NOTE
    assert told.was_told(BOB, b"0") is None
    assert len(list(told.snapshot())) == MAX_TOLD_EACH + 1


def test_the_oldest_goes_where_there_are_too_many() -> None:
    told = ToldQuestions()
    kept = [
        QuestionTold(agent_id=AgentId(f"a{number % 30}"), key=b"%d" % number, number=0, is_note=True)
        for number in range(MAX_TOLD + 1)
    ]
    told.restore(kept, [])
    assert len(list(told.snapshot())) == MAX_TOLD
    assert told.was_told(AgentId("a0"), b"0") is None
    assert told.was_told(AgentId("a1"), b"1") is Telling.NOTE
    lonely = ToldQuestions()
    lonely.restore([replace(kept[0], agent_id=AgentId("lonely")), *kept[1:]], [])
    assert not lonely.is_ahead(AgentId("lonely"), 0)


@given(st.binary(max_size=60) | st.recursive(st.none() | st.text() | st.floats(), st.lists, max_leaves=5).map(repr))
def test_any_words_of_a_note_give_a_key_or_none(text: bytes | str) -> None:
    data = _data(QUESTION, message=text.hex() if isinstance(text, bytes) else text)
    key = key_of_note(_note(data), BOB)
    assert key is None or len(key) == 32
