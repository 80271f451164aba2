"""Whether the HTTP side of an MCP call agrees with the message inside."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mcp.over_http import agreed_revision, agrees_with_envelope, is_in_order
from proxy.mcp.revisions import R2025_06_18, R2025_11_25, Revision

pytestmark = pytest.mark.requirement("mcp.over_http")

Fields = dict[bytes, bytes]

PLAIN: Fields = {b"Content-Type": b"application/json", b"Accept": b"application/json, text/event-stream"}
ENVELOPED: Fields = {
    **PLAIN,
    b"MCP-Protocol-Version": b"2026-07-28",
    b"Mcp-Method": b"tools/call",
    b"Mcp-Name": b"wait",
}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def _raw(fields: Fields, *more: tuple[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    return [*fields.items(), *more]


def _call(name: str = "wait", meta: object = META, **params: object) -> bytes:
    return json.dumps({"id": 1, "method": "tools/call", "params": {"name": name, "_meta": meta, **params}}).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {b"Content-Type": b"Application/JSON; charset=utf-8"},
        {b"Accept": b"text/event-stream;q=0.9,*/*, application/json"},
        {b"Mcp-Session-Id": b"abc"},
    ],
)
def test_headers_that_a_server_takes_are_in_order(changes: Fields) -> None:
    assert is_in_order(_raw(PLAIN | changes))


def test_accept_may_come_in_two_lines() -> None:
    assert is_in_order(_raw(PLAIN | {b"Accept": b"application/json"}, (b"accept", b"text/event-stream")))


@pytest.mark.parametrize(
    "changes",
    [
        {b"Accept": b"application/json"},
        {b"Accept": b"text/event-stream"},
        {b"Accept": b"*/*"},
        {b"Accept": b""},
        {b"Content-Type": b"text/plain"},
        {b"Content-Type": b""},
    ],
)
def test_headers_that_a_server_may_refuse_are_not(changes: Fields) -> None:
    assert not is_in_order(_raw(PLAIN | changes))


@pytest.mark.parametrize(
    "name", [b"mcp-session-id", b"MCP-Protocol-Version", b"mcp-method", b"Mcp-Name", b"Content-Type"]
)
def test_a_field_twice_is_out_of_order_even_with_the_same_value(name: bytes) -> None:
    assert not is_in_order(_raw(PLAIN, (name, b"application/json"), (name, b"application/json")))


@pytest.mark.parametrize("name", ["wait", "héllo", " wait ", "=?base64?x?="])
def test_a_mirrored_name_agrees_plain_or_encoded(name: str) -> None:
    encoded = b"=?base64?" + base64.b64encode(name.encode()) + b"?="
    assert agrees_with_envelope(_raw(ENVELOPED | {b"Mcp-Name": encoded}), _call(name))
    is_plain = name == "wait"
    assert agrees_with_envelope(_raw(ENVELOPED | {b"Mcp-Name": name.encode()}), _call(name)) is (
        is_plain or not name.startswith("=?")
    )


@pytest.mark.parametrize(
    ("changes", "body"),
    [
        ({b"Mcp-Name": b"echo"}, _call()),
        ({b"Mcp-Name": b"Wait"}, _call()),
        ({b"Mcp-Name": b"=?base64?!?="}, _call()),
        ({b"Mcp-Name": b"=?base64?/w==?="}, _call()),
        ({b"Mcp-Name": "=?base64?é?=".encode()}, _call()),
        ({b"Mcp-Name": b"\xff"}, _call()),
        ({b"Mcp-Method": b"tools/list"}, _call()),
        ({b"MCP-Protocol-Version": b"2099-01-01"}, _call()),
        ({b"MCP-Protocol-Version": b"2025-11-25"}, _call()),
        ({}, _call("echo")),
        ({}, _call(meta={})),
        ({}, _call(meta=None)),
        ({}, _call(meta={**META, "io.modelcontextprotocol/protocolVersion": "2025-11-25"})),
        ({}, _call(meta={**META, "io.modelcontextprotocol/clientCapabilities": None})),
        ({}, b'{"params":{"name":"wait","name":"wait"}}'),
        ({}, b'{"params":[]}'),
        ({}, b"{}"),
        ({}, b"["),
    ],
)
def test_headers_and_body_that_disagree_are_the_servers_to_refuse(changes: Fields, body: bytes) -> None:
    assert not agrees_with_envelope(_raw(ENVELOPED | changes), body)


def test_an_unknown_revision_agrees_with_nothing() -> None:
    meta = {**META, "io.modelcontextprotocol/protocolVersion": "2099-01-01"}
    assert not agrees_with_envelope(_raw(ENVELOPED | {b"MCP-Protocol-Version": b"2099-01-01"}), _call(meta=meta))


@given(st.binary(), st.binary())
def test_no_bytes_make_it_fail(name: bytes, body: bytes) -> None:
    assert not agrees_with_envelope(_raw(ENVELOPED | {b"Mcp-Name": name}), body)


def _welcome(version: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 0, "result": {"protocolVersion": version}}).encode()


@pytest.mark.parametrize(
    ("reply", "agreed"),
    [
        (_welcome("2025-06-18"), R2025_06_18),
        (b"\n " + _welcome("2025-11-25"), R2025_11_25),
        (b"event: message\r\ndata: " + _welcome("2025-06-18") + b"\r\n\r\n", R2025_06_18),
        (b"id: 1\ndata: \n\n: hi\n\ndata: [1]\n\ndata: " + _welcome("2025-11-25") + b"\n\n", R2025_11_25),
        (b'data: {"method":"notifications/message"}\n\ndata: ' + _welcome("2025-06-18") + b"\n\n", R2025_06_18),
        (_welcome("2026-07-28"), None),
        (_welcome("2099-01-01"), None),
        (_welcome(7), None),
        (b'{"error":{"code":-32602,"message":"no"}}', None),
        (b'{"result":[]}', None),
        (b"data: cut off", None),
        (b"", None),
    ],
)
def test_a_handshake_ends_with_the_revision_of_its_reply(reply: bytes, agreed: Revision | None) -> None:
    assert agreed_revision(reply) == agreed


@given(st.binary())
def test_no_reply_makes_it_fail(reply: bytes) -> None:
    agreed_revision(reply)
