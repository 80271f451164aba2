"""What a server of the handshake era may reply to a request: a lost session, an error, or what cannot be read."""

import orjson
import pytest
from aiohttp import web

from proxy.core.elicitation import AnswerKind
from proxy.core.errors import BadBridgeReply, BridgeRefused, BridgeUnavailable
from proxy.mcp.ask import Answered
from proxy.mcp.calling import OnAsk, OnNote, Outgoing
from proxy.mcp.jsonrpc import Response
from proxy.mcp.revisions import Era, Mode
from proxy.upstream import mcp_wire
from tests.support.scripted_mcp import (
    Calls,
    Got,
    UpstreamStand,
    never_asked,
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


@pytest.mark.parametrize("is_refused", [False, True])
async def test_a_lost_session_is_opened_again_once(*, is_refused: bool) -> None:
    def gone(got: Got) -> web.StreamResponse:
        return got.error(-32600, status=404) if is_refused else web.Response(status=404)

    async with upstream_stand(Calls(gone, lambda got: got.result({"again": True}))) as stand:
        assert result_of(await send(stand)) == {"again": True}
        assert result_of(await send(stand)) == {"again": True}
    assert [got.headers["Mcp-Session-Id"] for got in stand.server.all("tools/call")] == ["s1", "s2", "s2"]
    assert stand.server.all(None, "DELETE") == []
    assert stand.server.all("notifications/cancelled") == []


async def test_a_server_that_loses_every_session_is_given_up() -> None:
    async with upstream_stand(Calls(lambda _: web.Response(status=404))) as stand:
        with pytest.raises(BridgeUnavailable, match="forgets"):
            await send(stand)
    assert len(stand.server.all("tools/call")) == 2


async def test_a_session_that_the_server_may_have_forgotten_is_not_used_again() -> None:
    async with upstream_stand(Calls(lambda got: got.error(-32000, status=400), lambda got: got.result({}))) as stand:
        assert (await send(stand)).error is not None
        await send(stand)
    assert [got.headers["Mcp-Session-Id"] for got in stand.server.all("tools/call")] == ["s1", "s2"]


async def test_an_error_of_a_tool_leaves_its_session_alone() -> None:
    async with upstream_stand(Calls(lambda got: got.error(-32042, data={"elicitations": []}))) as stand:
        response = await send(stand)
        await send(stand)
    assert response.error is not None
    assert orjson.loads(response.error)["code"] == -32042
    assert len(stand.server.all("initialize")) == 1


@pytest.mark.parametrize(
    ("status", "is_read"),
    [(400, True), (403, True), (500, False), (307, False)],
)
async def test_an_error_of_the_protocol_is_a_response_whatever_its_status(status: int, *, is_read: bool) -> None:
    async with upstream_stand(Calls(lambda got: got.error(-32602, status=status))) as stand:
        if is_read:
            assert (await send(stand)).error is not None
            return
        with pytest.raises(BridgeRefused) as raised:
            await send(stand)
    assert raised.value.bridge_status == status
    assert len(stand.server.all("tools/call")) == 1


@pytest.mark.parametrize(
    "reply",
    [
        web.Response(text="<html>", content_type="text/html"),
        web.Response(body=b'{"jsonrpc":"2.0","id":99,"result":{}}', content_type="application/json"),
        web.Response(body=b"x" * 2000, content_type="application/json"),
        web.Response(body=b"data: x\n\n", content_type="text/event-stream"),
        web.Response(body=b"data: " + b"x" * 2000, content_type="text/event-stream"),
    ],
)
async def test_what_cannot_be_read_is_a_bad_reply_and_the_request_is_cancelled(
    reply: web.Response, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_wire, "MAX_MESSAGE_BYTES", 1000)
    async with upstream_stand(Calls(lambda _: reply)) as stand:
        with pytest.raises(BadBridgeReply):
            await send(stand)
        await stand.server.until(1, "notifications/cancelled")


async def test_an_error_without_an_id_belongs_to_the_request() -> None:
    async with upstream_stand(Calls(lambda got: got.json({"id": None, "error": {"code": -32700}}))) as stand:
        assert (await send(stand)).error == b'{"code":-32700}'


async def test_messages_may_come_in_one_batch() -> None:
    def both(got: Got) -> web.StreamResponse:
        note = {"jsonrpc": "2.0", "method": "notifications/progress"}
        body = orjson.dumps([note, {"jsonrpc": "2.0", "id": got.body["id"], "result": {"b": 2}}])
        return web.Response(body=body, content_type="application/json")

    async with upstream_stand(Calls(both)) as stand:
        assert result_of(await send(stand)) == {"b": 2}
