"""Which sends ask something, and the question that is made from one: the same everywhere, and all that it says."""

from collections.abc import Mapping
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.elicitation import Elicitation
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import Message, parse_wait_reply
from proxy.core.send_marks import MARK, unmarked
from proxy.core.sends import (
    MAX_MESSAGE_BYTES,
    UNKNOWN_TYPE,
    DualSends,
    Send,
    ask_of,
    becomes_question,
    is_made_from,
    json_of,
    may_have_become_one,
    read_send,
    send_of,
    sent_item,
)

ALICE, BOB = AgentId("alice"), AgentId("bob")
SCHEMA = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}


def _body(data: object, *, agent_id: object = "alice", event_type: object = "custom") -> bytes:
    return orjson.dumps({"agent_id": agent_id, "event_type": event_type, "data": data})


def _message(data: object, *, sequence: int = 7, source: str = "alice", event_type: str = "custom") -> Message:
    item = {"sequence": sequence, "source_agent": source, "event_type": event_type, "data": data}
    (message,) = parse_wait_reply(orjson.dumps({"events": [item]}))
    return message


def _send(event_type: str = "custom", **data: object) -> Send:
    return _sending(data, event_type)


def _sending(data: Mapping[str, object], event_type: str = "custom") -> Send:
    found = read_send(_body({"to_agent": "bob", **data}, event_type=event_type))
    assert found is not None
    return found


def _question(send: Send, sequence: int = 7) -> Elicitation:
    ask = ask_of(send, sequence, life_s=300.0)
    assert ask is not None
    schema, made_from = unmarked(ask.schema)
    return Elicitation(
        elicitation_id=ElicitationId("e1"),
        from_agent=ask.from_agent,
        to_agent=ask.to_agent,
        message=ask.message,
        schema=schema,
        created_at=0.0,
        expires_at=300.0,
        made_from=made_from,
    )


# Which are sends


@pytest.mark.requirement("dual.which")
@pytest.mark.parametrize("key", ["to_agent", "target_agent", "target", "to"])
def test_an_event_with_an_addressee_is_a_send(key: str) -> None:
    send = read_send(_body({key: "bob", "n": 1}))
    assert send == Send(from_agent=ALICE, to_agent=BOB, event_type="custom", data={key: "bob", "n": 1})
    assert send_of(_message({key: "bob", "n": 1})) == send


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        _body([]),
        _body({"n": 1}),
        _body({"to_agent": 7}),
        _body({"to_agent": "bob\n"}),
        _body({"to_agent": "bob"}, agent_id=""),
        _body({"to_agent": "alice"}),
    ],
)
def test_everything_else_is_none(body: bytes) -> None:
    assert read_send(body) is None


def test_a_send_whose_type_is_no_text_has_none() -> None:
    send = read_send(_body({"to": "bob"}, event_type=7))
    assert send is not None
    assert send.event_type == ""


def test_what_cannot_be_read_is_nothing() -> None:
    assert json_of(b"[" * 2000) is None
    assert send_of(_message("text")) is None


# Which ask


@pytest.mark.requirement("dual.which")
@pytest.mark.parametrize(
    ("send", "asks"),
    [
        (_send(), False),
        (_send(message="done"), False),
        (_send(expects_reply=True), True),
        (_send(reply_requested=True), True),
        (_send(requires_response=True), True),
        (_send(expects_reply=False, reply_requested=True), True),
        (_send(schema=SCHEMA), True),
        (_send(schema="x"), False),
        (_send(schema=SCHEMA, expects_reply=False), False),
        (_send(expects_reply="yes"), False),
        (_send(type="question"), True),
        (_send(type="Review-Request"), True),
        (_send(type="request_received"), False),
        (_send(type=7), False),
        (_send(type=""), False),
        (_send("TASK_REQUEST"), True),
        (_send("task.query"), True),
        (_send("ask"), True),
        (_send("AGENT_HEARTBEAT"), False),
        (_send("question", expects_reply=False), False),
    ],
)
def test_a_send_asks_if_it_says_so_or_brings_a_schema_or_has_a_type_that_asks(send: Send, *, asks: bool) -> None:
    assert becomes_question(send, DualSends.ASKING) is asks
    assert becomes_question(send, DualSends.ALL)
    assert not becomes_question(send, DualSends.OFF)


@pytest.mark.requirement("dual.which")
@pytest.mark.parametrize("key", ["in_reply_to", "elicitation_id", "elicitation_type", "elicit_sidecar", MARK])
@pytest.mark.parametrize("mode", DualSends)
def test_whoever_answers_does_not_ask(key: str, mode: DualSends) -> None:
    assert not becomes_question(_send(expects_reply=True, **{key: "x"}), mode)


@pytest.mark.parametrize(
    ("message", "may"),
    [
        (_message({"to": "bob", "expects_reply": True}), True),
        (_message({"to": "bob"}), False),
        (_message({"to": "bob"}, event_type=UNKNOWN_TYPE), True),
        (_message({"to": "bob", "expects_reply": False}, event_type=UNKNOWN_TYPE), False),
        (_message({"to": "carol", "expects_reply": True}), False),
        (_message({"to": "bob", "expects_reply": True}, source="bob"), False),
        (_message(["bob"]), False),
    ],
)
def test_a_message_may_have_become_a_question_at_the_sidecar_of_its_sender(message: Message, *, may: bool) -> None:
    assert may_have_become_one(message, BOB, DualSends.ASKING) is may
    assert not may_have_become_one(message, BOB, DualSends.OFF)


# The question


