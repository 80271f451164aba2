"""Questions and answers on the wire: what the Bridge promises, what askers may try, and what agents read."""

import contextlib
import math
from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.elicitation import (
    Answer,
    AnswerKind,
    BridgeStatus,
    Elicitation,
    is_writable,
    parse_created,
    parse_pending,
    parse_status,
    question_item,
    respond_body,
)
from proxy.core.errors import BadBridgeReply
from proxy.core.ids import AgentId, ElicitationId

BOB = AgentId("bob")
ITEM: dict[str, object] = {
    "id": "elicit_89ed0ddbe8fd492e",
    "from_agent": "alice",
    "message": "Which build?",
    "schema": {"type": "object", "properties": {"build": {"type": "integer"}}},
    "created_at": 1_795_386_852.5,
    "expires_at": 1_795_386_882.25,
}
QUESTION = Elicitation(
    elicitation_id=ElicitationId("elicit_89ed0ddbe8fd492e"),
    from_agent="alice",
    to_agent=BOB,
    message="Which build?",
    schema={"type": "object", "properties": {"build": {"type": "integer"}}},
    created_at=1_795_386_852.5,
    expires_at=1_795_386_882.25,
)
E1 = ElicitationId("e1")

scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
json_values = st.recursive(
    scalars | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
json_bytes = st.binary() | json_values.map(orjson.dumps)
pending_bytes = json_bytes | st.lists(
    st.fixed_dictionaries({}, optional=dict.fromkeys(ITEM, json_values)) | st.just(ITEM), max_size=3
).map(lambda items: orjson.dumps({"elicitations": items}))
answers = st.builds(
    Answer,
    elicitation_id=st.just(E1),
    kind=st.sampled_from(AnswerKind),
    content=st.none() | st.dictionaries(st.text(max_size=5), json_values, max_size=4),
)


def _nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def _pending(*items: object) -> bytes:
    return orjson.dumps({"elicitations": items, "count": len(items)})


def _with_schema(schema: bytes) -> bytes:
    return orjson.dumps({**ITEM, "schema": None}).replace(b'"schema":null', b'"schema":' + schema)


def _deep_schema(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


@pytest.mark.requirement("bridge.pending")
def test_a_pending_reply_is_read_into_questions_in_its_order() -> None:
    second = {**ITEM, "id": "elicit_2"}
    assert parse_pending(_pending(ITEM, second), BOB) == (
        QUESTION,
        replace(QUESTION, elicitation_id=ElicitationId("elicit_2")),
    )
    assert parse_pending(_pending(), BOB) == ()


@pytest.mark.requirement("bridge.pending")
def test_a_bridge_that_tells_no_creation_time_is_read_too() -> None:
    item = {key: value for key, value in ITEM.items() if key != "created_at"}
    assert parse_pending(_pending(item), BOB)[0].created_at == QUESTION.expires_at


@pytest.mark.requirement("bridge.bad_replies")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff",
        b"null",
        b"[]",
        b"{}",
        b'{"elicitations":{}}',
        b'{"elicitations":[7]}',
        b'{"elicitations":[{}]}',
        _pending({**ITEM, "id": ""}),
        _pending({**ITEM, "id": 7}),
        _pending({**ITEM, "id": "x" * 201}),
        _pending({**ITEM, "id": "a\nb"}),
        _pending({**ITEM, "expires_at": None}),
        _pending({**ITEM, "expires_at": True}),
        _pending({**ITEM, "expires_at": "1795386882.25"}),
        _pending({**ITEM, "created_at": "yesterday"}),
        b'{"elicitations":[{"id":"e","expires_at":NaN}]}',
        b'{"elicitations":[{"id":"e","expires_at":1e999}]}',
        _nested(1500),
        b'{"elicitations":' + _nested(1000) + b"}",
    ],
    ids=lambda _: "",
)
def test_a_reply_that_is_not_what_the_bridge_promises_is_refused(body: bytes) -> None:
    with pytest.raises(BadBridgeReply, match=r"expected|must be") as refused:
        parse_pending(body, BOB)
    assert len(refused.value.detail) < 200


@pytest.mark.requirement("questions.hostile_asker")
@pytest.mark.parametrize(
    ("oddity", "read"),
    [
        ({"message": 7}, {"message": ""}),
        ({"message": None}, {"message": ""}),
        ({"from_agent": None}, {"from_agent": ""}),
        ({"from_agent": ["alice"]}, {"from_agent": ""}),
        ({"schema": None}, {"schema": {}}),
        ({"schema": "object"}, {"schema": {}}),
        ({"schema": [1]}, {"schema": {}}),
        ({"expires_at": 1e300}, {"expires_at": 1e300}),
        ({"expires_at": -5}, {"expires_at": -5.0}),
        ({"expires_at": 2**64 - 1}, {"expires_at": float(2**64)}),
        ({"nonce": "x", "more": {}}, {}),
    ],
)
def test_an_odd_question_is_read_as_far_as_it_goes_and_can_be_handed_on(
    oddity: dict[str, object], read: dict[str, object]
) -> None:
    questions = parse_pending(_pending({**ITEM, **oddity}, ITEM), BOB)
    expected = {"message": QUESTION.message, "from_agent": "alice", "schema": QUESTION.schema, **read}
    assert {name: getattr(questions[0], name) for name in expected} == expected
    assert questions[1] == QUESTION
    assert orjson.loads(question_item(questions[0], sequence=3))["data"]["elicitation_id"] == ITEM["id"]


