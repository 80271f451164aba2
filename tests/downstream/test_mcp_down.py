"""The MCP door for clients of the newest revision before an older server."""

import json
from collections.abc import Mapping

import pytest

from proxy.core.errors import BridgeUnavailable
from proxy.core.outcome import Result
from proxy.mcp.calling import OnAsk, OnNote, Outgoing
from proxy.mcp.jsonrpc import Response
from tests.support.down_stand import (
    PREFIX,
    REVISION,
    DownStand,
    Said,
    Script,
    ask,
    asks,
    down_stand,
    envelope,
    failed,
    mirrored,
    response,
    rpc,
    tool,
)
from tests.support.manual_clock import ManualClock

pytestmark = pytest.mark.requirement("eras.down.door")

FORM_CLIENT: Mapping[str, object] = {"form": {}}
ACCEPT = {"action": "accept", "content": {"name": "ann"}}


def _clock(made: DownStand) -> ManualClock:
    assert isinstance(made.clock, ManualClock)
    return made.clock


def _retry(asked: Said, answer: object = ACCEPT, *, arguments: object = None) -> dict[str, object]:
    answers = dict.fromkeys(asked.part("inputRequests"), answer)
    state = asked.result["requestState"]
    return tool(FORM_CLIENT, inputResponses=answers, requestState=state, arguments=arguments or {})


class TestRequests:
    async def test_the_server_is_described_in_the_words_of_the_era(self) -> None:
        async with down_stand() as made:
            said = await made.say(rpc("server/discover", request_id="d"))
            assert (said.status, said.messages[0]["id"]) == (200, "d")
            assert said.result == {
                "resultType": "complete",
                "supportedVersions": [REVISION],
                "capabilities": {"tools": {}},
                "instructions": "Ask.",
                "_meta": {f"{PREFIX}serverInfo": {"name": "old", "version": "1"}},
                "ttlMs": 0,
                "cacheScope": "private",
            }

    @pytest.mark.parametrize(
        ("method", "params", "has_hints"),
        [
            ("tools/list", {"cursor": "c"}, True),
            ("prompts/list", {}, True),
            ("resources/list", {}, True),
            ("resources/templates/list", {}, True),
            ("resources/read", {"uri": "test://x"}, True),
            ("prompts/get", {"name": "p", "arguments": {"a": "b"}}, False),
            ("completion/complete", {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {}}, False),
            ("tools/call", {"name": "t", "arguments": {"a": 1}}, False),
        ],
    )
    async def test_every_request_goes_to_the_server_without_its_envelope(
        self, method: str, params: dict[str, object], *, has_hints: bool
    ) -> None:
        async with down_stand() as made:
            made.server.script = _says(b'{"x":[ 1.0 ]}')
            said = await made.say(rpc(method, {**params, "_meta": {**envelope(), "progressToken": 3}}))
            (call,) = made.server.calls
            assert (call.method, json.loads(call.params)) == (method, {**params, "_meta": {"progressToken": 3}})
            hints = {"ttlMs": 0, "cacheScope": "private"} if has_hints else {}
            assert said.result == {"resultType": "complete", **hints, "x": [1.0]}
            assert said.body.endswith(b'"x":[ 1.0 ]}}')

    async def test_the_server_hears_for_whom_it_is(self) -> None:
        async with down_stand() as made:
            headers = {"Authorization": "Bearer a", "traceparent": "00-1", "Mcp-Param-X": "1", "Mcp-Session-Id": "s"}
            await made.say(tool({"url": {}}), headers)
            await made.say(tool(), {"Authorization": "Bearer b"})
            await made.say(tool())
            first, second, third = made.server.calls
            assert (first.headers["authorization"], first.headers["traceparent"]) == ("Bearer a", "00-1")
            assert not [name for name in first.headers if name.lower().startswith("mcp-")]
            assert first.client_name == "t"
            assert [sorted(call.modes) for call in (first, second)] == [["url"], []]
            assert len({first.principal, second.principal, third.principal}) == 3
            assert (third.principal, "Bearer" in first.principal) == ("", False)

    @pytest.mark.parametrize(
        ("code", "status", "told"), [(-32601, 404, -32601), (-32002, 400, -32602), (-32603, 200, -32603), (7, 200, 7)]
    )
    async def test_an_error_of_the_server_has_the_status_of_the_era(self, code: int, status: int, told: int) -> None:
        async with down_stand() as made:
            made.server.script = _fails(code)
            said = await made.say(rpc("resources/read", {"uri": "test://x"}))
            assert (said.status, said.error["code"]) == (status, told)
            assert made.recorder.outcomes[0].status == status

    async def test_a_server_that_cannot_be_reached_is_no_bare_status(self) -> None:
        async with down_stand() as made:
            made.server.described = BridgeUnavailable("down", retry_after_s=2.2)
            said = await made.say(rpc("server/discover"))
            assert (said.status, said.error["code"], said.headers["Retry-After"]) == (200, 1502, "3")
            (outcome,) = made.recorder.outcomes
            assert (outcome.result, outcome.error_code) == (Result.FAILED, "bridge_unavailable")

    async def test_a_result_that_cannot_be_read_is_the_servers_fault(self) -> None:
        async with down_stand() as made:
            made.server.script = _says(b"[]")
            assert (await made.say(tool())).error["code"] == 1502

    async def test_a_call_that_is_served_leaves_one_outcome(self) -> None:
        async with down_stand() as made:
            await made.say(tool())
            (outcome,) = made.recorder.outcomes
            assert (outcome.result, outcome.status, outcome.error_code) == (Result.RELAYED, 200, "")


