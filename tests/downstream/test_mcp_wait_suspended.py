"""Delivery by elicitation to clients of the envelope era: a wait asks for answers and goes on when they come."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from tests.support.house import Heard, fields, objects, until
from tests.support.manual_bridge import Json
from tests.support.mcp_stand import META, WAIT, McpStand, mcp_stand, result_of, told_by, tool
from tests.support.raw_http import connect

pytestmark = pytest.mark.requirement("mcp.elicit.envelope")

ELICIT = MappingProxyType({"agent.delivery": "elicit"})
LONG: dict[str, object] = {"agent_id": "bob", "since_sequence": 5, "timeout_seconds": 60}
RED = {"colour": "red"}
REFUSED = {
    "code": -32602,
    "message": "Invalid or expired requestState",
    "data": {"reason": "invalid_request_state"},
}


def _meta(elicitation: object = None) -> dict[str, object]:
    capabilities = {"elicitation": {} if elicitation is None else elicitation}
    return {**META, "io.modelcontextprotocol/clientCapabilities": capabilities}


def _wait(arguments: Mapping[str, object] = LONG, request_id: object = 7, **params: object) -> bytes:
    return tool(WAIT, arguments, request_id, **{"_meta": _meta(), **params})


def _retry(asked: Json, responses: object, arguments: Mapping[str, object] = LONG, **params: object) -> bytes:
    return _wait(arguments, 8, **{"requestState": asked["requestState"], "inputResponses": responses, **params})


def _accept(**content: object) -> Json:
    return {"action": "accept", "content": content or RED}


async def _asked(made: McpStand, **headers: str) -> Json:
    """What the wait asks for."""
    result = result_of(await made.post_modern(_wait(), **headers))
    assert result["resultType"] == "input_required"
    assert fields(result["_meta"])["io.modelcontextprotocol/serverInfo"]
    return result


def _items(heard: Heard, request_id: object = 8) -> list[tuple[object, Json]]:
    """Kind and data of each item."""
    assert result_of(heard, request_id)["resultType"] == "complete"
    items = objects(told_by(heard, request_id)["events"])
    assert {item["sequence"] for item in items} == {5}
    return [(item["event_type"], fields(item["data"])) for item in items]


def _last(made: McpStand) -> Json:
    return [line for line in made.house.lines if line.get("door") == "mcp_http"][-1]


class TestRounds:
    async def test_an_answer_comes_with_the_retry_and_the_result_tells_it(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            asked = await made.ask()
            wanted = await _asked(made)
            (key,) = fields(wanted["inputRequests"])
            assert key == f"esc:{asked}"
            request = fields(fields(wanted["inputRequests"])[key])
            assert request["method"] == "elicitation/create"
            assert fields(request["params"])["message"] == "Which colour?"
            assert _last(made)["elicitations"] == ["offered"]
            made.stand.clock.advance(20)
            heard = await made.post_modern(_retry(wanted, {key: _accept()}))
            told = {"elicitation_id": asked, "message": "Which colour?", "response_type": "accept", "data": RED}
            assert _items(heard) == [("elicitation_answered", told)]
            assert told_by(heard, 8)["waited_seconds"] == 20
            assert await made.status(asked) == "accepted"
            assert (_last(made)["event"], _last(made)["items"]) == ("delivered", 1)
            assert _last(made)["elicitations"] == ["accepted"]
            assert not made.server.received

    async def test_an_answer_that_is_missing_is_asked_for_again(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            first, second = await made.ask(message="One?"), await made.ask(message="Two?")
            wanted = await _asked(made)
            heard = await made.post_modern(_retry(wanted, {f"esc:{first}": _accept()}))
            again = result_of(heard, 8)
            assert again["resultType"] == "input_required"
            assert list(fields(again["inputRequests"])) == [f"esc:{second}"]
            assert again["requestState"] != wanted["requestState"]
            assert _last(made)["elicitations"] == ["accepted", "offered"]
            found = _items(await made.post_modern(_retry(again, {f"esc:{second}": {"action": "decline"}})))
            assert [(data["elicitation_id"], data["response_type"]) for _, data in found] == [
                (first, "accept"),
                (second, "decline"),
            ]

    async def test_a_client_that_never_answers_is_not_asked_for_ever(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            asked = await made.ask()
            wanted = await _asked(made)
            for _ in range(10):
                wanted = result_of(await made.post_modern(_retry(wanted, {})), 8)
                assert wanted["resultType"] == "input_required"
            ((kind, data),) = _items(await made.post_modern(_retry(wanted, {})))
            assert (kind, data["elicitation_id"]) == ("elicitation_request", asked)

    async def test_a_client_that_can_no_longer_be_asked_gets_the_rest_as_items(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            asked = await made.ask()
            heard = await made.post_modern(_retry(await _asked(made), None, inputResponses={}, _meta=dict(META)))
            ((kind, data),) = _items(heard)
            assert (kind, data["elicitation_id"]) == ("elicitation_request", asked)

    @pytest.mark.parametrize(
        ("response", "code"),
        [
            ({"action": "maybe"}, None),
            ({"action": "accept", "content": {"colour": 7}}, "answer_invalid"),
            ({"action": "accept", "content": [1]}, None),
            (7, None),
        ],
    )
    async def test_what_is_no_answer_leaves_the_question_open_and_tells_why(
        self, tmp_path: Path, response: object, code: str | None
    ) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            asked = await made.ask()
            ((kind, data),) = _items(await made.post_modern(_retry(await _asked(made), {f"esc:{asked}": response})))
            assert (kind, data.get("code")) == ("elicitation_request", code)
            assert data["error"]
            assert await made.status(asked) == "pending"
            assert _last(made)["elicitations"] == ["invalid", "offered"]

    async def test_a_bridge_that_does_not_take_the_answer_is_told(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            asked = await made.ask()
            wanted = await _asked(made)
            await made.stand.bridge.set(fail_elicitation=True)
            ((kind, data),) = _items(await made.post_modern(_retry(wanted, {f"esc:{asked}": _accept()})))
            assert (kind, data["code"]) == ("elicitation_request", "answer_undelivered")

    async def test_a_form_that_no_revision_has_is_asked_for_as_json(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            schema = {"type": "object", "properties": {"deep": {"type": "object"}}, "required": ["deep"]}
            asked = await made.ask(schema=schema)
            heard = await made.post_modern(
                _retry(await _asked(made), {f"esc:{asked}": _accept(response_json='{"deep": {"a": 1}}')})
            )
            ((kind, data),) = _items(heard)
            assert (kind, data["data"]) == ("elicitation_answered", {"deep": {"a": 1}})

    async def test_a_question_with_a_schema_beyond_bounds_is_an_item(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            bridge = made.stand.bridge  # a sidecar would not pass it on
            schema = {"type": "object", "title": "x" * 70_000}
            _, told = await bridge.ask(await bridge.token("alice"), schema=schema, timeout_seconds=60)
            big = told["elicitation_id"]
            heard = await made.post_modern(_wait())
            ((kind, data),) = _items(heard, 7)
            assert (kind, data["elicitation_id"]) == ("elicitation_request", big)
            made.stand.clock.advance(31)
            asked = await made.ask()
            wanted = await _asked(made)
            assert list(fields(wanted["inputRequests"])) == [f"esc:{asked}"]
            found = _items(await made.post_modern(_retry(wanted, {f"esc:{asked}": _accept()})))
            assert [kind for kind, _ in found] == ["elicitation_answered", "elicitation_request"]

    async def test_without_the_mode_or_the_operators_wish_the_question_is_an_item(self, tmp_path: Path) -> None:
        for keys, meta, is_asked in (
            (ELICIT, _meta({"url": {}}), False),
            (ELICIT, dict(META), False),
            ({}, _meta(), False),
            ({"agent.elicit_clients": "t"}, _meta(), True),
            ({"agent.elicit_clients": "u"}, _meta(), False),
        ):
            async with mcp_stand(tmp_path, keys) as made:
                await made.ask()
                result = result_of(await made.post_modern(_wait(_meta=meta)))
                assert result["resultType"] == ("input_required" if is_asked else "complete")

    async def test_arguments_that_are_nested_very_deeply_are_asked_for_all_the_same(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            asked = await made.ask()
            deep = {**LONG, "x": "@"}
            nested = b"[" * 300 + b"]" * 300
            wanted = result_of(await made.post_modern(_wait(deep).replace(b'"@"', nested)))
            assert wanted["resultType"] == "input_required"
            retry = _retry(wanted, {f"esc:{asked}": _accept()}, deep)
            assert (await made.post_modern(retry)).status == 400
            ((kind, _),) = _items(await made.post_modern(retry.replace(b'"@"', nested)))
            assert kind == "elicitation_answered"


class TestStates:
    async def test_the_same_retry_ends_the_same_and_another_one_is_refused(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            asked = await made.ask()
            wanted = await _asked(made)
            body = _retry(wanted, {f"esc:{asked}": _accept()})
            first, again = [await made.post_modern(body) for _ in range(2)]
            assert _items(first) == _items(again)
            assert made.stand.arrived("POST /elicitation/respond") == 1
            assert _last(made)["elicitations"] == ["duplicate"]
            heard = await made.post_modern(_retry(wanted, {f"esc:{asked}": {"action": "decline"}}))
            assert (heard.status, heard.json["error"]) == (400, REFUSED)
            assert _last(made)["event"] == "refused"

    @pytest.mark.parametrize("how", ["altered", "expired", "arguments", "principal", "responses", "list"])
    async def test_a_state_that_is_not_of_this_call_is_refused(self, tmp_path: Path, how: str) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            asked = await made.ask()
            wanted = await _asked(made)
            state = str(wanted["requestState"])
            changes: dict[str, object] = {}
            arguments = LONG
            headers: dict[str, str] = {}
            match how:
                case "altered":
                    changes["requestState"] = state[:-1] + ("A" if state[-1] != "A" else "B")
                case "expired":
                    made.stand.clock.advance(61)
                case "arguments":
                    arguments = {**LONG, "since_sequence": 4}
                case "principal":
                    headers["Authorization"] = "Bearer eve"
                case "responses":
                    changes["inputResponses"] = {"esc:": "1" * 10, "esc:x": float("1e300")}
                    changes["requestState"] = "esc1.nonsense"
                case _:
                    changes["inputResponses"] = [1]
            heard = await made.post_modern(_retry(wanted, {f"esc:{asked}": _accept()}, arguments, **changes), **headers)
            assert (heard.status, heard.json["error"]) == (400, REFUSED)
            assert await made.status(asked) in {"pending", "expired"}
            assert not made.server.received

    async def test_a_state_of_somebody_else_is_passed_on(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            asked = await made.ask()
            wanted = await _asked(made)
            for body in (
                _retry(wanted, {"of-the-server": _accept()}),
                _wait(requestState="of the server", inputResponses={f"esc:{asked}": _accept()}),
                _wait(inputResponses={f"esc:{asked}": _accept()}),
            ):
                assert b"of the server" in (await made.post_modern(body)).body
                assert made.server.received[-1].body == body

    async def test_a_question_that_ended_meanwhile_is_told(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            asked = await made.ask()
            wanted = await _asked(made)
            alice = await made.stand.bridge.token("alice")
            body = {"elicitation_id": asked, "responding_agent": "alice", "response_type": "cancel"}
            await made.stand.bridge.call("POST", "/elicitation/respond", token=alice, body=body)
            ((_, data),) = _items(await made.post_modern(_retry(wanted, {f"esc:{asked}": _accept()})))
            assert data["code"] in {"answer_conflict", "elicitation_unknown"}

    async def test_a_wait_that_left_before_it_was_asked_is_asked_again(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, ELICIT) as made:
            for _ in range(9):
                await made.ask(message="x" * 900_000)
            body = _wait()
            head = (
                "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n"
                f"Mcp-Method: tools/call\r\nMcp-Name: {WAIT}\r\nUser-Agent: python-httpx\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            async with asyncio.timeout(5), connect(made.house.port) as wire:
                await wire.send(head.encode() + body)
                await wire.reader.readuntil(b'"jsonrpc"')
                wire.writer.transport.abort()
            await until(lambda: made.ends[-1:] == [("gone", 0)])
            assert len(fields((await _asked(made))["inputRequests"])) == 9
