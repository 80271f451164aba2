"""One POST of the envelope era: what it says, how it is refused, and what of it a handshake server gets."""

import base64
import json
from collections.abc import Mapping

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.mcp.enveloped import METHODS, Enveloped, Misfit, read_enveloped
from proxy.mcp.jsonrpc import Notification
from proxy.mcp.revisions import Mode

pytestmark = pytest.mark.requirement("eras.down.envelope")

Json = Mapping[str, object]
Fields = Mapping[bytes, bytes]

PREFIX = "io.modelcontextprotocol/"
JULY = "2026-07-28"


def _meta(**changes: object) -> dict[str, object]:
    own = {"protocolVersion": JULY, "clientCapabilities": {}, **changes}
    return {f"{PREFIX}{name}": value for name, value in own.items() if value is not ...}


def _call(method: str = "tools/call", /, *, meta: object = None, **params: object) -> dict[str, object]:
    named = {"tools/call": {"name": "t"}, "prompts/get": {"name": "t"}, "resources/read": {"uri": "t"}}.get(method, {})
    told = _meta() if meta is None else meta
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": {**named, "_meta": told, **params}}


def _fields(method: str = "tools/call", name: bytes | None = b"t", **changes: bytes | None) -> dict[bytes, bytes]:
    fields = {
        "Content-Type": b"application/json",
        "Accept": b"application/json, text/event-stream",
        "MCP-Protocol-Version": JULY.encode(),
        "Mcp-Method": method.encode(),
        "Mcp-Name": name,
    } | {key.replace("_", "-"): value for key, value in changes.items()}
    return {key.encode(): value for key, value in fields.items() if value is not None}


def _read(message: object, fields: Fields | None = None) -> Enveloped | Misfit | Notification:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return read_enveloped(list((fields or _fields()).items()), body)


def _taken(message: object, fields: Fields | None = None) -> Enveloped:
    found = _read(message, fields)
    assert isinstance(found, Enveloped), found
    return found


def _refused(message: object, fields: Fields | None = None) -> tuple[int, int]:
    found = _read(message, fields)
    assert isinstance(found, Misfit), found
    return found.status, found.code


class TestRequest:
    def test_a_request_says_who_asks_for_what_and_how_it_can_be_asked(self) -> None:
        told = _meta(
            clientInfo={"name": "c", "version": "1"}, clientCapabilities={"elicitation": {"url": {}}}, logLevel="error"
        )
        found = _taken(_call(meta={**told, "progressToken": 3}, arguments={"a": 1}))
        assert (found.id, found.method, found.name, found.client_name) == (7, "tools/call", "t", "c")
        assert (found.modes, found.log_level, found.progress_token) == (frozenset({Mode.URL}), "error", b"3")
        assert (found.state, found.answers) == (None, {})

    @pytest.mark.parametrize("info", [None, 3, {}, {"name": 3}])
    def test_a_client_without_a_name_has_none(self, info: object) -> None:
        assert not _taken(_call(meta=_meta(clientInfo=info))).client_name

    @pytest.mark.parametrize("level", [None, 3, "loud"])
    def test_an_unknown_level_wants_no_log_lines(self, level: object) -> None:
        assert not _taken(_call(meta=_meta(logLevel=level))).log_level

    @pytest.mark.parametrize("method", sorted(METHODS))
    def test_every_method_of_the_era_is_taken(self, method: str) -> None:
        name = b"t" if method in {"tools/call", "prompts/get", "resources/read"} else None
        assert _taken(_call(method), _fields(method, name)).method == method

    @pytest.mark.parametrize("name", ["Grüße", " t ", "=?base64?dA==?="])
    def test_a_name_that_is_no_plain_text_is_mirrored_in_base64(self, name: str) -> None:
        coded = b"=?base64?" + base64.b64encode(name.encode()) + b"?="
        assert _taken(_call(name=name), _fields(name=coded)).name == name

    def test_a_retry_brings_answers_and_state(self) -> None:
        found = _taken(_call(inputResponses={"k": {"action": "decline"}}, requestState="s"))
        assert (found.state, dict(found.answers)) == ("s", {"k": b'{"action": "decline"}'})

    def test_answers_without_a_state_are_nobodys(self) -> None:
        assert _taken(_call(inputResponses={"k": {}})).answers == {}

    def test_only_what_may_be_asked_in_can_be_a_retry(self) -> None:
        found = _taken(_call("tools/list", requestState="s", inputResponses={}), _fields("tools/list", None))
        assert (found.state, found.params) == (None, b"{}")

    @pytest.mark.parametrize("note", ["notifications/cancelled", "anything"])
    def test_a_notification_is_let_through(self, note: str) -> None:
        assert _read({"jsonrpc": "2.0", "method": note}) == Notification(
            note, None, json.dumps({"jsonrpc": "2.0", "method": note}).encode()
        )


