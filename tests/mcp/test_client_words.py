"""What a client says to an MCP server, and what of a server's words is taken."""

from contextlib import suppress

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import __version__
from proxy.core.elicitation import AnswerKind
from proxy.core.errors import BadBridgeReply, InvalidInput
from proxy.mcp import client_words as words
from proxy.mcp.ask import Answered, CannotBeAsked, Failed, FormQuestion, Reply, UrlQuestion
from proxy.mcp.calling import Outgoing, ServerAsk
from proxy.mcp.jsonrpc import Notification, Request, Response, error_message, parse, result_message
from proxy.mcp.revisions import R2024_11_05, R2025_06_18, R2025_11_25, Mode

pytestmark = pytest.mark.requirement("mcp.client_words")

SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}
FORM = {"mode": "form", "message": "Name?", "requestedSchema": SCHEMA}
LINK = {"mode": "url", "message": "Go", "url": "https://a.example/x"}
BOTH = frozenset(Mode)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def call(params: object = None, **more: object) -> Outgoing:
    fields: dict[str, object] = {"method": "tools/call", "params": orjson.dumps(params or {}), "client_name": "tester"}
    return Outgoing(**{**fields, **more})  # type: ignore[arg-type] # the fields of a frozen value, put together


def response(body: bytes) -> Response:
    message = parse(body)
    assert isinstance(message, Response)
    return message


# The handshake.


@pytest.mark.parametrize(
    ("modes", "declared"),
    [
        (frozenset[Mode](), {}),
        (frozenset({Mode.FORM}), {"elicitation": {"form": {}}}),
        (BOTH, {"elicitation": {"form": {}, "url": {}}}),
    ],
)
def test_only_the_ways_in_which_the_client_can_be_asked_are_declared(
    modes: frozenset[Mode], declared: dict[str, object]
) -> None:
    message = orjson.loads(words.write_initialize(0, call(modes=modes)))
    assert (message["method"], message["id"]) == ("initialize", 0)
    assert message["params"]["protocolVersion"] == "2025-11-25"
    assert message["params"]["capabilities"] == declared
    assert message["params"]["clientInfo"]["name"] == "tester"


@pytest.mark.parametrize("revision", [R2024_11_05, R2025_06_18, R2025_11_25])
def test_a_handshake_may_end_with_any_revision_that_has_one(revision: object) -> None:
    assert words.read_initialized(orjson.dumps({"protocolVersion": revision.name})) is revision  # type: ignore[attr-defined] # a Revision


@pytest.mark.parametrize("result", [b'{"protocolVersion":"2026-07-28"}', b'{"protocolVersion":1}', b"{}", b"[]", b"7"])
def test_any_other_end_of_a_handshake_is_refused(result: bytes) -> None:
    with pytest.raises(BadBridgeReply):
        words.read_initialized(result)


def test_a_session_id_is_visible_ascii_or_absent() -> None:
    assert words.read_session_id(None) is None
    assert words.read_session_id("a!~9") == "a!~9"
    for bad in ("", "a b", "é", "a" * 1001, "a\tb"):
        with pytest.raises(BadBridgeReply, match="visible ASCII"):
            words.read_session_id(bad)


# Messages.


def test_a_body_is_one_message_or_several() -> None:
    request, note = b'{"jsonrpc":"2.0","id":1,"method":"ping"}', b'{"jsonrpc":"2.0","method":"notifications/x"}'
    assert [type(each) for each in words.read_messages(request)] == [Request]
    assert [type(each) for each in words.read_messages(b"[%b, %b]" % (request, note))] == [Request, Notification]


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'[{"id":1}]', b"[[1]]", b'{"jsonrpc":"2.0"}', b"[" * 5000])
def test_what_is_no_message_is_a_bad_reply(body: bytes) -> None:
    with pytest.raises(BadBridgeReply):
        words.read_messages(body)


@given(st.binary(max_size=60))
def test_no_body_is_answered_with_anything_but_messages_or_a_bad_reply(body: bytes) -> None:
    with suppress(BadBridgeReply):
        assert words.read_messages(body)


# The envelope.


def test_the_envelope_says_revision_client_and_capabilities() -> None:
    params = orjson.loads(words.dress(call({"name": "t", "_meta": {"progressToken": 7}}, modes=BOTH)))
    assert params["name"] == "t"
    assert params["_meta"] == {
        "progressToken": 7,
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "tester", "version": __version__},
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}, "url": {}}},
    }


