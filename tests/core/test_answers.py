"""Answers as agents give them: what counts as one, what is left alone, and what is refused with a reason."""

import contextlib

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.answers import addressee_of, parse_respond, parse_stored_answer, responded_reply, stored_reply
from proxy.core.elicitation import Answer, AnswerKind, respond_body
from proxy.core.errors import InvalidInput
from proxy.core.ids import AgentId, ElicitationId

E1 = ElicitationId("e1")
DEEP = b"[" * 600 + b"]" * 600

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
objects = st.dictionaries(st.text(max_size=5), json_values, max_size=4)
ids = st.sampled_from(["e1", "elicit_2", "", "x" * 201, "a\nb"]) | json_values
kinds = st.sampled_from(["accept", "decline", "cancel", "maybe", ""]) | json_values
stored_calls = st.fixed_dictionaries(
    {},
    optional={
        "agent_id": ids,
        "event_type": st.text(max_size=5),
        "data": json_values
        | st.fixed_dictionaries(
            {},
            optional={
                "elicitation_id": ids,
                "in_reply_to": ids,
                "response_type": kinds,
                "content": json_values,
                "data": json_values,
                "to": json_values,
            },
        ),
    },
)
respond_calls = st.fixed_dictionaries(
    {}, optional={"elicitation_id": ids, "responding_agent": ids, "response_type": kinds, "data": json_values}
)


def _stored(data: object, **event: object) -> bytes:
    return orjson.dumps({"event_type": "custom", "agent_id": "bob", "data": data, **event})


def _respond(**call: object) -> bytes:
    return orjson.dumps({"elicitation_id": "e1", "responding_agent": "bob", **call})


def _answer(kind: AnswerKind, content: dict[str, object] | None) -> Answer:
    return Answer(elicitation_id=E1, kind=kind, content=content)


@pytest.mark.requirement("answers.stored")
@pytest.mark.parametrize(
    ("data", "kind", "content"),
    [
        ({"elicitation_id": "e1", "content": {"build": 7}}, AnswerKind.ACCEPT, {"build": 7}),
        ({"elicitation_id": "e1", "data": {"build": 7}}, AnswerKind.ACCEPT, {"build": 7}),
        ({"elicitation_id": "e1", "content": {"a": 1}, "data": {"b": 2}}, AnswerKind.ACCEPT, {"a": 1}),
        ({"elicitation_id": "e1", "content": "text", "data": {"b": 2}}, AnswerKind.ACCEPT, {"b": 2}),
        ({"elicitation_id": "e1", "content": "text"}, AnswerKind.ACCEPT, {"content": "text"}),
        ({"elicitation_id": "e1", "build": 7, "why": "green"}, AnswerKind.ACCEPT, {"build": 7, "why": "green"}),
        ({"elicitation_id": "e1", "build": 7, "to": "alice", "target": "alice"}, AnswerKind.ACCEPT, {"build": 7}),
        ({"elicitation_id": "e1"}, AnswerKind.ACCEPT, {}),
        ({"in_reply_to": "e1", "build": 7}, AnswerKind.ACCEPT, {"build": 7}),
        ({"elicitation_id": None, "in_reply_to": "e1"}, AnswerKind.ACCEPT, {}),
        ({"elicitation_id": "e1", "in_reply_to": "message 12"}, AnswerKind.ACCEPT, {}),
        ({"elicitation_id": "e1", "response_type": "accept", "build": 7}, AnswerKind.ACCEPT, {"build": 7}),
        ({"elicitation_id": "e1", "response_type": "decline", "build": 7}, AnswerKind.DECLINE, None),
        ({"elicitation_id": "e1", "response_type": "cancel", "content": {"a": 1}}, AnswerKind.CANCEL, None),
    ],
)
def test_an_event_that_names_an_elicitation_is_an_answer(
    data: dict[str, object], kind: AnswerKind, content: dict[str, object] | None
) -> None:
    given_answer = parse_stored_answer(_stored(data))
    assert given_answer is not None
    assert (given_answer.answer, given_answer.agent_id) == (_answer(kind, content), "bob")


