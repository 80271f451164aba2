"""The list of tools with a note on some of them, and everything else in it as it came."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import InvalidInput
from proxy.mcp.sse import read_frame, write_event
from proxy.mcp.tool_notes import ToolNote, lists_tools, noted_frame, noted_message, noted_result, wait_is_deprecated

pytestmark = pytest.mark.requirement("mcp.tool_notes")

NOTE = ToolNote(frozenset({"wait"}), "Deprecated: ask.")
WAIT = b'{ "name":"wait","description":"Waits.", "inputSchema":{"x": 1.0, "big":9007199254740993} }'
NOTED = b'{"name":"wait","description":"Waits.\\n\\nDeprecated: ask.","inputSchema":{"x": 1.0, "big":9007199254740993}}'
OTHER = b'{"name" : "echo", "description":"wait"}'

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def _list(*tools: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id" :1, "result":{"tools": [' + b", ".join(tools) + b'],"nextCursor" : "c"}}'


@pytest.mark.parametrize(
    ("body", "does"),
    [
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}', True),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools\\/list","params":{"cursor":"c"}}', True),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"list"}}', False),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"}', False),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools"}', False),
        (b'"tools/list"', False),
        (b'{"id":1,"result":{"tools":[{"name":"list"}]}}', False),
    ],
)
def test_only_the_request_for_it_asks_for_the_list(body: bytes, *, does: bool) -> None:
    assert lists_tools(body) is does


def test_only_the_description_of_a_named_tool_changes() -> None:
    assert noted_message(_list(OTHER, WAIT), NOTE) == (
        b'{"jsonrpc":"2.0","id":1,"result":{"tools":[' + OTHER + b"," + NOTED + b'],"nextCursor":"c"}}'
    )


def test_the_hints_of_the_envelope_era_stay() -> None:
    result = b'{"tools":[{"name":"wait"}],"resultType":"complete","ttlMs":0,"cacheScope":"private"}'
    assert noted_result(result, NOTE) == (
        b'{"tools":[{"name":"wait","description":"Deprecated: ask."}],'
        b'"resultType":"complete","ttlMs":0,"cacheScope":"private"}'
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('{"name":"wait"}', "Deprecated: ask."),
        ('{"name":"wait","description":""}', "Deprecated: ask."),
        ('{"name":"wait","description":"\\u00e9"}', "é\n\nDeprecated: ask."),
        ('{"name":"wa\\u0069t","description":"x"}', "x\n\nDeprecated: ask."),
    ],
)
def test_the_note_stands_behind_what_the_server_says(before: str, after: str) -> None:
    noted = orjson.loads(noted_message(_list(before.encode()), NOTE))
    assert noted["result"]["tools"][0]["description"] == after


def test_the_note_is_said_once_however_many_sidecars_are_in_a_row() -> None:
    once = noted_message(_list(WAIT), NOTE)
    assert noted_message(once, NOTE) is once


@pytest.mark.parametrize(
    "message",
    [
        _list(OTHER),
        _list(),
        _list(b'{"name":"wait","description":7}'),
        _list(b'{"name":["wait"],"description":""}').replace(b"[", b"{", 1),
        _list(b'"wait"'),
        _list(b'{"name":"wait","name":"wait"}'),
        b'{"jsonrpc":"2.0","id":1,"result":{"content":[]}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"tools":{}}}',
        b'{"jsonrpc":"2.0","id":1,"result":[]}',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no tools"}}',
        b'{"jsonrpc":"2.0","method":"notifications/progress","params":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"wait","description":"\\ud800"}]}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"tools":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        b"[]",
        b"",
        b"\xff",
    ],
)
def test_what_is_no_list_with_such_a_tool_stays_whole(message: bytes) -> None:
    assert noted_message(message, NOTE) is message


def test_a_name_that_is_no_text_names_no_tool() -> None:
    message = _list(b'{"name":{"wait":1}}', b'{"name":["wait"]}', b'{"description":"nameless"}')
    assert noted_message(message, NOTE) is message


def test_an_odd_tool_does_not_take_the_note_from_the_others() -> None:
    odd = b'{"name":"wait","name":"wait"}'
    assert noted_message(_list(odd, WAIT), NOTE) == (
        b'{"jsonrpc":"2.0","id":1,"result":{"tools":[' + odd + b"," + NOTED + b'],"nextCursor":"c"}}'
    )


def test_a_result_that_is_no_object_is_refused() -> None:
    with pytest.raises(InvalidInput):
        noted_result(b"[]", NOTE)
    with pytest.raises(InvalidInput):
        noted_result(b'{"tools":1}', NOTE)


def test_an_event_changes_in_its_data_and_nowhere_else() -> None:
    frame = b": hello\r\nid: 7\r\ndata: " + _list(WAIT) + b"\r\nretry:5\r\n\r\n"
    noted = noted_frame(frame, NOTE)
    assert noted == b": hello\r\nid: 7\r\ndata: " + noted_message(_list(WAIT), NOTE) + b"\nretry:5\r\n\r\n"


def test_data_in_several_lines_is_one_message() -> None:
    frame = b"event: message\ndata: " + _list(WAIT).replace(b', "result"', b',\ndata: "result"') + b"\n\n"
    data = read_frame(noted_frame(frame, NOTE)).data
    assert data is not None
    assert data == noted_message(_list(WAIT), NOTE)
    spread = b'{\n"tools":[{"name":"wait","inputSchema":{\n}}]}'
    told = read_frame(noted_frame(write_event(b'{"id":1,"result":%b}' % spread), NOTE)).data
    assert told == b'{"id":1,"result":{"tools":[{"name":"wait","inputSchema":{\n},"description":"Deprecated: ask."}]}}'


@pytest.mark.parametrize(
    "frame", [b": comment\n\n", b"id: 1\ndata:\n\n", write_event(_list(OTHER)), b"\n\n", b"data: nonsense\n\n"]
)
def test_an_event_without_such_a_tool_stays_whole(frame: bytes) -> None:
    assert noted_frame(frame, NOTE) is frame


def test_the_note_names_what_to_use_and_where_it_is_explained() -> None:
    note = wait_is_deprecated(frozenset({"wait"}), "https://example.org/guide")
    assert note.text.startswith("Deprecated: ")
    assert "elicitation" in note.text
    assert "https://example.org/guide" in note.text


@given(st.lists(st.dictionaries(st.sampled_from(["name", "description", "x"]), JSON, max_size=3), max_size=4), JSON)
def test_any_list_reads_as_before_but_for_the_descriptions(tools: list[dict[str, object]], more: object) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "result": {"tools": tools, "more": more}}
    noted = orjson.loads(noted_message(_written(message), NOTE))
    for tool in [*noted["result"]["tools"], *tools]:
        if tool.get("name") == "wait":
            tool.pop("description", None)
    assert noted == orjson.loads(_written(message))


def _written(value: object) -> bytes:
    return orjson.dumps(value)


@given(st.binary(max_size=200))
def test_no_bytes_are_too_strange(body: bytes) -> None:
    assert noted_message(body, NOTE) is body
    assert noted_frame(body, NOTE) is body
