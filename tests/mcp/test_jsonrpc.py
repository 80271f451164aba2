"""One JSON-RPC message, read without looking inside and written in one line."""

import sys
from types import MappingProxyType

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import BridgeUnavailable, InvalidInput, LegacyRemoved
from proxy.mcp import jsonrpc
from proxy.mcp.jsonrpc import (
    Batch,
    ErrorObject,
    Malformed,
    Notification,
    Request,
    Response,
    envelope_of,
    error_message,
    fault_message,
    members,
    notification_message,
    parse,
    read_error,
    read_id,
    read_value,
    request_message,
    result_message,
)

pytestmark = pytest.mark.requirement("mcp.jsonrpc")

HEAD = b'{"jsonrpc":"2.0",'
DEEP = b"[" * 200_000 + b"]" * 200_000

IDS = st.text(st.characters(exclude_categories=["Cs"])) | st.integers(-(2**64), 2**70)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


def test_a_request_keeps_its_parameters_as_they_came() -> None:
    body = HEAD + b'"id": 7, "method":"tools/call" , "params": {"n": 9007199254740993, "a":1.0} }'
    params = b'{"n": 9007199254740993, "a":1.0}'
    assert parse(body) == Request(id=7, method="tools/call", params=params, raw=body)


def test_a_call_without_id_is_a_notification() -> None:
    body = HEAD + b'"method":"notifications/initialized"}'
    assert parse(body) == Notification("notifications/initialized", None, body)


def test_null_for_parameters_means_none() -> None:
    body = HEAD + b'"id":"a","method":"ping","params":null}'
    assert parse(body) == Request(id="a", method="ping", params=None, raw=body)


@pytest.mark.parametrize("request_id", [b"-0", b"1", b'"1"', b'"\\u0031"', b'""', b"123456789012345678901234567890"])
def test_text_and_whole_numbers_are_ids(request_id: bytes) -> None:
    found = parse(HEAD + b'"id":' + request_id + b',"result":{}}')
    assert isinstance(found, Response)
    assert found.id == msgspec.json.decode(request_id)
    assert type(found.id) in {str, int}


def test_a_result_and_an_error_stay_the_bytes_they_came_as() -> None:
    body = HEAD + b'"id":1,"result": [ 1 ] }'
    assert parse(body) == Response(id=1, result=b"[ 1 ]", error=None, raw=body)
    body = HEAD + b'"id":null,"error":{"code":-32600,"message":"Session not found"}}'
    error = b'{"code":-32600,"message":"Session not found"}'
    assert parse(body) == Response(id=None, result=None, error=error, raw=body)


def test_an_error_may_come_without_id() -> None:
    body = HEAD + b'"error":{"code":1,"message":""}}'
    assert parse(body) == Response(id=None, result=None, error=b'{"code":1,"message":""}', raw=body)