@pytest.mark.requirement("answers.not_ours")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        DEEP,
        b"[" * 2000,
        _stored(None),
        _stored([]),
        _stored("elicitation_id"),
        _stored({}),
        _stored({"elicitation_id": None}),
        _stored({"elicitation_id": 7}),
        _stored({"elicitation_id": ["e1"]}),
        _stored({"elicitation_id": ""}),
        _stored({"elicitation_id": "x" * 201}),
        _stored({"elicitation_id": "a\nb", "in_reply_to": 12}),
        _stored({"in_reply_to": "message 12", "response_type": "thanks"}),
        _stored({"in_reply_to": "message 12"}, agent_id=None),
        _stored({"in_reply_to": "message 12", "text": None}).replace(b"null", DEEP),
    ],
    ids=lambda _: "",
)
def test_an_event_that_can_be_no_answer_is_left_to_the_bridge(body: bytes) -> None:
    assert parse_stored_answer(body) is None


@pytest.mark.requirement("answers.clear_refusal")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (_stored({"elicitation_id": "e1", "response_type": "maybe"}), "response_type must be .*, got 'maybe'"),
        (_stored({"elicitation_id": "e1", "response_type": "ACCEPT"}), "response_type must be"),
        (_stored({"elicitation_id": "e1", "response_type": None}), "got null"),
        (_stored({"elicitation_id": "e1", "response_type": ["accept"]}), "got an array with 1 items"),
        (_stored({"elicitation_id": "e1", "response_type": "null"}).replace(b'"null"', DEEP), "got an array"),
        (_stored({"elicitation_id": "e1", "response_type": "x" * 10_000}), "response_type must be"),
        (_stored({"elicitation_id": "e1"}, agent_id=""), "agent_id must be text"),
        (_stored({"elicitation_id": "e1"}, agent_id=7), "agent_id must be text"),
        (_stored({"elicitation_id": "e1", "a": None}).replace(b"null", DEEP), "nested less deeply"),
    ],
    ids=lambda _: "",
)
def test_an_answer_that_cannot_be_read_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason) as refused:
        parse_stored_answer(body)
    assert len(refused.value.detail) < 200


@pytest.mark.requirement("answers.respond")
@pytest.mark.parametrize(
    ("body", "kind", "content"),
    [
        (_respond(response_type="accept", data={"build": 7}), AnswerKind.ACCEPT, {"build": 7}),
        (_respond(response_type="accept", data=None), AnswerKind.ACCEPT, {}),
        (_respond(response_type="accept"), AnswerKind.ACCEPT, {}),
        (_respond(response_type="decline"), AnswerKind.DECLINE, None),
        (_respond(response_type="decline", data={"build": 7}), AnswerKind.DECLINE, None),
        (_respond(response_type="decline", data="no"), AnswerKind.DECLINE, None),
        (_respond(response_type="cancel", data=None), AnswerKind.CANCEL, None),
    ],
)
def test_the_bridges_own_respond_call_is_read(body: bytes, kind: AnswerKind, content: dict[str, object] | None) -> None:
    given_answer = parse_respond(body)
    assert given_answer is not None
    assert (given_answer.answer, given_answer.agent_id) == (_answer(kind, content), "bob")


@pytest.mark.requirement("answers.not_ours")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        DEEP,
        b'{"elicitation_id":"e1","response_type":"accept"}',
        b'{"responding_agent":"bob","response_type":"accept"}',
        _respond(elicitation_id=7, response_type="maybe"),
        _respond(elicitation_id="", response_type="accept"),
        _respond(elicitation_id="x" * 201, response_type="accept"),
    ],
    ids=lambda _: "",
)
def test_a_respond_call_that_only_the_bridge_can_judge_is_left_to_it(body: bytes) -> None:
    assert parse_respond(body) is None


@pytest.mark.requirement("answers.clear_refusal")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (_respond(), "response_type must be accept, decline or cancel, got null"),
        (_respond(response_type="maybe"), "got 'maybe'"),
        (_respond(response_type={"accept": 1}), "got an object with 1 members"),
        (_respond(response_type="accept", data="yes"), "data must be an object, got 'yes'"),
        (_respond(response_type="accept", data=[1]), "data must be an object, got an array with 1 items"),
        (_respond(response_type="accept", data=False), "data must be an object, got false"),
        (_respond(response_type="accept", data={"a": None}).replace(b"null", DEEP), "nested less deeply"),
        (_respond(response_type="accept", responding_agent=""), "agent_id must be text"),
        (_respond(response_type="accept", responding_agent=None), "agent_id must be text"),
    ],
    ids=lambda _: "",
)
def test_a_respond_call_that_cannot_be_carried_out_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        parse_respond(body)


