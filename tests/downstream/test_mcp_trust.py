"""Who calls tools over MCP: in whose name, in whose session, and within which limits."""

from pathlib import Path

import pytest

from tests.support.fort import McpFort, error_code_of, mcp_fort
from tests.support.house import OFF, Heard, fields
from tests.support.manual_bridge import Json
from tests.support.mcp_stand import PLAIN, RESPOND, SEND, WAIT, mcp_stand, message, tool

BESIDE_ALICE = {"identity.mode": "enforce", "agent.id": "alice"}
IN_BOBS_NAME = [
    tool(WAIT, {"agent_id": "bob", "timeout_seconds": 0}),
    tool(SEND, {"event_type": "CUSTOM", "event_data": {}, "agent_id": "bob"}),
    tool("anything", {"from_agent": "bob"}),
    tool(RESPOND, {"elicitation_id": "e", "response_type": "accept", "responding_agent": "bob"}),
    b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":{"agent_id":["bob"]}}}',
    b'{"jsonrpc":"2.0","id":7,"method":"tools\\/call","params":{"name":"x","arguments":{"agent_id":"bob"}}}',
    b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x","arguments":{"agent_id":"bob","agent_id":"alice"}}}',
]


def refusal_of(heard: Heard, request_id: object = 7) -> Json:
    """The JSON-RPC error of a call that was refused; the session of its client lives on."""
    assert heard.status == 200, heard
    assert heard.json["id"] == request_id
    error = fields(heard.json["error"])
    code = error["code"]
    assert isinstance(code, int)
    assert not -32768 <= code <= -32000
    return error


@pytest.mark.requirement("admission.tools")
class TestNames:
    @pytest.mark.parametrize("flags", [OFF, {"flags.elicitation_enabled": "true"}])
    @pytest.mark.parametrize("body", IN_BOBS_NAME)
    async def test_a_tool_is_called_in_nobody_elses_name(
        self, tmp_path: Path, body: bytes, flags: dict[str, str]
    ) -> None:
        async with mcp_stand(tmp_path, BESIDE_ALICE, flags=flags) as made:
            session_id = await made.open()
            error = refusal_of(await made.post(body, session_id))
            assert (error["code"], fields(error["data"])["code"]) == (1403, "impersonation")
            assert not made.server.got("tools/call")
            assert made.ends[-1] == ("refused", 403)
            assert (await made.house.metrics())["elicit_sidecar_impersonations_total"] == 1
            # The session goes on.
            own = await made.post(tool("x", {"agent_id": "alice"}), session_id)
            assert own.status == 200
            assert len(made.server.got("tools/call")) == 1

    @pytest.mark.parametrize(
        "body",
        [
            b"[%b]" % IN_BOBS_NAME[0],
            IN_BOBS_NAME[0].decode().encode("utf-16"),
            message("tools/call", {"name": "x", "arguments": {"agent_id": "bob"}}),
        ],
    )
    async def test_where_no_request_could_be_told_the_status_tells_it(self, tmp_path: Path, body: bytes) -> None:
        async with mcp_stand(tmp_path, BESIDE_ALICE, flags=OFF) as made:
            heard = await made.post(body, await made.open())
            assert (heard.status, heard.problem["code"]) == (403, "impersonation")
            assert len(made.server.received) == 1

    async def test_what_cannot_be_looked_into_is_refused(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, BESIDE_ALICE, flags=OFF) as made:
            session_id = await made.open()
            heard = await made.post(b"\x1f\x8b tools", session_id, Content_Encoding="gzip")
            assert (heard.status, heard.problem["reason"]) == (403, "unreadable")
            assert len(made.server.received) == 1

    async def test_whom_a_tool_only_asks_about_is_nobodys_name(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, BESIDE_ALICE) as made:
            session_id = await made.open()
            heard = await made.post(tool("lighthouse_query_events", {"agent_id": "bob"}), session_id)
            assert "result" in heard.json

    @pytest.mark.parametrize("body", IN_BOBS_NAME)
    async def test_observing_relays_every_byte_and_counts(self, tmp_path: Path, body: bytes) -> None:
        given = {"identity.mode": "observe", "agent.id": "alice"}
        async with mcp_stand(tmp_path, given, flags=OFF) as made:
            session_id = await made.open()
            assert (await made.post(body, session_id)).status == 200
            assert made.server.received[-1].body == body
            metrics = await made.house.metrics()
            assert metrics['elicit_sidecar_breaches_let_through_total{breach="impersonation"}'] == 1

    async def test_a_token_for_another_server_vouches_for_nobody(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, {"identity.mode": "enforce"}) as made:
            body = tool(WAIT, {"agent_id": "bob", "timeout_seconds": 0})
            error = refusal_of(await made.post(body, Authorization="Bearer 0123456789:bob:1:x"))
            assert fields(error["data"])["reason"] == "unbound"

    async def test_messages_that_come_past_the_door_are_held_to_the_same(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, BESIDE_ALICE) as made:
            for target in ("/MCP", "//mcp", "/x/../mcp"):
                heard = await made.house.call("POST", target, raw=IN_BOBS_NAME[0], headers=PLAIN)
                assert (heard.status, heard.problem["code"]) == (403, "impersonation")


