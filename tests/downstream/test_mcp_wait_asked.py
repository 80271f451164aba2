"""Delivery by elicitation to clients of the handshake era: questions of a wait are put to the client itself."""

import asyncio
from pathlib import Path
from types import MappingProxyType

import orjson
import pytest

from proxy.mcp.correlation import own_id
from tests.support.house import fields, objects, until, until_told
from tests.support.manual_bridge import Json
from tests.support.mcp_dialogue import Dialogue, dialogue, open_as
from tests.support.mcp_stand import RESPOND, WAIT, McpStand, mcp_stand, message, told_by, tool

pytestmark = pytest.mark.requirement("mcp.elicit.handshake")

ELICIT = MappingProxyType({"agent.delivery": "elicit"})
BOB: dict[str, object] = {"agent_id": "bob", "since_sequence": 5}
SHORT = {**BOB, "timeout_seconds": 5}
LONG = {**BOB, "timeout_seconds": 60}
RED = {"colour": "red"}


def _result(told: Json | None, request_id: object = 7) -> Json:
    """What the wait tells in the end, as its last message has it."""
    assert told is not None
    assert told["id"] == request_id
    (content,) = objects(fields(told["result"])["content"])
    return fields(orjson.loads(str(content["text"])))


async def _items(talk: Dialogue) -> list[tuple[object, Json]]:
    """Kind and data of each item of the result, after which the stream is over."""
    told = _result(await talk.next())
    assert await talk.next() is None
    assert told["status"] == "new_events"
    items = objects(told["events"])
    assert told["count"] == len(items)
    assert {item["sequence"] for item in items} == {5}
    return [(item["event_type"], fields(item["data"])) for item in items]


def _last(made: McpStand) -> Json:
    return [line for line in made.house.lines if line.get("door") == "mcp_http" and line.get("agent_id")][-1]


