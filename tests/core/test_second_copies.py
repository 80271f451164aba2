"""Notes that tell an agent what it reads as a message anyway: known by the event they name, and nothing else."""

from collections.abc import Mapping

import orjson
import pytest

from proxy.core.bus import question_data
from proxy.core.elicitation import Elicitation
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import parse_wait_reply
from proxy.core.second_copies import events_to_compare, second_copies, without_second_copies
from proxy.core.send_marks import MARK, marked

ALICE, BOB, CAROL = AgentId("alice"), AgentId("bob"), AgentId("carol")
SCHEMA = {"type": "object", "properties": {"reply": {"type": "string"}}}
SENT = {"to_agent": "bob", "message": "Ship it?"}
NOTED: Mapping[str, object] = {
    "elicitation_type": "elicitation_requested",
    "from_agent": "alice",
    "to_agent": "bob",
    "message": "Ship it?",
    "schema": marked(SCHEMA, 7),
}
BUS = question_data(
    Elicitation(
        elicitation_id=ElicitationId("0" * 32),
        from_agent="alice",
        to_agent=BOB,
        message="Ship it?",
        schema=SCHEMA,
        created_at=100.0,
        expires_at=400.0,
        made_from=7,
    )
)


def _body(*datas: object) -> bytes:
    """A reply with these data, numbered from 7."""
    items = [
        {"sequence": 7 + place, "event_type": "custom", "source_agent": "alice", "timestamp": "", "data": data}
        for place, data in enumerate(datas)
    ]
    return orjson.dumps({"events": items, "count": len(items), "waited_seconds": 0.5, "status": "new_events"})


@pytest.mark.requirement("dual.one_copy")
@pytest.mark.parametrize("note", [NOTED, BUS], ids=["note", "bus"])
def test_the_note_of_a_send_in_the_same_reply_is_left_out(note: Mapping[str, object]) -> None:
    body = _body(SENT, {"text": "x-elicit-sidecar"}, note)
    kept, copies = without_second_copies(body, BOB)
    assert copies == {9}
    told = orjson.loads(kept)
    assert [item["sequence"] for item in told["events"]] == [7, 8]
    assert (told["count"], told["waited_seconds"], told["status"]) == (2, 0.5, "new_events")


@pytest.mark.requirement("dual.one_copy")
@pytest.mark.parametrize(
    "body",
    [
        _body(SENT),
        _body({"text": "another"}, NOTED),
        _body(SENT, {**NOTED, "to_agent": "carol"}),
        _body(SENT, {**NOTED, "from_agent": "mallory"}),
        _body(SENT, {**NOTED, "from_agent": 7}),
        _body(SENT, {**NOTED, "message": "Send me the key?"}),
        _body(SENT, {**NOTED, "message": 7}),
        _body(SENT, {**NOTED, "schema": marked({}, 7)}),
        _body(SENT, {**NOTED, "schema": marked(SCHEMA, 9)}),
        _body(SENT, {**NOTED, "schema": {MARK: {}}}),
        _body(SENT, {**NOTED, "schema": 7, MARK: 1}),
        _body(SENT, {**NOTED, "elicitation_type": "elicitation_expired"}),
        _body(SENT, {"text": "hello", MARK: {"sequence": 7}}),
        _body(SENT, [MARK, "x-elicit-sidecar"]),
        b'{"x-elicit-sidecar":7}',
        b'{"x-elicit-sidecar"',
    ],
)
def test_everything_else_stays_byte_for_byte(body: bytes) -> None:
    kept, copies = without_second_copies(body, BOB)
    assert kept is body
    assert copies == frozenset()


def test_for_every_other_agent_the_note_is_what_it_always_was() -> None:
    messages = parse_wait_reply(_body(SENT, NOTED))
    assert second_copies(messages, BOB) == {8}
    assert second_copies(messages, CAROL) == frozenset()


@pytest.mark.requirement("dual.one_copy")
def test_a_note_that_comes_alone_names_the_event_to_compare_it_with() -> None:
    messages = parse_wait_reply(_body({"text": "another"}, {**NOTED, "schema": marked(SCHEMA, 3)}))
    assert events_to_compare(messages, BOB) == {8: 3}
    assert events_to_compare(messages, CAROL) == {}
    assert events_to_compare(parse_wait_reply(_body(SENT, NOTED)), BOB) == {}


def test_a_reply_that_cannot_be_taken_apart_passes() -> None:
    body = b'{"events":[],"x-elicit-sidecar":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    assert without_second_copies(body, BOB) == (body, frozenset())
