"""What an older client's messages become before a newer server, and that server's before the client."""

import json
from collections.abc import Mapping
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import BadBridgeReply, InvalidInput
from proxy.mcp.jsonrpc import Request, Response
from proxy.mcp.revisions import R2025_06_18, R2025_11_25
from proxy.mcp.upward import (
    DEFAULT_LEVEL,
    Fate,
    fate_of,
    outgoing_params,
    passed_headers,
    passes,
    read_level,
    reply_message,
    welcome,
)

DISCOVERED = (
    b'{"resultType":"complete","supportedVersions":["2026-07-28"],"ttlMs":0,"cacheScope":"private",'
    b'"capabilities":{"tools":{"listChanged":true,"x":1.0},"resources":{"subscribe":true,"listChanged":true},'
    b'"logging":{},"completions":{},"extensions":{"io.modelcontextprotocol/tasks":{}}},"instructions":"be  kind",'
    b'"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s", "version":"1.0"}}}'
)


def _request(method: str = "tools/call", params: bytes | None = None, request_id: str | int = 7) -> Request:
    return Request(id=request_id, method=method, params=params, raw=b"")


def _result(result: bytes) -> Response:
    return Response(id="other", result=result, error=None, raw=b"")


def _error(error: bytes) -> Response:
    return Response(id="other", result=None, error=error, raw=b"")


def _code(error: bytes, request: Request) -> object:
    return json.loads(reply_message(request, _error(error)))["error"]["code"]


# The handshake


@pytest.mark.requirement("eras.up.handshake")
def test_the_answer_to_a_handshake_says_what_the_server_says_of_itself() -> None:
    assert json.loads(welcome(DISCOVERED, R2025_06_18)) == {
        "protocolVersion": "2025-06-18",
        "capabilities": {"tools": {"x": 1.0}, "resources": {}, "logging": {}, "completions": {}},
        "serverInfo": {"name": "s", "version": "1.0"},
        "instructions": "be  kind",
    }


@pytest.mark.requirement("eras.up.handshake")
def test_what_the_server_says_keeps_its_bytes() -> None:
    said = welcome(DISCOVERED, R2025_11_25)
    assert b'{"name":"s", "version":"1.0"}' in said
    assert b'"x":1.0' in said


@pytest.mark.parametrize("meta", [b"", b',"_meta":{}', b',"_meta":{"io.modelcontextprotocol/serverInfo":"none"}'])
def test_a_server_without_a_name_is_unknown(meta: bytes) -> None:
    said = json.loads(welcome(b'{"capabilities":{"tools":null}%b}' % meta, R2025_11_25))
    assert said["serverInfo"] == {"name": "unknown", "version": ""}
    assert said["capabilities"] == {"tools": None}
    assert "instructions" not in said


@pytest.mark.parametrize("discovered", [b"[]", b"nothing", b'{"capabilities":[]}', b'{"_meta":3}', b'{"a":1,"a":2}'])
def test_a_server_that_does_not_say_what_it_is_has_failed(discovered: bytes) -> None:
    with pytest.raises(BadBridgeReply, match="server/discover"):
        welcome(discovered, R2025_11_25)


# Requests


@pytest.mark.parametrize(
    ("method", "fate"),
    [
        ("ping", Fate.EMPTY),
        ("logging/setLevel", Fate.LEVEL),
        ("resources/subscribe", Fate.UNKNOWN),
        ("resources/unsubscribe", Fate.UNKNOWN),
        ("server/discover", Fate.UNKNOWN),
        ("subscriptions/listen", Fate.UNKNOWN),
        ("tools/call", Fate.RELAY),
        ("x/y", Fate.RELAY),
    ],
)
def test_only_what_both_eras_have_goes_to_the_server(method: str, fate: Fate) -> None:
    assert fate_of(method) is fate


