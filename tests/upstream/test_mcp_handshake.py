"""Our requests to an MCP server of the handshake era, and its questions in the middle of them."""

import asyncio

import orjson
import pytest
from aiohttp import web

from proxy.core.elicitation import AnswerKind
from proxy.core.errors import BadBridgeReply, BridgeRefused, SchemaRefused
from proxy.mcp.ask import Answered, CannotBeAsked, Failed, FormQuestion, Reply, UrlQuestion
from proxy.mcp.calling import OnAsk, OnNote, Outgoing, ServerAsk
from proxy.mcp.jsonrpc import Response
from proxy.mcp.revisions import Era, Mode
from proxy.upstream import mcp_handshake
from tests.support.scripted_mcp import (
    FORM,
    Answering,
    Calls,
    Got,
    Json,
    UpstreamStand,
    asks,
    never_asked,
    replying,
    result_of,
    unheard,
    upstream_stand,
)

pytestmark = pytest.mark.requirement("mcp.upstream.handshake")

YES = Answered(AnswerKind.ACCEPT, {"name": "zed"})
CALL = Outgoing(
    method="tools/call",
    params=b'{"name":"ask","arguments":{}}',
    headers={"Authorization": "Bearer t"},
    principal="p",
    modes=frozenset(Mode),
)


async def send(
    stand: UpstreamStand, call: Outgoing = CALL, *, on_ask: OnAsk = never_asked, on_note: OnNote = unheard
) -> Response:
    return await stand.upstream.request(Era.HANDSHAKE, call, on_ask=on_ask, on_note=on_note)


async def test_a_handshake_comes_first_and_its_session_and_revision_stand_on_everything_after_it() -> None:
    async with upstream_stand(Calls(lambda got: got.result({"a": 1}))) as stand:
        assert result_of(await send(stand)) == {"a": 1}
        assert result_of(await send(stand)) == {"a": 1}
        await stand.upstream.close()
    methods = [got.method or got.verb for got in stand.server.got]
    assert methods == ["initialize", "notifications/initialized", "tools/call", "tools/call", "DELETE"]
    first, *later = stand.server.got
    assert "Mcp-Session-Id" not in first.headers
    assert "MCP-Protocol-Version" not in first.headers
    assert {got.headers["Mcp-Session-Id"] for got in later} == {"s1"}
    assert {got.headers["MCP-Protocol-Version"] for got in later} == {"2025-11-25"}
    assert {got.headers["Authorization"] for got in stand.server.got} == {"Bearer t"}
    assert first.params["capabilities"] == {"elicitation": {"form": {}, "url": {}}}
    assert len({got.body["id"] for got in stand.server.all("tools/call")}) == 2


async def test_an_older_revision_of_the_server_is_spoken() -> None:
    async with upstream_stand(Calls(lambda got: got.result({}))) as stand:
        stand.server.revision = "2025-03-26"
        await send(stand)
    assert "MCP-Protocol-Version" not in stand.server.all("tools/call")[0].headers


async def test_a_server_without_sessions_is_called_without_one() -> None:
    async with upstream_stand(Calls(lambda got: got.result({}))) as stand:
        stand.server.has_sessions = False
        await send(stand)
        await stand.upstream.close()
    assert "Mcp-Session-Id" not in stand.server.all("tools/call")[0].headers
    assert stand.server.all(None, "DELETE") == []


async def test_a_handshake_with_an_unknown_revision_is_given_up_and_its_session_ended() -> None:
    async with upstream_stand(Calls(lambda got: got.result({}))) as stand:
        stand.server.revision = "2099-01-01"
        with pytest.raises(BadBridgeReply, match="2099"):
            await send(stand)
        assert len(stand.server.all(None, "DELETE")) == 1
    assert stand.server.all("tools/call") == []


