"""The Bridge's notes about elicitations: told apart from messages, translated for the asker, never lost."""

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.bookkeeping import Note, NoteKind, answer_item, asks, is_for_others, marked, read_note
from proxy.core.elicitation import Answer, AnswerKind
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import Message, parse_wait_reply

E1 = ElicitationId("e1")
ALICE, BOB = AgentId("alice"), AgentId("bob")
ACCEPTED: dict[str, object] = {
    "elicitation_type": "elicitation_accepted",
    "responding_agent": "bob",
    "response_data": {"build": 7},
    "response_signature": "secret",
}


def _message(data: bytes, *, event_type: str = "custom", timestamp: str = "2026-11-22T22:34:12+00:00") -> Message:
    head = orjson.dumps({"sequence": 9, "event_type": event_type, "source_agent": "bob", "timestamp": timestamp})
    (message,) = parse_wait_reply(b'{"events":[' + head[:-1] + b',"data":' + data + b"}]}")
    return message


def _note(**changes: object) -> Note | None:
    return read_note(_message(orjson.dumps({**ACCEPTED, **changes})))


@pytest.mark.requirement("notes.told_apart")
@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("elicitation_accepted", AnswerKind.ACCEPT),
        ("elicitation_declined", AnswerKind.DECLINE),
        ("elicitation_cancelled", AnswerKind.CANCEL),
    ],
)
def test_a_note_of_an_answer_tells_who_answered_and_what(word: str, kind: AnswerKind) -> None:
    note = _note(elicitation_type=word)
    assert note == Note(kind=NoteKind.ANSWER, responding_agent="bob", answer_kind=kind, content={"build": 7})


@pytest.mark.requirement("notes.told_apart")
@pytest.mark.parametrize("word", ["elicitation_expired", "elicitation_rate_limited", "", "x"])
def test_every_other_note_is_for_nobody(word: str) -> None:
    note = _note(elicitation_type=word)
    assert note == Note(kind=NoteKind.OTHER)
    assert is_for_others(note, ALICE)


@pytest.mark.requirement("notes.told_apart")
def test_the_note_of_a_question_tells_whom_it_is_for_and_is_nothing_to_read() -> None:
    asked = {"elicitation_type": "elicitation_requested", "from_agent": "alice", "to_agent": "bob", "nonce": "n"}
    message = _message(orjson.dumps(asked))
    note = read_note(message)
    assert note == Note(kind=NoteKind.QUESTION, addressee="bob")
    assert is_for_others(note, BOB)
    assert asks(message, BOB)
    assert not asks(message, ALICE)


@pytest.mark.requirement("notes.told_apart")
@pytest.mark.parametrize("addressee", [None, 7, ["bob"]])
def test_the_note_of_a_question_to_nobody_is_for_nobody(addressee: object) -> None:
    message = _message(orjson.dumps({"elicitation_type": "elicitation_requested", "to_agent": addressee}))
    assert read_note(message) == Note(kind=NoteKind.OTHER)
    assert not asks(message, BOB)
    assert not asks(_message(b"{}"), BOB)


@pytest.mark.requirement("notes.told_apart")
@pytest.mark.parametrize(
    ("event_type", "data"),
    [
        ("message", orjson.dumps(ACCEPTED)),
        ("", orjson.dumps(ACCEPTED)),
        ("custom", b"null"),
        ("custom", b"7"),
        ("custom", b'{"text":"hello"}'),
        ("custom", b'"\\"elicitation_type\\""'),
        ("custom", b'["elicitation_type"]'),
        ("custom", b'{"elicitation_type":null}'),
        ("custom", b'{"elicitation_type":["elicitation_accepted"]}'),
        ("custom", b'{"elicitation_type":"x","a":1e999}'),
        ("custom", b'{"elicitation_type":"x","a":"\xff"}'),
        ("custom", b'{"nested":{"elicitation_type":"elicitation_accepted"}}'),
    ],
    ids=lambda _: "",
)
def test_what_is_no_note_is_a_message_like_any_other(event_type: str, data: bytes) -> None:
    assert read_note(_message(data, event_type=event_type)) is None


@pytest.mark.requirement("notes.never_lost")
@pytest.mark.parametrize("responder", [None, 7, ["bob"]])
def test_an_answer_without_a_responder_stays_a_message(responder: object) -> None:
    assert _note(responding_agent=responder) is None


@pytest.mark.requirement("notes.never_lost")
def test_an_answer_nested_too_deeply_to_be_written_again_stays_a_message() -> None:
    deep = orjson.dumps({**ACCEPTED, "response_data": {"a": None}}).replace(b"null", b"[" * 600 + b"]" * 600)
    assert read_note(_message(deep)) is None