class TestAnswers:
    @pytest.mark.parametrize("arguments", [SHORT, LONG])
    async def test_an_accepted_question_reaches_the_bridge_and_the_result_tells_it(
        self, tmp_path: Path, arguments: dict[str, object]
    ) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            asked = await made.ask()
            async with dialogue(made, tool(WAIT, arguments), await open_as(made)) as talk:
                assert talk.reply.headers["Content-Type"] == "text/event-stream"
                assert talk.reply.headers["Mcp-Session-Id"] == talk.session_id
                question = await talk.asked()
                assert str(question["id"]).startswith("esc-")
                params = fields(question["params"])
                assert params["message"] == "Which colour?"
                assert fields(fields(params["requestedSchema"])["properties"]) == {"colour": {"type": "string"}}
                await talk.accept(question, **RED)
                assert await _items(talk) == [
                    (
                        "elicitation_answered",
                        {
                            "elicitation_id": asked,
                            "message": "Which colour?",
                            "response_type": "accept",
                            "data": RED,
                        },
                    )
                ]
                assert b"id:" not in bytes(talk.raw).replace(b'"id":', b"")
            assert await made.status(asked) == "accepted"
            assert (_last(made)["event"], _last(made)["elicitations"]) == ("delivered", ["offered", "accepted"])
            assert made.ends[-2:] == [("answered", 202), ("delivered", 200)]
            assert not made.server.got("tools/call")

    @pytest.mark.parametrize(("action", "state"), [("decline", "declined"), ("cancel", "declined")])
    async def test_a_no_is_an_answer_too(self, tmp_path: Path, action: str, state: str) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            asked = await made.ask()
            async with dialogue(made, tool(WAIT, LONG), await open_as(made)) as talk:
                await talk.answer(await talk.asked(), {"action": action})
                ((kind, data),) = await _items(talk)
                assert (kind, data["response_type"], "data" in data) == ("elicitation_answered", action, False)
            assert await made.status(asked) == state

    async def test_several_questions_come_one_after_the_other_and_messages_with_the_result(
        self, tmp_path: Path
    ) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            first, second = await made.ask(message="One?"), await made.ask(message="Two?")
            async with dialogue(made, tool(WAIT, LONG), await open_as(made)) as talk:
                for text in ("One?", "Two?"):
                    question = await talk.asked()
                    assert fields(question["params"])["message"] == text
                    await talk.accept(question, **RED)
                found = await _items(talk)
                assert [data["elicitation_id"] for _, data in found] == [first, second]
            assert _last(made)["elicitations"] == ["offered", "accepted", "offered", "accepted"]

    async def test_the_stream_is_kept_alive_while_the_client_thinks(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            await made.ask()
            async with dialogue(made, tool(WAIT, SHORT | {"timeout_seconds": 40}), await open_as(made)) as talk:
                question = await talk.asked()
                for _ in range(2):
                    made.stand.clock.advance(15)
                    await asyncio.sleep(0)
                await talk.accept(question, **RED)
                await _items(talk)
                assert bytes(talk.raw).count(b": waiting\n\n") == 2


class TestNobodyAnswers:
    async def test_at_the_end_of_the_wait_the_question_is_an_item_and_the_client_is_told(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            asked = await made.ask()
            async with dialogue(made, tool(WAIT, SHORT), await open_as(made)) as talk:
                question = await talk.asked()
                made.stand.clock.advance(5)
                cancelled = await talk.next()
                assert cancelled is not None
                assert cancelled["method"] == "notifications/cancelled"
                assert fields(cancelled["params"])["requestId"] == question["id"]
                ((kind, data),) = await _items(talk)
                assert (kind, data["elicitation_id"], "error" in data) == ("elicitation_request", asked, False)
                # The question is still open, so that the answer counts.
                await talk.accept(question, **RED)
            await _until_status(made, asked, "accepted")

    async def test_the_agent_may_answer_by_its_tool_meanwhile(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            asked = await made.ask()
            async with dialogue(made, tool(WAIT, LONG), await open_as(made)) as talk:
                question = await talk.asked()
                given = {"elicitation_id": asked, "response_type": "accept", "data": {"colour": "blue"}}
                assert told_by(await talk.post(tool(RESPOND, given, 8)), 8)["status"] == "success"
                await talk.accept(question, **RED)
                ((kind, data),) = await _items(talk)
                assert (kind, data["code"]) == ("elicitation_request", "answer_conflict")
            assert _last(made)["elicitations"] == ["offered", "conflict"]

    @pytest.mark.parametrize("code", [-32600, -32601, -32602])
    async def test_a_client_that_cannot_be_asked_gets_items_and_is_not_asked_again(
        self, tmp_path: Path, code: int
    ) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            session_id = await open_as(made)
            for number in range(2):
                await made.ask(message=f"{number}?")
                async with dialogue(made, tool(WAIT, LONG), session_id) as talk:
                    if number == 0:
                        await talk.answer(await talk.asked(), error={"code": code, "message": "no"})
                    ((kind, data),) = await _items(talk)
                    assert (kind, data["message"], "error" in data) == ("elicitation_request", f"{number}?", False)

    @pytest.mark.parametrize(
        ("told", "outcome"),
        [
            ({"error": {"code": -32603, "message": "broke"}}, []),
            ({"result": {"action": "maybe"}}, ["invalid"]),
            ({"result": {"action": "accept", "content": {"colour": 7}}}, ["invalid"]),
            ({"result": {"action": "accept", "content": {}}}, ["invalid"]),
        ],
    )
    async def test_what_is_no_answer_leaves_the_question_open_and_tells_why(
        self, tmp_path: Path, told: dict[str, object], outcome: list[str]
    ) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            asked = await made.ask()
            async with dialogue(made, tool(WAIT, LONG), await open_as(made)) as talk:
                await talk.answer(await talk.asked(), told.get("result"), error=told.get("error"))
                ((kind, data),) = await _items(talk)
                assert (kind, data["elicitation_id"]) == ("elicitation_request", asked)
                assert data["error"]
            assert await made.status(asked) == "pending"
            assert _last(made)["elicitations"] == ["offered", *outcome]

    async def test_a_bridge_that_does_not_take_the_answer_is_told(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            await made.ask()
            async with dialogue(made, tool(WAIT, LONG), await open_as(made)) as talk:
                question = await talk.asked()
                await made.stand.bridge.set(fail_elicitation=True)
                await talk.accept(question, **RED)
                ((kind, data),) = await _items(talk)
                assert (kind, data["code"]) == ("elicitation_request", "answer_undelivered")
            assert _last(made)["elicitations"] == ["offered", "undelivered"]

    async def test_a_stopping_sidecar_answers_the_wait_with_the_question(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            await made.ask()
            async with dialogue(made, tool(WAIT, LONG), await open_as(made)) as talk:
                await talk.asked()
                assert (await made.house.admin("POST", "/shutdown")).status == 202
                cancelled = await talk.next()
                assert cancelled is not None
                assert cancelled["method"] == "notifications/cancelled"
                ((kind, _),) = await _items(talk)
                assert kind == "elicitation_request"


async def _until_status(made: McpStand, asked: str, state: str) -> None:
    async def is_so() -> bool:
        return await made.status(asked) == state

    await until_told(is_so)


class TestEnds:
    async def test_a_cancelled_wait_takes_its_question_back_and_offers_it_again(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            session_id = await open_as(made)
            asked = await made.ask()
            async with dialogue(made, tool(WAIT, LONG, "w"), session_id) as talk:
                question = await talk.asked()
                body = message("notifications/cancelled", {"requestId": "w"})
                assert (await talk.post(body)).status == 202
                cancelled = await talk.next()
                assert cancelled is not None
                assert fields(cancelled["params"])["requestId"] == question["id"]
                assert await talk.next() is None
            assert _last(made)["event"] == "gone"
            async with dialogue(made, tool(WAIT, LONG), session_id) as talk:
                again = await talk.asked()
                assert again["id"] != question["id"]
                await talk.accept(question, **RED)  # either id counts, the first one wins
                cancelled = await talk.next()
                assert cancelled is not None
                assert fields(cancelled["params"])["requestId"] == again["id"]
                await talk.next()
            await _until_status(made, asked, "accepted")

    async def test_a_client_that_lost_its_stream_may_still_answer(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            asked = await made.ask()
            async with dialogue(made, tool(WAIT, LONG), await open_as(made)) as talk:
                question = await talk.asked()
                talk.reply.close()
                await until(lambda: made.ends[-1] == ("gone", 0))
                await talk.accept(question, **RED)
                await _until_status(made, asked, "accepted")
                assert (await talk.answer(question, {"action": "decline"})).status == 202
            assert made.ends[-1] == ("refused", 202)
            assert await made.status(asked) == "accepted"

    async def test_an_answer_counts_once_and_is_never_passed_on(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            await made.ask()
            session_id = await open_as(made)
            async with dialogue(made, tool(WAIT, LONG), session_id) as talk:
                question = await talk.asked()
                await talk.accept(question, **RED)
                await _items(talk)
                for body in (question["id"], own_id(bytes(16))):
                    late = orjson.dumps({"jsonrpc": "2.0", "id": body, "result": {"action": "decline"}})
                    assert (await talk.post(late)).status == 202
                other = orjson.dumps({"jsonrpc": "2.0", "id": "esc-mine", "result": {"x": 'y "esc-"'}})
                await talk.post(other)
            assert [received.body for received in made.server.received[1:]] == [other]

    async def test_the_answer_of_a_stranger_changes_nothing_and_is_counted(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            asked = await made.ask()
            session_id = await open_as(made)
            other = await open_as(made)
            async with dialogue(made, tool(WAIT, LONG), session_id) as talk:
                question = await talk.asked()
                body = orjson.dumps({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}})
                assert (await talk.post(body, other)).status == 202
                assert (await talk.post(body, Authorization="Bearer eve")).status == 202
                await talk.accept(question, **RED)
                await _items(talk)
            assert await made.status(asked) == "accepted"
            metrics = await made.house.metrics()
            assert metrics["elicit_sidecar_impersonations_total"] == 2

    async def test_the_end_of_a_session_ends_its_questions(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            await made.ask()
            session_id = await open_as(made)
            async with dialogue(made, tool(WAIT, LONG), session_id) as talk:
                question = await talk.asked()
                await made.house.call("DELETE", "/mcp", headers={"Mcp-Session-Id": session_id})
                await talk.next()
                ((kind, _),) = await _items(talk)
                assert kind == "elicitation_request"
                assert (await talk.answer(question, {"action": "decline"})).status == 202
            assert made.ends[-1] == ("refused", 202)


class TestWhoIsAsked:
    @pytest.mark.parametrize(
        ("keys", "name", "is_asked"),
        [
            ({}, "zed", False),
            ({"agent.elicit_agents": "bob"}, "zed", True),
            ({"agent.elicit_agents": "alice"}, "zed", False),
            ({"agent.elicit_agents": "people", "groups.people": "bob"}, "zed", True),
            ({"agent.elicit_clients": "zed"}, "zed", True),
            ({"agent.elicit_clients": "zed"}, "ned", False),
        ],
    )
    async def test_only_those_whom_the_operator_named_are_asked(
        self, tmp_path: Path, *, keys: dict[str, str], name: str, is_asked: bool
    ) -> None:
        async with mcp_stand(tmp_path, keys) as made:
            asked = await made.ask()
            async with dialogue(made, tool(WAIT, LONG), await open_as(made, name=name)) as talk:
                if is_asked:
                    await talk.accept(await talk.asked(), **RED)
                ((kind, data),) = await _items(talk)
                assert data["elicitation_id"] == asked
                assert kind == ("elicitation_answered" if is_asked else "elicitation_request")

    @pytest.mark.parametrize("elicitation", [False, {"url": {}}])
    async def test_a_client_that_did_not_declare_the_mode_gets_items(self, tmp_path: Path, elicitation: object) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            await made.ask()
            async with dialogue(made, tool(WAIT, LONG), await open_as(made, elicitation=elicitation)) as talk:
                ((kind, _),) = await _items(talk)
                assert kind == "elicitation_request"

    async def test_a_session_from_before_our_start_gets_items(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            made.server.sessions.add("older")
            await made.ask()
            async with dialogue(made, tool(WAIT, LONG), "older") as talk:
                ((kind, _),) = await _items(talk)
                assert kind == "elicitation_request"

    async def test_without_sessions_nobody_is_asked(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            made.server.gives_sessions = False
            await made.open()
            await made.ask()
            assert told_by(await made.post(tool(WAIT, SHORT)))["count"] == 1

    async def test_a_question_without_end_is_asked_only_while_it_lasts(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            await made.ask(timeout_seconds=8)
            async with dialogue(made, tool(WAIT, LONG), await open_as(made)) as talk:
                await talk.asked()
                made.stand.clock.advance(7.75)
                await talk.next()
                ((kind, _),) = await _items(talk)
                assert kind == "elicitation_request"

    async def test_a_refusal_of_something_else_does_not_take_the_capability_away(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            session_id = await open_as(made)
            await made.post(message("tools/list", id=1), "unknown")
            made.server.sessions.discard(session_id)
            assert (await made.post(message("tools/list", id=1), session_id)).status == 404
            made.server.sessions.add(session_id)
            await made.ask()
            async with dialogue(made, tool(WAIT, LONG), session_id) as talk:
                await talk.accept(await talk.asked(), **RED)
                ((kind, _),) = await _items(talk)
                assert kind == "elicitation_answered"
            assert made.server.got("ping")