@pytest.mark.requirement("questions.hostile_asker")
@pytest.mark.parametrize("field", ["from_agent", "message", "schema"])
def test_deep_nesting_in_one_question_takes_no_other_question_away(field: str) -> None:
    hostile = orjson.dumps({**ITEM, field: None}).replace(
        b'"%s":null' % field.encode(), b'"%s":' % field.encode() + _nested(1000)
    )
    body = b'{"elicitations":[' + hostile + b"," + orjson.dumps(ITEM) + b"]}"
    assert parse_pending(body, BOB)[-1] == QUESTION


@pytest.mark.requirement("questions.hostile_asker")
def test_a_schema_is_handed_on_as_deep_as_it_can_be_written_and_left_out_beyond() -> None:
    body = b'{"elicitations":[' + _with_schema(_deep_schema(252)) + b"," + _with_schema(_deep_schema(253)) + b"]}"
    questions = parse_pending(body, BOB)
    assert len(questions) == 1
    item = orjson.loads(question_item(questions[0], sequence=1))
    assert orjson.dumps(item["data"]["schema"]) == _deep_schema(252)


@pytest.mark.requirement("questions.hostile_asker")
def test_of_a_flood_of_questions_the_first_thousand_are_read() -> None:
    flood = [{**ITEM, "id": f"e{number}"} for number in range(1_001)]
    questions = parse_pending(_pending(*flood), BOB)
    assert [question.elicitation_id for question in questions] == [f"e{number}" for number in range(1_000)]


def test_what_json_reads_can_be_written_only_to_a_depth() -> None:
    assert is_writable(orjson.loads(_nested(252)))
    assert not is_writable(orjson.loads(_nested(253)))
    assert not is_writable("\ud800")


ASKED: dict[str, object] = {
    "from_agent": "alice",
    "to_agent": "bob",
    "message": "Which build?",
    "schema": ITEM["schema"],
    "timeout_seconds": 30,
}
CREATED: dict[str, object] = {"elicitation_id": ITEM["id"], "status": "pending", "expires_at": ITEM["expires_at"]}


@pytest.mark.requirement("questions.seen_at_creation")
def test_a_question_that_was_just_created_is_read_from_call_and_reply() -> None:
    created = parse_created(orjson.dumps(ASKED), orjson.dumps(CREATED), now=QUESTION.created_at)
    assert created == QUESTION


@pytest.mark.requirement("questions.seen_at_creation")
@pytest.mark.parametrize(
    ("asked", "reply"),
    [
        (b"", orjson.dumps(CREATED)),
        (orjson.dumps(ASKED), b""),
        (b"[]", orjson.dumps(CREATED)),
        (orjson.dumps({**ASKED, "to_agent": ""}), orjson.dumps(CREATED)),
        (orjson.dumps({**ASKED, "to_agent": None}), orjson.dumps(CREATED)),
        (orjson.dumps(ASKED), orjson.dumps({**CREATED, "elicitation_id": None})),
        (orjson.dumps(ASKED), orjson.dumps({**CREATED, "expires_at": "soon"})),
        (_with_schema(_deep_schema(300)), orjson.dumps(CREATED)),
        (_nested(2000), _nested(2000)),
    ],
    ids=lambda _: "",
)
def test_a_creation_that_cannot_be_told_is_no_question(asked: bytes, reply: bytes) -> None:
    assert parse_created(asked, reply, now=1.0) is None


@pytest.mark.parametrize("status", list(BridgeStatus))
def test_every_state_of_the_bridge_is_read(status: BridgeStatus) -> None:
    body = orjson.dumps({"status": status.value, "created_at": 1.0, "responded_at": None})
    assert parse_status(body) is status


@pytest.mark.requirement("bridge.bad_replies")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"status":"maybe"}',
        b'{"status":null}',
        b'{"status":["pending"]}',
        b'{"status":""}',
        b'{"status":' + _nested(1000) + b"}",
        b'{"status":"' + b"x" * 10_000 + b'"}',
    ],
    ids=lambda _: "",
)
def test_an_unknown_state_is_a_bad_reply_that_repeats_little_of_it(body: bytes) -> None:
    with pytest.raises(BadBridgeReply) as refused:
        parse_status(body)
    assert len(refused.value.detail) < 200


