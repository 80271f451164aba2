"""Questions on the wire that say which send they were made from."""

from dataclasses import replace

import orjson
import pytest

from proxy.core.elicitation import Elicitation, parse_created, parse_pending, question_item
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.send_marks import MARK, marked

BOB = AgentId("bob")
SCHEMA = {"type": "object", "properties": {"build": {"type": "integer"}}}
ASKED = {"from_agent": "alice", "to_agent": "bob", "message": "Which build?", "schema": marked(SCHEMA, 7)}
ITEM = {"id": "e1", "created_at": 1.0, "expires_at": 31.0, **ASKED}
QUESTION = Elicitation(
    elicitation_id=ElicitationId("e1"),
    from_agent="alice",
    to_agent=BOB,
    message="Which build?",
    schema=SCHEMA,
    created_at=1.0,
    expires_at=31.0,
    made_from=7,
)


@pytest.mark.requirement("dual.mark")
def test_the_mark_is_read_off_the_schema_wherever_a_question_comes_from() -> None:
    assert parse_pending(orjson.dumps({"elicitations": [ITEM]}), BOB) == (QUESTION,)
    reply = orjson.dumps({"elicitation_id": "e1", "expires_at": 31.0})
    assert parse_created(orjson.dumps(ASKED), reply, now=1.0) == QUESTION


@pytest.mark.requirement("dual.mark")
def test_it_goes_out_with_the_mark_and_to_the_agent_without() -> None:
    assert QUESTION.wire_schema == marked(SCHEMA, 7)
    assert MARK.encode() not in question_item(QUESTION, sequence=7)
    assert replace(QUESTION, made_from=None).wire_schema == SCHEMA