@pytest.mark.requirement("eras.up.bytes")
def test_parameters_keep_their_bytes_and_their_progress_token() -> None:
    sent = outgoing_params(
        b'{"name":"t","arguments":{"a":1.0, "b":"\\u00e4"},"_meta":{"progressToken":9}}', level="info"
    )
    assert b'"arguments":{"a":1.0, "b":"\\u00e4"}' in sent
    assert json.loads(sent)["_meta"] == {"progressToken": 9, "io.modelcontextprotocol/logLevel": "info"}


@pytest.mark.requirement("eras.up.log_level")
@pytest.mark.parametrize("params", [None, b"{}", b'{"_meta":{}}'])
def test_every_request_names_the_level_of_log_lines(params: bytes | None) -> None:
    assert json.loads(outgoing_params(params, level=DEFAULT_LEVEL)) == {
        "_meta": {"io.modelcontextprotocol/logLevel": "info"}
    }


def test_a_client_cannot_speak_for_the_other_era() -> None:
    params = {
        "name": "t",
        "task": {"ttl": 1},
        "requestState": "s",
        "inputResponses": {},
        "_meta": {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}, "traceparent": "00"},
    }
    assert json.loads(outgoing_params(json.dumps(params).encode(), level="error")) == {
        "name": "t",
        "_meta": {"traceparent": "00", "io.modelcontextprotocol/logLevel": "error"},
    }


@pytest.mark.parametrize("params", [b"[1]", b'{"a":1,"a":2}', b'{"_meta":1}'])
def test_parameters_that_are_no_object_are_refused(params: bytes) -> None:
    with pytest.raises(InvalidInput):
        outgoing_params(params, level="info")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_OWN = {"inputResponses", "requestState", "task", "_meta"}


@given(st.dictionaries(st.text(max_size=8).filter(lambda name: name not in _OWN), _JSON, max_size=5))
def test_any_parameters_of_a_client_arrive_as_they_were(params: Mapping[str, object]) -> None:
    sent = json.loads(outgoing_params(json.dumps(params).encode(), level="info"))
    del sent["_meta"]
    assert sent == params


@given(st.binary(max_size=40) | _JSON.map(lambda value: json.dumps(value).encode()))
def test_no_parameters_break_anything(params: bytes) -> None:
    with suppress(InvalidInput):
        assert outgoing_params(params, level="info")


def test_a_level_is_one_of_eight() -> None:
    assert read_level(b'{"level":"notice"}') == "notice"
    for params in (None, b"{}", b'{"level":"loud"}', b'{"level":3}', b"[]"):
        with pytest.raises(InvalidInput):
            read_level(params)


# Responses


@pytest.mark.requirement("eras.up.bytes")
def test_a_result_loses_the_members_of_its_era_and_nothing_else() -> None:
    result = (
        b'{"resultType":"complete","tools":[{"name":"t","ttlMs":1,"x-mcp-header":"R", "n":1.0}],"ttlMs":5,'
        b'"cacheScope":"public","_meta":{"resultType":"kept"}}'
    )
    assert reply_message(_request(request_id="a"), _result(result)) == (
        b'{"jsonrpc":"2.0","id":"a","result":{"tools":[{"name":"t","ttlMs":1,"x-mcp-header":"R", "n":1.0}],'
        b'"_meta":{"resultType":"kept"}}}'
    )


def test_a_result_without_members_of_an_era_is_passed_as_it_came() -> None:
    assert reply_message(_request(), _result(b'{ "content" :[] }')).endswith(b'"result":{ "content" :[] }}')


@given(st.dictionaries(st.text(max_size=8).filter(lambda name: name != "resultType"), _JSON, max_size=5))
def test_any_result_of_a_server_arrives_as_it_was(result: Mapping[str, object]) -> None:
    said = json.dumps({"resultType": "complete", **result}).encode()
    told = json.loads(reply_message(_request(), _result(said)))["result"]
    assert told == {name: value for name, value in result.items() if name not in {"ttlMs", "cacheScope"}}


@pytest.mark.parametrize("result", [b'{"resultType":"input_required"}', b'{"resultType":7}', b"[]", b'{"a":1,"a":1}'])
def test_what_is_no_complete_result_never_reaches_the_client(result: bytes) -> None:
    with pytest.raises(BadBridgeReply, match="tools/call"):
        reply_message(_request(), _result(result))


