"""Limits over MCP: what is refused is told as an error of the call, and leaves its question open."""

from pathlib import Path
from types import MappingProxyType

import pytest

from tests.support.house import OFF, Heard, fields, objects
from tests.support.manual_bridge import Json
from tests.support.mcp_dialogue import dialogue, open_as
from tests.support.mcp_stand import PLAIN, RESPOND, SEND, WAIT, McpStand, mcp_stand, tool

pytestmark = pytest.mark.requirement("admission.limits")

BOB: dict[str, object] = {"agent_id": "bob", "since_sequence": 5}
ELICIT = MappingProxyType({"agent.delivery": "elicit"})
ASK = tool("lighthouse_elicit_information", {"to_agent": "bob", "message": "?", "schema": {}})


def limited(heard: Heard, limit: str, after_ms: int) -> Json:
    """The error of a call that came too often."""
    assert heard.status == 200, heard
    error = fields(heard.json["error"])
    data = fields(error["data"])
    assert (error["code"], data["code"], data["retryable"]) == (1429, "rate_limited", True)
    assert (data["violated-policies"], data["retryAfterMs"]) == ([limit], after_ms)
    assert heard.headers["Retry-After"] == str(after_ms // 1000)
    assert heard.headers["RateLimit"] == f'"{limit}";r=0;t={after_ms // 1000}'
    return error


async def _answer(made: McpStand, session_id: str, way: str, asked: str) -> Heard:
    given: dict[str, object] = {"elicitation_id": asked, "response_type": "accept"}
    if way == RESPOND:
        return await made.post(tool(RESPOND, {**given, "data": {"colour": "red"}}), session_id)
    data = {**given, "content": {"colour": "red"}}
    return await made.post(tool(SEND, {"event_type": "CUSTOM", "agent_id": "bob", "event_data": data}), session_id)


@pytest.mark.parametrize("flags", [OFF, {"flags.elicitation_enabled": "true", "flags.elicitation_percentage": "100"}])
async def test_waits_come_under_their_limit_whoever_serves_them(tmp_path: Path, flags: dict[str, str]) -> None:
    async with mcp_stand(tmp_path, {"limits.waits": "1/min+1"}, flags=flags) as made:
        session_id = await made.open()
        body = tool(WAIT, {**BOB, "timeout_seconds": 0})
        heard = [await made.post(body, session_id) for _ in range(3)]
        assert ["result" in each.json for each in heard] == [True, True, False]
        limited(heard[2], "waits", 60_000)
        assert made.ends[-1] == ("refused", 429)
        assert (await made.post(tool("x", {}), session_id)).status == 200


async def test_questions_by_the_tool_that_asks_come_under_the_limit_of_questions(tmp_path: Path) -> None:
    async with mcp_stand(tmp_path, {"limits.questions": "1/min+1", "agent.id": "alice"}) as made:
        session_id = await made.open()
        heard = [await made.post(ASK, session_id) for _ in range(3)]
        limited(heard[2], "questions", 60_000)
        assert len(made.server.got("tools/call")) == 2
        # By REST the same agent asks from the same allowance.
        body = {"from_agent": "alice", "to_agent": "bob", "message": "?", "schema": {}}
        assert (await made.house.call("POST", "/elicitation/create", body=body)).status == 429
        batch = b"[%b,%b]" % (ASK, ASK)
        assert (await made.house.call("POST", "/mcp", raw=batch, headers=PLAIN)).status == 429


@pytest.mark.parametrize("way", [RESPOND, SEND])
async def test_a_refused_answer_leaves_its_question_open(tmp_path: Path, way: str) -> None:
    async with mcp_stand(tmp_path, {"limits.answers": "1/min"}) as made:
        asked = [await made.ask(), await made.ask()]
        session_id = await made.open()
        await made.post(tool(WAIT, {**BOB, "timeout_seconds": 5}), session_id)
        assert (await _answer(made, session_id, way, asked[0])).status == 200
        limited(await _answer(made, session_id, way, asked[1]), "answers", 60_000)
        assert [await made.status(each) for each in asked] == ["accepted", "pending"]
        assert not made.server.got("tools/call")
        made.stand.clock.advance(30)
        limited(await _answer(made, session_id, way, asked[1]), "answers", 30_000)
        made.stand.clock.advance(29)
        limited(await _answer(made, session_id, way, asked[1]), "answers", 1_000)


async def test_an_event_that_answers_nothing_of_ours_is_no_answer(tmp_path: Path) -> None:
    async with mcp_stand(tmp_path, {"limits.answers": "1/h"}, flags=OFF) as made:
        session_id = await made.open()
        for _ in range(3):
            assert "result" in (await _answer(made, session_id, SEND, "elicit_of_nobody")).json


async def test_what_a_client_answers_beyond_the_limit_is_left_to_the_agent_with_the_reason(tmp_path: Path) -> None:
    async with mcp_stand(tmp_path, {**ELICIT, "limits.answers": "1/h"}) as made:
        asked = [await made.ask(), await made.ask()]
        async with dialogue(made, tool(WAIT, {**BOB, "timeout_seconds": 60}), await open_as(made)) as talk:
            for _ in asked:
                await talk.accept(await talk.asked(), colour="red")
            told = await talk.next()
        assert told is not None
        (content,) = objects(fields(told["result"])["content"])
        assert "3600 s" in str(content["text"])
        assert "rate_limited" in str(content["text"])
        assert sorted([str(await made.status(each)) for each in asked]) == ["accepted", "pending"]


async def test_calls_and_bytes_come_under_theirs_before_anything_is_read(tmp_path: Path) -> None:
    async with mcp_stand(tmp_path, {"limits.calls": "2/h", "limits.bytes": "64KiB/h"}) as made:
        session_id = await made.open()
        heard = await made.post(tool("x", {"n": "x" * 70_000}), session_id)
        error = fields(heard.json["error"])
        assert (error["code"], fields(error["data"])["violated-policies"]) == (1429, ["bytes"])
        assert "retryAfterMs" not in fields(error["data"]), "it never will be granted"
        limited(await made.post(tool("x", {}), session_id), "calls", 1_800_000)
