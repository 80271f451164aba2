"""The checks that the run sheets name, for agents that speak MCP to a server behind the sidecar."""

from pathlib import Path

import pytest

from proxy.core.signing import Refusal
from tests.support.fort import error_code_of, mcp_fort
from tests.support.house import fields
from tests.support.mcp_stand import PLAIN, RESPOND, SEND, WAIT, message, told_by, tool

IMPERSONATIONS = "impersonations_total"
ASK = "lighthouse_elicit_information"


@pytest.mark.requirement("security.impersonation")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (WAIT, {"agent_id": "bob", "timeout_seconds": 1}),
        (SEND, {"agent_id": "bob", "event_type": "CUSTOM", "event_data": {}}),
        (ASK, {"from_agent": "bob", "to_agent": "alice", "message": "m", "schema": {}}),
        ("echo", {"agent_id": "bob"}),
    ],
)
async def test_no_tool_is_called_in_anothers_name(tmp_path: Path, name: str, arguments: dict[str, object]) -> None:
    async with mcp_fort(tmp_path) as made:
        session = await made.open("mallory")
        async with made.is_refused(IMPERSONATIONS, breach="impersonation", agent_id="mallory", claimed="bob"):
            heard = await made.post("mallory", tool(name, arguments), session)
        assert error_code_of(heard) == "impersonation"


@pytest.mark.requirement("security.impersonation")
async def test_neither_does_a_batch_nor_a_name_that_stands_twice(tmp_path: Path) -> None:
    honest = tool("echo", {"agent_id": "mallory"})
    batch = b"[" + tool(WAIT, {"agent_id": "bob"}) + b"]"
    async with mcp_fort(tmp_path) as made:
        session = await made.open("mallory")
        for body in (batch, honest.replace(b'"agent_id"', b'"agent_id": "bob", "agent_id"')):
            async with made.is_refused(IMPERSONATIONS, breach="impersonation", claimed="bob"):
                await made.post("mallory", body, session)
        assert (await made.post("mallory", honest, session)).status == 200
        assert len(made.server.got("tools/call")) == 1


@pytest.mark.requirement("security.session_hijack")
async def test_a_session_serves_nobody_but_who_opened_it(tmp_path: Path) -> None:
    async with mcp_fort(tmp_path) as made:
        session = await made.open("bob")
        answer = {"elicitation_id": "elicit_1", "response_type": "accept", "data": {}}
        for body in (tool("echo", {}), tool(WAIT, {"agent_id": "mallory"}), tool(RESPOND, answer)):
            async with made.is_refused(IMPERSONATIONS, breach="impersonation", rule="session", claimed="bob"):
                heard = await made.post("mallory", body, session)
            assert error_code_of(heard) == "impersonation"
        assert (await made.post("bob", tool("echo", {}), session)).status == 200


@pytest.mark.requirement("security.session_hijack")
async def test_a_question_of_another_is_not_answered_by_the_tool(tmp_path: Path) -> None:
    async with mcp_fort(tmp_path) as made:
        fort = made.fort
        asked = await fort.asked()
        arguments = {"elicitation_id": asked, "response_type": "accept", "data": {"ok": True}}
        session = await made.open("mallory")
        async with made.is_refused(IMPERSONATIONS, breach="impersonation", agent_id="mallory", claimed="bob"):
            heard = await made.post("mallory", tool(RESPOND, arguments), session)
        assert error_code_of(heard) == "impersonation"
        assert await fort.stand.status(fort.tokens["alice"], asked) == "pending"
        heard = await made.post("bob", tool(RESPOND, arguments), await made.open("bob"))
        assert told_by(heard)["status"] == "success"
        assert await fort.stand.status(fort.tokens["alice"], asked) == "accepted"


@pytest.mark.requirement("security.replay")
async def test_a_recorded_message_is_not_taken_again(tmp_path: Path) -> None:
    async with mcp_fort(tmp_path) as made:
        session = await made.open("bob")
        call = made.fort.sign("bob", "POST", "/mcp", tool("echo", {"text": "once"}))
        headers = {**call.headers, **PLAIN, "Mcp-Session-Id": session}
        assert (await made.fort.house.call("POST", "/mcp", raw=call.body, headers=headers)).status == 200
        async with made.is_refused("replays_total", breach="replay", agent_id="bob"):
            heard = await made.fort.house.call("POST", "/mcp", raw=call.body, headers=headers)
        assert error_code_of(heard) == "replay_refused"


@pytest.mark.requirement("security.hmac_forgery")
async def test_without_a_signature_nothing_reaches_the_server(tmp_path: Path) -> None:
    async with mcp_fort(tmp_path) as made:
        metric = f'signature_failures_total{{reason="{Refusal.ABSENT}"}}'
        for body in (message("initialize", {}, id=0), tool("echo", {}), b"[]", b"{"):
            async with made.is_refused(metric, breach="signature", rule="absent"):
                heard = await made.fort.house.call("POST", "/mcp", raw=body, headers=PLAIN)
            assert "signature_refused" in heard.body.decode()


@pytest.mark.requirement("security.rate_limit_bypass")
async def test_questions_by_tool_and_by_call_share_one_allowance(tmp_path: Path) -> None:
    async with mcp_fort(tmp_path) as made:
        session = await made.open("alice")
        for _ in range(13):
            await made.fort.asked()
        body = tool(ASK, {"to_agent": "bob", "message": "m", "schema": {}})
        metric = 'rate_limit_decisions_total{decision="refused",limit="questions"}'
        async with made.is_refused(metric, breach="limit", agent_id="alice"):
            heard = await made.post("alice", body, session)
        assert error_code_of(heard) == "rate_limited"
        assert fields(heard.json["error"])["code"]
        assert (await made.post("mallory", body, await made.open("mallory"))).status == 200
