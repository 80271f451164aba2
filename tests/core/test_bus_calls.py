"""The Bridge's elicitation calls as the sidecar reads and answers them itself."""

from collections.abc import Mapping

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.bus_calls import created_reply, names_bus_question, parse_ask, pending_reply, status_reply
from proxy.core.elicitation import BridgeStatus, parse_pending, parse_status
from proxy.core.errors import AgentFault, InvalidInput, SchemaRefused
from proxy.core.ids import AgentId
from tests.support.bus_log import COLOUR, WALL, ask, bus_id, question

pytestmark = pytest.mark.requirement("bus.doors")

BODY: Mapping[str, object] = {
    "from_agent": "alice",
    "to_agent": "bob",
    "message": "Which colour?",
    "schema": COLOUR,
    "timeout_seconds": 60,
}


def test_a_question_is_read_as_the_bridge_reads_it() -> None:
    assert parse_ask(orjson.dumps({**BODY, "metadata": {"any": 1}})) == ask()
    without = {name: value for name, value in BODY.items() if name != "timeout_seconds"}
    assert parse_ask(orjson.dumps(without)) == ask(timeout_s=30)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"from_agent": ""}, "from_agent"),
        ({"to_agent": None}, "to_agent"),
        ({"message": 1}, "message"),
        ({"schema": None}, "schema"),
        ({"schema": "x"}, "schema"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"timeout_seconds": -5}, "timeout_seconds"),
        ({"timeout_seconds": True}, "timeout_seconds"),
        ({"timeout_seconds": "30"}, "timeout_seconds"),
    ],
    ids=str,
)
def test_what_the_bridge_takes_without_a_look_is_refused_by_name(changed: Mapping[str, object], named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        parse_ask(orjson.dumps({**BODY, **changed}))


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="expected a JSON object"):
        parse_ask(body)
    assert not names_bus_question(body)


def test_a_schema_that_no_answer_is_held_to_is_refused() -> None:
    with pytest.raises(SchemaRefused):
        parse_ask(orjson.dumps({**BODY, "schema": {"$ref": "https://example.org/schema"}}))


def test_a_schema_nested_too_deeply_to_be_stored_is_refused() -> None:
    deep = b'{"a":' * 300 + b"1" + b"}" * 300
    with pytest.raises(InvalidInput, match="nested"):
        parse_ask(orjson.dumps(BODY).replace(orjson.dumps(COLOUR), deep))


@given(
    st.binary(max_size=40) | st.dictionaries(st.sampled_from([*BODY]), st.none() | st.integers(0, 9)).map(orjson.dumps)
)
def test_no_body_breaks_the_door(body: bytes) -> None:
    with pytest.raises(AgentFault):
        parse_ask(body)


def test_which_question_an_answer_is_about() -> None:
    assert names_bus_question(orjson.dumps({"elicitation_id": bus_id()}))
    assert not names_bus_question(orjson.dumps({"elicitation_id": "elicit_89ed0ddbe8fd492e"}))
    assert not names_bus_question(orjson.dumps({"elicitation_id": 7}))


def test_replies_have_the_shapes_of_the_bridge() -> None:
    assert orjson.loads(created_reply(question())) == {
        "elicitation_id": bus_id(),
        "status": "pending",
        "expires_at": WALL + 60,
        "message": "Elicitation created successfully",
    }
    listed = orjson.loads(pending_reply([question()]))
    assert listed["count"] == 1
    assert listed["elicitations"][0].keys() == {"id", "from_agent", "message", "schema", "created_at", "expires_at"}
    assert parse_pending(pending_reply([question()]), AgentId("bob")) == (question(),)
    assert orjson.loads(status_reply(question(), BridgeStatus.PENDING)) == {
        "status": "pending",
        "created_at": WALL,
        "expires_at": WALL + 60,
    }
    done = status_reply(question(), BridgeStatus.ACCEPTED)
    assert orjson.loads(done) == {"status": "accepted", "created_at": WALL, "responded_at": None}
    assert parse_status(done) is BridgeStatus.ACCEPTED