@pytest.mark.requirement("dual.question")
@pytest.mark.parametrize("key", ["message", "text", "content"])
def test_the_text_of_a_send_is_what_is_asked(key: str) -> None:
    ask = ask_of(_send(**{key: "Ship it?"}, expects_reply=True, type="question"), 7, life_s=300.0)
    assert ask is not None
    assert (ask.from_agent, ask.to_agent, ask.message, ask.timeout_s) == (ALICE, BOB, "Ship it?", 300.0)
    assert ask.schema == {"type": "object", "properties": {"reply": {"type": "string"}}, MARK: {"sequence": 7}}


@pytest.mark.requirement("dual.question")
def test_everything_else_that_it_says_is_told_behind_it() -> None:
    ask = ask_of(_send(message="Ship it?", build=7, file="a.py", expects_reply=True), 7, life_s=300.0)
    assert ask is not None
    assert ask.message == 'Ship it?\n\n{"build":7,"file":"a.py"}'


@pytest.mark.requirement("dual.question")
@pytest.mark.parametrize(
    ("data", "message"),
    [({}, "{}"), ({"message": 7}, '{"message":7}'), ({"message": "", "text": "t"}, 't\n\n{"message":""}')],
)
def test_without_a_text_the_data_is_told(data: dict[str, object], message: str) -> None:
    ask = ask_of(_sending(data), 7, life_s=300.0)
    assert ask is not None
    assert ask.message == message


@pytest.mark.requirement("dual.question")
def test_the_schema_of_a_send_is_what_the_answer_has_to_look_like() -> None:
    ask = ask_of(_send(message="Which?", schema={**SCHEMA, MARK: {"sequence": 3}}), 7, life_s=300.0)
    assert ask is not None
    assert ask.schema == {**SCHEMA, MARK: {"sequence": 7}}


@pytest.mark.parametrize(
    ("wanted", "life_s"),
    [(30, 30.0), (1.5, 1.5), (1e9, 86_400.0), (0, 300.0), (-5, 300.0), (True, 300.0), ("30", 300.0), (None, 300.0)],
)
def test_a_send_may_say_how_long_it_waits(wanted: object, life_s: float) -> None:
    ask = ask_of(_send(timeout_seconds=wanted), 7, life_s=300.0)
    assert ask is not None
    assert ask.timeout_s == life_s


def test_no_number_is_no_time() -> None:
    send = replace(_send(), data={"to": "bob", "timeout_seconds": float("nan")})
    ask = ask_of(send, 7, life_s=300.0)
    assert ask is not None
    assert ask.timeout_s == 300.0


@pytest.mark.requirement("dual.question")
@pytest.mark.parametrize(
    "send",
    [
        _send(message="x" * (MAX_MESSAGE_BYTES + 1)),
        _send(schema={"type": "object", "properties": {"a": {"$ref": "http://example.org/"}}}),
        replace(_send(), data={"to": "bob", "deep": orjson.loads(b"[" * 300 + b"]" * 300)}),
    ],
)
def test_what_cannot_be_asked_whole_stays_a_message(send: Send) -> None:
    assert ask_of(send, 7, life_s=300.0) is None


# The mark is not taken at its word

VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.text(max_size=4)
    | st.lists(st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False), max_size=2)
)
DATAS = st.dictionaries(
    st.sampled_from(["message", "text", "build", "type", "expects_reply", "timeout_seconds"]), VALUES, max_size=5
)


@pytest.mark.requirement("dual.mark")
@given(data=DATAS, sequence=st.integers(1, 1000))
def test_every_sidecar_words_the_question_of_an_event_the_same_way(data: dict[str, object], sequence: int) -> None:
    sent = {"to_agent": "bob", **data}
    question = _question(_sending(data), sequence)
    # As another JSON library stores it: with the members in another order, and other white space.
    stored = orjson.loads(orjson.dumps(dict(reversed(sent.items())), option=orjson.OPT_INDENT_2))
    assert is_made_from(question, _message(stored, sequence=sequence))


@pytest.mark.requirement("dual.mark")
@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"made_from": 8}, {}),
        ({"made_from": None}, {}),
        ({"from_agent": "mallory"}, {}),
        ({"to_agent": AgentId("carol")}, {}),
        ({"message": "Send me the key?"}, {}),
        ({"schema": SCHEMA}, {}),
        ({}, {"source": "mallory"}),
        ({}, {"data": {"message": "Ship it?"}}),
        ({}, {"data": {"to_agent": "bob", "message": "Ship it now?"}}),
        ({}, {"data": {"to_agent": "bob", "message": "Ship it?", "in_reply_to": 3}}),
        ({}, {"data": "Ship it?"}),
        ({}, {"sequence": 8}),
    ],
)
def test_a_mark_is_believed_only_where_the_event_asks_the_very_same(
    question: dict[str, object], message: dict[str, object]
) -> None:
    honest = _question(_send(message="Ship it?"))
    item: dict[str, object] = {"data": {"to_agent": "bob", "message": "Ship it?"}}
    assert is_made_from(honest, _message(**item))  # type: ignore[arg-type]  # a table of arguments
    assert not is_made_from(replace(honest, **question), _message(**{**item, **message}))  # type: ignore[arg-type]  # two


@pytest.mark.requirement("dual.question")
def test_the_item_of_a_question_has_the_place_of_its_event_and_repeats_what_was_sent() -> None:
    message = _message({"to_agent": "bob", "message": "Ship it?", "big": 2**60})
    question = _question(_send(message="Ship it?", big=2**60))
    item = orjson.loads(sent_item(question, message, sequence=1007))
    assert (item["sequence"], item["event_type"], item["source_agent"]) == (1007, "elicitation_request", "alice")
    assert item["data"].keys() == {"elicitation_id", "message", "schema", "expires_at", "sent"}
    assert item["data"]["sent"] == {"to_agent": "bob", "message": "Ship it?", "big": 2**60}
    assert MARK not in item["data"]["schema"]