def test_the_envelope_cannot_be_forged_from_inside() -> None:
    forged = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2099-01-01"}}
    params = orjson.loads(words.dress(call(forged)))
    assert params["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"


@pytest.mark.parametrize("params", [b"[]", b'{"_meta":1}', b'{"a":1,"a":2}', b"x"])
def test_parameters_that_are_no_object_have_no_envelope(params: bytes) -> None:
    with pytest.raises(InvalidInput):
        words.dress(Outgoing(method="tools/call", params=params))


def test_what_a_request_carries_keeps_its_every_digit() -> None:
    dressed = words.dress(Outgoing(method="tools/call", params=b'{"arguments":{"n":12345678901234567890123,"f":1.10}}'))
    assert b'"arguments":{"n":12345678901234567890123,"f":1.10}' in dressed


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=4), st.dictionaries(st.text(max_size=8), JSON, max_size=4))
def test_the_envelope_changes_nothing_else(params: dict[str, object], meta: dict[str, object]) -> None:
    dressed = orjson.loads(words.dress(call({**params, "_meta": meta})))
    told = dressed.pop("_meta")
    assert dressed == {name: value for name, value in params.items() if name != "_meta"}
    assert {**meta, **told} == told


# Rounds.


def required(requests: object = None, state: object = None, **more: object) -> bytes:
    found = {"resultType": "input_required", "inputRequests": requests, "requestState": state, **more}
    return orjson.dumps({name: value for name, value in found.items() if value is not None})


@pytest.mark.parametrize("result", [b"{}", b'{"resultType":"complete"}', b'{"resultType":"task"}', b'{"resultType":1}'])
def test_any_other_result_is_complete(result: bytes) -> None:
    assert words.read_input_required(result, 1) is None


def test_a_result_asks_by_keys() -> None:
    requests = {name: {"method": "elicitation/create", "params": FORM} for name in ("b", "a")}
    asked = words.read_input_required(required(requests, 'st"\\ate'), 1)
    assert asked is not None
    assert asked.asks == tuple(ServerAsk(key=key, question=FormQuestion("Name?", SCHEMA)) for key in ("b", "a"))
    replies: dict[str, Reply] = {
        "a": Answered(AnswerKind.ACCEPT, {"name": "x"}),
        "b": CannotBeAsked(-32602, "no"),
    }
    members = words.retry_members(asked, replies)
    assert orjson.loads(members["inputResponses"]) == {
        "a": {"action": "accept", "content": {"name": "x"}},
        "b": {"action": "cancel"},
    }
    assert orjson.loads(members["requestState"]) == 'st"\\ate'


def test_a_request_state_goes_back_as_the_very_bytes_that_came() -> None:
    asked = words.read_input_required(b'{"resultType":"input_required","requestState":"\\u00e9\\/x"}', 1)
    assert asked is not None
    assert words.retry_members(asked, {}) == {"requestState": b'"\\u00e9\\/x"'}


def test_no_request_state_goes_back_where_none_came() -> None:
    asked = words.read_input_required(required({"a": {"method": "elicitation/create", "params": FORM}}), 1)
    assert asked is not None
    assert words.retry_members(asked, {"a": Answered(AnswerKind.DECLINE)}).keys() == {"inputResponses"}


@pytest.mark.parametrize(
    "result",
    [
        required(),
        required({}),
        required({}, 7),
        required([]),
        required({"a": {"method": "sampling/createMessage", "params": {}}}),
        required({"a": {"method": "roots/list"}}),
        required({"a": {"params": FORM}}),
        required({"a": 1}),
        required({"a": {"method": "elicitation/create"}}),
        required({str(n): {"method": "elicitation/create", "params": FORM} for n in range(101)}),
        b"[]",
        b"null",
        b'{"resultType":"input_required","requestState":"a","requestState":"b"}',
    ],
)
def test_a_result_that_asks_for_what_was_not_declared_or_for_nothing_is_a_bad_reply(result: bytes) -> None:
    with pytest.raises(BadBridgeReply):
        words.read_input_required(result, 1)


