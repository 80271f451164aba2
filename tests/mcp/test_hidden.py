"""Calls of our tools in messages that are nothing of ours when they are read strictly."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mcp.hidden import MAX_TRIED_BYTES, hides_call, is_looked_at
from proxy.mcp.inbound import ToolNames
from proxy.mcp.jsonrpc import parse

pytestmark = pytest.mark.requirement("security.one_message")

NAMES = ToolNames(wait=frozenset({"wait"}), respond=frozenset({"respond"}), send=frozenset({"send"}))


def _call(name: str, arguments: object = None, **params: object) -> bytes:
    called = {"name": name, "arguments": arguments or {}, **params}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": called}).encode()


def _hides(body: bytes) -> bool:
    return hides_call(parse(body), body, NAMES)


@pytest.mark.parametrize("name", ["wait", "respond", "send"])
@pytest.mark.parametrize(
    "form",
    [
        b"[%b]",
        b'[1,{"jsonrpc":"2.0","id":2,"method":"ping"},%b]',
        b"\xef\xbb\xbf%b",
    ],
)
def test_a_call_in_a_form_that_we_do_not_take_is_found(name: str, form: bytes) -> None:
    assert _hides(form % _call(name))
    assert not _hides(form % _call("echo", {"text": name}))


@pytest.mark.parametrize("name", ["wait", "respond", "send"])
def test_twins_are_found_where_what_counts_is_said(name: str) -> None:
    plain = _call(name, {"agent_id": "bob", "event_data": {"a": 1}})
    assert not _hides(plain)
    for inside in (b'"params": {', b'"arguments": {', b'"event_data": {'):
        assert _hides(plain.replace(inside, inside + b'"x": 1, "x": 2, '))
    assert _hides(plain.replace(b'"method"', b'"method": "ping", "method"'))


def test_twins_in_a_call_of_another_tool_are_its_servers_business() -> None:
    assert not _hides(_call("echo").replace(b'"arguments": {', b'"arguments": {"x": 1, "x": 2'))


@pytest.mark.parametrize("more", [{"task": {}}, {"requestState": "x"}, {"inputResponses": {}}])
def test_an_answer_that_looks_like_the_servers_is_found_and_a_wait_is_not(more: dict[str, object]) -> None:
    assert _hides(_call("respond", **more))
    assert not _hides(_call("wait", **more))


@pytest.mark.parametrize("arguments", [[], "x", 7])
def test_arguments_of_another_kind_hide_nothing(arguments: object) -> None:
    assert not _hides(_call("send", arguments))
    assert not _hides(_call("send", {"event_data": arguments}))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"respond",
        b'[{"method":"ping"}]',
        b'{"method":"tools/call","params":"respond"}',
        b'{"method":"tools/call","params":{"name":["respond"]}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"name":"respond"}}',
        b'"respond"',
        b'["respond",["respond"]]',
        b"\xff\\respond",
    ],
)
def test_what_calls_nothing_hides_nothing(body: bytes) -> None:
    assert not _hides(body)


def test_what_is_too_long_to_be_tried_or_too_deep_counts_as_hiding_only_where_a_name_may_stand_in_it() -> None:
    long, deep = b'{"x":"' + b"x" * MAX_TRIED_BYTES + b'","n":"%b"', b'{"n":"%b","x":' + b"[" * 9000
    assert _hides(long % b"respond")
    assert not _hides(long % b"echo")
    assert _hides(deep % b"respond")
    assert not _hides(deep % b"echo")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "utf-32-le"])
def test_no_encoding_hides_that_a_message_may_be_ours(encoding: str) -> None:
    body = _call("respond").decode().encode(encoding)
    assert is_looked_at(body)
    assert _hides(body)


@pytest.mark.parametrize("body", [b'{"method":"tools\\/call"}', rb'{"method":"t\u006fols/call"}', b'"esc-1"'])
def test_escaped_words_are_looked_at(body: bytes) -> None:
    assert is_looked_at(body)
    assert not is_looked_at(b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"text":"\\n"}}')


@given(body=st.binary() | st.text().map(str.encode) | st.binary().map(lambda more: _call("respond")[:-1] + more))
def test_no_body_raises_anything(body: bytes) -> None:
    assert _hides(body) in {True, False}
