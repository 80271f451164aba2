"""The header fields of a request to an MCP server, in both eras."""

import base64

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import InvalidInput
from proxy.mcp import client_headers as fields
from proxy.mcp.over_http import agrees_with_envelope
from proxy.mcp.revisions import R2025_03_26, R2025_11_25

pytestmark = pytest.mark.requirement("mcp.client_headers")

COMMON = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "Accept-Encoding": "identity",
}


def test_the_first_request_of_a_handshake_names_neither_session_nor_revision() -> None:
    assert fields.session_headers({"Authorization": "Bearer t"}, None, None) == {"Authorization": "Bearer t", **COMMON}


def test_later_ones_name_both_where_the_revision_has_it() -> None:
    named = {"Mcp-Session-Id": "s1", "MCP-Protocol-Version": "2025-11-25"}
    assert fields.session_headers({}, "s1", R2025_11_25) == {**COMMON, **named}
    assert fields.session_headers({}, "s1", R2025_03_26) == {**COMMON, "Mcp-Session-Id": "s1"}


def test_what_is_the_protocols_or_the_connections_own_is_not_passed_on() -> None:
    given = {
        "traceparent": "00-1",
        "mcp-session-id": "old",
        "MCP-PROTOCOL-VERSION": "x",
        "Mcp-Param-A": "1",
        "accept": "text/html",
        "Last-Event-Id": "9",
        "Connection": "close",
        "Host": "elsewhere",
        "content-length": "7",
    }
    assert fields.session_headers(given, None, None) == {"traceparent": "00-1", **COMMON}


def test_a_stream_is_taken_up_where_it_ended() -> None:
    sent = fields.session_headers({"Authorization": "t"}, "s1", R2025_11_25)
    assert fields.resume_headers(sent, "e5") == {
        "Authorization": "t",
        "Accept": "text/event-stream",
        "Accept-Encoding": "identity",
        "Mcp-Session-Id": "s1",
        "MCP-Protocol-Version": "2025-11-25",
        "Last-Event-ID": "e5",
    }


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("tools/call", {"name": "ask"}, "ask"),
        ("prompts/get", {"name": "p"}, "p"),
        ("resources/read", {"uri": "file:///é"}, "=?base64?ZmlsZTovLy/DqQ==?="),
        ("tools/call", {}, None),
        ("tools/call", {"name": 5}, None),
        ("tools/list", {"name": "x"}, None),
    ],
)
def test_the_envelope_era_repeats_method_and_name(method: str, params: object, name: str | None) -> None:
    headers = fields.envelope_headers({}, method, orjson.dumps(params))
    assert headers["MCP-Protocol-Version"] == "2026-07-28"
    assert headers["Mcp-Method"] == method
    assert headers.get("Mcp-Name") == name


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ("ask", True),
        ("a b", True),
        ("", True),
        (" a", False),
        ("a ", False),
        ("a\tb", False),
        ("a\n", False),
        ("é", False),
        ("=?base64?YQ==?=", False),
        ("=?base64?YQ==", True),
    ],
)
def test_only_plain_text_travels_as_it_is(value: str, *, plain: bool) -> None:
    encoded = fields.encode(value)
    assert (encoded == value) is plain
    if not plain:
        assert base64.b64decode(encoded.removeprefix("=?base64?").removesuffix("?=")).decode() == value


@given(st.text(max_size=30))
def test_whoever_checks_the_fields_finds_the_name_of_the_body(name: str) -> None:
    params = {
        "name": name,
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    }
    sent = fields.envelope_headers({}, "tools/call", orjson.dumps(params))
    raw = [(key.encode(), value.encode()) for key, value in sent.items()]
    assert agrees_with_envelope(raw, orjson.dumps({"params": params}))


# Arguments.


def tool(properties: object, name: object = "t") -> dict[str, object]:
    return {"name": name, "inputSchema": {"type": "object", "properties": properties}}


REGION = {"region": {"type": "string", "x-mcp-header": "Region"}}


def test_tools_that_want_nothing_repeated_are_left_out() -> None:
    page = {"tools": [tool(REGION), tool({"a": {"type": "string"}}, "plain"), tool(REGION, 7), "x", {"name": "bare"}]}
    assert fields.read_tools(orjson.dumps(page)) == ({"t": {("region",): "Region"}}, None)


def test_a_list_says_where_it_goes_on() -> None:
    assert fields.read_tools(b'{"tools":[],"nextCursor":"c\\u00e9"}')[1] == b'"c\\u00e9"'
    assert fields.read_tools(b'{"tools":[],"nextCursor":null}')[1] is None


@pytest.mark.parametrize("page", [b"{}", b'{"tools":{}}', b"[]"])
def test_what_is_no_list_of_tools_is_refused(page: bytes) -> None:
    with pytest.raises(InvalidInput):
        fields.read_tools(page)


def test_arguments_are_marked_at_any_depth() -> None:
    schema = {"properties": {"a": {"type": "object", "properties": {"b": {"type": "integer", "x-mcp-header": "B"}}}}}
    assert fields.mirrored_arguments(schema) == {("a", "b"): "B"}


@pytest.mark.parametrize(
    "properties",
    [
        {"a": {"type": "number", "x-mcp-header": "A"}},
        {"a": {"x-mcp-header": "A"}},
        {"a": {"type": ["string"], "x-mcp-header": "A"}},
        {"a": {"type": "string", "x-mcp-header": ""}},
        {"a": {"type": "string", "x-mcp-header": "a b"}},
        {"a": {"type": "string", "x-mcp-header": 7}},
        {"a": {"type": "string", "x-mcp-header": "A"}, "b": {"type": "string", "x-mcp-header": "a"}},
        {"a": "no schema"},
        "no properties",
    ],
)
def test_marks_that_are_not_valid_count_for_nothing(properties: object) -> None:
    assert fields.mirrored_arguments({"properties": properties}) == {}


def test_a_schema_is_searched_only_so_deep() -> None:
    schema: dict[str, object] = {"type": "string", "x-mcp-header": "A"}
    for _ in range(fields.MAX_DEPTH + 1):
        schema = {"type": "object", "properties": {"a": schema}}
    assert fields.mirrored_arguments(schema) == {}
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert len(fields.mirrored_arguments(properties["a"])) == 1
    assert fields.mirrored_arguments(None) == {}


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (b'{"a":"us-west"}', "us-west"),
        (b'{"a":"Z\\u00fcrich"}', "=?base64?WsO8cmljaA==?="),
        (b'{"a":true}', "true"),
        (b'{"a":12345678901234567890123}', "12345678901234567890123"),
        (b'{"a":null}', None),
        (b'{"a":{}}', None),
        (b'{"a":[1]}', None),
        (b"{}", None),
    ],
)
def test_a_marked_argument_is_repeated_as_it_stands(arguments: bytes, sent: str | None) -> None:
    assert fields.argument_headers({("a",): "A"}, arguments) == ({} if sent is None else {"Mcp-Param-A": sent})


def test_a_path_that_leads_nowhere_repeats_nothing() -> None:
    assert fields.argument_headers({("a", "b"): "B"}, b'{"a":5}') == {}
    assert fields.argument_headers({("a", "b"): "B"}, b'{"a":{"b":6}}') == {"Mcp-Param-B": "6"}
    with pytest.raises(InvalidInput):
        fields.argument_headers({("a",): "A"}, b'{"a":1,"a":2}')
