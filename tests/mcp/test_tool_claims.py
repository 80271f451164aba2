"""Whom MCP messages name as the agent that calls tools, read as the most lenient server reads."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.identity import NO_CLAIMS, Claims
from proxy.core.limits import ANSWERS, QUESTIONS, WAITS
from proxy.mcp.hidden import MAX_TRIED_BYTES
from proxy.mcp.inbound import ToolNames
from proxy.mcp.jsonrpc import parse
from proxy.mcp.tool_claims import ToolUse, read_tools

pytestmark = pytest.mark.requirement("admission.tools")

NAMES = ToolNames(
    wait=frozenset({"lighthouse_wait_for_messages"}),
    respond=frozenset({"lighthouse_respond_to_elicitation"}),
    send=frozenset({"lighthouse_store_event"}),
)


def read(body: bytes) -> ToolUse:
    return read_tools(parse(body), body, NAMES)


def call(tool: object, arguments: object, **more: object) -> bytes:
    params = {"name": tool, "arguments": arguments, **more}
    return orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})


@pytest.mark.parametrize(
    ("tool", "arguments", "named", "limits"),
    [
        ("lighthouse_wait_for_messages", {"agent_id": "bob"}, ("bob",), (WAITS,)),
        ("lighthouse_store_event", {"agent_id": "bob", "event_data": {"agent_id": "carol"}}, ("bob",), ()),
        ("lighthouse_elicit_information", {"to_agent": "bob"}, (), (QUESTIONS,)),
        ("lighthouse_elicit_information", {"from_agent": "bob"}, ("bob",), (QUESTIONS,)),
        ("lighthouse_respond_to_elicitation", {"responding_agent": "bob"}, ("bob",), (ANSWERS,)),
        ("lighthouse_check_elicitations", {"agent_id": None}, (), ()),
        ("lighthouse_query_events", {"agent_id": "bob"}, (), ()),
        ("lighthouse_validate_session", {"agent_id": "bob"}, (), ()),
        ("create_session", {"agent_id": "bob", "from_agent": "carol"}, ("bob", "carol"), ()),
        ("anything", {"agent_id": ""}, (), ()),
        ("anything", {}, (), ()),
    ],
)
def test_the_arguments_that_say_who_calls(
    tool: str, arguments: object, named: tuple[str, ...], limits: tuple[str, ...]
) -> None:
    assert read(call(tool, arguments)) == ToolUse(Claims(named), limits)  # type: ignore[arg-type]


def test_a_wait_that_goes_on_was_counted_before() -> None:
    body = call("lighthouse_wait_for_messages", {"agent_id": "bob"}, requestState="x")
    assert read(body) == ToolUse(Claims(("bob",)))


def test_other_messages_name_nobody() -> None:
    for body in (
        b"",
        b"{",
        b"tools/call",
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"agent_id":"bob"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"tools/call","arguments":{"agent_id":"b"}}}',
        b'{"jsonrpc":"2.0","id":1,"result":{"method":"tools/call","agent_id":"bob"}}',
        b'{"x":"tools/call"',
    ):
        assert read(body) == ToolUse(NO_CLAIMS)


TWINS = [
    b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"agent_id":"a","agent_id":"b"}}}',
    (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"agent_id":"a"},'
        b'"arguments":{"agent_id":"b"}}}'
    ),
    (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"agent_id":"a"}},'
        b'"params":{"name":"x","arguments":{"agent_id":"b"}}}'
    ),
    (
        b'{"jsonrpc":"2.0","id":1,"method":"x","method":"tools/call","params":{"name":"x","arguments":{"agent_id":"a",'
        b'"from_agent":"b"}}}'
    ),
    (
        b'[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"agent_id":"a"}}},'
        b'{"jsonrpc":"2.0","id":2,"method":"tools\\/call","params":{"name":"x","arguments":{"agent_id":"b"}}}]'
    ),
]


@pytest.mark.parametrize("body", TWINS)
def test_whoever_is_named_twice_counts_twice(body: bytes) -> None:
    assert read(body).claims == Claims(("a", "b"))


@pytest.mark.parametrize("body", TWINS)
def test_in_other_encodings_as_well(body: bytes) -> None:
    for encoding in ("utf-16", "utf-16-le", "utf-32", "utf-8-sig"):
        assert set(read(body.decode().encode(encoding)).claims.named) == {"a", "b"}


@pytest.mark.parametrize(
    "body",
    [
        call("x", {"agent_id": ["bob"]}),
        call("x", {"agent_id": 7}),
        call("x", {"agent_id": {"a": 1}}),
        b'[{"method":"tools/call","params":' + b"[" * 200_000,
        b'["tools/call", "' + b"x" * MAX_TRIED_BYTES + b'"]',
    ],
    ids=["list", "number", "object", "deep", "long"],
)
def test_what_cannot_be_told_is_not_readable(body: bytes) -> None:
    assert not read(body).claims.is_readable


def test_numbers_that_python_itself_does_not_take_hide_nothing() -> None:
    body = b'[{"method":"tools/call","n":%b,"params":{"name":"x","arguments":{"agent_id":"b"}}}]' % (b"9" * 5_000)
    assert read(body).claims == Claims(("b",))


def test_names_of_tools_that_are_no_texts_are_nobodys() -> None:
    tools: tuple[object, ...] = ([], {}, None, 7, ["lighthouse_wait_for_messages"])
    for tool in tools:
        assert read(call(tool, {"agent_id": "bob"})).limits == ()
    assert read(b'[{"method":"tools/call","params":{"name":[],"arguments":{"agent_id":"b"}}}]').limits == ()


def test_every_call_of_a_batch_comes_under_its_limit() -> None:
    one = orjson.loads(call("lighthouse_elicit_information", {}))
    assert read(orjson.dumps([one] * 5)).limits == (QUESTIONS,) * 5


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda text: b'{"tools/call"' + text.encode("utf-8")))
def test_nothing_that_comes_in_is_our_mistake(body: bytes) -> None:
    read(body + b'"tools/call"')
