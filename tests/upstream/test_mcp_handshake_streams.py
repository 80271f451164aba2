"""Streams of the handshake era that end before the response, and how they are taken up again."""

import pytest
from aiohttp import web

from proxy.core.elicitation import AnswerKind
from proxy.core.errors import BridgeRefused, BridgeUnavailable
from proxy.mcp.ask import Answered
from proxy.mcp.calling import OnAsk, OnNote, Outgoing, ServerAsk
from proxy.mcp.jsonrpc import Response
from proxy.mcp.revisions import Era, Mode
from proxy.upstream import mcp_handshake
from tests.support.scripted_mcp import (
    Calls,
    Got,
    Line,
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


class Numbered:
    """A server that ends the stream of a call early, and goes on when the client comes back."""

    def __init__(self, *, retry: str = "") -> None:
        self.retry = retry
        self.call_id: object = None

    async def open(self, got: Got) -> web.StreamResponse:
        """The call itself: a numbered beginning, then the end of the connection."""
        self.call_id = got.body["id"]
        line = await got.line()
        await line.event(f"{self.retry}id: e0\ndata:")
        await line.say(asks(5), "e1")
        return line.stream

    async def go_on(self, got: Got) -> web.StreamResponse:
        """The rest: the question once more, and the response."""
        line = Line((await got.line()).stream, self.call_id)
        await line.say(asks(5), "e2")
        return await line.finish({"in": "the end"})


async def _numbered(numbered: Numbered, got: Got, resumed: list[object]) -> web.StreamResponse | None:
    if got.method == "tools/call":
        return await numbered.open(got)
    if got.verb != "GET":
        return None
    reply = resumed.pop(0) if resumed else numbered.go_on
    return reply if isinstance(reply, web.StreamResponse) else await numbered.go_on(got)


@pytest.mark.parametrize(("retry", "wait_s"), [("retry: 2500\n", 2.5), ("", 1.0), ("retry: 0\n", 0.05)])
async def test_a_stream_that_ends_early_is_taken_up_where_its_events_are_numbered(retry: str, wait_s: float) -> None:
    numbered, asked = Numbered(retry=retry), list[ServerAsk]()
    async with upstream_stand(lambda got: _numbered(numbered, got, [])) as stand:
        call = stand.group.create_task(send(stand, on_ask=replying(YES, asked)))
        await stand.server.until(1, None)
        assert await stand.pause() == wait_s
        await stand.clock.advance(wait_s - 0.01)
        assert stand.server.all(None, "GET") == []
        await stand.clock.advance(0.02)
        assert result_of(await call) == {"in": "the end"}
    (resumed,) = stand.server.all(None, "GET")
    assert resumed.headers["Last-Event-ID"] == "e1"
    assert resumed.headers["Accept"] == "text/event-stream"
    assert resumed.headers["Mcp-Session-Id"] == "s1"
    assert len(asked) == 1
    assert len(stand.server.answers) == 1


async def in_time(stand: UpstreamStand) -> Response | Exception:
    """Send a request while time passes; its error is given back, as it has to get out of a task."""

    async def run() -> Response | Exception:
        try:
            return await send(stand, on_ask=replying(YES))
        except (BridgeRefused, BridgeUnavailable) as error:
            return error

    call = stand.group.create_task(run())
    for _ in range(1_000):
        if call.done():
            break
        await stand.clock.advance(0.5)
    return call.result()


async def test_a_stream_that_breaks_is_taken_up_as_well() -> None:
    numbered = Numbered()

    async def play(got: Got) -> web.StreamResponse | None:
        if got.method == "tools/call":
            stream = await numbered.open(got)
            await stand.server.until(1, None)
            assert got.request.transport is not None
            got.request.transport.abort()
            return stream
        return await numbered.go_on(got) if got.verb == "GET" else None

    async with upstream_stand(play) as stand:
        response = await in_time(stand)
    assert isinstance(response, Response)
    assert result_of(response) == {"in": "the end"}


async def test_a_stream_is_not_taken_up_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_handshake, "MAX_RESUMES", 2)
    resumed: list[object] = [web.Response(content_type="text/event-stream") for _ in range(3)]
    async with upstream_stand(lambda got: _numbered(Numbered(), got, resumed)) as stand:
        assert isinstance(await in_time(stand), BridgeUnavailable)
    assert len(stand.server.all(None, "GET")) == 2


async def test_an_event_id_that_no_field_can_carry_is_none() -> None:
    async def stop(got: Got) -> web.StreamResponse:
        line = await got.line()
        await line.event("id: a\x01b\ndata:")
        return line.stream

    async with upstream_stand(Calls(stop)) as stand:
        with pytest.raises(BridgeUnavailable):
            await send(stand)
    assert stand.server.all(None, "GET") == []


async def test_a_stream_is_taken_up_as_often_as_it_ends() -> None:
    numbered = Numbered()

    def empty() -> web.Response:
        return web.Response(body=b": nothing\n\n", content_type="text/event-stream")

    resumed: list[object] = [empty(), empty(), empty(), empty(), empty(), empty(), empty()]
    async with upstream_stand(lambda got: _numbered(numbered, got, resumed)) as stand:
        response = await in_time(stand)
    assert isinstance(response, Response)
    assert result_of(response) == {"in": "the end"}
    assert len(stand.server.all(None, "GET")) == 8


async def test_a_stream_that_cannot_be_taken_up_ends_the_request() -> None:
    numbered = Numbered()
    async with upstream_stand(lambda got: _numbered(numbered, got, [web.Response(status=405)])) as stand:
        assert isinstance(await in_time(stand), BridgeRefused)
        await stand.server.until(1, "notifications/cancelled")


async def test_a_stream_without_numbers_that_ends_early_ends_the_request() -> None:
    async def stop(got: Got) -> web.StreamResponse:
        return (await got.line()).stream

    async with upstream_stand(Calls(stop)) as stand:
        with pytest.raises(BridgeUnavailable, match="ended before"):
            await send(stand)
    assert stand.server.all(None, "GET") == []


async def test_a_broken_connection_is_unavailable() -> None:
    async def drop(got: Got) -> web.StreamResponse:
        line = await got.line()
        assert got.request.transport is not None
        got.request.transport.abort()
        return line.stream

    async with upstream_stand(Calls(drop)) as stand:
        with pytest.raises(BridgeUnavailable):
            await send(stand)


async def test_connections_that_fail_in_a_row_are_given_up() -> None:
    async def script(got: Got) -> web.StreamResponse | None:
        if got.method == "tools/call":
            return await Numbered().open(got)
        if got.verb == "GET":
            assert got.request.transport is not None
            got.request.transport.abort()
        return None

    async with upstream_stand(script) as stand:
        assert isinstance(await in_time(stand), BridgeUnavailable)
    assert len(stand.server.all(None, "GET")) >= mcp_handshake.MAX_FAILED_RESUMES
