"""The MCP door where calls end in another way: answers, cancels, refusals, faults, and bodies beyond bounds."""

import asyncio
from pathlib import Path

import orjson
import pytest

from proxy.downstream import mcp_http
from tests.support.house import ON, fields, stand, until
from tests.support.mcp_stand import (
    META,
    PLAIN,
    RESPOND,
    REVISION,
    SEND,
    WAIT,
    McpStand,
    mcp_stand,
    message,
    result_of,
    told_by,
    tool,
)
from tests.support.raw_http import connect

SHORT: dict[str, object] = {"agent_id": "bob", "since_sequence": 5, "timeout_seconds": 5}
LONG = {**SHORT, "timeout_seconds": 30}
RED = {"colour": "red"}


def _accept(elicitation_id: str, **changes: object) -> bytes:
    return tool(RESPOND, {"elicitation_id": elicitation_id, "response_type": "accept", "data": RED, **changes})


def _send(elicitation_id: str, agent_id: str = "bob", **data: object) -> bytes:
    given = {"elicitation_id": elicitation_id, **(data or RED)}
    return tool(SEND, {"agent_id": agent_id, "event_type": "custom", "event_data": given})


async def _delivered(made: McpStand) -> tuple[str, str]:
    """A session in which bob has read a question; its id and the question's."""
    session_id, asked = await made.open(), await made.ask()
    assert asked in str(told_by(await made.post(tool(WAIT, SHORT), session_id)))
    return session_id, asked


