"""The legacy tools as MCP calls: what is read of their arguments, and how their results look."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.elicitation import AnswerKind
from proxy.core.errors import InvalidInput
from proxy.core.ids import MAX_SEQUENCE, AgentId
from proxy.core.legacy import write_timeout_reply
from proxy.mcp.revisions import Mode
from proxy.mcp.tools import (
    Retry,
    named_elicitation,
    parse_respond_arguments,
    parse_send_arguments,
    parse_wait_arguments,
    read_tool_call,
    tool_result,
)

pytestmark = pytest.mark.requirement("mcp.tools")

BOB = AgentId("bob")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
DEEP = b'{"elicitation_id":"e1","response_type":"accept","data":' + b"[" * 300 + b"]" * 300 + b"}"


def _wait(**arguments: object) -> object:
    return parse_wait_arguments(json.dumps({"agent_id": "bob", **arguments}).encode(), default_timeout_s=60)


class TestCall:
    def test_name_arguments_and_token_are_read_and_the_arguments_stay_bytes(self) -> None:
        call = read_tool_call(b'{"name":"t","arguments":{"a" : 1.0},"_meta":{"progressToken":7},"x":1}')
        assert call is not None
        assert (call.name, call.arguments, call.progress_token) == ("t", b'{"a" : 1.0}', 7)

    def test_arguments_and_token_may_be_missing(self) -> None:
        call = read_tool_call(b'{"name":"t"}')
        assert call is not None
        assert (call.arguments, call.progress_token) == (b"{}", None)

    @pytest.mark.parametrize("token", [b"true", b"1.5", b"null", b"{}"])
    def test_a_progress_token_that_is_none_is_left_out(self, token: bytes) -> None:
        call = read_tool_call(b'{"name":"t","_meta":{"progressToken":%b}}' % token)
        assert call is not None
        assert call.progress_token is None

    @pytest.mark.parametrize(
        "params",
        [
            None,
            b"",
            b"[]",
            b"{}",
            b'{"name":7}',
            b'{"name":null}',
            b'{"name":"t","name":"t"}',
            b'{"name":"t","_meta":null}',
            b'{"name":"t","_meta":{"progressToken":1,"progressToken":2}}',
            b'{"name":"t","_meta":{"progressToken":1e999}}',
            b'{"name":"\xff"}',
        ],
    )
    def test_what_cannot_be_read_in_one_way_only_is_nobodys(self, params: bytes | None) -> None:
        assert read_tool_call(params) is None

    @pytest.mark.parametrize("member", [b'"requestState":"s"', b'"inputResponses":{}', b'"task":{"ttl":1}'])
    def test_a_call_that_goes_on_with_what_the_server_began_is_the_servers(self, member: bytes) -> None:
        assert read_tool_call(b'{"name":"t","arguments":{},%b}' % member) is None

    def test_a_call_that_goes_on_with_what_we_began_is_a_retry(self) -> None:
        call = read_tool_call(b'{"name":"t","requestState":"esc1.x","inputResponses":{"a": 1}}')
        assert call is not None
        assert call.retry == Retry(state="esc1.x", responses=b'{"a": 1}')
        call = read_tool_call(b'{"name":"t","requestState":"esc1.x"}')
        assert call is not None
        assert call.retry == Retry(state="esc1.x", responses=b"")

    @pytest.mark.parametrize("member", [b'"task":{"ttl":1}', b'"requestState":"esc1.y"', b'"inputResponses":{}'])
    def test_a_retry_that_is_also_somebody_elses_is_the_servers(self, member: bytes) -> None:
        state = b"" if b"requestState" in member else b'"requestState":7,'
        if b"requestState" in member:
            member += b',"task":{}'
        assert read_tool_call(b'{"name":"t",%b%b}' % (state, member)) is None

    def test_a_call_of_the_envelope_era_says_who_calls_and_how_it_can_be_asked(self) -> None:
        prefix = b'"io.modelcontextprotocol/'
        meta = b'{%bclientCapabilities":{"elicitation":{}},%bclientInfo":{"name":"zed"}}' % (prefix, prefix)
        call = read_tool_call(b'{"name":"t","_meta":%b}' % meta)
        assert call is not None
        assert (call.modes, call.client_name) == (frozenset({Mode.FORM}), "zed")
        meta = b'{%bclientCapabilities":[],%bclientInfo":{"name":7}}' % (prefix, prefix)
        call = read_tool_call(b'{"name":"t","_meta":%b}' % meta)
        assert call is not None
        assert (call.modes, call.client_name) == (frozenset(), "")

    @given(st.binary())
    def test_no_bytes_make_it_fail(self, params: bytes) -> None:
        read_tool_call(params)


class TestWait:
    @pytest.mark.parametrize(
        ("arguments", "since", "timeout_s"),
        [
            ({}, 0, 60),
            ({"since_sequence": None}, 0, 60),
            ({"since_sequence": 7, "timeout_seconds": 30}, 7, 30),
            ({"since_sequence": "7", "timeout_seconds": " 30 "}, 7, 30),
            ({"since_sequence": 7.0, "timeout_seconds": 400}, 7, 400),
            ({"timeout_seconds": "-5"}, 0, -5),
            ({"since_sequence": MAX_SEQUENCE, "metadata": {"x": 1}}, MAX_SEQUENCE, 60),
        ],
    )
    def test_arguments_are_read_as_the_tool_reads_them(
        self, arguments: dict[str, object], since: int, timeout_s: int
    ) -> None:
        ask = parse_wait_arguments(json.dumps({"agent_id": "bob", **arguments}).encode(), default_timeout_s=60)
        assert ask is not None
        assert (ask.agent_id, ask.since, ask.timeout_s) == ("bob", since, timeout_s)

    @pytest.mark.parametrize(
        "arguments",
        [
            {"agent_id": None},
            {"agent_id": ""},
            {"agent_id": 7},
            {"agent_id": "x" * 301},
            {"since_sequence": -1},
            {"since_sequence": MAX_SEQUENCE + 1},
            {"since_sequence": ""},
            {"since_sequence": False},
            {"since_sequence": []},
            {"since_sequence": 1.5},
            {"timeout_seconds": None},
            {"timeout_seconds": "abc"},
            {"timeout_seconds": "--5"},
            {"timeout_seconds": "1e3"},
            {"timeout_seconds": "٣"},
            {"timeout_seconds": "9" * 20},
            {"timeout_seconds": True},
        ],
    )
    def test_arguments_that_only_the_tool_can_judge_are_its_own(self, arguments: dict[str, object]) -> None:
        assert _wait(**arguments) is None

    @pytest.mark.parametrize("arguments", [b"", b"null", b"[]", b'"x"', b"{", b"[" * 5000])
    def test_arguments_that_are_no_object_are_the_tools_own(self, arguments: bytes) -> None:
        assert parse_wait_arguments(arguments, default_timeout_s=60) is None

    @given(st.dictionaries(st.sampled_from(["agent_id", "since_sequence", "timeout_seconds"]), JSON))
    def test_whatever_is_read_can_be_waited_for_and_told(self, arguments: dict[str, object]) -> None:
        ask = parse_wait_arguments(json.dumps(arguments).encode(), default_timeout_s=60)
        if ask is not None:
            assert 0 <= ask.since <= MAX_SEQUENCE
            assert 0 <= ask.hold_s <= 300
            assert json.loads(write_timeout_reply(ask.timeout_s))["waited_seconds"] == ask.timeout_s


class TestAnswers:
    def test_the_respond_tool_answers_as_the_agent_that_is_told(self) -> None:
        arguments = b'{"elicitation_id":"e1","response_type":"accept","data":{"a":1},"responding_agent":"eve"}'
        given = parse_respond_arguments(arguments, BOB)
        assert given is not None
        assert (given.agent_id, given.answer.elicitation_id, given.answer.content) == ("bob", "e1", {"a": 1})

    def test_the_send_tool_answers_as_the_agent_that_it_names(self) -> None:
        data = {"in_reply_to": "e1", "response_type": "decline"}
        given = parse_send_arguments(json.dumps({"agent_id": "bob", "event_data": data}).encode())
        assert given is not None
        assert (given.agent_id, given.answer.elicitation_id, given.answer.kind) == ("bob", "e1", AnswerKind.DECLINE)

    @pytest.mark.parametrize("arguments", [b"", b"[]", b"{}", b'{"event_data":7}', b'{"event_data":{"a":1}}'])
    def test_arguments_that_name_no_elicitation_are_no_answer(self, arguments: bytes) -> None:
        assert parse_send_arguments(arguments) is None
        assert parse_respond_arguments(arguments, BOB) is None

    def test_an_answer_that_cannot_be_read_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="response_type"):
            parse_respond_arguments(b'{"elicitation_id":"e1","response_type":"maybe"}', BOB)
        with pytest.raises(InvalidInput, match="agent_id"):
            parse_send_arguments(b'{"event_data":{"elicitation_id":"e1"}}')

    def test_arguments_that_are_nested_too_deeply_are_refused(self) -> None:
        with pytest.raises(InvalidInput, match="less deeply"):
            parse_respond_arguments(DEEP, BOB)
        with pytest.raises(InvalidInput, match="less deeply"):
            parse_send_arguments(b'{"agent_id":"bob","event_data":%b}' % DEEP)

    def test_the_elicitation_is_named_where_its_tool_names_it(self) -> None:
        assert named_elicitation(b'{"elicitation_id":"e1","event_data":{"elicitation_id":"e2"}}') == "e1"
        assert (
            named_elicitation(b'{"elicitation_id":"e1","event_data":{"elicitation_id":"e2"}}', inside="event_data")
            == "e2"
        )

    @pytest.mark.parametrize("arguments", [b"", b"[]", b"{}", b'{"elicitation_id":7}', b'{"elicitation_id":""}'])
    @pytest.mark.parametrize("inside", ["", "event_data"])
    def test_arguments_may_name_none(self, arguments: bytes, inside: str) -> None:
        assert named_elicitation(arguments, inside=inside) is None

    @given(
        st.dictionaries(st.sampled_from(["elicitation_id", "response_type", "data", "event_data", "agent_id"]), JSON)
    )
    def test_arguments_are_read_or_refused(self, arguments: dict[str, object]) -> None:
        text = json.dumps(arguments).encode()
        for parse in (parse_send_arguments, lambda given: parse_respond_arguments(given, BOB)):
            try:
                parse(text)
            except InvalidInput as refusal:
                assert refusal.detail  # noqa: PT017  # either outcome is right


class TestResult:
    def test_a_reply_is_told_as_indented_text_twice(self) -> None:
        result = tool_result(write_timeout_reply(30))
        text = '{\n  "events": [],\n  "count": 0,\n  "waited_seconds": 30,\n  "status": "timeout"\n}'
        assert result == {
            "content": [{"type": "text", "text": text}],
            "structuredContent": {"result": text},
            "isError": False,
        }
        assert tool_result(b"{}", is_error=True)["isError"] is True

    def test_no_number_changes(self) -> None:
        text = str(tool_result(b'{"a":12345678901234567890123,"b":1.0,"c":1e400}')["structuredContent"])
        assert all(number in text for number in ("12345678901234567890123", "1.0", "1e400"))

    @pytest.mark.parametrize("reply", [b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}", b'{"a":"\\ud800"}', b"no JSON"])
    def test_what_cannot_be_indented_is_told_as_it_came(self, reply: bytes) -> None:
        result = tool_result(reply)
        assert result["structuredContent"] == {"result": reply.decode()}
        assert orjson.dumps(result)

    @given(JSON)
    def test_a_result_says_the_same_as_the_reply(self, reply: object) -> None:
        result = tool_result(json.dumps(reply).encode())
        structured = result["structuredContent"]
        assert isinstance(structured, dict)
        assert json.loads(structured["result"]) == reply
