"""Replies of the down bridge's door that take their time, or that the client does not wait for."""

import asyncio
import json

import pytest
from aiohttp import ClientConnectionResetError, web

from proxy.core.outcome import Result
from proxy.downstream.mcp_answer import KEEP_ALIVE_S
from proxy.downstream.mcp_down_reply import STREAM_FROM_S
from proxy.mcp.calling import OnAsk, OnNote, Outgoing
from proxy.mcp.jsonrpc import Response, notification_message
from tests.support.down_stand import (
    PREFIX,
    DownStand,
    answered,
    ask,
    asks,
    at_once,
    done,
    down_stand,
    envelope,
    failed,
    rpc,
    tool,
    until,
)
from tests.support.manual_clock import ManualClock, settle
from tests.support.parked_stand import then

pytestmark = pytest.mark.requirement("eras.down.streams")

FORM_CLIENT: dict[str, object] = {"form": {}}
LOG_LINE = notification_message("notifications/message", {"level": "error", "data": "x"})


def _clock(made: DownStand) -> ManualClock:
    assert isinstance(made.clock, ManualClock)
    return made.clock


async def _not_found(_call: Outgoing, _ask: OnAsk, _note: OnNote) -> Response:
    return failed(-32601)


class TestStreams:
    async def test_notifications_that_were_asked_for_come_before_the_result(self) -> None:
        async def script(_call: Outgoing, _ask: OnAsk, on_note: OnNote) -> Response:
            for level in ("debug", "error"):
                await on_note(notification_message("notifications/message", {"level": level, "data": level}))
            await on_note(notification_message("notifications/progress", {"progressToken": "p", "progress": 1}))
            await on_note(notification_message("notifications/tools/list_changed"))
            return done()

        async with down_stand() as made:
            made.server.script = script
            meta = {**envelope(logLevel="info"), "progressToken": "p"}
            said = await made.say(tool(_meta=meta))
            assert said.status == 200
            assert said.headers["Content-Type"] == "text/event-stream"
            assert said.headers["X-Accel-Buffering"] == "no"
            assert [message.get("method") for message in said.messages] == [
                "notifications/message",
                "notifications/progress",
                None,
            ]
            assert said.text == "done"
            quiet = await made.say(tool())
            assert quiet.headers["Content-Type"].startswith("application/json")

    async def test_a_server_that_takes_its_time_is_heard_on_a_stream_that_is_kept_alive(self) -> None:
        async with down_stand() as made, asyncio.TaskGroup() as group:
            gate = asyncio.Event()
            made.server.script = then(gate, _not_found)
            task = group.create_task(made.say(tool()))
            await until(lambda: made.server.ends == ["open"])
            await _clock(made).advance(STREAM_FROM_S + KEEP_ALIVE_S)
            gate.set()
            said = await task
            assert said.body.startswith(b": waiting\n\n" * 2 + b"event: message\ndata: ")
            # The status has been sent long ago.
            assert (said.status, said.error["code"]) == (200, -32601)
            assert made.recorder.outcomes[0].status == 200

    async def test_a_server_that_is_quick_enough_is_heard_as_json(self) -> None:
        async with down_stand() as made, asyncio.TaskGroup() as group:
            gate = asyncio.Event()
            made.server.script = then(gate, at_once)
            task = group.create_task(made.say(tool()))
            await until(lambda: made.server.ends == ["open"])
            await _clock(made).advance(STREAM_FROM_S - 1)
            gate.set()
            assert (await task).headers["Content-Type"].startswith("application/json")

    async def test_a_question_may_come_late_and_on_a_stream(self) -> None:
        async with down_stand() as made, asyncio.TaskGroup() as group:
            gate = asyncio.Event()

            async def script(_call: Outgoing, on_ask: OnAsk, _note: OnNote) -> Response:
                await gate.wait()
                return done(answered(await on_ask(ask())))

            made.server.script = script
            task = group.create_task(made.say(tool(FORM_CLIENT)))
            await until(lambda: made.server.ends == ["open"])
            await _clock(made).advance(STREAM_FROM_S)
            gate.set()
            asked = await task
            assert asked.headers["Content-Type"] == "text/event-stream"
            assert list(asked.part("inputRequests")) == ["1"]

    @pytest.mark.parametrize("waited_s", [0, STREAM_FROM_S])
    async def test_a_client_that_hangs_up_while_the_server_works_cancels_its_call(self, waited_s: float) -> None:
        async with down_stand() as made, asyncio.TaskGroup() as group:
            made.server.script = then(asyncio.Event(), at_once)
            task = group.create_task(made.say(tool()))
            await until(lambda: made.server.ends == ["open"])
            await _clock(made).advance(waited_s)
            task.cancel()
            await until(lambda: made.server.ends == ["cancelled"])
            await until(lambda: [outcome.result for outcome in made.recorder.outcomes] == [Result.GONE])

    async def test_a_client_that_hangs_up_before_it_answers_leaves_its_call_open(self) -> None:
        async with down_stand() as made:
            made.server.script = asks(ask())
            async with made.send(tool(FORM_CLIENT)) as reply:
                await reply.read()
                reply.close()
            await settle()
            assert (made.server.ends, len(made.parked)) == (["open"], 1)

    async def test_a_line_that_cannot_arrive_any_more_ends_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def broken(_stream: web.StreamResponse, _data: bytes) -> None:
            raise ClientConnectionResetError

        async def script(_call: Outgoing, _ask: OnAsk, on_note: OnNote) -> Response:
            await on_note(LOG_LINE)
            return done()

        async with down_stand() as made, asyncio.TaskGroup() as group:
            gate = asyncio.Event()
            made.server.script = then(gate, script)
            monkeypatch.setattr(web.StreamResponse, "write", broken)
            task = group.create_task(made.say(tool(_meta=envelope(logLevel="info"))))
            await until(lambda: made.server.ends == ["open"])
            await _clock(made).advance(STREAM_FROM_S)
            gate.set()
            assert (await task).text == "done"
            assert not made.recorder.defects

    async def test_what_the_server_says_to_a_client_that_left_goes_nowhere(self) -> None:
        async with down_stand() as made, asyncio.TaskGroup() as group:
            gate, told = asyncio.Event(), asyncio.Event()

            async def script(_call: Outgoing, _ask: OnAsk, on_note: OnNote) -> Response:
                try:
                    await gate.wait()
                finally:
                    for _ in range(50):
                        await on_note(LOG_LINE)
                    told.set()
                return done()

            made.server.script = script
            task = group.create_task(made.say(tool(_meta=envelope(logLevel="info"))))
            await until(lambda: made.server.ends == ["open"])
            await _clock(made).advance(STREAM_FROM_S)
            task.cancel()
            async with asyncio.timeout(5):
                await told.wait()
            assert not made.recorder.defects


