"""Elicitations worded as events, and what is made of events that anybody may have stored."""

from collections.abc import Mapping
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.bus import (
    MARK,
    MAX_DATA_BYTES,
    MAX_LIFE_S,
    Answered,
    Asked,
    Withdrawn,
    answer_data,
    is_bus_id,
    question_data,
    read_event,
    size_of,
    withdrawal_data,
)
from proxy.core.elicitation import Answer, AnswerKind
from proxy.core.legacy import Message
from tests.support.bus_log import COLOUR, WALL, answer, bus_id, message, question

pytestmark = pytest.mark.requirement("bus.words")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = [*question_data(question()), "in_reply_to", "response_type", "data", "signature"]


def test_a_question_comes_back_as_it_was_put() -> None:
    assert read_event(message(question_data(question()))) == Asked(question())


@pytest.mark.parametrize("kind", AnswerKind)
def test_an_answer_comes_back_as_it_was_given(kind: AnswerKind) -> None:
    content = {"colour": "red"} if kind is AnswerKind.ACCEPT else None
    given_answer = Answer(elicitation_id=bus_id(), kind=kind, content=content)
    read = read_event(message(answer_data(given_answer, question()), source="bob"))
    assert read == Answered(answer=given_answer, responder=question().to_agent, asker="alice")


def test_a_withdrawal_comes_back() -> None:
    assert read_event(message(withdrawal_data(question()))) == Withdrawn(bus_id(), "alice")


def test_a_question_can_be_read_by_an_agent_that_knows_nothing_of_us() -> None:
    data = question_data(question())
    assert data["kind"] == "elicitation_request"
    assert {name: data[name] for name in ("elicitation_id", "message", "schema", "expires_at")} == {
        "elicitation_id": bus_id(),
        "message": "Which colour?",
        "schema": COLOUR,
        "expires_at": WALL + 60,
    }


def test_a_question_lives_by_the_bridges_clock() -> None:
    read = read_event(message(question_data(question()), at=WALL + 5))
    assert isinstance(read, Asked)
    assert (read.question.created_at, read.question.expires_at) == (WALL + 5, WALL + 65)
    unstamped = read_event(message(question_data(question()), at=None))
    assert isinstance(unstamped, Asked)
    assert unstamped.question.created_at == WALL


def test_members_that_are_not_known_yet_do_no_harm() -> None:
    assert read_event(message({**question_data(question()), "signature": "..."})) == Asked(question())


LEGACY: list[Mapping[str, object]] = [
    {"elicitation_id": bus_id(), "response_type": "accept", "content": {"colour": "red"}},
    {"in_reply_to": bus_id(), "colour": "red", "to_agent": "alice"},
    {"in_reply_to": bus_id(), "data": {"colour": "red"}},
    {"in_reply_to": bus_id(), "data": {"colour": "red"}, "note": f'"{MARK}" as a text'},
]


@pytest.mark.parametrize("data", LEGACY)
def test_a_legacy_event_that_names_a_question_is_its_answer(data: Mapping[str, object]) -> None:
    assert read_event(message(data, source="bob")) == Answered(answer=answer(), responder=question().to_agent, asker="")


OF_QUESTION: list[Mapping[str, object]] = [
    {MARK: 2},
    {MARK: True},
    {MARK: "1"},
    {"kind": "elicitation_requests"},
    {"kind": 1},
    {"elicitation_id": "elicit_89ed0ddbe8fd492e"},
    {"elicitation_id": bus_id().upper().replace("0", "A")},
    {"elicitation_id": None},
    {"from_agent": "mallory"},
    {"from_agent": ""},
    {"to_agent": ""},
    {"to_agent": 7},
    {"message": None},
    {"schema": []},
    {"created_at": None},
    {"created_at": True},
    {"expires_at": "soon"},
    {"expires_at": WALL},
    {"expires_at": WALL - 1},
    {"expires_at": WALL + MAX_LIFE_S + 1},
    {"created_at": -1e308, "expires_at": 1e308},
]


