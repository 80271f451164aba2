"""The two traces of an answer to a send: both name what they answer, and neither changes what was answered."""

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.elicitation import Answer, AnswerKind, Elicitation
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import Message, parse_wait_reply
from proxy.core.send_marks import MARK
from proxy.core.send_replies import Origin, SentReply, read_reply, reply_data, sealed, unsealed

E1 = ElicitationId("elicit_1")
QUESTION = Elicitation(
    elicitation_id=E1,
    from_agent="alice",
    to_agent=AgentId("bob"),
    message="Ship it?",
    schema={"type": "object", "properties": {"reply": {"type": "string"}}},
    created_at=0.0,
    expires_at=300.0,
    made_from=7,
)
YES = Answer(elicitation_id=E1, kind=AnswerKind.ACCEPT, content={"reply": "yes"})
NO = Answer(elicitation_id=E1, kind=AnswerKind.DECLINE)
ORIGIN = Origin(sequence=7, elicitation_id=E1, asker="alice")


def _message(data: object, *, source: str = "bob") -> Message:
    raw = data if isinstance(data, bytes) else orjson.dumps(data)
    head = orjson.dumps({"sequence": 9, "source_agent": source, "event_type": "custom"})
    (message,) = parse_wait_reply(b'{"events":[' + head[:-1] + b',"data":' + raw + b"}]}")
    return message


@pytest.mark.requirement("dual.answer")
@given(content=st.dictionaries(st.text(max_size=5).filter(lambda key: key != MARK), st.text(max_size=5), max_size=3))
def test_what_was_sealed_is_unsealed_to_the_same_content(content: dict[str, object]) -> None:
    sent = sealed(replace(YES, content={**content, "reply": "yes"}), QUESTION)
    assert sent.content is not None
    assert unsealed(sent.content) == ({**content, "reply": "yes"}, ORIGIN)


@pytest.mark.requirement("dual.answer")
def test_a_decline_names_its_question_as_well() -> None:
    sent = sealed(NO, QUESTION)
    assert sent.kind is AnswerKind.DECLINE
    assert sent.content is not None
    assert unsealed(sent.content) == ({}, ORIGIN)


@pytest.mark.parametrize(
    "question",
    [
        replace(QUESTION, made_from=None),
        replace(QUESTION, elicitation_id=ElicitationId("0" * 32)),
        replace(QUESTION, schema={**QUESTION.schema, "additionalProperties": False}),
        replace(QUESTION, schema={"$ref": "http://example.org/"}),
    ],
)
def test_an_answer_stays_as_it_is_where_it_needs_no_seal_or_may_have_none(question: Elicitation) -> None:
    assert sealed(YES, question) is YES


@pytest.mark.parametrize(
    "mark",
    [
        None,
        7,
        {},
        {"sequence": 7, "elicitation_id": "e1"},
        {"sequence": 7, "to_agent": "alice"},
        {"sequence": 7, "to_agent": "alice", "elicitation_id": ""},
        {"sequence": "7", "to_agent": "alice", "elicitation_id": "e1"},
        {"sequence": 7, "to_agent": 7, "elicitation_id": "e1"},
    ],
)
def test_a_content_with_another_mark_stays_as_it_is(mark: object) -> None:
    content = {"reply": "yes", MARK: mark}
    assert unsealed(content) == (content, None)


@pytest.mark.requirement("dual.answer")
@pytest.mark.parametrize("answer", [YES, NO, replace(NO, kind=AnswerKind.CANCEL)])
def test_a_legacy_sender_reads_the_answer_as_a_reply_to_its_event(answer: Answer) -> None:
    data = reply_data(QUESTION, answer)
    assert data["in_reply_to"] == 7
    assert data["to_agent"] == "alice"
    assert data["elicitation_id"] == E1
    assert data["response_type"] == answer.kind.value
    assert data.get("content") == answer.content
    assert read_reply(_message(data)) == SentReply(origin=ORIGIN, responder="bob", answer=answer)


def test_an_accept_without_content_is_told_as_an_empty_one() -> None:
    assert reply_data(QUESTION, replace(YES, content=None))["content"] == {}


DEEP = (
    b'{"x-elicit-sidecar":{"sequence":7},"to_agent":"alice","elicitation_id":"e1","response_type":"accept","content":'
)


@pytest.mark.parametrize(
    "data",
    [
        {"in_reply_to": 7},
        b'{"x-elicit-sidecar":1',
        [MARK, "x-elicit-sidecar"],
        {MARK: {"sequence": 7}},
        {**reply_data(QUESTION, YES), "response_type": "maybe"},
        {**reply_data(QUESTION, YES), "response_type": []},
        {**reply_data(QUESTION, YES), "content": "yes"},
        {**reply_data(QUESTION, YES), "to_agent": 7},
        {**reply_data(QUESTION, YES), MARK: {}},
        DEEP + b'{"a":' * 300 + b"1" + b"}" * 300 + b"}",
    ],
)
def test_every_other_message_is_none_of_ours(data: object) -> None:
    if data == b'{"x-elicit-sidecar":1':
        message = replace(_message({}), data=b'{"x-elicit-sidecar":1')
    else:
        message = _message(data)
    assert read_reply(message) is None