def _says(raw: bytes) -> Script:
    async def script(_call: Outgoing, _ask: OnAsk, _note: OnNote) -> Response:
        return response(raw)

    return script


def _fails(code: int) -> Script:
    async def script(_call: Outgoing, _ask: OnAsk, _note: OnNote) -> Response:
        return failed(code)

    return script


class TestRefusals:
    @pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
    async def test_there_is_nothing_but_posts(self, method: str) -> None:
        async with down_stand() as made, made.http.request(method, made.url) as reply:
            assert (reply.status, reply.headers["Allow"], await reply.read()) == (405, "POST", b"")

    @pytest.mark.parametrize(
        ("message", "changes", "status", "code"),
        [
            (b"{", {"Content-Type": "application/json", "Accept": "*/*"}, 400, -32700),
            (rpc("tools/list"), {"Mcp-Method": "tools/call"}, 400, -32020),
            (rpc("tools/list"), {"MCP-Protocol-Version": None}, 400, -32020),
            (rpc("tools/list", {"_meta": {}}), {}, 400, -32602),
            (rpc("initialize"), {}, 404, -32601),
            (rpc("ping"), {}, 404, -32601),
            (
                rpc("tools/list", {"_meta": {**envelope(), f"{PREFIX}protocolVersion": "2099-01-01"}}),
                {"MCP-Protocol-Version": "2099-01-01"},
                400,
                -32022,
            ),
            (tool(requestState="x"), {}, 400, -32602),
            (rpc("tools/list"), {"Accept": "application/json"}, 406, -32600),
        ],
    )
    async def test_what_is_not_in_order_is_refused_before_the_server_hears_of_it(
        self, *, message: dict[str, object] | bytes, changes: dict[str, str | None], status: int, code: int
    ) -> None:
        async with down_stand() as made:
            said = await made.say(message, changes)
            assert (said.status, said.error["code"]) == (status, code)
            assert said.headers["Content-Type"].startswith("application/json")
            assert made.server.calls == []
            (outcome,) = made.recorder.outcomes
            assert (outcome.result, outcome.status) == (Result.REFUSED, status)

    async def test_a_notification_is_accepted_and_goes_nowhere(self) -> None:
        async with down_stand() as made:
            note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
            async with made.send(note) as reply:
                assert (reply.status, await reply.read()) == (202, b"")
            assert made.server.calls == []

    async def test_a_body_beyond_the_bound_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("proxy.downstream.mcp_down.MAX_BODY_BYTES", 100)
        async with down_stand() as made, made.send(tool()) as reply:
            assert reply.status == 413


