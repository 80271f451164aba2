"""The MCP door: which calls are served here, which are the server's, and how their sessions are known."""

import asyncio
from pathlib import Path

import pytest

from tests.support.house import OFF, fields, objects, until
from tests.support.mcp_stand import (
    META,
    PLAIN,
    RESPOND,
    SEND,
    TOOLS,
    WAIT,
    mcp_stand,
    message,
    result_of,
    told_by,
    tool,
)
from tests.support.raw_http import connect

BOB: dict[str, object] = {"agent_id": "bob", "since_sequence": 5}
SHORT = {**BOB, "timeout_seconds": 5}
LONG = {**BOB, "timeout_seconds": 30}
OF_THE_SERVER = "of the server"


def _is_servers(body: bytes) -> bool:
    return OF_THE_SERVER.encode() in body


@pytest.mark.requirement("mcp.wait")
class TestWait:
    async def test_a_short_wait_is_answered_as_json(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id = await made.open()
            task = await made.parked(tool(WAIT, SHORT), session_id)
            asked = await made.ask()
            heard = await task
            assert heard.headers["Content-Type"].startswith("application/json")
            assert heard.headers["Mcp-Session-Id"] == session_id
            told = told_by(heard)
            (item,) = objects(told["events"])
            assert (item["event_type"], fields(item["data"])["elicitation_id"]) == ("elicitation_request", asked)
            assert "resultType" not in result_of(heard)
            assert result_of(heard)["structuredContent"] == {
                "result": fields(objects(result_of(heard)["content"])[0])["text"]
            }
            assert not made.server.got("tools/call")
            assert not made.server.got("ping")

    async def test_a_long_wait_is_answered_on_a_stream_that_is_kept_alive(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id = await made.open()
            task = await made.parked(tool(WAIT, {**BOB, "timeout_seconds": 60}, "a"), session_id)
            for _ in range(3):
                made.stand.clock.advance(15)
                await asyncio.sleep(0)
            asked = await made.ask()
            heard = await task
            assert heard.headers["Content-Type"] == "text/event-stream"
            assert heard.headers["Cache-Control"] == "no-cache, no-transform"
            assert heard.headers["X-Accel-Buffering"] == "no"
            assert heard.headers["Mcp-Session-Id"] == session_id
            comments, event = heard.body[: 3 * len(b": waiting\n\n")], heard.body[3 * len(b": waiting\n\n") :]
            assert comments == b": waiting\n\n" * 3
            assert event.startswith(b"event: message\ndata: {")
            assert asked in str(told_by(heard, "a"))

    @pytest.mark.parametrize(
        ("agent", "asked_s", "held_s", "told_s"),
        [("node", 300, 55, 55), ("", 300, 55, 55), ("python-httpx/0.28", 300, 300, 300), ("node", 5, 5, 5)],
    )
    async def test_a_wait_ends_before_its_client_gives_up(
        self, tmp_path: Path, *, agent: str, asked_s: int, held_s: int, told_s: int
    ) -> None:
        async with mcp_stand(tmp_path) as made:
            body = tool(WAIT, {**BOB, "timeout_seconds": asked_s})
            task = await made.parked(body, await made.open(), User_Agent=agent)
            made.stand.clock.advance(held_s - 1)
            await made.house.until_parked(1)
            assert not task.done()
            made.stand.clock.advance(1)
            assert told_by(await task) == {"events": [], "count": 0, "waited_seconds": told_s, "status": "timeout"}
            assert made.ends[-1] == ("timed_out", 200)

    async def test_a_wait_of_no_time_brings_an_open_question_or_is_the_servers(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id, now = await made.open(), tool(WAIT, {**BOB, "timeout_seconds": 0})
            assert _is_servers((await made.post(now, session_id)).body)
            made.stand.clock.advance(5)
            asked = await made.ask()
            assert asked in str(told_by(await made.post(now, session_id)))
            assert [end for end, _ in made.ends] == ["relayed", "relayed", "delivered"]

    async def test_each_wait_leaves_one_outcome_that_tells_all(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            task = await made.parked(tool(WAIT, LONG), await made.open())
            await made.ask()
            await task
            (_, line) = [line for line in made.house.lines if line["door"] == "mcp_http"]
            told = [line[key] for key in ("event", "status", "agent_id", "route", "reason", "items", "elicitations")]
            assert told == ["delivered", 200, "bob", "elicitation", "split", 1, ["offered"]]

    @pytest.mark.requirement("questions.at_least_once")
    @pytest.mark.parametrize("arguments", [SHORT, LONG])
    async def test_questions_of_a_reply_that_is_lost_are_offered_again(
        self, tmp_path: Path, arguments: dict[str, object]
    ) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id = await made.open()
            for _ in range(9):
                await made.ask(message="x" * 900_000)
            async with asyncio.timeout(5), connect(made.house.port) as wire:
                await wire.send(_raw(tool(WAIT, arguments), session_id))
                await wire.reader.readuntil(b'"jsonrpc"')
                wire.writer.transport.abort()
            await until(lambda: made.ends[-1] == ("gone", 0))
            heard = await made.post(tool(WAIT, LONG), session_id)
            assert told_by(heard)["count"] == 9

    async def test_a_client_that_hangs_up_ends_its_wait(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            task = await made.parked(tool(WAIT, LONG), await made.open())
            task.cancel()
            await made.house.until_parked(0)
            await until(lambda: made.ends[-1] == ("gone", 0))

    @pytest.mark.requirement("drain.answers_all")
    async def test_a_stopping_sidecar_answers_its_waits(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id = await made.open()
            tasks = [await made.parked(tool(WAIT, arguments), session_id) for arguments in (SHORT, LONG)]
            assert (await made.house.admin("POST", "/shutdown")).status == 202
            assert [told_by(await task)["status"] for task in tasks] == ["timeout", "timeout"]


def _raw(body: bytes, session_id: str = "") -> bytes:
    named = f"Mcp-Session-Id: {session_id}\r\n" if session_id else ""
    lines = "".join(f"{name}: {value}\r\n" for name, value in PLAIN.items())
    head = f"POST /mcp HTTP/1.1\r\nHost: localhost\r\n{lines}{named}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.mark.requirement("mcp.sessions")
class TestSessions:
    @pytest.mark.parametrize("on_stream", [False, True])
    async def test_a_session_that_began_here_is_known(self, tmp_path: Path, *, on_stream: bool) -> None:
        async with mcp_stand(tmp_path) as made:
            made.server.on_stream = on_stream
            await made.ask()
            assert told_by(await made.post(tool(WAIT, SHORT), await made.open()))["count"] == 1
            assert [received.called for received in made.server.received] == ["initialize"]

    async def test_a_client_that_hangs_up_at_the_first_event_has_a_session_all_the_same(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            made.server.on_stream = made.server.holds_stream = True
            async with asyncio.timeout(5), connect(made.house.port) as wire:
                await wire.send(_raw(message("initialize", {"protocolVersion": "2025-06-18"}, id=0)))
                await wire.reply_head()
                assert b"protocolVersion" in await wire.reader.readuntil(b"\r\n\r\n")
            await made.ask()
            assert told_by(await made.post(tool(WAIT, SHORT), "session-1"))["count"] == 1
            assert not made.server.got("ping")

    @pytest.mark.requirement("mcp.session_probe")
    async def test_a_session_from_before_our_start_is_asked_for_once(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            made.server.sessions.add("older")
            await made.ask()
            headers = {"MCP_Protocol_Version": "2025-06-18", "Authorization": "Bearer for-the-server"}
            assert told_by(await made.post(tool(WAIT, SHORT), "older", **headers))["count"] == 1
            await made.ask()
            assert told_by(await made.post(tool(WAIT, SHORT), "older", **headers))["count"] == 1
            (ping,) = made.server.received
            assert ping.called == "ping"
            assert ping.headers["Mcp-Session-Id"] == "older"
            assert ping.headers["MCP-Protocol-Version"] == "2025-06-18"
            assert ping.headers["Authorization"] == "Bearer for-the-server"

    async def test_a_session_that_the_server_does_not_know_is_the_servers_to_refuse(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            await made.ask()
            for session_id, status in (("unknown", 404), ("", 400)):
                heard = await made.post(tool(WAIT, SHORT), session_id)
                assert (heard.status, heard.json["error"]) == (
                    status,
                    {"code": -32600, "message": "Session not found"},
                )
            called = [received.called for received in made.server.received]
            assert [call for call in called if call in {"ping", "tools/call"}] == ["ping", "tools/call"] * 2
            # After its first refusal it is asked which eras it speaks, and once is enough.
            assert called.count("initialize") == 1

    async def test_a_server_without_sessions_is_asked_once_for_all(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            made.server.gives_sessions = False
            assert not await made.open()
            for _ in range(2):
                await made.ask()
                heard = await made.post(tool(WAIT, SHORT))
                assert told_by(heard)["count"] == 1
                assert "Mcp-Session-Id" not in heard.headers
            assert [received.called for received in made.server.received] == ["initialize", "ping"]

    async def test_a_session_that_ended_is_the_servers_to_refuse(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id = await made.open()
            heard = await made.house.call("DELETE", "/mcp", headers={"Mcp-Session-Id": session_id})
            assert heard.status == 200
            assert (await made.post(tool(WAIT, SHORT), session_id)).status == 404

    async def test_a_server_that_forgot_its_sessions_is_noticed_at_its_first_refusal(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id = await made.open()
            made.server.sessions.clear()
            assert (await made.post(message("tools/list", id=1), session_id)).status == 404
            assert (await made.post(tool(WAIT, SHORT), session_id)).status == 404

    async def test_a_server_that_cannot_be_asked_is_left_alone(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path, {"bridge.mcp_url": "http://127.0.0.1:9"}) as made:
            heard = await made.post(tool(WAIT, SHORT), "s1")
            assert heard.status == 200
            assert fields(heard.json["error"])["code"] == 1502


@pytest.mark.requirement("mcp.wait")
class TestEnvelope:
    async def test_a_wait_and_an_answer_need_no_session_and_are_complete(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            asked = await made.ask()
            heard = await made.post_modern(tool(WAIT, LONG, _meta=dict(META)), Mcp_Session_Id="ignored")
            assert told_by(heard)["count"] == 1
            assert result_of(heard)["resultType"] == "complete"
            assert "Mcp-Session-Id" not in heard.headers
            given = {"elicitation_id": asked, "response_type": "accept", "data": {"colour": "red"}}
            heard = await made.post_modern(tool(RESPOND, given, _meta=dict(META)))
            assert told_by(heard)["status"] == "success"
            assert result_of(heard)["resultType"] == "complete"
            assert await made.status(asked) == "accepted"
            assert not made.server.received

    @pytest.mark.parametrize(
        ("headers", "params"),
        [
            ({"Mcp_Name": "echo"}, {"_meta": dict(META)}),
            ({"Mcp_Method": "tools/list"}, {"_meta": dict(META)}),
            ({"MCP_Protocol_Version": "2099-01-01"}, {"_meta": dict(META)}),
            ({}, {"_meta": {}}),
            ({}, {"_meta": {**META, "io.modelcontextprotocol/protocolVersion": "2025-11-25"}}),
            ({}, {"_meta": dict(META), "requestState": "of the server", "inputResponses": {}}),
        ],
    )
    async def test_a_call_whose_headers_and_body_disagree_is_the_servers(
        self, tmp_path: Path, headers: dict[str, str], params: dict[str, object]
    ) -> None:
        async with mcp_stand(tmp_path) as made:
            made.server.gives_sessions = False
            await made.ask()
            body = tool(WAIT, SHORT, **params)
            assert _is_servers((await made.post_modern(body, **headers)).body)
            (received,) = made.server.received
            assert received.body == body

    async def test_a_disconnect_is_a_cancel(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            body = tool(WAIT, LONG, _meta=dict(META))
            loop = asyncio.get_running_loop()
            task = loop.create_task(made.post_modern(body))
            await made.house.until_parked(1)
            task.cancel()
            await made.house.until_parked(0)
            await until(lambda: made.ends == [("gone", 0)])


@pytest.mark.requirement("mcp.relayed")
class TestRelayed:
    async def test_a_list_of_tools_is_passed_on_byte_for_byte(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id = await made.open()
            body = (
                b'{ "method":"tools/list" ,"id" : 3,\n"jsonrpc":"2.0","params":{"_meta":{"x":12345678901234567890}} }'
            )
            heard = await made.post(body, session_id, X_Odd="yes")
            assert (heard.status, heard.body) == (200, TOOLS)
            received = made.server.received[-1]
            assert (received.body, received.headers["X-Odd"]) == (body, "yes")

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b'{"tools/call"',
            b'["tools/call"]',
            b"[" + tool("echo", {"text": WAIT}) + b"]",
            tool("echo", SHORT)[:-1] + b',"id":8}',
            tool("echo", {"text": WAIT}),
            tool(WAIT, {"agent_id": ""}),
            tool(WAIT, SHORT, task={"ttl": 1}),
            tool(RESPOND, {"elicitation_id": "elicit_none", "response_type": "accept"}),
            tool(RESPOND, {"elicitation_id": "elicit_none", "response_type": "maybe"}),
            tool(SEND, {"agent_id": "bob", "event_data": {"elicitation_id": "elicit_none", "a": 1}}),
            tool(SEND, {"agent_id": "bob", "event_data": {"text": "hello"}}),
            message("tools/call", {"name": WAIT, "arguments": SHORT}),
            b'{"jsonrpc":"2.0","id":7,"result":{"text":"tools/call"}}',
            '{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"é"}}'.encode("latin-1"),
        ],
    )
    async def test_what_is_not_clearly_ours_is_passed_on_as_it_came(self, tmp_path: Path, body: bytes) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id = await made.open()
            await made.post(body, session_id)
            assert made.server.received[-1].body == body
            assert made.ends[1:] == [("relayed", 200 if made.server.received[-1].called[:1] != "n" else 202)]

    @pytest.mark.parametrize(
        "headers",
        [
            {"Accept": "application/json"},
            {"Accept": "*/*"},
            {"Content_Type": "text/plain"},
        ],
    )
    async def test_a_wait_that_a_server_would_refuse_for_its_headers_is_passed_on(
        self, tmp_path: Path, headers: dict[str, str]
    ) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id = await made.open()
            assert _is_servers((await made.post(tool(WAIT, SHORT), session_id, **headers)).body)

    @pytest.mark.requirement("door.off")
    @pytest.mark.parametrize("flags", [OFF, {"flags.elicitation_enabled": "true", "flags.elicitation_percentage": "0"}])
    async def test_in_the_legacy_cohort_the_same_calls_are_the_servers_and_the_bridge_hears_nothing(
        self, tmp_path: Path, flags: dict[str, str]
    ) -> None:
        async with mcp_stand(tmp_path, flags=flags) as made:
            session_id = await made.open()
            bodies = [
                tool(WAIT, SHORT),
                tool(RESPOND, {"elicitation_id": "elicit_1", "response_type": "accept"}),
                tool(SEND, {"agent_id": "bob", "event_data": {"elicitation_id": "elicit_1", "a": 1}}),
            ]
            for body in bodies:
                assert _is_servers((await made.post(body, session_id)).body)
            assert [received.body for received in made.server.received[1:]] == bodies
            assert made.ends[1:] == [("relayed", 200)] * 3
            assert not made.stand.bridge.state.arrived

    async def test_other_methods_are_passed_on(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id = await made.open()
            for method in ("GET", "DELETE"):
                await made.house.call(method, "/mcp?x=1", headers={"Mcp-Session-Id": session_id})
            assert [received.method for received in made.server.received] == ["POST", "GET", "DELETE"]

    async def test_without_a_session_at_the_bridge_the_server_answers(self, tmp_path: Path) -> None:
        async with mcp_stand(tmp_path) as made:
            session_id = await made.open()
            await made.stand.bridge.client.close()
            assert _is_servers((await made.post(tool(WAIT, LONG), session_id)).body)
            assert made.ends[-1] == ("relayed", 200)