@pytest.mark.requirement("mcp.answer")
class TestAnswer:
    async def test_the_respond_tool_brings_the_answer_to_the_bridge_once(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id, asked = await _delivered(made)
            for _ in range(2):
                told = told_by(await made.post(_accept(asked), session_id))
                assert told == {"status": "success", "message": f"Elicitation {asked} accepted"}
            assert await made.status(asked) == "accepted"
            assert made.stand.arrived("POST /elicitation/respond") == 1
            counted = [line["elicitations"] for line in made.house.lines[-2:]]
            assert counted == [["accepted"], ["duplicate"]]
            assert made.ends[-2:] == [("answered", 200)] * 2
            assert not made.server.got("tools/call")

    async def test_the_send_tool_tells_it_in_the_shape_of_a_stored_event(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id, asked = await _delivered(made)
            told = told_by(await made.post(_send(asked), session_id))
            assert (told["status"], told["elicitation_id"]) == ("stored", asked)
            assert await made.status(asked) == "accepted"

    @pytest.mark.requirement("mcp.answer.agent")
    async def test_a_client_that_opens_a_session_for_each_call_can_answer(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            _, asked = await _delivered(made)
            assert told_by(await made.post(_accept(asked), await made.open()))["status"] == "success"

    @pytest.mark.requirement("mcp.answer.agent")
    async def test_a_session_of_another_agent_cannot_answer(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            _, asked = await _delivered(made)
            eve = await made.open()
            await made.post(tool(WAIT, {"agent_id": "eve", "timeout_seconds": 0}), eve)
            told = told_by(await made.post(_accept(asked), eve), is_error=True)
            assert told["code"] == "answer_forbidden"
            assert await made.status(asked) == "pending"
            assert made.house.lines[-1]["elicitations"] == ["forbidden"]

    @pytest.mark.parametrize("tool_name", [RESPOND, SEND])
    async def test_what_the_agent_can_mend_is_an_error_of_the_tool(self, tmp_path: Path, tool_name: str) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id, asked = await _delivered(made)
            body = _accept(asked, data={"colour": 7}) if tool_name == RESPOND else _send(asked, colour=7)
            told = told_by(await made.post(body, session_id), is_error=True)
            assert (told["code"], told["path"]) == ("answer_invalid", "$.colour")
            assert await made.status(asked) == "pending"
            assert made.house.lines[-1]["elicitations"] == ["invalid"]
            assert made.ends[-1] == ("refused", 422)

    @pytest.mark.parametrize("tool_name", [RESPOND, SEND])
    async def test_an_answer_that_cannot_be_read_is_an_error_of_the_tool(self, tmp_path: Path, tool_name: str) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id, asked = await _delivered(made)
            body = (
                _accept(asked, response_type="maybe") if tool_name == RESPOND else _send(asked, response_type="maybe")
            )
            told = told_by(await made.post(body, session_id), is_error=True)
            assert told["code"] == "invalid_input"
            assert "response_type" in str(told["error"])
            assert not made.server.got("tools/call")
            unknown = await made.post(body, "unknown")
            assert unknown.status == 404

    async def test_a_bridge_that_does_not_take_it_is_an_error_of_the_request(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id, asked = await _delivered(made)
            await made.stand.bridge.set(fail_elicitation=True)
            heard = await made.post(_accept(asked), session_id)
            error = fields(heard.json["error"])
            assert (heard.status, error["code"]) == (200, 1502)
            assert fields(error["data"])["code"] == "answer_undelivered"
            assert heard.headers["Retry-After"] == "1"
            assert made.house.lines[-1]["elicitations"] == ["undelivered"]


@pytest.mark.requirement("mcp.cancel")
class TestCancel:
    @pytest.mark.parametrize(("arguments", "status"), [(LONG, 200), (SHORT, 202)])
    async def test_a_cancelled_wait_ends_without_an_answer(
        self, tmp_path: Path, arguments: dict[str, object], status: int
    ) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id = await made.open()
            task = await made.parked(tool(WAIT, arguments, "w1"), session_id)
            heard = await made.post(message("notifications/cancelled", {"requestId": "w1"}), session_id)
            assert (heard.status, heard.body) == (202, b"")
            ended = await task
            assert (ended.status, ended.body) == (status, b"")
            await made.house.until_parked(0)
            assert sorted(made.ends[1:]) == [("gone", 202), ("relayed", 202)]
            assert not made.server.got("notifications/cancelled")
            again = await made.parked(tool(WAIT, arguments, "w1"), session_id)
            asked = await made.ask()
            assert asked in str(told_by(await again, "w1"))

    async def test_what_does_not_wait_here_is_the_servers_to_cancel(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            mine, other = await made.open(), await made.open()
            task = await made.parked(tool(WAIT, LONG, 1), mine)
            for session_id, request_id in ((mine, 2), (mine, "1"), (other, 1)):
                body = message("notifications/cancelled", {"requestId": request_id})
                assert (await made.post(body, session_id)).status == 202
                assert made.server.received[-1].body == body
            assert not task.done()
            made.stand.clock.advance(30)
            assert told_by(await task, 1)["status"] == "timeout"

    async def test_without_sessions_nobody_cancels_the_wait_of_another(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            made.server.gives_sessions = False
            tasks = [await made.parked(tool(WAIT, LONG, 1)) for _ in range(2)]
            await made.post(message("notifications/cancelled", {"requestId": 1}))
            assert made.server.got("notifications/cancelled")
            made.stand.clock.advance(30)
            assert [told_by(await task, 1)["status"] for task in tasks] == ["timeout", "timeout"]

    async def test_of_two_waits_under_one_id_the_later_is_cancelled_and_the_earlier_goes_on(
        self, tmp_path: Path
    ) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id = await made.open()
            first = await made.parked(tool(WAIT, {**LONG, "timeout_seconds": 11}, 1), session_id)
            second = await made.parked(tool(WAIT, LONG, 1), session_id)
            made.stand.clock.advance(11)
            assert told_by(await first, 1)["status"] == "timeout"
            await made.post(message("notifications/cancelled", {"requestId": 1}), session_id)
            assert (await second).body == b""


@pytest.mark.requirement("mcp.errors")
class TestErrors:
    @pytest.mark.parametrize(
        ("body", "request_id"),
        [
            (tool("echo", {}), 7),
            (tool(WAIT, {}, "x"), "x"),
            (message("initialize", {}, id=0), 0),
            (message("tools/list", id="t1"), "t1"),
        ],
    )
    async def test_a_server_that_is_down_is_told_in_a_reply_to_the_request(
        self, tmp_path: Path, body: bytes, request_id: object
    ) -> None:
        async with mcp_stand(tmp_path, {"bridge.mcp_url": "http://127.0.0.1:9"}) as made:
            heard = await made.post(body, "s1")
            assert (heard.status, heard.json["id"]) == (200, request_id)
            error = fields(heard.json["error"])
            assert error["code"] == 1502
            assert fields(error["data"]) == {"code": "bridge_unavailable", "retryable": True}
            assert made.ends == [("failed", 502)]

    @pytest.mark.parametrize(
        "body",
        [
            message("notifications/initialized"),
            b'[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]',
            b'{"jsonrpc":"2.0","id":1,"result":{}}',
            b'{"jsonrpc":"2.0","id":null,"method":"tools/list"}',
            b"{",
        ],
    )
    async def test_what_has_no_reply_hears_it_as_a_status(self, tmp_path: Path, body: bytes) -> None:
        async with mcp_stand(tmp_path, {"bridge.mcp_url": "http://127.0.0.1:9"}) as made:
            heard = await made.post(body, "s1")
            assert (heard.status, heard.problem["code"]) == (502, "bridge_unavailable")
            heard = await made.house.call("GET", "/mcp")
            assert heard.status == 502
            assert made.ends == [("failed", 502)] * 2

    @pytest.mark.requirement("door.removed")
    @pytest.mark.parametrize("arguments", [SHORT, LONG, {**SHORT, "timeout_seconds": 0}])
    async def test_a_removed_wait_is_an_error_of_the_tool_with_the_link_of_the_guide(
        self, tmp_path: Path, arguments: dict[str, object]
    ) -> None:
        guide = "https://guide.example/move"
        async with mcp_stand(tmp_path, {"legacy.guide_url": guide}) as made:
            session_id = await made.open()
            await made.house.flags(legacy_support=False)
            told = told_by(await made.post(tool(WAIT, arguments), session_id), is_error=True)
            assert (told["code"], told["guide"]) == ("legacy_removed", guide)
            assert f"{WAIT} was removed" in str(told["error"])
            assert guide in str(told["error"])
            assert made.ends[-1] == ("refused", 410)
            line = made.house.lines[-1]
            assert (line["route"], line["reason"]) == ("removed", "removed")
            assert not made.server.got("tools/call")

    @pytest.mark.parametrize("arguments", [SHORT, LONG])
    async def test_as_many_waits_as_may_be_parked_are_told_with_a_time_to_retry(
        self, tmp_path: Path, arguments: dict[str, object]
    ) -> None:
        async with mcp_stand(tmp_path, {"wait.max_parked": "1"}) as made:
            session_id = await made.open()
            parked = await made.parked(tool(WAIT, LONG, 1), session_id)
            heard = await made.post(tool(WAIT, arguments), session_id)
            body = heard.body.partition(b"data: ")[2] or heard.body
            error = fields(fields(orjson.loads(body))["error"])
            assert (heard.status, error["code"]) == (200, 1503)
            assert fields(error["data"])["retryAfterMs"] == 1000
            assert made.ends[-1] == ("failed", 503)
            made.stand.clock.advance(30)
            assert (await parked).status == 200

    async def test_a_page_of_a_foreign_site_is_refused_at_the_door(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
                heard = await made.post(tool(WAIT, SHORT), **headers)
                assert (heard.status, heard.problem["code"]) == (403, "host_refused")
            assert not made.server.received
            assert made.ends == [("refused", 403)] * 2


@pytest.mark.requirement("mcp.relayed")
class TestBodies:
    async def test_a_long_message_is_passed_on_unread_while_elicitation_is_off(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mcp_http, "MAX_BODY_BYTES", 1000)
        async with mcp_stand(tmp_path) as made:
            await made.house.flags(elicitation_enabled=False)
            body = tool(WAIT, {**SHORT, "metadata": "x" * 1000})
            await made.post(body, await made.open())
            assert made.server.received[-1].body == body

    async def test_a_message_too_long_to_be_looked_at_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mcp_http, "MAX_BODY_BYTES", 1000)
        async with mcp_stand(tmp_path) as made:
            heard = await made.post(tool(RESPOND, {**SHORT, "metadata": "x" * 1000}))
            assert (heard.status, heard.problem["code"]) == (413, "body_too_large")
            assert not made.server.received

    async def test_five_mebibytes_are_looked_at(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id, asked = await made.open(), await made.ask()
            body = tool(WAIT, {**SHORT, "metadata": "x" * 5 * 1024 * 1024})
            assert asked in str(told_by(await made.post(body, session_id)))

    async def test_chunks_without_end_are_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mcp_http, "MAX_BODY_BYTES", 1000)
        async with mcp_stand(tmp_path) as made, asyncio.timeout(5), connect(made.house.port) as wire:
            await wire.send(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
            await wire.send(b"3e9\r\n" + b"x" * 1001 + b"\r\n")
            head, _ = await wire.reply_head()
            assert head.start.split(b" ")[1] == b"413"
            await until(lambda: made.ends == [("refused", 413)])

    async def test_chunks_are_read_as_one_message(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made, asyncio.timeout(5):
            session_id, asked = await made.open(), await made.ask()
            body = tool(WAIT, SHORT)
            async with connect(made.house.port) as wire:
                lines = "".join(f"{name}: {value}\r\n" for name, value in PLAIN.items())
                head = f"POST /mcp HTTP/1.1\r\nHost: localhost\r\n{lines}Mcp-Session-Id: {session_id}\r\n"
                await wire.send(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
                for part in (body[:10], body[10:]):
                    await wire.send(b"%x\r\n%b\r\n" % (len(part), part))
                await wire.send(b"0\r\n\r\n")
                reply = await wire.reply()
            assert asked.encode() in reply.body


@pytest.mark.requirement("mcp.tokens")
class TestTokens:
    async def test_a_token_for_another_server_never_reaches_the_bridge(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id, asked = await made.open(), await made.ask()
            token = {"Authorization": "Bearer for-the-mcp-server"}
            assert asked in str(told_by(await made.post(tool(WAIT, SHORT), session_id, **token)))
            assert told_by(await made.post(_accept(asked), session_id, **token))["status"] == "success"
            assert (await made.post(message("tools/list", id=1), session_id, **token)).status == 200
            assert made.server.received[-1].headers["Authorization"] == token["Authorization"]

    async def test_where_the_bridge_itself_serves_mcp_its_token_is_used_and_no_session_opened(
        self, tmp_path: Path
    ) -> None:
        async with stand(tmp_path, flags=ON) as made:
            bob, alice = await made.bridge.token("bob"), await made.bridge.token("alice")
            asked = str((await made.ask(alice))["elicitation_id"])
            opened = made.arrived("POST /session/create")
            for name, arguments in (
                (WAIT, SHORT),
                (RESPOND, {"elicitation_id": asked, "response_type": "accept", "data": RED}),
            ):
                heard = await made.house.call(
                    "POST",
                    "/mcp",
                    token=bob,
                    raw=tool(name, arguments, _meta=dict(META)),
                    headers={
                        **PLAIN,
                        "MCP-Protocol-Version": REVISION,
                        "Mcp-Method": "tools/call",
                        "Mcp-Name": name,
                    },
                )
                assert result_of(heard)["isError"] is False
            assert await made.status(alice, asked) == "accepted"
            assert made.arrived("POST /session/create") == opened

    @pytest.mark.requirement("mcp.one_session")
    async def test_waits_at_once_share_one_session_at_the_bridge(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id = await made.open()
            tasks = [made.begin(tool(WAIT, LONG, number), session_id) for number in range(5)]
            await made.house.until_parked(5)
            assert made.stand.arrived("POST /session/create") == 1
            made.stand.clock.advance(30)
            assert [told_by(await task, number)["status"] for number, task in enumerate(tasks)] == ["timeout"] * 5