@pytest.mark.requirement("answers.same_answer")
def test_the_digest_of_an_answer_ignores_key_order_and_id_and_nothing_else() -> None:
    answer = Answer(elicitation_id=E1, kind=AnswerKind.ACCEPT, content={"a": 1, "b": {"c": 2, "d": 3}})
    twin = Answer(elicitation_id=ElicitationId("e2"), kind=AnswerKind.ACCEPT, content={"b": {"d": 3, "c": 2}, "a": 1})
    assert answer.digest() == twin.digest()
    others = [
        replace(answer, content={"a": 1, "b": {"c": 2, "d": 4}}),
        replace(answer, content={"a": "1", "b": {"c": 2, "d": 3}}),
        replace(answer, content={}),
        replace(answer, content=None),
        replace(answer, kind=AnswerKind.DECLINE),
    ]
    assert len({answer.digest(), *(other.digest() for other in others)}) == 6


@given(answer=answers, other=answers)
def test_two_answers_have_one_digest_only_if_they_say_the_same(answer: Answer, other: Answer) -> None:
    said, said_by_other = (orjson.dumps([a.kind, a.content], option=orjson.OPT_SORT_KEYS) for a in (answer, other))
    assert (answer.digest() == other.digest()) is (said == said_by_other)


@pytest.mark.requirement("answers.cancel_travels_as_decline")
@pytest.mark.parametrize(
    ("kind", "content", "sent"),
    [
        (AnswerKind.ACCEPT, {"build": 7}, {"response_type": "accept", "data": {"build": 7}}),
        (AnswerKind.ACCEPT, {}, {"response_type": "accept", "data": {}}),
        (AnswerKind.DECLINE, None, {"response_type": "decline"}),
        (
            AnswerKind.CANCEL,
            None,
            {"response_type": "decline", "metadata": {"original_response_type": "cancel"}},
        ),
    ],
)
def test_an_answer_is_sent_in_the_words_the_bridge_takes_from_an_addressee(
    kind: AnswerKind, content: dict[str, object] | None, sent: dict[str, object]
) -> None:
    body = respond_body(Answer(elicitation_id=E1, kind=kind, content=content), BOB)
    assert orjson.loads(body) == {"elicitation_id": "e1", "responding_agent": "bob", **sent}


@pytest.mark.requirement("delivery.question_item")
def test_a_question_is_an_item_of_the_legacy_shape() -> None:
    assert orjson.loads(question_item(QUESTION, sequence=17)) == {
        "sequence": 17,
        "event_type": "elicitation_request",
        "source_agent": "alice",
        "timestamp": "2026-11-22T22:34:12.500000+00:00",
        "data": {
            "elicitation_id": "elicit_89ed0ddbe8fd492e",
            "message": "Which build?",
            "schema": QUESTION.schema,
            "expires_at": 1_795_386_882.25,
        },
    }


@pytest.mark.requirement("delivery.question_item")
@pytest.mark.parametrize(
    ("created_at", "timestamp"),
    [
        (0.0, "1970-01-01T00:00:00+00:00"),
        (-1e300, "1970-01-01T00:00:00+00:00"),
        (1e300, "9999-12-31T23:59:59+00:00"),
        (253_402_300_799.9999, "9999-12-31T23:59:59+00:00"),
        (math.inf, "9999-12-31T23:59:59+00:00"),
        (math.nan, "1970-01-01T00:00:00+00:00"),
    ],
)
def test_a_time_that_no_stamp_can_say_is_written_as_the_nearest_one(created_at: float, timestamp: str) -> None:
    item = orjson.loads(question_item(replace(QUESTION, created_at=created_at), sequence=1))
    assert item["timestamp"] == timestamp


@pytest.mark.requirement("parsers.documented_errors")
@given(body=pending_bytes)
def test_no_pending_reply_raises_anything_but_the_documented_error(body: bytes) -> None:
    with contextlib.suppress(BadBridgeReply):
        for question in parse_pending(body, BOB):
            item = orjson.loads(question_item(question, sequence=1))
            assert item["data"]["schema"] == question.schema
            assert datetime.fromisoformat(item["timestamp"]).tzinfo is UTC


@pytest.mark.requirement("parsers.documented_errors")
@given(body=json_bytes | json_values.map(lambda status: orjson.dumps({"status": status})))
def test_no_status_reply_raises_anything_but_the_documented_error(body: bytes) -> None:
    with contextlib.suppress(BadBridgeReply):
        assert parse_status(body) in BridgeStatus


@pytest.mark.requirement("parsers.documented_errors")
@given(
    asked=json_bytes | st.fixed_dictionaries({}, optional=dict.fromkeys(ASKED, json_values)).map(orjson.dumps),
    reply=json_bytes | st.fixed_dictionaries({}, optional=dict.fromkeys(CREATED, json_values)).map(orjson.dumps),
)
def test_no_creation_raises_anything_at_all(asked: bytes, reply: bytes) -> None:
    created = parse_created(asked, orjson.dumps(CREATED), now=1.0)
    assert created is None or question_item(created, sequence=1)
    assert parse_created(orjson.dumps(ASKED), reply, now=1.0) is None or b"elicitation_id" in reply