class TestQuestions:
    async def test_a_question_of_the_server_is_a_result_that_asks(self) -> None:
        async with down_stand() as made:
            made.server.script = asks(ask("1"), ask("2", "And yours?"))
            first = await made.say(tool(FORM_CLIENT))
            assert (first.status, first.result["resultType"]) == (200, "input_required")
            assert first.result["_meta"] == {f"{PREFIX}serverInfo": {"name": "old", "version": "1"}}
            assert "ttlMs" not in first.result
            second = await made.say(_retry(first))
            assert list(second.part("inputRequests")) == ["2"]
            last = await made.say(_retry(second, {"action": "decline"}))
            assert last.text == "accept:ann,decline:"
            assert len(made.server.calls) == 1

    async def test_a_server_that_cannot_be_described_now_asks_all_the_same(self) -> None:
        async with down_stand() as made:
            made.server.script = asks(ask())
            made.server.described = BridgeUnavailable("down")
            said = await made.say(tool(FORM_CLIENT))
            assert said.result["_meta"] == {f"{PREFIX}serverInfo": {"name": "unknown", "version": ""}}
            assert (await made.say(_retry(said))).text == "accept:ann"

    async def test_a_state_that_is_worth_nothing_is_told_as_all_sdks_tell_it(self) -> None:
        async with down_stand() as made:
            made.server.script = asks(ask())
            first = await made.say(tool(FORM_CLIENT))
            await made.say(_retry(first))
            for bad in (_retry(first, {"action": "cancel"}), _retry(first, arguments={"a": 1})):
                said = await made.say(bad)
                assert (said.status, said.error) == (
                    400,
                    {
                        "code": -32602,
                        "message": "Invalid or expired requestState",
                        "data": {"reason": "invalid_request_state"},
                    },
                )

    async def test_a_state_is_worth_nothing_to_another_principal(self) -> None:
        async with down_stand() as made:
            made.server.script = asks(ask())
            first = await made.say(tool(FORM_CLIENT), {"Authorization": "Bearer a"})
            assert (await made.say(_retry(first), {"Authorization": "Bearer b"})).status == 400
            assert (await made.say(_retry(first), {"Authorization": "Bearer a"})).text == "accept:ann"

    async def test_an_answer_that_cannot_be_read_is_bad_parameters(self) -> None:
        async with down_stand() as made:
            made.server.script = asks(ask())
            first = await made.say(tool(FORM_CLIENT))
            said = await made.say(_retry(first, {"action": "maybe"}))
            assert (said.status, said.error["code"]) == (400, -32602)

    async def test_too_many_calls_that_wait_are_no_bare_status(self) -> None:
        async with down_stand() as made:
            made.server.script = asks(ask())
            for _ in range(2):
                await made.say(tool(FORM_CLIENT))
            said = await made.say(tool(FORM_CLIENT))
            assert (said.status, said.error["code"]) == (200, 1503)

    async def test_whether_a_retry_is_ours_can_be_told(self) -> None:
        async with down_stand() as made:
            made.server.script = asks(ask())
            first = await made.say(tool(FORM_CLIENT))
            for message, is_ours in (
                (_retry(first), True),
                (_retry(first, arguments={"a": 1}), False),
                (tool(FORM_CLIENT), False),
                (tool(FORM_CLIENT, requestState="x"), False),
                (b"{", False),
            ):
                body = message if isinstance(message, bytes) else json.dumps(message).encode()
                headers = {} if isinstance(message, bytes) else mirrored(message)
                request = _Request(headers)
                assert await made.door.is_retry_of_ours(request, body) is is_ours  # type: ignore[arg-type]  # only its headers are looked at


class _Request:
    """A request as far as its headers."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self.raw_headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    def get(self, key: object, default: object = None) -> object:
        """Nothing was left on it."""
        del key
        return default