def test_a_batch_is_passed_on_as_a_whole() -> None:
    body = b' \r\n\t[{"jsonrpc":"2.0","method":"\xc3\xa9"}, 3]'
    assert parse(body) == Batch(body)


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (b"", -32700, "expected JSON: "),
        (b"{", -32700, "expected JSON: "),
        (b"{}x", -32700, "expected JSON: "),
        (b'\xef\xbb\xbf{"a":1}', -32700, "expected JSON: "),
        (b'{"a":"\xff"}', -32700, "expected UTF-8, got another byte at 6"),
        (b'["\xff"]', -32700, "expected UTF-8, got another byte at 2"),
        (b'{"a":"\\ud800"}', -32700, "expected JSON: "),
        (HEAD + b'"id":1,"method":"m","params":{"a":"\\ud800"}}', -32700, "expected JSON: "),
        (HEAD + b'"id":1,"method":"m","params":{"a":NaN}}', -32700, "expected JSON: "),
        (HEAD + b'"id":1,"method":"m","params":{"a":-Infinity}}', -32700, "expected JSON: "),
        (HEAD + b'"id":1,"method":"m","params":' + DEEP + b"}", -32700, "expected JSON: maximum recursion depth"),
        (HEAD + b'"other":' + DEEP.replace(b"[", b'{"":').replace(b"]", b"}") + b"}", -32700, "expected JSON: "),
        (DEEP, -32700, "expected JSON: maximum recursion depth"),
        (b"[1,]", -32700, "expected JSON: "),
        (b" [ ] ", -32600, "expected a message, got an empty batch"),
        (b"null", -32600, "expected one JSON object: "),
        (b'"text"', -32600, "expected one JSON object: "),
        (b"{}", -32600, "expected jsonrpc to be \"2.0\", got 'nothing'"),
        (b'{"jsonrpc":2.0,"method":"m"}', -32600, "expected jsonrpc to be \"2.0\", got '2.0'"),
        (HEAD + b'"id":1}', -32600, "expected either a method, a result or an error"),
        (HEAD + b'"id":1,"result":1,"error":{}}', -32600, "expected either a method, a result or an error"),
        (HEAD + b'"id":1,"result":1,"error":null}', -32600, "expected either a method, a result or an error"),
        (HEAD + b'"id":1,"method":"m","result":1}', -32600, "expected a call or a response, got both"),
        (HEAD + b'"id":1,"method":"m","error":{}}', -32600, "expected a call or a response, got both"),
        (HEAD + b'"id":null,"method":"m"}', -32600, "expected the id of a request to be text or a whole number"),
        (HEAD + b'"id":null,"result":1}', -32600, "expected the id of a result to be text or a whole number"),
        (HEAD + b'"result":1}', -32600, "expected the id of a result to be text or a whole number"),
        (HEAD + b'"id":true,"method":"m"}', -32600, "expected id to be text or a whole number, got 'true'"),
        (HEAD + b'"id":1.0,"method":"m"}', -32600, "expected id to be text or a whole number, got '1.0'"),
        (HEAD + b'"id":1e2,"result":1}', -32600, "expected id to be text or a whole number, got '1e2'"),
        (HEAD + b'"id":[1],"result":1}', -32600, "expected id to be text or a whole number, got '[1]'"),
        (HEAD + b'"id":1' + b"0" * 5000 + b',"result":1}', -32600, "expected id to be text or a whole number"),
        (HEAD + b'"id":1,"method":3}', -32600, "expected method to be text, got '3'"),
        (HEAD + b'"id":1,"method":"m","params":"p"}', -32600, "expected params to be an object, got '\"p\"'"),
        (HEAD + b'"method":"m","params":3}', -32600, "expected params to be an object, got '3'"),
    ],
)
def test_what_is_no_message_says_why(body: bytes, code: int, text: str) -> None:
    found = parse(body)
    assert isinstance(found, Malformed)
    assert found.code == code
    assert found.text.startswith(text)


@pytest.mark.parametrize(
    "twins",
    [
        b'"id":1,"id":1,"method":"m"',
        b'"id":1,"i\\u0064":2,"method":"m"',
        b'"id":1,"method":"ping","method":"tools/call"',
        b'"id":1,"method":"m","params":{},"params":{"name":"x"}',
        b'"id":1,"result":{},"result":{}',
        b'"jsonrpc":"2.0","id":1,"method":"m"',
    ],
)
@pytest.mark.requirement("mcp.jsonrpc.twins")
def test_a_member_that_comes_twice_is_refused(twins: bytes) -> None:
    found = parse(HEAD + twins + b"}")
    assert isinstance(found, Malformed)
    assert found.code == jsonrpc.INVALID_REQUEST
    assert found.text.endswith("twice")


def test_twins_inside_of_parameters_are_another_reader_s_matter() -> None:
    body = HEAD + b'"id":1,"method":"m","params":{"id":1,"id":2,"method":"x"}}'
    assert isinstance(parse(body), Request)