@pytest.mark.requirement("sends.addressee")
@pytest.mark.parametrize(
    ("data", "addressee"),
    [
        ({"to_agent": "bob"}, "bob"),
        ({"target_agent": "bob"}, "bob"),
        ({"target": "bob"}, "bob"),
        ({"to": "bob"}, "bob"),
        ({"to": "carol", "to_agent": "bob"}, "bob"),
        ({"to_agent": "", "to": "carol"}, "carol"),
        ({"to_agent": ["bob"], "target": "carol"}, "carol"),
        ({"to_agent": None}, None),
        ({"message": "to bob"}, None),
        ({}, None),
        ("bob", None),
        (None, None),
    ],
)
def test_a_send_is_addressed_by_the_first_of_four_names_that_holds_text(data: object, addressee: str | None) -> None:
    assert addressee_of(_stored(data)) == addressee


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"{}", DEEP], ids=lambda _: "")
def test_a_body_that_is_no_event_is_addressed_to_nobody(body: bytes) -> None:
    assert addressee_of(body) is None


@pytest.mark.requirement("answers.replies")
def test_an_agent_that_answered_by_an_event_reads_the_reply_of_a_stored_event() -> None:
    answer = Answer(elicitation_id=E1, kind=AnswerKind.DECLINE)
    reply = orjson.loads(stored_reply(answer, sequence=21, timestamp_ns=1_795_386_852_500_000_000))
    assert reply["event_id"] == {
        "timestamp_ns": 1_795_386_852_500_000_000,
        "sequence": 0,
        "node_id": "elicit-sidecar",
    }
    assert (reply["status"], reply["sequence"]) == ("stored", 21)
    assert (reply["elicitation_id"], reply["response_type"]) == ("e1", "decline")
    assert reply["message"] == "Elicitation e1 answered: decline"


@pytest.mark.requirement("answers.replies")
@pytest.mark.parametrize(
    ("kind", "verb"),
    [(AnswerKind.ACCEPT, "accepted"), (AnswerKind.DECLINE, "declined"), (AnswerKind.CANCEL, "cancelled")],
)
def test_an_agent_that_answered_by_the_respond_call_reads_the_bridges_words(kind: AnswerKind, verb: str) -> None:
    reply = orjson.loads(responded_reply(Answer(elicitation_id=E1, kind=kind)))
    assert reply == {"status": "success", "message": f"Elicitation e1 {verb}"}


@pytest.mark.requirement("answers.round_trip")
@given(content=objects)
def test_an_accepted_content_reaches_the_bridge_as_the_agent_gave_it(content: dict[str, object]) -> None:
    given_answer = parse_stored_answer(_stored({"elicitation_id": "e1", "content": content}))
    assert given_answer is not None
    sent = parse_respond(respond_body(given_answer.answer, given_answer.agent_id))
    assert sent == given_answer
    assert sent.answer.content == content


@pytest.mark.requirement("parsers.documented_errors")
@given(body=st.binary() | json_values.map(orjson.dumps) | stored_calls.map(orjson.dumps))
def test_no_event_raises_anything_but_the_documented_error(body: bytes) -> None:
    assert addressee_of(body) != ""
    with contextlib.suppress(InvalidInput):
        given_answer = parse_stored_answer(body)
        assert given_answer is None or respond_body(given_answer.answer, AgentId("bob"))
        assert given_answer is None or len(given_answer.answer.digest()) == 32


@pytest.mark.requirement("parsers.documented_errors")
@given(body=st.binary() | json_values.map(orjson.dumps) | respond_calls.map(orjson.dumps))
def test_no_respond_call_raises_anything_but_the_documented_error(body: bytes) -> None:
    with contextlib.suppress(InvalidInput):
        given_answer = parse_respond(body)
        assert given_answer is None or respond_body(given_answer.answer, given_answer.agent_id)
