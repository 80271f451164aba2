"""What the words of a handshake server become for a client of the envelope era."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import AgentFault, BadBridgeReply, BridgeTimeout, InvalidInput, InvalidState, SidecarError
from proxy.mcp.ask import UrlQuestion
from proxy.mcp.downward import (
    CACHEABLE,
    ToolsPage,
    acknowledged,
    discovered,
    dressed,
    fault_reply,
    links_of,
    note_for,
    read_tools_page,
    reply_of,
    server_info,
    subscription_over,
)
from proxy.mcp.jsonrpc import Response, error_message, notification_message, parse, result_message

pytestmark = pytest.mark.requirement("eras.down.words")

INFO = {"name": "old", "version": "1"}
LINK = {"mode": "url", "url": "https://example.org/a", "message": "Open it.", "elicitationId": "e1"}


def _result(raw: bytes) -> Response:
    found = parse(result_message(1, raw))
    assert isinstance(found, Response)
    return found


def _error(code: int, data: object = None) -> Response:
    found = parse(error_message(1, code, "said so", data))
    assert isinstance(found, Response)
    return found


class TestDiscovery:
    def test_it_says_what_initialize_said_in_the_words_of_the_era(self) -> None:
        initialized = {
            "protocolVersion": "2025-11-25",
            "capabilities": {
                "tools": {"listChanged": True},
                "resources": {"subscribe": True, "listChanged": True, "x": 1},
                "prompts": {},
                "logging": {},
                "completions": {},
                "tasks": {"list": {}},
                "experimental": {"a": {}},
            },
            "serverInfo": INFO,
            "instructions": "Ask.",
        }
        assert json.loads(discovered(json.dumps(initialized).encode())) == {
            "resultType": "complete",
            "supportedVersions": ["2026-07-28"],
            "capabilities": {
                "tools": {},
                "resources": {"x": 1},
                "prompts": {},
                "logging": {},
                "completions": {},
                "experimental": {"a": {}},
            },
            "instructions": "Ask.",
            "ttlMs": 0,
            "cacheScope": "private",
            "_meta": {"io.modelcontextprotocol/serverInfo": INFO},
        }

    def test_a_server_that_says_little_is_described_all_the_same(self) -> None:
        said = json.loads(discovered(b"{}"))
        assert said["capabilities"] == {}
        assert said["_meta"] == {"io.modelcontextprotocol/serverInfo": {"name": "unknown", "version": ""}}
        assert "instructions" not in said

    def test_capabilities_of_another_type_stay_as_they_are(self) -> None:
        assert json.loads(discovered(b'{"capabilities":{"tools":true}}'))["capabilities"] == {"tools": True}

    @pytest.mark.parametrize("raw", [b"[]", b"{", b'{"capabilities":3}', b'{"capabilities":{"tools":{"a":1,"a":2}}}'])
    def test_what_cannot_be_read_is_the_servers_fault(self, raw: bytes) -> None:
        with pytest.raises(BadBridgeReply):
            discovered(raw)

    @pytest.mark.parametrize("raw", [b"[]", b"{}", b'{"serverInfo":"old"}'])
    def test_a_server_without_a_name_is_unknown(self, raw: bytes) -> None:
        assert json.loads(server_info(raw)) == {"name": "unknown", "version": ""}


class TestResults:
    def test_a_result_is_complete_and_keeps_its_bytes(self) -> None:
        raw = b' { "content" : [ ], "n":1.0 }'
        assert dressed("tools/call", raw) == b'{"resultType":"complete", "content" : [ ], "n":1.0 }'

    @pytest.mark.parametrize("method", sorted(CACHEABLE))
    def test_what_could_be_cached_says_that_it_must_not_be(self, method: str) -> None:
        assert dressed(method, b"{}") == b'{"resultType":"complete","ttlMs":0,"cacheScope":"private"}'

    @pytest.mark.parametrize("method", ["tools/call", "prompts/get", "completion/complete"])
    def test_nothing_else_has_cache_hints(self, method: str) -> None:
        assert dressed(method, b"{}") == b'{"resultType":"complete"}'

    def test_members_of_the_same_name_are_replaced(self) -> None:
        assert dressed("tools/list", b'{"tools":[ ],"ttlMs":9,"resultType":"x"}') == (
            b'{"resultType":"complete","ttlMs":0,"cacheScope":"private","tools":[ ]}'
        )

    @given(
        result=st.dictionaries(st.text(), st.recursive(st.none() | st.text(), st.lists), max_size=5),
        is_list=st.booleans(),
    )
    def test_every_result_says_what_it_said(self, *, result: dict[str, object], is_list: bool) -> None:
        added = {"resultType": "complete", **({"ttlMs": 0, "cacheScope": "private"} if is_list else {})}
        found = dressed("tools/list" if is_list else "tools/call", json.dumps(result, indent=1).encode())
        assert orjson.loads(found) == {**result, **added}

    @pytest.mark.parametrize("raw", [b"[]", b"null", b'"x"'])
    def test_a_result_that_is_no_object_is_the_servers_fault(self, raw: bytes) -> None:
        with pytest.raises(BadBridgeReply):
            reply_of("tools/call", 1, _result(raw))

    def test_the_reply_has_the_id_of_the_client(self) -> None:
        status, message = reply_of("tools/call", "mine", _result(b"{}"))
        assert (status, json.loads(message)) == (
            200,
            {"jsonrpc": "2.0", "id": "mine", "result": {"resultType": "complete"}},
        )


class TestErrors:
    @pytest.mark.parametrize(
        ("code", "status", "told"),
        [
            (-32700, 400, -32700),
            (-32600, 400, -32600),
            (-32602, 400, -32602),
            (-32601, 404, -32601),
            (-32603, 200, -32603),
            (-32002, 400, -32602),
            (-32001, 200, -32001),
            (-32020, 200, -32603),
            (-32021, 200, -32603),
            (-32022, 200, -32603),
            (-32099, 200, -32603),
            (-32100, 200, -32100),
            (-32042, 200, -32603),
            (5, 200, 5),
        ],
    )
    def test_each_code_has_its_status_and_none_means_what_it_did_not(self, code: int, status: int, told: int) -> None:
        found, message = reply_of("resources/read", 1, _error(code, {"a": 1}))
        assert (found, json.loads(message)["error"]) == (
            status,
            {"code": told, "message": "said so", "data": {"a": 1}},
        )

    def test_links_for_a_client_that_opens_none_are_a_capability_it_lacks(self) -> None:
        status, message = reply_of("tools/call", 1, _error(-32042, {"elicitations": [LINK]}))
        assert (status, json.loads(message)["error"]["code"]) == (400, -32021)
        assert json.loads(message)["error"]["data"] == {"requiredCapabilities": {"elicitation": {"url": {}}}}

    def test_an_error_that_cannot_be_read_is_the_servers_fault(self) -> None:
        with pytest.raises(BadBridgeReply):
            reply_of("tools/call", 1, Response(id=1, result=None, error=b'{"code":"x"}', raw=b""))

    @pytest.mark.parametrize(
        ("fault", "status", "error"),
        [
            (
                InvalidState(),
                400,
                {
                    "code": -32602,
                    "message": "Invalid or expired requestState",
                    "data": {"reason": "invalid_request_state"},
                },
            ),
            (InvalidInput("no"), 400, {"code": -32602, "message": "no"}),
            (
                AgentFault("no"),
                200,
                {"code": 1400, "message": "no", "data": {"code": "bad_request", "retryable": False}},
            ),
            (
                BridgeTimeout("late"),
                200,
                {"code": 1504, "message": "late", "data": {"code": "bridge_timeout", "retryable": True}},
            ),
        ],
    )
    def test_an_error_of_ours_is_told_as_the_era_has_it(
        self, fault: SidecarError, status: int, error: dict[str, object]
    ) -> None:
        found, message = fault_reply(3, fault)
        assert (found, json.loads(message)) == (status, {"jsonrpc": "2.0", "id": 3, "error": error})


class TestLinks:
    def test_the_links_that_a_server_wants_opened_are_questions(self) -> None:
        assert links_of(_error(-32042, {"elicitations": [LINK, {"url": "https://example.org/b"}]})) == [
            UrlQuestion("Open it.", "https://example.org/a", "e1"),
            UrlQuestion("", "https://example.org/b", ""),
        ]

    @pytest.mark.parametrize(
        "response",
        [
            _result(b"{}"),
            _error(-32602, {"elicitations": [LINK]}),
            _error(-32042),
            _error(-32042, {"elicitations": [{"message": "x"}]}),
            _error(-32042, {"elicitations": LINK}),
            Response(id=1, result=None, error=b"[]", raw=b""),
        ],
    )
    def test_everything_else_has_no_links(self, response: Response) -> None:
        assert links_of(response) == []


class TestNotifications:
    def _note(self, what: str, **params: object) -> bytes:
        return notification_message(f"notifications/{what}", params)

    def test_progress_comes_under_the_token_of_the_round_that_is_served(self) -> None:
        note = self._note("progress", progressToken=1, progress=0.5)
        assert note_for(note, progress_token=b"1", log_level="") == note
        shown = note_for(note, progress_token=b'"b"', log_level="")
        assert shown is not None
        assert json.loads(shown)["params"] == {"progressToken": "b", "progress": 0.5}
        assert note_for(note, progress_token=None, log_level="") is None

    @pytest.mark.parametrize(("wanted", "is_shown"), [("", False), ("info", True), ("warning", True), ("error", False)])
    def test_log_lines_come_from_the_severity_that_was_asked_for(self, wanted: str, *, is_shown: bool) -> None:
        note = self._note("message", level="warning", data="x")
        assert (note_for(note, progress_token=None, log_level=wanted) == note) is is_shown

    @pytest.mark.parametrize(
        "note",
        [
            b"{",
            b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}',
            b'{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"e"}}',
            b'{"jsonrpc":"2.0","method":"notifications/progress","params":[]}',
            b'{"jsonrpc":"2.0","method":"notifications/message"}',
            b'{"jsonrpc":"2.0","method":"notifications/message","params":[]}',
            b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"loud"}}',
            b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":[]}}',
            b'{"jsonrpc":"2.0","id":1,"method":"notifications/message","params":{"level":"error"}}',
        ],
    )
    def test_nothing_else_is_shown(self, note: bytes) -> None:
        assert note_for(note, progress_token=b"1", log_level="debug") is None

    def test_a_subscription_to_nothing_begins_and_ends_under_its_id(self) -> None:
        meta = {"io.modelcontextprotocol/subscriptionId": "s"}
        assert json.loads(acknowledged("s")) == {
            "jsonrpc": "2.0",
            "method": "notifications/subscriptions/acknowledged",
            "params": {"notifications": {}, "_meta": meta},
        }
        assert json.loads(subscription_over("s")) == {
            "jsonrpc": "2.0",
            "id": "s",
            "result": {"resultType": "complete", "_meta": meta},
        }


class TestToolsPage:
    @pytest.mark.parametrize(
        ("annotations", "is_repeatable"),
        [
            ({}, False),
            (None, False),
            ({"readOnlyHint": True}, True),
            ({"idempotentHint": True, "title": "x"}, True),
            ({"readOnlyHint": False, "idempotentHint": False}, False),
        ],
    )
    def test_a_tool_may_be_called_twice_where_it_says_so(self, annotations: object, *, is_repeatable: bool) -> None:
        tools = [{"name": "u"}, {"name": "t", "annotations": annotations}]
        assert read_tools_page(json.dumps({"tools": tools}).encode(), "t") == ToolsPage(is_repeatable, None)

    def test_a_tool_that_is_not_on_the_page_may_be_on_the_next(self) -> None:
        assert read_tools_page(b'{"tools":[],"nextCursor":"c"}', "t") == ToolsPage(None, "c")
        assert read_tools_page(b'{"tools":[]}', "t") == ToolsPage(None, None)

    @pytest.mark.parametrize("raw", [b"{", b"null", b"{}", b'{"tools":[{}]}'])
    def test_what_is_no_list_is_the_servers_fault(self, raw: bytes) -> None:
        with pytest.raises(BadBridgeReply):
            read_tools_page(raw, "t")