def test_a_malformed_request_keeps_its_id_for_the_reply() -> None:
    assert parse(HEAD + b'"id":"q","method":"m","params":1}') == Malformed(
        -32600, "expected params to be an object, got '1'", "q"
    )


def test_a_long_value_is_not_repeated_whole() -> None:
    found = parse(HEAD + b'"id":1,"method":[' + b"1," * 5000 + b"1]}")
    assert isinstance(found, Malformed)
    assert len(found.text) < 120


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,\\u0019aid', max_size=60).map(str.encode))
def test_nothing_that_a_peer_sends_makes_the_reader_raise(body: bytes) -> None:
    parse(body)
    envelope_of(body)


@given(IDS, st.text(st.characters(exclude_categories=["Cs"])), st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_a_request_reads_back_as_written(request_id: str | int, method: str, params: dict[str, object]) -> None:
    body = request_message(request_id, method, params)
    found = parse(body)
    assert isinstance(found, Request)
    assert (found.id, found.method) == (request_id, method)
    assert found.params is not None
    assert orjson.loads(found.params) == orjson.loads(orjson.dumps(params))
    assert b"\n" not in body


@given(IDS, JSON)
def test_a_result_reads_back_byte_for_byte(request_id: str | int, result: object) -> None:
    raw = orjson.dumps(result)
    found = parse(result_message(request_id, raw))
    assert isinstance(found, Response)
    assert (found.id, found.result) == (request_id, raw)


def test_an_envelope_tells_id_and_method_of_a_call() -> None:
    found = envelope_of(HEAD + b'"id":7,"method":"tools/call","params":{"name":"x"}}')
    assert found is not None
    assert (found.id, found.method) == (7, "tools/call")
    assert not found.is_response


@pytest.mark.parametrize("outcome", [b'"result":{}', b'"error":{}'])
def test_an_envelope_tells_a_response(outcome: bytes) -> None:
    found = envelope_of(HEAD + b'"id":"esc-1",' + outcome + b"}")
    assert found is not None
    assert found.id == "esc-1"
    assert found.is_response


def test_an_envelope_without_outcome_is_no_response() -> None:
    found = envelope_of(b"{}")
    assert found is not None
    assert not found.is_response


@pytest.mark.parametrize("body", [b"", b"[]", b'{"id":1.5}', b'{"method":"\xff"}', b'{"a":' + DEEP + b"}"])
def test_there_is_no_envelope_where_the_whole_reader_has_more_to_say(body: bytes) -> None:
    assert envelope_of(body) is None


def test_members_are_read_one_level_deep() -> None:
    assert members(b' {"a": {"b":1} ,"c":"\xc3\xa9"}') == {"a": b'{"b":1}', "c": b'"\xc3\xa9"'}


@pytest.mark.parametrize("text", [b"[]", b"", b'{"a":1,"a":1}', DEEP])
def test_members_of_anything_but_one_sound_object_are_refused(text: bytes) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        members(text)


def test_a_value_is_decoded_when_asked_for() -> None:
    assert read_value(b'{"a":[1,2.5]}') == {"a": [1, 2.5]}


@pytest.mark.parametrize("raw", [b"1e999", b"[" * 2000 + b"]" * 2000])
def test_a_value_beyond_the_reader_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidInput, match="expected JSON"):
        read_value(raw)


def test_an_id_is_read_exactly() -> None:
    assert [read_id(b"3"), read_id(b'"3"'), read_id(b"null"), read_id(str(2**80).encode())] == [3, "3", None, 2**80]
    with pytest.raises(InvalidInput, match="expected an id"):
        read_id(b"true")


def test_an_error_is_read() -> None:
    assert read_error(b'{"code":-32601,"message":"no","data": {"a":1}}') == ErrorObject(-32601, "no", b'{"a":1}')
    assert read_error(b'{"code":1,"message":3}') == ErrorObject(1, "", None)