class TestSubscriptions:
    async def test_a_subscription_is_acknowledged_for_nothing_and_held_until_we_end(self) -> None:
        async with down_stand() as made:
            wanted = {"notifications": {"toolsListChanged": True}}
            async with asyncio.timeout(5), made.send(rpc("subscriptions/listen", wanted, "s")) as reply:
                assert (reply.status, reply.headers["Content-Type"]) == (200, "text/event-stream")
                first = json.loads((await reply.content.readuntil(b"\n\n")).partition(b"data: ")[2])
                assert first["method"] == "notifications/subscriptions/acknowledged"
                assert first["params"] == {"notifications": {}, "_meta": {f"{PREFIX}subscriptionId": "s"}}
                await _clock(made).advance(STREAM_FROM_S)
                assert await reply.content.readuntil(b"\n\n") == b": waiting\n\n"
                made.door.drain()
                rest = await reply.read()
            assert json.loads(rest.partition(b"data: ")[2]) == {
                "jsonrpc": "2.0",
                "id": "s",
                "result": {"resultType": "complete", "_meta": {f"{PREFIX}subscriptionId": "s"}},
            }
            assert made.server.calls == []

    async def test_a_client_may_leave_its_subscription(self) -> None:
        async with down_stand() as made:
            async with made.send(rpc("subscriptions/listen", {"notifications": {}})) as reply:
                await reply.content.readuntil(b"\n\n")
                reply.close()
            await until(lambda: [outcome.result for outcome in made.recorder.outcomes] == [Result.GONE])