@pytest.mark.parametrize("changed", OF_QUESTION, ids=str)
def test_a_question_that_is_not_in_order_is_an_ordinary_message(changed: Mapping[str, object]) -> None:
    assert read_event(message({**question_data(question()), **changed})) is None


OF_ANSWER: list[Mapping[str, object]] = [
    {"response_type": "maybe"},
    {"response_type": None},
    {"data": None},
    {"data": [1]},
    {"from_agent": "mallory"},
    {"to_agent": None},
]


@pytest.mark.parametrize("changed", OF_ANSWER, ids=str)
def test_an_answer_that_is_not_in_order_is_an_ordinary_message(changed: Mapping[str, object]) -> None:
    assert read_event(message({**answer_data(answer(), question()), **changed}, source="bob")) is None


def test_what_is_nested_too_deeply_to_be_written_again_is_an_ordinary_message() -> None:
    raw = orjson.dumps(question_data(question()))
    deep = b'{"a":' * 300 + b"1" + b"}" * 300
    for data in (
        raw.replace(orjson.dumps(COLOUR), deep),
        orjson.dumps(answer_data(answer(), question())).replace(b'{"colour":"red"}', deep),
    ):
        assert deep in data
        source = "bob" if b"in_reply_to" in data else "alice"
        assert read_event(_with_data(data, source)) is None


def _with_data(data: bytes, source: str) -> Message:
    return replace(message({}, source=source), data=data)


OTHERS: list[object] = [
    {},
    None,
    [1],
    "text",
    {"in_reply_to": "seven"},
    {"elicitation_id": "elicit_1", "content": {}},
    f'"{MARK}"',
    [{MARK: 1}],
    {"elicitation_id": bus_id(), "response_type": "maybe"},
]


@pytest.mark.parametrize("data", OTHERS, ids=str)
def test_other_messages_are_left_alone(data: object) -> None:
    assert read_event(message(data, source="bob")) is None


def test_a_legacy_answer_without_a_name_is_left_alone() -> None:
    assert read_event(message(LEGACY[0], source="")) is None


def test_an_event_beyond_the_bound_is_not_even_looked_at() -> None:
    data = question_data(question())
    room = MAX_DATA_BYTES - size_of(data) + len("Which colour?")
    assert isinstance(read_event(message({**data, "message": "x" * room})), Asked)
    assert read_event(message({**data, "message": "x" * (room + 1)})) is None


def test_data_that_is_no_json_is_left_alone() -> None:
    assert read_event(_with_data(b'{"elicit_sidecar":', "alice")) is None


@given(st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=6), st.sampled_from(["alice", "bob", ""]))
def test_whatever_is_changed_a_question_is_read_as_one_or_not_at_all(changed: dict[str, object], source: str) -> None:
    read = read_event(message({**question_data(question()), **changed}, source=source))
    match read:
        case Asked(found):
            assert is_bus_id(found.elicitation_id)
            assert found.from_agent == source
            assert 0 < found.expires_at - found.created_at <= MAX_LIFE_S + 1e-3
        case Answered(answer=found_answer, responder=responder):
            assert (is_bus_id(found_answer.elicitation_id), responder) == (True, source)
        case Withdrawn(elicitation_id, asker):
            assert (is_bus_id(elicitation_id), asker) == (True, source)
        case None:
            pass


@given(JSON)
def test_no_data_breaks_the_reader(data: object) -> None:
    assert read_event(message(data)) is None


@pytest.mark.parametrize("text", ["", "elicit_89ed0ddbe8fd492e", bus_id()[1:], bus_id() + "0", bus_id() + "\n"])
def test_ids_of_others_are_not_of_the_bus(text: str) -> None:
    assert not is_bus_id(text)
    assert is_bus_id(bus_id())
