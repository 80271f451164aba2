"""Notes and messages in the log that tell of answers to sends."""

import orjson
import pytest

from proxy.core.bookkeeping import Note, NoteKind, answer_item, asks, is_for_others, read_note
from proxy.core.elicitation import Answer, AnswerKind, Elicitation
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import Message, parse_wait_reply
from proxy.core.send_marks import MARK, marked
from proxy.core.send_replies import reply_data, sealed

E1 = ElicitationId("e1")
ALICE, BOB, CAROL = AgentId("alice"), AgentId("bob"), AgentId("carol")
QUESTION = Elicitation(
    elicitation_id=E1,
    from_agent="alice",
    to_agent=BOB,
    message="Ship it?",
    schema={},
    created_at=0.0,
    expires_at=300.0,
    made_from=7,
)
YES = Answer(elicitation_id=E1, kind=AnswerKind.ACCEPT, content={"reply": "yes"})
NO = Answer(elicitation_id=E1, kind=AnswerKind.DECLINE)


def _message(data: object, *, source: str = "bob", event_type: str = "custom") -> Message:
    item = {"sequence": 9, "event_type": event_type, "source_agent": source, "data": data}
    (message,) = parse_wait_reply(orjson.dumps({"events": [item]}))
    return message


def _noted(answer: Answer, **changes: object) -> dict[str, object]:
    """The data of the Bridge's note of an answer."""
    verb = {AnswerKind.ACCEPT: "accepted", AnswerKind.DECLINE: "declined"}[answer.kind]
    return {
        "elicitation_type": f"elicitation_{verb}",
        "responding_agent": "bob",
        "response_type": answer.kind.value,
        "response_data": answer.content,
        **changes,
    }


def _note(answer: Answer, *, is_reply: bool = False) -> Note:
    return Note(
        kind=NoteKind.ANSWER,
        responding_agent="bob",
        answer_kind=answer.kind,
        content=answer.content,
        elicitation_id=E1,
        asker="alice",
        made_from=7,
        is_reply=is_reply,
    )


@pytest.mark.requirement("dual.answer")
@pytest.mark.parametrize("answer", [YES, NO])
def test_the_note_and_the_message_of_an_answer_name_what_it_answers(answer: Answer) -> None:
    assert read_note(_message(_noted(sealed(answer, QUESTION)))) == _note(answer)
    assert read_note(_message(reply_data(QUESTION, answer))) == _note(answer, is_reply=True)


@pytest.mark.requirement("dual.answer")
def test_what_a_note_says_of_itself_counts_only_where_the_responder_has_written_it() -> None:
    content = sealed(YES, QUESTION).content
    forged = read_note(_message(_noted(YES, response_data=content), source="mallory"))
    assert forged == Note(kind=NoteKind.ANSWER, responding_agent="bob", answer_kind=AnswerKind.ACCEPT, content=content)


def test_a_message_of_another_type_is_a_message() -> None:
    assert read_note(_message(reply_data(QUESTION, YES), event_type="agent_heartbeat")) is None


@pytest.mark.requirement("dual.mark")
@pytest.mark.parametrize(
    ("schema", "asker", "made_from"),
    [(marked({}, 7), "alice", 7), ({}, "alice", None), ({MARK: {}}, "alice", None), (None, "alice", None)],
)
def test_the_note_of_a_question_says_what_it_was_made_from(schema: object, asker: str, made_from: int | None) -> None:
    data = {"elicitation_type": "elicitation_requested", "from_agent": asker, "to_agent": "bob", "schema": schema}
    note = read_note(_message(data))
    assert note is not None
    assert (note.made_from, note.asker) == (made_from, asker if made_from else "")
    assert asks(_message(data), BOB)


def test_a_question_of_nobody_was_made_from_nothing() -> None:
    data = {"elicitation_type": "elicitation_requested", "from_agent": 7, "to_agent": "bob", "schema": marked({}, 7)}
    assert read_note(_message(data)) == Note(kind=NoteKind.QUESTION, addressee="bob")


@pytest.mark.requirement("dual.answer")
def test_the_note_is_for_the_sender_alone_and_the_message_for_everybody() -> None:
    told = [
        (is_for_others(_note(YES), agent), is_for_others(_note(YES, is_reply=True), agent))
        for agent in (ALICE, BOB, CAROL)
    ]
    assert told == [(False, False), (True, False), (True, False)]


@pytest.mark.requirement("dual.answer")
def test_a_sender_reads_the_answer_as_a_reply_to_its_own_event() -> None:
    message = _message(_noted(sealed(YES, QUESTION)))
    item = orjson.loads(answer_item(_note(YES), message, E1, sequence=9))
    assert item["data"] == {
        "elicitation_id": "e1",
        "in_reply_to": 7,
        "response_type": "accept",
        "data": {"reply": "yes"},
    }
