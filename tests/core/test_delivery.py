"""Who is asked directly, and what the result of a wait tells of a question."""

import orjson
import pytest

from proxy.core.delivery import DeliveryRule, answered_item, lost_item, unanswered_item
from proxy.core.elicitation import Answer, AnswerKind, Elicitation, question_item
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.routing import Membership

pytestmark = pytest.mark.requirement("mcp.elicit.who")

QUESTION = Elicitation(
    elicitation_id=ElicitationId("e1"),
    from_agent="alice",
    to_agent=AgentId("bob"),
    message="Which colour?",
    schema={"type": "object"},
    created_at=0.0,
    expires_at=60.0,
)
BOB = Membership(agent_id="bob", bucket=1, groups=frozenset({"people"}))


@pytest.mark.parametrize(
    ("rule", "elicits"),
    [
        (DeliveryRule(), False),
        (DeliveryRule(to_all=True), True),
        (DeliveryRule(agents=frozenset({"bob"})), True),
        (DeliveryRule(agents=frozenset({"people"})), True),
        (DeliveryRule(agents=frozenset({"alice", "zed"})), False),
        (DeliveryRule(clients=frozenset({"zed"})), True),
        (DeliveryRule(clients=frozenset({"bob"})), False),
    ],
)
def test_only_who_is_named_is_asked_directly(*, rule: DeliveryRule, elicits: bool) -> None:
    assert rule.elicits(BOB, "zed") is elicits


def test_an_answered_question_tells_its_answer() -> None:
    accepted = Answer(elicitation_id=QUESTION.elicitation_id, kind=AnswerKind.ACCEPT, content={"colour": "red"})
    item = orjson.loads(answered_item(QUESTION, accepted, sequence=5))
    assert (item["sequence"], item["event_type"], item["source_agent"]) == (5, "elicitation_answered", "alice")
    told = {"elicitation_id": "e1", "message": "Which colour?", "response_type": "accept"}
    assert item["data"] == {**told, "data": {"colour": "red"}}
    declined = Answer(elicitation_id=QUESTION.elicitation_id, kind=AnswerKind.DECLINE)
    assert orjson.loads(answered_item(QUESTION, declined, sequence=5))["data"] == {**told, "response_type": "decline"}


def test_a_question_that_is_left_is_as_in_every_other_wait_with_what_went_wrong() -> None:
    plain = question_item(QUESTION, sequence=5)
    assert unanswered_item(QUESTION, sequence=5) == plain
    data = orjson.loads(plain)["data"]
    item = orjson.loads(unanswered_item(QUESTION, sequence=5, error="no"))
    assert (item["event_type"], item["data"]) == ("elicitation_request", {**data, "error": "no"})
    item = orjson.loads(unanswered_item(QUESTION, sequence=5, error="no", code="answer_invalid"))
    assert item["data"] == {**data, "error": "no", "code": "answer_invalid"}


def test_a_question_that_is_gone_is_told_by_its_id() -> None:
    item = orjson.loads(lost_item("e1", sequence=5, error="gone", code="elicitation_unknown"))
    assert item["data"] == {"elicitation_id": "e1", "error": "gone", "code": "elicitation_unknown"}