async def test_a_refused_handshake_is_told_with_the_words_of_the_server() -> None:
    async def script(got: Got) -> web.StreamResponse | None:
        return got.error(-32601, status=404) if got.method == "initialize" else None

    async with upstream_stand(script) as stand:
        with pytest.raises(BridgeRefused) as raised:
            await send(stand)
    assert raised.value.bridge_status == 404
    assert b"-32601" in raised.value.body


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (YES, {"result": {"action": "accept", "content": {"name": "zed"}}}),
        (Answered(AnswerKind.DECLINE), {"result": {"action": "decline"}}),
        (Answered(AnswerKind.CANCEL), {"result": {"action": "cancel"}}),
        (Failed("lost"), {"result": {"action": "cancel"}}),
        (CannotBeAsked(-32600, "no"), {"error": {"code": -32600, "message": "no"}}),
    ],
)
async def test_a_question_in_the_middle_is_answered_in_a_message_apart(reply: Reply, told: Json) -> None:
    async def ask(got: Got) -> web.StreamResponse:
        line = await got.line()
        await line.say(asks("q-1"))
        await stand.server.until(1, None)
        return await line.finish({"done": True})

    asked: list[ServerAsk] = []
    async with upstream_stand(Calls(ask)) as stand:
        assert result_of(await send(stand, on_ask=replying(reply, asked))) == {"done": True}
    assert asked == [ServerAsk(key="q-1", question=FormQuestion("Name?", FORM["requestedSchema"]))]  # type: ignore[arg-type] # a dict above
    assert stand.server.answers == [{"jsonrpc": "2.0", "id": "q-1", **told}]
    answer = stand.server.all(None)[0]
    assert answer.headers["Mcp-Session-Id"] == "s1"
    assert answer.headers["MCP-Protocol-Version"] == "2025-11-25"


async def test_several_questions_are_open_at_once() -> None:
    async def ask(got: Got) -> web.StreamResponse:
        line = await got.line()
        await line.say(asks(1))
        await line.say(asks(2, {"mode": "url", "message": "Go", "url": "https://a.example", "elicitationId": "e"}))
        await stand.server.until(2, None)
        return await line.finish({})

    answering = Answering()
    async with upstream_stand(Calls(ask)) as stand:
        call = stand.group.create_task(send(stand, on_ask=answering))
        await answering.until(2)
        answering.reply("2", Answered(AnswerKind.ACCEPT))
        await stand.server.until(1, None)
        answering.reply("1", YES)
        await call
    assert answering.asked[1].question == UrlQuestion("Go", "https://a.example", "e")
    assert [answer["id"] for answer in stand.server.answers] == [2, 1]


async def test_what_was_not_declared_is_refused_and_a_ping_answered() -> None:
    async def ask(got: Got) -> web.StreamResponse:
        line = await got.line()
        await line.say(asks(0, {}, "ping"))
        await line.say(asks(1, {}, "sampling/createMessage"))
        await line.say(asks(2, {"mode": "url", "message": "Go", "url": "https://a.example"}))
        await line.say(asks(3, {"message": 5}))
        await line.say({"id": 4, "method": "elicitation/create"})
        await stand.server.until(5, None)
        return await line.finish({})

    async with upstream_stand(Calls(ask)) as stand:
        call = Outgoing(method="tools/call", modes=frozenset({Mode.FORM}))
        await send(stand, call)
    told = {answer["id"]: answer.get("error", answer.get("result")) for answer in stand.server.answers}
    codes = {key: error.get("code") for key, error in told.items() if isinstance(error, dict)}
    assert codes == {0: None, 1: -32601, 2: -32602, 3: -32602, 4: -32602}
    assert told[0] == {}


async def test_a_question_beyond_all_bounds_is_the_servers_own_mistake() -> None:
    async def refuse(_: ServerAsk) -> Reply:
        raise SchemaRefused("too deep")

    async def ask(got: Got) -> web.StreamResponse:
        line = await got.line()
        await line.say(asks(1))
        await stand.server.until(1, None)
        return await line.finish({})

    async with upstream_stand(Calls(ask)) as stand:
        await send(stand, on_ask=refuse)
    assert stand.server.answers[0]["error"] == {"code": -32602, "message": "too deep"}


async def test_more_open_requests_than_may_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_handshake, "MAX_OPEN", 1)

    async def ask(got: Got) -> web.StreamResponse:
        line = await got.line()
        await line.say(asks(1))
        await line.say(asks(2))
        await stand.server.until(1, None)
        answering.reply("1", YES)
        await stand.server.until(2, None)
        return await line.finish({})

    answering = Answering()
    async with upstream_stand(Calls(ask)) as stand:
        await send(stand, on_ask=answering)
    assert [(answer["id"], "error" in answer) for answer in stand.server.answers] == [(2, True), (1, False)]


async def test_only_so_many_answered_requests_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_handshake, "MAX_ANSWERED", 1)

    async def ask(got: Got) -> web.StreamResponse:
        line = await got.line()
        for count, request_id in enumerate((1, 2, 1), start=1):
            await line.say(asks(request_id, {}, "ping"))
            await stand.server.until(count, None)
        await line.say(asks(1, {}, "ping"))
        return await line.finish({})

    async with upstream_stand(Calls(ask)) as stand:
        await send(stand)
    assert [answer["id"] for answer in stand.server.answers] == [1, 2, 1]