@pytest.mark.requirement("admission.sessions")
class TestSessions:
    @pytest.mark.parametrize(
        "body",
        [
            message("tools/list", id=7),
            tool("x", {}),
            tool(WAIT, {"agent_id": "mallory", "timeout_seconds": 0}),
            message("ping", id=7),
        ],
    )
    async def test_a_session_is_of_whom_opened_it(self, tmp_path: Path, body: bytes) -> None:
        async with mcp_fort(tmp_path) as made:
            session_id = await made.open("alice")
            async with made.is_refused("impersonations_total", rule="session", agent_id="mallory"):
                assert error_code_of(await made.post("mallory", body, session_id)) == "impersonation"
            assert (await made.post("alice", message("tools/list", id=7), session_id)).status == 200

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    async def test_nobody_else_listens_in_it_or_ends_it(self, tmp_path: Path, method: str) -> None:
        async with mcp_fort(tmp_path) as made:
            session_id = await made.open("alice")
            async with made.is_refused("impersonations_total", rule="session"):
                heard = await _other(made, "mallory", method, session_id)
                assert (heard.status, heard.problem["code"]) == (403, "impersonation")
            assert (await _other(made, "alice", "DELETE", session_id)).status == 200

    async def test_a_response_in_it_is_its_owners(self, tmp_path: Path) -> None:
        async with mcp_fort(tmp_path) as made:
            session_id = await made.open("alice")
            body = b'{"jsonrpc":"2.0","id":"esc-00000000000000000000000000000000","result":{"action":"accept"}}'
            async with made.is_refused("impersonations_total", rule="session"):
                assert (await made.post("mallory", body, session_id)).status == 403

    async def test_after_a_start_it_is_of_whom_the_server_takes_a_call_in_it_first(self, tmp_path: Path) -> None:
        async with mcp_fort(tmp_path) as made:
            made.server.sessions.add("from-before")
            async with made.fort.is_refused("impersonations_total", times=0):
                pass
            assert (await made.post("mallory", message("tools/list", id=7), "never-opened")).status == 404
            assert (await made.post("alice", message("tools/list", id=7), "from-before")).status == 200
            heard = await made.post("mallory", message("tools/list", id=7), "from-before")
            assert error_code_of(heard) == "impersonation"
            made.server.sessions.add("never-opened")
            assert (await made.post("alice", message("tools/list", id=7), "never-opened")).status == 200

    async def test_in_front_of_the_bridge_sessions_and_names_are_held_to_the_same(self, tmp_path: Path) -> None:
        async with mcp_fort(tmp_path, {"listen.role": "ingress"}) as made:
            session_id = await made.open("alice")
            async with made.is_refused("impersonations_total", rule="session"):
                heard = await made.post("mallory", message("tools/list", id=7), session_id)
                assert error_code_of(heard) == "impersonation"
            assert (await made.post("alice", message("tools/list", id=7), session_id)).status == 200
            async with made.is_refused("impersonations_total", rule="claim"):
                heard = await made.post("alice", tool("x", {"agent_id": "bob"}), session_id)
                assert error_code_of(heard) == "impersonation"


async def _other(made: McpFort, agent: str, method: str, session_id: str) -> Heard:
    signed = made.fort.sign(agent, method, "/mcp")
    headers = {**signed.headers, "Mcp-Session-Id": session_id, "Accept": "text/event-stream"}
    return await made.fort.house.call(method, "/mcp", headers=headers)


@pytest.mark.requirement("admission.modes")
async def test_a_call_that_is_not_signed_is_refused_as_a_call(tmp_path: Path) -> None:
    async with mcp_fort(tmp_path) as made:
        async with made.is_refused('signature_failures_total{reason="absent"}', rule="absent"):
            heard = await made.fort.house.call("POST", "/mcp", raw=tool("x", {}), headers=PLAIN)
            assert (refusal_of(heard)["code"], error_code_of(heard)) == (1401, "signature_refused")
        async with made.is_refused('signature_failures_total{reason="absent"}', rule="absent"):
            heard = await made.fort.house.call("POST", "/mcp", raw=message("notifications/x"), headers=PLAIN)
            assert (heard.status, heard.problem["code"]) == (401, "signature_refused")
        async with made.is_refused('signature_failures_total{reason="absent"}', rule="absent"):
            heard = await made.fort.house.call("GET", "/mcp", headers=PLAIN)
            assert heard.status == 401
        assert [line["error_code"] for line in made.fort.house.lines] == ["signature_refused"] * 3
        assert {line["door"] for line in made.fort.house.lines} == {"mcp_http"}
