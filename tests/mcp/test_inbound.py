"""What one message of an MCP client is to the sidecar."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import InvalidInput
from proxy.core.ids import AgentId, ElicitationId
from proxy.mcp.inbound import (
    LOOKED_AT,
    AnswerCall,
    AnswerTool,
    Cancel,
    Inbound,
    Opening,
    ToolNames,
    ToQuestion,
    UnreadableAnswer,
    WaitCall,
    classify,
)
from proxy.mcp.jsonrpc import parse
from proxy.mcp.revisions import Mode

pytestmark = pytest.mark.requirement("mcp.inbound")

NAMES = ToolNames(wait=frozenset({"wait"}), respond=frozenset({"respond"}), send=frozenset({"send"}))
ACCEPT = {"elicitation_id": "e1", "response_type": "accept", "data": {"a": 1}}


def _bob(elicitation_id: ElicitationId) -> AgentId | None:
    return AgentId("bob") if elicitation_id == "e1" else None


def _classified(body: bytes) -> Inbound | None:
    return classify(parse(body), NAMES, default_timeout_s=60, answers_as=_bob)


def _message(method: str, params: object, **more: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params, **more}).encode()


def _called(tool: str, arguments: object) -> Inbound | None:
    return _classified(_message("tools/call", {"name": tool, "arguments": arguments}, id=7))


def test_the_wait_tool_is_a_wait() -> None:
    found = _called("wait", {"agent_id": "bob", "timeout_seconds": 30})
    assert isinstance(found, WaitCall)
    assert (found.id, found.call.name, found.ask.agent_id, found.ask.timeout_s) == (7, "wait", "bob", 30)


def test_the_respond_tool_is_an_answer_of_the_agent_that_was_asked() -> None:
    found = _called("respond", ACCEPT)
    assert isinstance(found, AnswerCall)
    assert (found.id, found.tool, found.given.agent_id) == (7, AnswerTool.RESPOND, "bob")


def test_the_send_tool_is_an_answer_where_it_names_an_elicitation() -> None:
    found = _called("send", {"agent_id": "eve", "event_type": "x", "event_data": {"elicitation_id": "e9", "a": 1}})
    assert isinstance(found, AnswerCall)
    assert (found.tool, found.given.agent_id, found.given.answer.content) == (AnswerTool.SEND, "eve", {"a": 1})


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("respond", {**ACCEPT, "response_type": "maybe"}, "response_type"),
        ("respond", {**ACCEPT, "data": 7}, "data must be an object"),
        ("send", {"agent_id": "bob", "event_data": {"elicitation_id": "e1", "response_type": 7}}, "response_type"),
        ("send", {"event_data": {"elicitation_id": "e1"}}, "agent_id"),
    ],
)
def test_an_answer_that_cannot_be_read_is_told_from_what_is_no_answer(
    tool: str, arguments: dict[str, object], said: str
) -> None:
    found = _called(tool, arguments)
    assert isinstance(found, UnreadableAnswer)
    assert (found.id, found.elicitation_id) == (7, "e1")
    assert said in found.error.detail


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("echo", {"agent_id": "bob"}),
        ("wait", {"agent_id": ""}),
        ("wait", []),
        ("respond", {**ACCEPT, "elicitation_id": "e2"}),
        ("respond", {"response_type": "accept"}),
        ("respond", 7),
        ("send", {"agent_id": "bob", "event_data": {"a": 1}}),
        ("send", {"agent_id": "bob"}),
    ],
)
def test_calls_that_are_not_ours_are_nothing(tool: str, arguments: object) -> None:
    assert _called(tool, arguments) is None


def test_a_send_nested_too_deeply_that_names_no_elicitation_is_nothing() -> None:
    nested = b'{"a":' + b"[" * 300 + b"]" * 300 + b"}"
    params = b'{"name":"send","arguments":{"agent_id":"bob","event_data":%b}}' % nested
    assert _classified(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%b}' % params) is None


@pytest.mark.parametrize(
    ("capabilities", "modes"),
    [
        ({}, set()),
        ({"elicitation": {}}, {Mode.FORM}),
        ({"elicitation": {"url": {}}, "sampling": {}}, {Mode.URL}),
        ({"elicitation": {"form": {}, "url": {}}}, {Mode.FORM, Mode.URL}),
    ],
)
def test_an_initialize_tells_what_the_client_can_do(capabilities: dict[str, object], modes: set[Mode]) -> None:
    params = {"protocolVersion": "2025-06-18", "capabilities": capabilities, "clientInfo": {"name": "zed"}}
    expected = Opening(id=1, revision="2025-06-18", modes=frozenset(modes), client_name="zed")
    assert _classified(_message("initialize", params, id=1)) == expected


@pytest.mark.parametrize("params", [{}, None, {"clientInfo": {"name": 7}}])
def test_an_initialize_may_tell_nothing(params: object) -> None:
    assert _classified(_message("initialize", params, id=1)) == Opening(
        id=1, revision="", modes=frozenset(), client_name=""
    )


@pytest.mark.parametrize("params", [[], {"protocolVersion": 7}, {"capabilities": []}, {"clientInfo": "zed"}])
def test_an_initialize_that_cannot_be_read_is_the_servers(params: object) -> None:
    assert _classified(_message("initialize", params, id=1)) is None


def test_a_cancel_names_a_request() -> None:
    assert _classified(_message("notifications/cancelled", {"requestId": "r1"})) == Cancel("r1")
    assert _classified(_message("notifications/cancelled", {})) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait","arguments":{"agent_id":"bob"}}}]',
        b'{"jsonrpc":"2.0","id":1,"id":2,"method":"tools/call","params":{"name":"wait","arguments":{"agent_id":"bob"}}}',
        b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":"wait","arguments":{"agent_id":"bob"}}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wait","name":"echo"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":1,"result":{"action":"accept"}}',
        b'{"jsonrpc":"2.0","method":"notifications/initialized"}',
        b'{"jsonrpc":"2.0","id":1,"method":"notifications/cancelled","params":{"requestId":1}}',
    ],
)
def test_everything_else_is_nothing(body: bytes) -> None:
    assert _classified(body) is None


def test_a_response_to_a_question_of_a_sidecar_is_told_from_all_others() -> None:
    body = b'{"jsonrpc":"2.0","id":"esc-%032d","result":{}}' % 1
    assert any(mark in body for mark in LOOKED_AT)
    found = _classified(body)
    assert isinstance(found, ToQuestion)
    assert found.response.raw == body
    for other in (b'"esc-1"', b"1", b'"mine"'):
        assert _classified(b'{"jsonrpc":"2.0","id":%b,"result":{}}' % other) is None


def test_only_a_wait_can_be_a_retry_of_ours() -> None:
    again: dict[str, object] = {"requestState": "esc1.x", "inputResponses": {}}
    found = _classified(_message("tools/call", {"name": "wait", "arguments": {"agent_id": "bob"}, **again}, id=7))
    assert isinstance(found, WaitCall)
    assert found.call.retry is not None
    assert _classified(_message("tools/call", {"name": "respond", "arguments": ACCEPT, **again}, id=7)) is None


@pytest.mark.parametrize("slash", [b"/", b"\\/"])
@pytest.mark.parametrize("method", [b"tools/call", b"initialize", b"notifications/cancelled"])
def test_no_message_of_ours_is_overlooked(method: bytes, slash: bytes) -> None:
    params = b'{"name":"wait","arguments":{"agent_id":"bob"},"requestId":1}'
    request_id = b"" if method.startswith(b"not") else b'"id":1,'
    body = b'{"jsonrpc":"2.0",%b"method":"%b","params":%b}' % (request_id, method.replace(b"/", slash), params)
    assert any(mark in body for mark in LOOKED_AT)
    assert _classified(body) is not None


@given(
    st.sampled_from(["tools/call", "initialize", "notifications/cancelled"]),
    st.recursive(
        st.none() | st.integers() | st.text() | st.sampled_from(["wait", "respond", "send", "e1", "accept"]),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["name", "arguments", "agent_id", "elicitation_id", "event_data", "requestId"]), inner
            )
        ),
        max_leaves=12,
    ),
)
def test_no_message_makes_it_fail(method: str, params: object) -> None:
    found = _classified(_message(method, params, id=1))
    if isinstance(found, UnreadableAnswer):
        assert isinstance(found.error, InvalidInput)