@pytest.mark.parametrize("content", [None, "text", [1], 7])
def test_a_content_that_is_no_object_is_no_content(content: object) -> None:
    note = _note(response_data=content)
    assert note is not None
    assert note.content is None


@pytest.mark.requirement("notes.told_apart")
def test_an_answer_is_for_everybody_but_the_one_who_gave_it() -> None:
    note = _note()
    assert note is not None
    assert not is_for_others(note, ALICE)
    assert is_for_others(note, BOB)


@pytest.mark.requirement("answers.same_answer")
@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({}, Answer(elicitation_id=E1, kind=AnswerKind.ACCEPT, content={"build": 7})),
        ({"response_data": None}, Answer(elicitation_id=E1, kind=AnswerKind.ACCEPT, content={})),
        ({"response_data": {}}, Answer(elicitation_id=E1, kind=AnswerKind.ACCEPT, content={})),
        ({"elicitation_type": "elicitation_declined"}, Answer(elicitation_id=E1, kind=AnswerKind.DECLINE)),
        ({"elicitation_type": "elicitation_cancelled"}, Answer(elicitation_id=E1, kind=AnswerKind.CANCEL)),
    ],
)
def test_the_answer_of_a_note_has_the_digest_of_the_answer_that_was_given(
    changes: dict[str, object], answer: Answer
) -> None:
    note = _note(**changes)
    assert note is not None
    assert note.as_answer(E1) == answer
    assert note.as_answer(E1).digest() == answer.digest()


@pytest.mark.requirement("notes.answer_item")
def test_the_asker_reads_an_answer_with_its_elicitation_and_without_the_bridges_secrets() -> None:
    message = _message(orjson.dumps(ACCEPTED))
    note = read_note(message)
    assert note is not None
    body = answer_item(note, message, E1, sequence=1009)
    assert orjson.loads(body) == {
        "sequence": 1009,
        "event_type": "elicitation_response",
        "source_agent": "bob",
        "timestamp": "2026-11-22T22:34:12+00:00",
        "data": {"elicitation_id": "e1", "in_reply_to": "e1", "response_type": "accept", "data": {"build": 7}},
    }
    assert b"secret" not in body


def test_an_answer_without_a_time_stamp_is_read_without_one() -> None:
    message = _message(orjson.dumps(ACCEPTED), timestamp="")
    note = read_note(message)
    assert note is not None
    assert orjson.loads(answer_item(note, message, E1, sequence=1))["timestamp"] is None


@pytest.mark.requirement("parsers.documented_errors")
@given(
    data=st.dictionaries(
        st.sampled_from(sorted(ACCEPTED)),
        st.sampled_from(["elicitation_accepted", "elicitation_requested", "bob", ""])
        | st.dictionaries(st.text(max_size=3), st.integers(-9, 9) | st.none() | st.text(max_size=3), max_size=3)
        | st.none()
        | st.lists(st.integers(-9, 9), max_size=3),
    ).map(orjson.dumps)
    | st.binary(max_size=40).map(lambda junk: b'{"elicitation_type":' + junk + b"}")
)
def test_no_message_raises_anything_and_every_answer_can_be_written(data: bytes) -> None:
    message = Message(
        sequence=1, event_type="custom", source_agent="bob", raw=b"{}", data=data, created_at=None, timestamp=""
    )
    note = read_note(message)
    if note is not None and note.kind is NoteKind.ANSWER:
        assert orjson.loads(answer_item(note, message, E1, sequence=1))["data"]["data"] == note.content
        assert note.as_answer(E1).digest()


@pytest.mark.requirement("bus.named")
def test_a_marked_message_is_what_it_was_judged_to_be_and_keeps_its_bytes() -> None:
    plain = _message(b'{"word":"hello"}')
    note = Note(
        kind=NoteKind.ANSWER, responding_agent=BOB, elicitation_id=ElicitationId("e1"), asker=ALICE, addressee=BOB
    )
    told = marked(plain, note)
    assert read_note(told) is note
    assert [getattr(told, name) for name in Message.__slots__] == [getattr(plain, name) for name in Message.__slots__]


@pytest.mark.requirement("bus.named")
def test_an_answer_on_a_bus_is_for_its_asker_and_nobody_else() -> None:
    note = Note(kind=NoteKind.ANSWER, responding_agent=BOB, elicitation_id=ElicitationId("e1"), asker=ALICE)
    assert not is_for_others(note, ALICE)
    assert is_for_others(note, BOB)
    assert is_for_others(note, AgentId("carol"))
    assert is_for_others(replace(note, kind=NoteKind.QUESTION), ALICE)
    own = replace(note, asker=BOB)
    assert not is_for_others(own, BOB), "who asks itself reads its answer"
