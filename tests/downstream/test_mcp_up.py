"""Older clients at the up bridge's door: refusals, and calls that nobody asks anything in."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.core.errors import BridgeTimeout
from proxy.core.outcome import Result
from proxy.downstream.mcp_up_reply import STREAM_FROM_S
from proxy.flows.up_sessions import MAX_CALLS
from proxy.mcp.calling import OnAsk, OnNote, Outgoing
from proxy.mcp.jsonrpc import Response, notification_message
from proxy.mcp.revisions import Mode
from tests.support.house import until
from tests.support.manual_clock import settle
from tests.support.up_stand import Json, UpStand, done, rpc, tool, up_stand

FORM = frozenset({Mode.FORM})


@pytest.fixture(name="up")
async def _up() -> AsyncIterator[UpStand]:
    async with up_stand() as stand:
        yield stand


def _field(body: Json, *path: str) -> object:
    value: object = body
    for name in path:
        assert isinstance(value, dict)
        value = value[name]
    return value


# What is answered here


@pytest.mark.requirement("eras.up.local")
async def test_what_the_server_no_longer_knows_is_answered_here(up: UpStand) -> None:
    session = await up.open()
    assert await up.say(rpc("ping", None, "p"), session) == (200, {"jsonrpc": "2.0", "id": "p", "result": {}})
    assert (await up.say(rpc("logging/setLevel", {"level": "error"}, 1), session))[1]["result"] == {}
    for method in ("resources/subscribe", "subscriptions/listen"):
        status, body = await up.say(rpc(method, {"uri": "x://y"}, 2), session)
        assert (status, _field(body, "error", "code"), body["id"]) == (200, -32601, 2)
    assert not up.server.calls


@pytest.mark.requirement("eras.up.log_level")
async def test_log_lines_are_asked_for_from_the_level_that_the_client_set(up: UpStand) -> None:
    session = await up.open()
    await up.say(tool(), session)
    await up.say(rpc("logging/setLevel", {"level": "error"}, 1), session)
    await up.say(tool(), session)
    first, second = (call.params for call in up.server.calls)
    assert b'"io.modelcontextprotocol/logLevel":"info"' in first
    assert b'"io.modelcontextprotocol/logLevel":"error"' in second
    _, body = await up.say(rpc("logging/setLevel", {"level": "loud"}, 1), session)
    assert _field(body, "error", "code") == -32602


async def test_notifications_and_stray_responses_end_here(up: UpStand) -> None:
    session = await up.open()
    for message in (
        rpc("notifications/roots/list_changed"),
        rpc("notifications/cancelled", {"requestId": 99}),
        rpc("notifications/cancelled", {}),
        {"jsonrpc": "2.0", "id": 3, "result": {}},
        {"jsonrpc": "2.0", "id": "esc-" + "0" * 32, "result": {"action": "accept"}},
    ):
        assert await up.say(message, session) == (202, {})
    assert not up.server.calls


@pytest.mark.requirement("eras.up.refusals")
@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"nothing", (400, -32700, None)),
        (b"[]", (400, -32600, None)),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', (400, -32600, None)),
        (b'{"jsonrpc":"1.0","id":4,"method":"ping"}', (200, -32600, 4)),
    ],
)
async def test_what_is_no_message_is_refused(up: UpStand, body: bytes, told: tuple[int, int, object]) -> None:
    status, refusal = await up.say(body, await up.open())
    assert (status, _field(refusal, "error", "code"), refusal["id"]) == told


async def test_there_is_no_stream_apart_from_calls(up: UpStand) -> None:
    async with up.http.get(up.url, headers={"Mcp-Session-Id": await up.open()}) as reply:
        assert (reply.status, reply.headers["Allow"]) == (405, "POST, DELETE")


async def test_a_message_that_is_too_long_to_be_read_is_refused(up: UpStand) -> None:
    assert (await up.say(b"too long"))[0] == 413


# Calls


@pytest.mark.requirement("eras.up.call")
async def test_a_call_that_ends_soon_is_answered_by_json_under_the_clients_id(up: UpStand) -> None:
    session = await up.open()
    async with up.send(tool(request_id="mine", _meta={"progressToken": 5}), session, X_Key="k") as talk:
        assert talk.reply.content_type == "application/json"
        assert talk.reply.headers["Mcp-Session-Id"] == session
        body = await talk.reply.json()
    assert body == {
        "jsonrpc": "2.0",
        "id": "mine",
        "result": {"content": [{"type": "text", "text": "done"}], "isError": False},
    }
    (call,) = up.server.calls
    assert (call.method, call.headers["x-key"], call.client_name) == ("tools/call", "k", "t")
    assert b'"progressToken":5' in call.params
    assert (up.recorder.outcomes[-1].result, up.recorder.outcomes[-1].status) == (Result.RELAYED, 200)


@pytest.mark.requirement("eras.up.notes")
async def test_progress_and_log_lines_come_before_the_response_on_one_stream(up: UpStand) -> None:
    progress = notification_message("notifications/progress", {"progressToken": 5, "progress": 1})

    async def noisy(_call: Outgoing, _ask: OnAsk, note: OnNote) -> Response:
        await note(progress)
        await note(notification_message("notifications/tools/list_changed"))
        await note(notification_message("notifications/message", {"level": "info", "data": "x"}))
        return done()

    up.server.script = noisy
    session = await up.open()
    async with up.send(tool(), session) as talk:
        assert talk.reply.content_type == "text/event-stream"
        assert talk.reply.headers["Mcp-Session-Id"] == session
        assert talk.reply.headers["X-Accel-Buffering"] == "no"
        heard = await talk.rest()
    assert [message.get("method", "response") for message in heard] == [
        "notifications/progress",
        "notifications/message",
        "response",
    ]


async def test_a_client_that_takes_no_stream_gets_the_response_alone(up: UpStand) -> None:
    async def noisy(_call: Outgoing, _ask: OnAsk, note: OnNote) -> Response:
        await note(notification_message("notifications/progress", {"progressToken": 5, "progress": 1}))
        return done()

    up.server.script = noisy
    session = await up.open({})
    async with up.send(tool(), session, Accept="application/json") as talk:
        assert (talk.reply.content_type, (await talk.reply.json())["id"]) == ("application/json", 7)
    assert up.server.calls[0].modes == frozenset()


@pytest.mark.requirement("eras.up.call")
async def test_a_call_that_takes_long_becomes_a_stream_that_is_kept_alive(up: UpStand) -> None:
    release = asyncio.Event()

    async def held(_call: Outgoing, _ask: OnAsk, _note: OnNote) -> Response:
        await release.wait()
        return done()

    up.server.script = held
    session = await up.open()

    async def listen() -> tuple[list[dict[str, object]], int]:
        async with up.send(tool(), session) as talk:
            return await talk.rest(), talk.comments

    async with asyncio.TaskGroup() as group:
        task = group.create_task(listen())
        await until(lambda: len(up.server.calls) == 1)
        await up.clock.advance(STREAM_FROM_S)
        await up.clock.advance(15)
        release.set()
        heard, comments = await task
    assert [message["id"] for message in heard] == [7]
    assert comments == 2


@pytest.mark.requirement("eras.up.refusals")
async def test_a_server_that_fails_in_a_call_is_told_as_an_error_of_that_call(up: UpStand) -> None:
    async def fails(_call: Outgoing, _ask: OnAsk, _note: OnNote) -> Response:
        raise BridgeTimeout("no reply")

    up.server.script = fails
    status, body = await up.say(tool(), await up.open())
    assert (status, body["id"], _field(body, "error", "data", "code")) == (200, 7, "bridge_timeout")


@pytest.mark.requirement("eras.up.refusals")
async def test_a_result_of_another_kind_is_told_as_an_error(up: UpStand) -> None:
    async def asks(_call: Outgoing, _ask: OnAsk, _note: OnNote) -> Response:
        return Response(id=1, result=b'{"resultType":"input_required"}', error=None, raw=b"")

    up.server.script = asks
    _, body = await up.say(tool(), await up.open())
    assert _field(body, "error", "data", "code") == "bad_bridge_reply"


@pytest.mark.requirement("eras.up.errors")
async def test_a_servers_error_reaches_the_client_with_a_code_of_its_era(up: UpStand) -> None:
    async def missing(_call: Outgoing, _ask: OnAsk, _note: OnNote) -> Response:
        error = b'{"code":-32602,"message":"none","data":{"uri":"x://y"}}'
        return Response(id=1, result=None, error=error, raw=b"")

    up.server.script = missing
    status, body = await up.say(rpc("resources/read", {"uri": "x://y"}, 3), await up.open())
    assert (status, body["error"]) == (200, {"code": -32002, "message": "none", "data": {"uri": "x://y"}})


async def test_parameters_that_cannot_be_read_are_refused_here(up: UpStand) -> None:
    status, body = await up.say(rpc("tools/call", [1], 3), await up.open())
    assert (status, _field(body, "error", "code"), body["id"]) == (200, -32602, 3)
    assert not up.server.calls


async def test_an_id_in_use_and_too_many_calls_are_refused(up: UpStand) -> None:
    release = asyncio.Event()

    async def held(_call: Outgoing, _ask: OnAsk, _note: OnNote) -> Response:
        await release.wait()
        return done()

    up.server.script = held
    session_id = await up.open()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(up.say(tool(), session_id))
        await until(lambda: len(up.server.calls) == 1)
        _, body = await up.say(tool(), session_id)
        assert _field(body, "error", "code") == -32602
        calls = up.flow.sessions._sessions[session_id].calls
        call = calls[7]
        calls.update({f"other-{number}": call for number in range(MAX_CALLS)})
        _, body = await up.say(tool(request_id=8), session_id)
        assert _field(body, "error", "data", "code") == "too_many_waits"
        for number in range(MAX_CALLS):
            del calls[f"other-{number}"]
        release.set()
        assert (await task)[0] == 200


async def test_calls_that_the_ending_sidecar_gives_up_are_answered(up: UpStand) -> None:
    async def forever(_call: Outgoing, _ask: OnAsk, _note: OnNote) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    up.server.script = forever
    session = await up.open()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(up.say(tool(), session))
        await until(lambda: len(up.server.calls) == 1)
        up.errands.close()
        status, body = await task
    assert (status, _field(body, "error", "data", "code")) == (200, "bridge_unavailable")
    await settle()
    assert up.server.ends == ["cancelled"]
