"""A question as the admin port shows it."""

from proxy.core.ids import AgentId, ElicitationId
from proxy.core.journal import QuestionState
from proxy.core.listed_question import Listed


def test_it_tells_who_asked_whom_and_when_but_not_what() -> None:
    listed = Listed(
        elicitation_id=ElicitationId("e1"),
        from_agent="alice",
        to_agent=AgentId("bob"),
        state=QuestionState.OFFERED,
        created_at=1.0,
        expires_at=2.0,
        is_offered=True,
    )
    assert listed.as_json() == {
        "id": "e1",
        "from": "alice",
        "to": "bob",
        "state": "offered",
        "created_at": 1.0,
        "expires_at": 2.0,
        "offered": True,
    }