class TestParams:
    def test_the_envelope_and_the_round_stay_here_and_the_rest_keeps_its_bytes(self) -> None:
        body = (
            b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name" : "t","inputResponses":{},'
            b'"arguments":{"b":1.0, "a":12345678901234567890123},"requestState":"s","_meta":{"progressToken": "p",'
            b'"io.modelcontextprotocol/protocolVersion":"2026-07-28","traceparent":"00-1","x.org/y":[ ],'
            b'"io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{},'
            b'"io.modelcontextprotocol/logLevel":"info"}}}'
        )
        assert _taken(body).params == (
            b'{"name":"t","arguments":{"b":1.0, "a":12345678901234567890123},'
            b'"_meta":{"progressToken":"p","traceparent":"00-1","x.org/y":[ ]}}'
        )

    def test_metadata_that_holds_nothing_else_is_left_out(self) -> None:
        assert _taken(_call()).params == b'{"name":"t"}'

    @given(
        st.dictionaries(st.text(), st.recursive(st.none() | st.booleans() | st.text(), st.lists), max_size=5),
        st.dictionaries(st.text(), st.integers(), max_size=5),
    )
    def test_nothing_else_is_lost(self, members: dict[str, object], meta: dict[str, object]) -> None:
        given_ = {name: value for name, value in members.items() if name not in {"requestState", "inputResponses"}}
        params = {"name": "t", **{name: value for name, value in given_.items() if name not in {"name", "_meta"}}}
        found = _taken(_call(meta={**meta, **_meta()}, **params))
        assert orjson.loads(found.params) == {**params, **({"_meta": meta} if meta else {})}


