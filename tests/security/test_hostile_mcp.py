"""MCP messages that are nothing of ours as we read them, and calls of our tools as a server may."""

import gzip
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from tests.support.house import ON
from tests.support.mcp_stand import RESPOND, SEND, WAIT, McpStand, mcp_stand, message, tool

SHORT = {"agent_id": "bob", "since_sequence": 0, "timeout_seconds": 0}
ANSWER = {"elicitation_id": "elicit_1", "response_type": "accept", "data": {"colour": 7}}
TOOLS = {WAIT: SHORT, RESPOND: ANSWER, SEND: {"agent_id": "bob", "event_data": ANSWER}}

Twist = Callable[[bytes], bytes]

TWISTS: dict[str, Twist] = {
    "escaped method": lambda body: body.replace(b"tools/call", rb"tool\u0073/call"),
    "a batch": lambda body: b"[" + body + b"]",
    "a batch behind another call": lambda body: b"[" + message("ping", id=1) + b"," + body + b"]",
    "a batch with an escaped name": lambda body: b"[" + body.replace(b"lighthouse", rb"lighth\u006fuse") + b"]",
    "the method twice": lambda body: body.replace(b'"method":', b'"method": "ping", "method":', 1),
    "the method twice, ours first": lambda body: body[:-1] + b', "method": "ping"}',
    "the id twice": lambda body: body[:-1] + b', "id": 8}',
    "params twice": lambda body: body[:-1] + b', "params": {}}',
    "the name twice": lambda body: body.replace(b'"name":', b'"name": "echo", "name":', 1),
    "the name twice, ours first": lambda body: body.replace(b', "arguments"', b', "name": "echo", "arguments"', 1),
    "utf-16": lambda body: body.decode().encode("utf-16"),
    "utf-16 without a mark": lambda body: body.decode().encode("utf-16-le"),
    "utf-32": lambda body: body.decode().encode("utf-32"),
    "a byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "NaN": lambda body: body[:-1] + b', "x": NaN}',
    "a raw surrogate": lambda body: body[:-1] + b', "x": "\xed\xa0\x80"}',
    "deep nesting": lambda body: body[:-1] + b', "x": ' + b"[" * 1500 + b"]" * 1500 + b"}",
    "another jsonrpc": lambda body: body.replace(b'"2.0"', b'"2.00"'),
    "no jsonrpc": lambda body: body.replace(b'"jsonrpc": "2.0", ', b""),
    "an id of another kind": lambda body: body.replace(b'"id": 7', b'"id": 7.5'),
    "a result beside": lambda body: body[:-1] + b', "result": {}}',
    "padding": lambda body: body[:-1] + b', "jsonrpc": "2.0", "x": "' + b"x" * (2 << 20) + b'"}',
}


async def _reached(made: McpStand, body: bytes, **headers: str) -> list[bytes]:
    """What of a message reaches the server."""
    session_id = await made.open()
    known = len(made.server.received)
    await made.post(body, session_id, **headers)
    return [got.body for got in made.server.received[known:] if got.method == "POST"]


@pytest.mark.requirement("security.one_message")
@pytest.mark.parametrize("name", [WAIT, RESPOND, SEND])
async def test_no_disguise_carries_a_call_of_our_tools_to_the_server(tmp_path: Path, name: str) -> None:
    past = []
    async with mcp_stand(tmp_path) as made:
        asked = await made.ask()
        arguments = orjson.loads(orjson.dumps(TOOLS[name]).replace(b"elicit_1", asked.encode()))
        for disguise, twist in TWISTS.items():
            body = twist(tool(name, arguments))
            if body in await _reached(made, body):
                past.append(disguise)
        assert await made.status(asked) == "pending"
    assert past == []


@pytest.mark.requirement("security.one_message")
async def test_the_refusal_of_a_disguise_is_told_to_the_request_that_it_can_be_told_to(tmp_path: Path) -> None:
    async with mcp_stand(tmp_path) as made:
        session_id = await made.open()
        heard = await made.post(TWISTS["the name twice"](tool(RESPOND, ANSWER)), session_id)
        assert (heard.status, heard.json["id"]) == (200, 7)
        assert "every member once" in heard.body.decode()
        heard = await made.post(TWISTS["a batch"](tool(RESPOND, ANSWER)), session_id)
        assert (heard.status, heard.problem["code"]) == (400, "invalid_input")


@pytest.mark.requirement("security.one_message")
@pytest.mark.parametrize("more", [{"task": {"ttl": 1}}, {"requestState": "of-nobody"}, {"inputResponses": {}}])
async def test_an_answer_is_no_task_and_no_suspended_call_of_the_server(
    tmp_path: Path, more: dict[str, object]
) -> None:
    async with mcp_stand(tmp_path) as made:
        asked = await made.ask()
        body = tool(RESPOND, {**ANSWER, "elicitation_id": asked}, **more)
        assert await _reached(made, body) == []


@pytest.mark.requirement("security.one_message")
async def test_of_twins_among_the_arguments_the_last_counts_as_for_the_servers(tmp_path: Path) -> None:
    async with mcp_stand(tmp_path) as made:
        body = tool(WAIT, SHORT).replace(b'"agent_id":', b'"agent_id": "carol", "agent_id":')
        await made.post(body, await made.open())
        assert made.house.lines[-1]["agent_id"] == "bob"


@pytest.mark.requirement("security.one_message")
async def test_a_compressed_message_does_not_reach_the_server(tmp_path: Path) -> None:
    async with mcp_stand(tmp_path) as made:
        body = gzip.compress(tool(RESPOND, ANSWER))
        assert await _reached(made, body, Content_Encoding="gzip") == []


@pytest.mark.requirement("security.one_message")
async def test_the_mcp_path_with_a_slash_at_its_end_is_the_same_door(tmp_path: Path) -> None:
    async with mcp_stand(tmp_path) as made:
        heard = await made.house.call("POST", "/mcp/", raw=TWISTS["a batch"](tool(RESPOND, ANSWER)))
        assert (heard.status, made.house.lines[-1]["door"]) == (400, "mcp_http")


@pytest.mark.requirement("mcp.relayed")
@pytest.mark.parametrize("flags", [ON, {"flags.elicitation_enabled": "false"}], ids=["on", "off"])
@pytest.mark.parametrize("disguise", [twist for twist in TWISTS if twist != "padding"])
async def test_what_calls_no_tool_of_ours_passes_in_whatever_form(
    tmp_path: Path, disguise: str, flags: dict[str, str]
) -> None:
    async with mcp_stand(tmp_path, flags=flags) as made:
        body = TWISTS[disguise](tool("echo", {"text": "lighthouse"}))
        assert body in await _reached(made, body)


@pytest.mark.requirement("mcp.relayed")
async def test_while_elicitation_is_off_every_form_of_every_call_passes(tmp_path: Path) -> None:
    async with mcp_stand(tmp_path, {"identity.mode": "off"}, flags={"flags.elicitation_enabled": "false"}) as made:
        for twist in TWISTS.values():
            body = twist(tool(RESPOND, ANSWER))
            assert body in await _reached(made, body)