async def test_notes_of_the_server_come_in_their_order_and_as_the_bytes_they_are() -> None:
    async def talk(got: Got) -> web.StreamResponse:
        line = await got.line()
        await line.event(": keep-alive")
        await line.event('data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1.0}}')
        await line.event('event: other\ndata: {"jsonrpc":"2.0","method":"notifications/unheard"}')
        await line.say({"method": "notifications/elicitation/complete", "params": {"elicitationId": "e"}})
        await line.say({"method": "notifications/cancelled", "params": {"requestId": "unknown"}})
        await line.say({"method": "notifications/message", "params": {"data": "x"}})
        return await line.finish({})

    notes: list[bytes] = []

    async def note(raw: bytes) -> None:
        notes.append(raw)

    async with upstream_stand(Calls(talk)) as stand:
        await send(stand, on_note=note)
    assert [orjson.loads(raw)["method"] for raw in notes] == ["notifications/progress", "notifications/message"]
    assert notes[0] == b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1.0}}'


async def test_a_question_that_the_server_takes_back_is_taken_back_from_whoever_has_it() -> None:
    answering = Answering()

    async def ask(got: Got) -> web.StreamResponse:
        line = await got.line()
        await line.say(asks(7))
        await answering.until(1)
        await line.say({"method": "notifications/cancelled", "params": {"requestId": 7}})
        return await line.finish({})

    async with upstream_stand(Calls(ask)) as stand:
        await send(stand, on_ask=answering)
    assert answering.cancelled == ["7"]
    assert stand.server.answers == []


async def test_a_question_still_open_at_the_response_is_taken_back() -> None:
    answering = Answering()

    async def ask(got: Got) -> web.StreamResponse:
        line = await got.line()
        await line.say(asks(7))
        await answering.until(1)
        return await line.finish({"early": True})

    async with upstream_stand(Calls(ask)) as stand:
        assert result_of(await send(stand, on_ask=answering)) == {"early": True}
    assert answering.cancelled == ["7"]


async def test_an_answer_that_the_server_does_not_take_ends_the_request() -> None:
    async def script(got: Got) -> web.StreamResponse | None:
        if got.method is None and got.verb == "POST":
            return web.Response(status=403)
        if got.method != "tools/call":
            return None
        line = await got.line()
        await line.say(asks(1))
        await stand.server.until(1, "notifications/cancelled")
        return line.stream

    async with upstream_stand(script) as stand:
        with pytest.raises(BridgeRefused):
            await send(stand, on_ask=replying(YES))
        cancelled = await stand.server.until(1, "notifications/cancelled")
    assert cancelled[0].params["requestId"] == stand.server.all("tools/call")[0].body["id"]


async def test_a_request_that_is_given_up_is_cancelled_at_the_server() -> None:
    async def hang(got: Got) -> web.StreamResponse:
        line = await got.line()
        await line.say(asks(1))
        await stand.server.until(1, "notifications/cancelled")
        return line.stream

    answering = Answering()
    async with upstream_stand(Calls(hang)) as stand:
        call = stand.group.create_task(send(stand, on_ask=answering))
        await answering.until(1)
        call.cancel()
        cancelled = await stand.server.until(1, "notifications/cancelled")
    assert call.cancelled()
    assert answering.cancelled == ["1"]
    assert cancelled[0].params["requestId"] == stand.server.all("tools/call")[0].body["id"]
    assert cancelled[0].headers["Mcp-Session-Id"] == "s1"
    assert stand.server.answers == []


async def test_a_handshake_is_never_cancelled_and_serves_the_next_request() -> None:
    may_go_on = asyncio.Event()

    async def script(got: Got) -> web.StreamResponse | None:
        if got.method == "initialize":
            await may_go_on.wait()
        return got.result({}) if got.method == "tools/call" else None

    async with upstream_stand(script) as stand:
        call = stand.group.create_task(send(stand))
        await stand.server.until(1, "initialize")
        call.cancel()
        await asyncio.sleep(0)
        may_go_on.set()
        await send(stand)
    assert len(stand.server.all("initialize")) == 1
    assert stand.server.all("notifications/cancelled") == []
    assert len(stand.server.all("tools/call")) == 1