def test_a_response_with_neither_result_nor_error_has_failed() -> None:
    with pytest.raises(BadBridgeReply):
        reply_message(_request(), Response(id=1, result=None, error=None, raw=b""))


@pytest.mark.requirement("eras.up.errors")
@pytest.mark.parametrize(
    ("code", "told"),
    [
        (-32020, -32603),
        (-32022, -32603),
        (-32021, -32600),
        (-32602, -32602),
        (-32601, -32601),
        (-32800, -32800),
        (5, 5),
    ],
)
def test_codes_of_the_newer_era_become_codes_that_the_client_knows(code: int, told: int) -> None:
    assert _code(b'{"code":%d,"message":"m"}' % code, _request()) == told


@pytest.mark.requirement("eras.up.errors")
@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b'{"uri":"x://y"}', -32002),
        (b'{"uri":"x://z"}', -32602),
        (b'{"uri":null}', -32602),
        (b"{}", -32602),
        (b"[]", -32602),
    ],
)
def test_a_resource_that_is_not_there_has_the_older_code(data: bytes, told: int) -> None:
    error = b'{"code":-32602,"message":"m","data":%b}' % data
    request = _request("resources/read", b'{"uri":"x://y"}')
    assert _code(error, request) == told
    assert _code(error, _request("prompts/get", b'{"uri":"x://y"}')) == -32602


def test_an_error_keeps_its_message_and_its_data() -> None:
    error = b'{"code":-32021,"message":"needs","data":{"requiredCapabilities":{"elicitation":{}}, "n":1.0}}'
    assert reply_message(_request(), _error(error)) == (
        b'{"jsonrpc":"2.0","id":7,"error":{"code":-32600,"message":"needs",'
        b'"data":{"requiredCapabilities":{"elicitation":{}}, "n":1.0}}}'
    )


def test_an_error_without_data_about_a_resource_stays_invalid_parameters() -> None:
    assert _code(b'{"code":-32602,"message":"m"}', _request("resources/read", None)) == -32602


def test_an_error_that_cannot_be_read_is_the_servers_failure() -> None:
    with pytest.raises(BadBridgeReply):
        reply_message(_request(), _error(b'{"code":"bad"}'))


# Notifications and headers


@pytest.mark.parametrize(
    ("note", "does"),
    [
        (b'{"jsonrpc":"2.0","method":"notifications/progress","params":{}}', True),
        (b'{"jsonrpc":"2.0","method":"notifications/message","params":{}}', True),
        (b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}', False),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', False),
        (b"no message", False),
    ],
)
def test_only_progress_and_log_lines_belong_to_a_call(note: bytes, *, does: bool) -> None:
    assert passes(note) is does


@pytest.mark.requirement("eras.up.headers")
def test_credentials_go_along_and_the_words_of_one_era_do_not() -> None:
    headers = [
        (b"Host", b"sidecar"),
        (b"Authorization", b"Bearer a"),
        (b"X-Api-Key", b"k\xc3\xa4"),
        (b"X-Many", b"1"),
        (b"x-many", b"2"),
        (b"traceparent", b"00-1"),
        (b"Connection", b"keep-alive, X-Hop"),
        (b"X-Hop", b"h"),
        (b"Mcp-Session-Id", b"s"),
        (b"MCP-Protocol-Version", b"2025-06-18"),
        (b"Content-Type", b"application/json"),
        (b"Content-Length", b"2"),
        (b"Accept", b"*/*"),
        (b"Origin", b"http://localhost"),
    ]
    assert passed_headers(headers) == {
        "authorization": "Bearer a",
        "x-api-key": "kä",
        "x-many": "1, 2",
        "traceparent": "00-1",
    }


def test_cookies_that_came_apart_stay_one_list_of_cookies() -> None:
    headers = [(b"Cookie", b"a=1"), (b"cookie", b"b=2"), (b"X-Many", b"1"), (b"X-Many", b"2")]
    assert passed_headers(headers) == {"cookie": "a=1; b=2", "x-many": "1, 2"}
