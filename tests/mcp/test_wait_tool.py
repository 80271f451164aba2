"""The wait tool of an MCP server as a call of our own: what is asked, and what its result means."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import BadBridgeReply, BridgeFault, BridgeRefused, BridgeUnavailable
from proxy.core.ids import AgentId
from proxy.mcp.jsonrpc import Response
from proxy.mcp.wait_tool import read_wait_result, server_name, wait_params

pytestmark = pytest.mark.requirement("mcp.source")

ITEM = b'{"sequence": 7, "event_type":"CUSTOM","source_agent":"alice","timestamp":"x","data":{"n":1.0}}'


def _response(result: bytes | None = None, error: bytes | None = None) -> Response:
    return Response(id=1, result=result, error=error, raw=b"")


def _told(text: str, **more: object) -> Response:
    return _response(orjson.dumps({"content": [{"type": "text", "text": text}], **more}))


def test_the_call_names_tool_agent_cursor_and_time() -> None:
    assert wait_params("wait", AgentId("bob"), since=3, timeout_s=20) == (
        b'{"name":"wait","arguments":{"agent_id":"bob","since_sequence":3,"timeout_seconds":20}}'
    )


def test_messages_keep_the_bytes_they_came_as() -> None:
    text = '{\n  "events": [' + ITEM.decode() + '],\n "count": 1, "asked": []}'
    (message,) = read_wait_result(_told(text))
    assert (message.sequence, message.raw, message.data) == (7, ITEM, b'{"n":1.0}')


def test_the_first_text_counts() -> None:
    content = [{"type": "image", "text": "no"}, {"type": "text"}, 1, {"type": "text", "text": '{"events":[]}'}]
    result = {"resultType": "complete", "content": content, "isError": False}
    assert read_wait_result(_response(orjson.dumps(result))) == ()


def test_an_error_in_the_events_is_none() -> None:
    assert read_wait_result(_told('{"events":[],"error":"but nevertheless"}')) == ()


@pytest.mark.parametrize(
    "response",
    [
        _told("Error executing tool", isError=True),
        _response(error=b'{"code":-32602,"message":"Error executing tool"}'),
    ],
)
def test_a_refusal_is_told_in_the_servers_words(response: Response) -> None:
    with pytest.raises(BridgeRefused) as caught:
        read_wait_result(response)
    assert caught.value.bridge_status == 502
    assert orjson.loads(caught.value.body) == {"detail": "Error executing tool"}
    assert caught.value.content_type == "application/json"


def test_a_tool_that_does_not_reach_its_bridge_is_unavailable() -> None:
    with pytest.raises(BridgeUnavailable, match="status 403"):
        read_wait_result(_told('{"error": "Bridge returned status 403"}'))


@pytest.mark.parametrize(
    "response",
    [
        _told("no JSON"),
        _told("[]"),
        _told("{}"),
        _told('{"events":7}'),
        _told('{"events":[{"sequence":-1}]}'),
        _response(b'{"content":[]}'),
        _response(b'{"content":7}'),
        _response(b"{}"),
        _response(b"[]"),
        _response(),
        _response(error=b'{"code":"x"}'),
        _response(error=b"7"),
    ],
)
def test_what_is_no_wait_reply_is_a_bad_one(response: Response) -> None:
    with pytest.raises(BadBridgeReply):
        read_wait_result(response)


@pytest.mark.parametrize(
    ("described", "name"),
    [
        (b'{"protocolVersion":"2025-11-25","serverInfo":{"name":"a server","version":"1"}}', "a server"),
        (b'{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"b","version":""}}}', "b"),
        (b'{"serverInfo":{"name":7}}', ""),
        (b'{"serverInfo":{"name":"' + b"x" * 400 + b'"}}', ""),
        (b'{"serverInfo":{"name":"a\\nb"}}', ""),
        (b'{"serverInfo":[]}', ""),
        (b'{"_meta":{}}', ""),
        (b"{}", ""),
        (b"", ""),
    ],
)
def test_a_server_is_called_what_it_calls_itself(described: bytes, name: str) -> None:
    assert server_name(described) == name


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_raise_anything_else(body: bytes, is_error: bool) -> None:  # noqa: FBT001  # hypothesis gives it
    response = _response(error=body) if is_error else _response(body)
    with pytest.raises(BridgeFault):
        read_wait_result(response)
    assert isinstance(server_name(body), str)


@given(st.text(max_size=200))
def test_no_text_raises_anything_else(text: str) -> None:
    with pytest.raises(BridgeFault):
        read_wait_result(_told(text.encode("utf-8", "replace").decode()))
