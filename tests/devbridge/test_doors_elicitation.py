"""A question over HTTP from its creation to its end."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from proxy.devbridge.settings import Settings
from tests.support.manual_bridge import Json, ManualBridge

Start = Callable[[Settings], Awaitable[ManualBridge]]
NOT_STARTED = "Elicitation manager not initialized"


def only_item(answer: Json) -> Json:
    items = answer["elicitations"]
    assert isinstance(items, list)
    assert len(items) == answer["count"] == 1
    item: Json = items[0]
    return item


async def test_before_the_first_question_everything_says_so(bridge: ManualBridge) -> None:
    token = await bridge.token("bob")
    assert await bridge.call("GET", "/elicitation/metrics", token=token) == (200, {"message": NOT_STARTED})
    assert await bridge.call("GET", "/elicitation/pending?agent_id=bob", token=token) == (
        200,
        {"elicitations": [], "count": 0},
    )
    assert await bridge.call("GET", "/elicitation/status/x", token=token) == (503, {"detail": NOT_STARTED})
    assert await bridge.answer(token, "x") == (500, {"detail": f"503: {NOT_STARTED}"})


async def test_a_question_is_put_answered_and_its_answer_broadcast(bridge: ManualBridge) -> None:
    alice, bob = await bridge.token("alice"), await bridge.token("bob")
    status, created = await bridge.ask(alice, metadata={"dropped": True})
    assert status == 200
    known = str(created["elicitation_id"])
    assert created == {
        "elicitation_id": known,
        "status": "pending",
        "expires_at": bridge.pace.wall_s() + 30,
        "message": "Elicitation created successfully",
    }
    assert known.startswith("elicit_")
    _, pending = await bridge.call("GET", "/elicitation/pending?agent_id=bob", token=bob)
    assert set(only_item(pending)) == {"id", "from_agent", "message", "schema", "created_at", "expires_at"}
    assert await bridge.answer(bob, known) == (
        200,
        {"status": "success", "message": f"Elicitation {known} accepted"},
    )
    _, standing = await bridge.call("GET", f"/elicitation/status/{known}", token=alice)
    assert (standing["status"], standing["responded_at"]) == ("accepted", None)
    carol = await bridge.token("carol")
    _, heard = await bridge.call("GET", "/event/wait?agent_id=carol&since_sequence=1", token=carol)
    events = heard["events"]
    assert isinstance(events, list)
    assert [event["data"]["elicitation_type"] for event in events] == [
        "elicitation_requested",
        "elicitation_accepted",
    ]
    assert all(known not in str(event) for event in events)
    assert events[1]["data"]["response_data"] == {"colour": "red"}
    assert events[0]["data"]["nonce"]


@pytest.mark.parametrize(("kind", "word"), [("decline", "declineed"), ("cancel", "canceled")])
async def test_declines_and_cancels_are_worded_as_the_bridge_words_them(
    bridge: ManualBridge, kind: str, word: str
) -> None:
    by = "alice" if kind == "cancel" else "bob"
    tokens = {agent_id: await bridge.token(agent_id) for agent_id in ("alice", "bob")}
    _, created = await bridge.ask(tokens["alice"])
    known = created["elicitation_id"]
    _, answer = await bridge.answer(tokens[by], known, responding_agent=by, response_type=kind, data=None)
    assert answer["message"] == f"Elicitation {known} {word}"


async def test_another_agents_token_cannot_answer(bridge: ManualBridge) -> None:
    mallory = await bridge.token("mallory")
    _, created = await bridge.ask(mallory)
    known = created["elicitation_id"]
    assert await bridge.answer(mallory, known) == (500, {"detail": "Invalid agent session token"})
    text = "Agent mallory not authorized to respond to elicitation for bob"
    assert await bridge.answer(mallory, known, responding_agent="mallory") == (500, {"detail": text})


async def test_of_many_answers_at_once_exactly_one_is_taken(bridge: ManualBridge) -> None:
    bob = await bridge.token("bob")
    _, created = await bridge.ask(await bridge.token("alice"))
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        tasks = [group.create_task(bridge.answer(bob, created["elicitation_id"])) for _ in range(6)]
    assert sorted(task.result()[0] for task in tasks) == [200, 500, 500, 500, 500, 500]
    assert len(bridge.state.log) == 3


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({"schema": "x"}, 422, "dict_type"),
        ({"schema": None}, 422, "dict_type"),
        ({"timeout_seconds": "soon"}, 422, "int_parsing"),
        ({"metadata": 5}, 422, "dict_type"),
        ({"to_agent": 5}, 422, "string_type"),
        ({"message": "setTimeout("}, 500, r"event.data.message: setTimeout\\s*\\("),
        ({"timeout_seconds": 0, "schema": {}}, 200, "pending"),
        ({"timeout_seconds": 1e9, "from_agent": ""}, 200, "pending"),
        ({"metadata": None, "to_agent": "alice"}, 200, "pending"),
    ],
)
async def test_what_a_question_may_be(bridge: ManualBridge, changes: Json, status: int, text: str) -> None:
    got, answer = await bridge.ask(await bridge.token("alice"), **changes)
    assert got == status
    assert text in str(answer)


async def test_a_question_without_schema_fails_as_the_bridge_fails(bridge: ManualBridge) -> None:
    body = {"from_agent": "alice", "to_agent": "bob", "message": "m"}
    token = await bridge.token("alice")
    assert await bridge.call("POST", "/elicitation/create", token=token, body=body) == (
        500,
        {"detail": "Object of type method is not JSON serializable"},
    )


async def test_rate_limits_answer_500_and_can_be_switched_off(bridge: ManualBridge) -> None:
    alice = await bridge.token("alice")
    for _ in range(13):
        assert (await bridge.ask(alice))[0] == 200
    assert await bridge.ask(alice) == (500, {"detail": "Rate limit exceeded for agent alice"})
    await bridge.set(rate_limits=False)
    assert (await bridge.ask(alice))[0] == 200
    _, metrics = await bridge.call("GET", "/elicitation/metrics", token=alice)
    assert metrics["activity"] == {"active_elicitations": 14, "pending_elicitations": 14}


async def test_an_overdue_question_expires_with_the_sweep_and_parked_waits_hear_it(
    bridge: ManualBridge,
) -> None:
    alice = await bridge.token("alice")
    _, created = await bridge.ask(alice, timeout_seconds=1)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        path = "/event/wait?agent_id=alice&since_sequence=2&timeout_seconds=60"
        task = group.create_task(bridge.call("GET", path, token=alice))
        await bridge.pace.until_sleeping()
        bridge.pace.advance(11)
        _, heard = await task
    assert "elicitation_expired" in str(heard)
    _, standing = await bridge.call("GET", f"/elicitation/status/{created['elicitation_id']}", token=alice)
    assert standing["status"] == "expired"


async def test_a_bridge_with_its_defect_takes_an_answer_from_anybody(bridge: ManualBridge) -> None:
    await bridge.set(anybody_answers=True)
    mallory = await bridge.token("mallory")
    for changes in ({}, {"responding_agent": "mallory"}):
        _, created = await bridge.ask(mallory)
        assert (await bridge.answer(mallory, created["elicitation_id"], **changes))[0] == 200
    _, created = await bridge.ask(mallory)
    refused = await bridge.answer(mallory, created["elicitation_id"], response_type="cancel")
    assert refused == (500, {"detail": "Only alice can cancel this elicitation"})