@given(st.binary(max_size=60))
def test_any_result_is_complete_or_asks_or_is_bad(result: bytes) -> None:
    with suppress(BadBridgeReply):
        assert words.read_input_required(result, 1) is None


@pytest.mark.parametrize(
    ("body", "speaks"),
    [
        (result_message(1, {"supportedVersions": ["2026-07-28", "x"]}), True),
        (result_message(1, {"supportedVersions": ["2099-01-01"]}), False),
        (result_message(1, {"supportedVersions": "2026-07-28"}), False),
        (result_message(1, {}), False),
        (result_message(1, b"[]"), False),
        (error_message(1, -32601, "no such method"), False),
        (error_message(1, -32022, "no such revision"), False),
        (error_message(1, -32021, "capability"), True),
        (error_message(1, -32020, "headers"), True),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":"x"}}', False),
    ],
)
def test_a_server_of_the_envelope_era_is_known_by_what_it_discovers(body: bytes, *, speaks: bool) -> None:
    assert words.read_discovered(response(body)) is speaks


@pytest.mark.parametrize(
    ("code", "is_doubtful"),
    [(-32022, True), (-32600, True), (-32000, True), (-32019, True), (-32020, False), (-32602, False), (-31999, False)],
)
def test_some_errors_say_that_the_server_is_not_what_it_was(code: int, *, is_doubtful: bool) -> None:
    assert words.is_of_another_era(response(error_message(1, code, ""))) is is_doubtful


def test_no_result_says_so() -> None:
    assert not words.is_of_another_era(response(result_message(1, {})))


# Questions.


def test_a_form_is_what_a_question_without_a_mode_is() -> None:
    bare = {name: value for name, value in FORM.items() if name != "mode"}
    for params in (FORM, bare):
        assert words.read_question(orjson.dumps(params), salt="") == FormQuestion("Name?", SCHEMA)
    assert words.mode_of(FormQuestion("", {})) is Mode.FORM


def test_a_link_keeps_its_id_or_gets_one_of_its_own() -> None:
    given_id = words.read_question(orjson.dumps({**LINK, "elicitationId": "e1"}), salt="1")
    assert given_id == UrlQuestion("Go", "https://a.example/x", "e1")
    minted = {
        words.read_question(orjson.dumps({**LINK, **more}), salt=salt)
        for more in ({}, {"url": "https://b.example"}, {"elicitationId": ""})
        for salt in ("1", "2")
    }
    ids = {question.elicitation_id for question in minted if isinstance(question, UrlQuestion)}
    assert len(ids) == 4  # an empty id is none
    assert all(len(each) == 32 for each in ids)
    assert {words.mode_of(question) for question in minted} == {Mode.URL}


@pytest.mark.parametrize(
    "params",
    [
        {**FORM, "mode": "voice"},
        {**FORM, "mode": None},
        {**FORM, "message": 1},
        {**FORM, "requestedSchema": []},
        {"message": "x"},
        {**LINK, "url": 1},
        {**LINK, "message": None},
        {**LINK, "elicitationId": 5},
        [],
    ],
)
def test_what_is_no_question_is_refused(params: object) -> None:
    with pytest.raises(InvalidInput):
        words.read_question(orjson.dumps(params), salt="")


def test_a_schema_nested_beyond_all_bounds_is_refused() -> None:
    deep = b'{"a":' * 3000 + b"1" + b"}" * 3000
    with pytest.raises(InvalidInput):
        words.read_question(b'{"message":"x","requestedSchema":%b}' % deep, salt="")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Answered(AnswerKind.ACCEPT, {"n": 1}), {"result": {"action": "accept", "content": {"n": 1}}}),
        (Answered(AnswerKind.ACCEPT), {"result": {"action": "accept"}}),
        (Answered(AnswerKind.DECLINE), {"result": {"action": "decline"}}),
        (Answered(AnswerKind.CANCEL), {"result": {"action": "cancel"}}),
        (Failed("broken", -32603), {"result": {"action": "cancel"}}),
        (CannotBeAsked(-32601, "no such"), {"error": {"code": -32601, "message": "no such"}}),
    ],
)
def test_a_reply_is_worded_as_a_response(reply: Reply, expected: object) -> None:
    assert orjson.loads(words.write_reply("q1", reply)) == {"jsonrpc": "2.0", "id": "q1", **expected}  # type: ignore[dict-item] # a dict above
