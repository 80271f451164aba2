"""Legacy replies to a number: taken for an answer where one question alone can be meant, else a message."""

from collections.abc import Mapping
from dataclasses import replace

import orjson
import pytest

from proxy.core.bookkeeping import Note, NoteKind, marked
from proxy.core.elicitation import Answer, AnswerKind, Elicitation
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import Message, parse_wait_reply
from proxy.core.numbered_replies import NumberedReply, question_meant, read_numbered_reply
from proxy.core.send_marks import MARK

ALICE, BOB = AgentId("alice"), AgentId("bob")
SCHEMA = {"type": "object", "properties": {"reply": {"type": "string"}}}
QUESTION = Elicitation(
    elicitation_id=ElicitationId("e1"),
    from_agent="alice",
    to_agent=BOB,
    message="Ship it?",
    schema=SCHEMA,
    created_at=100.0,
    expires_at=400.0,
)
OTHER = replace(QUESTION, elicitation_id=ElicitationId("e2"), created_at=200.0)
NOTE: Mapping[str, object] = {
    "elicitation_type": "elicitation_requested",
    "from_agent": "alice",
    "to_agent": "bob",
    "message": "Ship it?",
    "schema": SCHEMA,
    "created_at": 100.0,
}


def _body(data: object, agent_id: object = "bob") -> bytes:
    return orjson.dumps({"agent_id": agent_id, "event_type": "custom", "data": data})


def _reply(**data: object) -> NumberedReply:
    reply = read_numbered_reply(_body({"in_reply_to": 7, **data}))
    assert reply is not None
    return reply


def _message(data: object) -> Message:
    item = {"sequence": 7, "source_agent": "alice", "event_type": "custom", "data": data}
    (message,) = parse_wait_reply(orjson.dumps({"events": [item]}))
    return message


@pytest.mark.requirement("dual.legacy_receiver")
@pytest.mark.parametrize("number", [7, "7"])
def test_a_reply_names_a_number_and_perhaps_its_addressee(number: object) -> None:
    data = {"in_reply_to": number, "to": "alice", "text": "yes"}
    reply = read_numbered_reply(_body(data))
    assert reply == NumberedReply(agent_id=BOB, number=7, addressee="alice", data=data)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        _body([]),
        _body({}),
        _body({"in_reply_to": "e1"}),
        _body({"in_reply_to": True}),
        _body({"in_reply_to": 0}),
        _body({"in_reply_to": 2**63}),
        _body({"in_reply_to": "9" * 20}),
        _body({"in_reply_to": "\u0663"}),
        _body({"in_reply_to": 7, "elicitation_id": "e1"}),
        _body({"in_reply_to": 7}, agent_id=""),
    ],
)
def test_every_other_event_is_no_such_reply(body: bytes) -> None:
    assert read_numbered_reply(body) is None


@pytest.mark.requirement("dual.legacy_receiver")
def test_its_content_is_read_as_that_of_every_legacy_answer() -> None:
    given = _reply(to_agent="alice", text="yes").as_answer(ElicitationId("e1"))
    assert given is not None
    assert given.agent_id == BOB
    assert given.answer == Answer(elicitation_id=ElicitationId("e1"), kind=AnswerKind.ACCEPT, content={"text": "yes"})


@pytest.mark.parametrize(
    "data", [{"response_type": "maybe"}, {"deep": orjson.loads(b"[" * 300 + b"]" * 300)}], ids=["type", "deep"]
)
def test_a_reply_that_reads_as_no_answer_is_none(data: dict[str, object]) -> None:
    reply = NumberedReply(agent_id=BOB, number=7, addressee=None, data=data)
    assert reply.as_answer(ElicitationId("e1")) is None


@pytest.mark.requirement("dual.legacy_receiver")
@pytest.mark.parametrize(
    ("changes", "answers"),
    [({}, True), ({"to_agent": AgentId("carol")}, False), ({"from_agent": "carol"}, False)],
)
def test_it_answers_who_asked_and_for_whom_was_asked(changes: dict[str, object], *, answers: bool) -> None:
    question = replace(QUESTION, **changes)  # type: ignore[arg-type]  # a table of fields
    assert _reply(to_agent="alice").may_answer(question) is answers


def test_a_reply_without_an_addressee_may_answer_anybody() -> None:
    assert _reply().may_answer(replace(QUESTION, from_agent="carol"))


@pytest.mark.requirement("dual.legacy_receiver")
@pytest.mark.parametrize(
    ("note", "pending", "meant"),
    [
        (NOTE, [QUESTION], QUESTION),
        (NOTE, [QUESTION, OTHER], QUESTION),
        ({**NOTE, "created_at": 200.0}, [QUESTION, OTHER], OTHER),
        ({**NOTE, "created_at": 300.0}, [QUESTION, OTHER], None),
        ({**NOTE, "created_at": 300.0}, [OTHER], OTHER),
        (NOTE, [], None),
        (NOTE, [replace(QUESTION, message="Which?")], None),
        (NOTE, [replace(QUESTION, schema={})], None),
        (NOTE, [replace(QUESTION, from_agent="carol")], None),
        ({**NOTE, "to_agent": "carol"}, [QUESTION], None),
        ({**NOTE, "elicitation_type": "elicitation_expired"}, [QUESTION], None),
        ({"text": "hello"}, [QUESTION], None),
        (["hello"], [QUESTION], None),
    ],
)
def test_the_note_of_a_question_names_it_where_no_other_is_alike(
    note: object, pending: list[Elicitation], meant: Elicitation | None
) -> None:
    assert question_meant(_reply(), _message(note), pending) == meant


@pytest.mark.requirement("dual.legacy_receiver")
def test_the_send_that_a_question_was_made_from_names_it() -> None:
    made = replace(QUESTION, made_from=7)
    sent = _message({"to_agent": "bob", "message": "Ship it?"})
    assert question_meant(_reply(), sent, [OTHER, made]) == made
    assert question_meant(_reply(), sent, [OTHER]) is None
    note = _message({**NOTE, "schema": {**SCHEMA, MARK: {"sequence": 7}}})
    assert question_meant(_reply(), note, [OTHER, made]) == made


def test_on_a_bus_the_note_has_the_id() -> None:
    note = Note(kind=NoteKind.QUESTION, addressee="bob", elicitation_id=OTHER.elicitation_id, asker="alice")
    message = marked(_message(NOTE), note)
    assert question_meant(_reply(), message, [QUESTION, OTHER]) == OTHER
    assert question_meant(_reply(), replace(message, note=replace(note, kind=NoteKind.ANSWER)), [OTHER]) is None