@pytest.mark.parametrize("error", [b"3", b"{}", b'{"code":"1"}', b'{"code":true}', b'{"code":1.5}'])
def test_an_error_without_a_code_is_refused(error: bytes) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        read_error(error)


def test_line_ends_between_tokens_become_blanks() -> None:
    raw = b'{\r\n  "a": "x\\ny"\n}'
    assert result_message(1, raw) == b'{"jsonrpc":"2.0","id":1,"result":{    "a": "x\\ny" }}'


def test_mappings_of_any_kind_are_written() -> None:
    frozen = MappingProxyType({"a": MappingProxyType({"b": [1]})})
    assert result_message("x", frozen) == b'{"jsonrpc":"2.0","id":"x","result":{"a":{"b":[1]}}}'
    with pytest.raises(orjson.JSONEncodeError):
        result_message("x", {"a": object()})


def test_errors_and_calls_are_written() -> None:
    assert error_message(None, -32700, "no") == b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}'
    assert (
        error_message(2**70, 1429, "slow down", {"retryAfterMs": 5})
        == b'{"jsonrpc":"2.0","id":1180591620717411303424,"error":{"code":1429,"message":"slow down",'
        b'"data":{"retryAfterMs":5}}}'
    )
    assert error_message(1, 1, "", b'{"a" :1}').endswith(b'"data":{"a" :1}}}')
    assert notification_message("n") == b'{"jsonrpc":"2.0","method":"n"}'
    assert notification_message("n", {"a": 1}) == b'{"jsonrpc":"2.0","method":"n","params":{"a":1}}'
    assert request_message(1, "r") == b'{"jsonrpc":"2.0","id":1,"method":"r"}'


@pytest.mark.requirement("mcp.jsonrpc.own_codes")
def test_an_error_of_ours_has_its_status_in_its_code_and_tells_when_to_retry() -> None:
    body = orjson.loads(fault_message(3, BridgeUnavailable("no Bridge", retry_after_s=1.5, tried=2)))
    assert body["id"] == 3
    assert body["error"] == {
        "code": 1502,
        "message": "no Bridge",
        "data": {"code": "bridge_unavailable", "retryable": True, "tried": 2, "retryAfterMs": 1500},
    }
    gone = orjson.loads(fault_message("a", LegacyRemoved("gone")))
    assert gone["error"] == {
        "code": jsonrpc.REMOVED,
        "message": "gone",
        "data": {"code": "legacy_removed", "retryable": False},
    }


@pytest.mark.requirement("mcp.jsonrpc.own_codes")
def test_own_codes_are_outside_of_the_reserved_range() -> None:
    own = {jsonrpc.INVALID_INPUT, jsonrpc.REMOVED, jsonrpc.ANSWER_INVALID, jsonrpc.RATE_LIMITED, jsonrpc.UNAVAILABLE}
    assert own == {1400, 1410, 1422, 1429, 1503}


def test_depth_is_refused_from_any_height_of_the_stack() -> None:
    def climb(steps: int) -> object:
        return climb(steps - 1) if steps else parse(HEAD + b'"id":1,"method":"m","params":' + DEEP + b"}")

    assert isinstance(climb(sys.getrecursionlimit() // 2), Malformed)


@pytest.mark.parametrize("name", ["", "n%d"])
def test_an_object_of_more_members_than_anybody_sends_is_not_read_to_its_end(name: str) -> None:
    many = b",".join(
        b'"%b":0' % (name % number if name else name).encode() for number in range(jsonrpc.MAX_MEMBERS + 1)
    )
    body = HEAD + many + b"}"
    assert isinstance(parse(body), Malformed)
    with pytest.raises(InvalidInput):
        members(b"{%b}" % many)


def test_as_many_members_as_may_be_are_read() -> None:
    many = b",".join(b'"n%d":0' % number for number in range(jsonrpc.MAX_MEMBERS))
    assert len(members(b"{%b}" % many)) == jsonrpc.MAX_MEMBERS