class TestDigest:
    def test_arguments_count_however_they_are_written(self) -> None:
        one = _taken(_call(arguments={"a": 1, "b": [2]}))
        other = _taken(json.dumps(_call(arguments={"b": [2], "a": 1}), indent=1).encode())
        assert one.digest == other.digest

    def test_other_arguments_another_name_or_method_make_another_digest(self) -> None:
        digests = {
            _taken(_call()).digest,
            _taken(_call(arguments={"a": 1})).digest,
            _taken(_call(name="u"), _fields(name=b"u")).digest,
            _taken(_call("prompts/get"), _fields("prompts/get")).digest,
            _taken(_call("resources/read"), _fields("resources/read")).digest,
        }
        assert len(digests) == 5

    @pytest.mark.parametrize("arguments", [b"[1e999]", b'{"a":' * 300 + b"1" + b"}" * 300])
    def test_arguments_that_cannot_be_put_in_order_count_as_they_are_written(self, arguments: bytes) -> None:
        body = json.dumps(_call(arguments="HERE")).encode()
        found = _taken(body.replace(b'"HERE"', arguments))
        assert found.digest == _taken(body.replace(b'"HERE"', arguments)).digest
        assert found.params.endswith(arguments + b"}")


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (b"{", -32700),
            (b"\xff", -32700),
            (b"[]", -32600),
            (b'[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]', -32600),
            (b'{"jsonrpc":"2.0","id":1,"result":{}}', -32600),
            (b'{"jsonrpc":"2.0","id":null,"method":"tools/list"}', -32600),
        ],
    )
    def test_a_body_that_is_no_request_is_refused(self, body: bytes, code: int) -> None:
        assert _refused(body) == (400, code)

    @pytest.mark.parametrize(
        "meta",
        [
            {},
            [],
            "x",
            _meta(protocolVersion=...),
            _meta(clientCapabilities=...),
            _meta(clientCapabilities=[]),
            _meta(protocolVersion=3),
        ],
    )
    def test_an_envelope_that_is_not_whole_is_bad_parameters(self, meta: object) -> None:
        assert _refused(_call(meta=meta)) == (400, -32602)

    def test_a_request_without_parameters_has_no_envelope(self) -> None:
        bare = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        assert _refused(bare, _fields("tools/list")) == (400, -32602)
        assert _refused({**bare, "params": [1]}, _fields("tools/list")) == (400, -32602)

    @pytest.mark.parametrize(
        "fields",
        [
            _fields(MCP_Protocol_Version=None),
            _fields(MCP_Protocol_Version=b"2025-11-25"),
            _fields(Mcp_Method=None),
            _fields(Mcp_Method=b"Tools/Call"),
            _fields(name=None),
            _fields(name=b"T"),
            _fields(name=b"=?base64?!!?="),
            _fields(name=b"=?base64?/w==?="),
            {**_fields(), b"mcp-method": b"tools/call"},
            {**_fields(), b"mcp-name": b"t"},
            {**_fields(), b"mcp-protocol-version": JULY.encode()},
        ],
    )
    def test_headers_that_do_not_say_the_same_are_a_mismatch(self, fields: Fields) -> None:
        assert _refused(_call(), fields) == (400, -32020)

    def test_another_revision_is_named_with_those_there_are(self) -> None:
        meta = _meta(protocolVersion="2099-01-01")
        found = _read(_call(meta=meta), _fields(MCP_Protocol_Version=b"2099-01-01"))
        assert isinstance(found, Misfit)
        assert json.loads(found.message()) == {
            "jsonrpc": "2.0",
            "id": 7,
            "error": {
                "code": -32022,
                "message": "Unsupported protocol version",
                "data": {"supported": [JULY], "requested": "2099-01-01"},
            },
        }
        assert found.status == 400

    @pytest.mark.parametrize("method", ["initialize", "ping", "logging/setLevel", "resources/subscribe", "x"])
    def test_a_method_that_is_gone_or_unknown_is_not_found(self, method: str) -> None:
        assert _refused(_call(method), _fields(method)) == (404, -32601)

    @pytest.mark.parametrize(
        "params", [{"name": 3}, {"name": None}, {"requestState": 3}, {"requestState": "s", "inputResponses": []}]
    )
    def test_parameters_of_another_type_are_bad(self, params: Json) -> None:
        assert _refused(_call(**params)) == (400, -32602)

    @pytest.mark.parametrize("sent", [None, b"text/plain", b"application/json, text/plain"])
    def test_a_body_of_another_type_is_refused(self, sent: bytes | None) -> None:
        assert _refused(_call(), _fields(Content_Type=sent)) == (400, -32600)

    @pytest.mark.parametrize("accept", [None, b"application/json", b"text/event-stream", b"text/html"])
    def test_a_client_that_does_not_take_both_kinds_of_reply_is_refused(self, accept: bytes | None) -> None:
        assert _refused(_call(), _fields(Accept=accept)) == (406, -32600)

    @pytest.mark.parametrize("accept", [b"*/*", b"text/*;q=0.5, application/*", b"Application/JSON,text/event-stream"])
    def test_a_client_may_say_in_its_own_way_that_it_takes_both(self, accept: bytes) -> None:
        assert _taken(_call(), _fields(Accept=accept)).id == 7

    @example(json.dumps(_call()).encode(), b"t", b"tools/call")
    @given(st.binary(max_size=80), st.binary(max_size=20), st.binary(max_size=20))
    def test_nothing_a_client_sends_breaks_the_reader(self, body: bytes, name: bytes, method: bytes) -> None:
        found = _read(body, {**_fields(name=name), b"Mcp-Method": method})
        if isinstance(found, Misfit):
            assert json.loads(found.message())["error"]["code"] == found.code
