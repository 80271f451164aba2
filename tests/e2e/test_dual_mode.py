"""Legacy sends and questions between two agents of either cohort, behind one sidecar and behind two."""

from itertools import product
from pathlib import Path

import pytest

from tests.support.dual import NEWS, Agent, cohorts, dual
from tests.support.house import fields

WAYS = ("legacy", "elicitation")
PAIRS = tuple(product((1, 2), WAYS, WAYS))


@pytest.mark.requirement("dual.one_copy")
@pytest.mark.requirement("dual.answer")
@pytest.mark.parametrize(("sidecars", "sender", "receiver"), PAIRS)
async def test_a_send_is_received_once_and_answered_once_in_every_pair_of_cohorts(
    tmp_path: Path, sidecars: int, sender: str, receiver: str
) -> None:
    inside = [name for name, way in (("alice", sender), ("bob", receiver)) if way == "elicitation"]
    async with dual(tmp_path, cohorts(*inside), sidecars=sidecars) as stand:
        alice, bob = stand.alice, stand.bob
        stand.start(alice, bob)
        await stand.pass_s(2)
        number = await stand.send()
        await stand.until(lambda: bool(alice.replies_to(number)))
        await stand.pass_s(5)
        (copy,) = bob.copies_of(number)
        assert (copy["event_type"] == "elicitation_request") is (receiver == "elicitation")
        assert copy["sequence"] == number
        (reply,) = alice.replies_to(number)
        said = fields(reply["data"])
        is_asked = receiver == "elicitation"
        assert (reply["event_type"] == "elicitation_response") is (is_asked and sender == "elicitation")
        assert said.get("data", said.get("content")) == {"reply": "yes"}
        assert len(stand.questions()) == is_asked
        assert ("elicitation_id" in said) is is_asked
        assert [heard.status for heard in bob.answered] == [200]
        assert _news(alice, "elicitation_request") == []


def _news(agent: Agent, kind: str) -> list[object]:
    assert kind in NEWS
    return [item for item in agent.items if item["event_type"] == kind]


@pytest.mark.requirement("dual.legacy_receiver")
@pytest.mark.parametrize(("sidecars", "sender", "receiver"), PAIRS)
async def test_a_question_is_answered_by_an_agent_of_either_cohort(
    tmp_path: Path, sidecars: int, sender: str, receiver: str
) -> None:
    inside = [name for name, way in (("alice", sender), ("bob", receiver)) if way == "elicitation"]
    async with dual(tmp_path, cohorts(*inside), sidecars=sidecars) as stand:
        alice, bob = stand.alice, stand.bob
        stand.start(alice, bob)
        await stand.pass_s(2)
        named = await alice.ask("bob")
        await stand.until(lambda: bool(_answers(alice)))
        await stand.pass_s(5)
        asked = [item for item in bob.items if fields(item["data"]).get("message") == "Ship it?"]
        assert [item["event_type"] for item in asked] == [
            "elicitation_request" if receiver == "elicitation" else "custom"
        ]
        assert len(_answers(alice)) == 1
        assert await _status(stand.bob, named) == "accepted"
        assert stand.stored_by("bob") == [], "an answer is no event of its own"


def _answers(agent: Agent) -> list[object]:
    kinds = {"elicitation_accepted", None}
    return [
        item
        for item in agent.items
        if item["event_type"] == "elicitation_response"
        or (item["source_agent"] == "bob" and fields(item["data"]).get("elicitation_type") in kinds)
    ]


async def _status(agent: Agent, named: str) -> object:
    return (await agent.house.call("GET", f"/elicitation/status/{named}", token=agent.token)).json["status"]
