"""The HTTP+SSE transport through its doors: what a stream names leads to us, and from us to where it came from."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import yarl
from aiohttp import web

from proxy.core.outcome import Door, Result
from proxy.downstream.connection import PortRunner
from proxy.downstream.problem import error_boundary
from proxy.downstream.relay import Relay, add_relay_route
from proxy.downstream.relay_upstream import open_relay_session
from proxy.downstream.sse_endpoint import MAX_PLACES, SseDoors
from proxy.wiring.clock import LoopClock
from tests.support.admissions import admission_of
from tests.support.corpus import get, post, reply, sized
from tests.support.fake_recorder import FakeRecorder
from tests.support.peers import Room, call, peer_room
from tests.support.raw_http import Wire, connect, read_chunk
from tests.support.raw_upstream import Peer, RawUpstream, answers, raw_upstream

pytestmark = pytest.mark.requirement("mcp.http_sse")

EVENTS = (b"Content-Type: text/event-stream", b"Transfer-Encoding: chunked")
MESSAGE = b"event: message\r\ndata: {}\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Front:
    """The doors on a port, before an MCP server and a Bridge that is somebody else."""

    port: int
    doors: SseDoors
    recorder: FakeRecorder


@asynccontextmanager
async def _front(mcp_url: str, bridge_url: str = "http://127.0.0.1:9") -> AsyncIterator[Front]:
    recorder = FakeRecorder()
    async with open_relay_session(connect_timeout_s=0.5) as session:
        bridge, mcp = Relay(session, yarl.URL(bridge_url)), Relay(session, yarl.URL(mcp_url))
        clock = LoopClock()
        admission = admission_of(clock, recorder)
        doors = SseDoors(relay=mcp, upstream=mcp_url, path="/sse", recorder=recorder, clock=clock, admission=admission)

        async def answer(request: web.Request) -> web.StreamResponse:
            if doors.takes(request.method, request.path, request.raw_path):
                return await doors.serve(request)
            return await bridge.relay(request)

        app = web.Application(middlewares=[error_boundary(recorder.defect)])
        add_relay_route(app, answer)
        runner = PortRunner(app, shutdown_timeout_s=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield Front(runner.addresses[0][1], doors, recorder)
        finally:
            await runner.cleanup()


@asynccontextmanager
async def _house() -> AsyncIterator[tuple[RawUpstream, RawUpstream, Front]]:
    """The MCP server, the Bridge, and the doors before both."""
    async with raw_upstream() as server, raw_upstream() as bridge:
        origins = [f"http://127.0.0.1:{upstream.port}" for upstream in (server, bridge)]
        async with asyncio.timeout(10), _front(*origins) as front:
            yield server, bridge, front


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _stream(*first: bytes) -> tuple[bytes, ...]:
    return (reply(b"200 OK", *EVENTS), *map(_chunk, first))


async def _streaming(peer: Peer, *first: bytes) -> None:
    """Open a stream, send what comes first, and end it when the test says so."""
    await peer.request()
    for piece in _stream(*first):
        await peer.send(piece)
    await peer.stage.until("end")
    await peer.send(b"0\r\n\r\n")


async def _begun(wire: Wire) -> bytes:
    """Ask for the stream; the first piece of its body."""
    await wire.send(get(b"/sse", b"Accept-Encoding: gzip"))
    head, _ = await wire.reply_head()
    assert head.start.startswith(b"HTTP/1.1 200")
    return await read_chunk(wire.reader)


async def test_an_absolute_endpoint_leads_to_us_and_what_is_posted_there_to_the_server() -> None:
    async with _house() as (server, bridge, front):

        async def play(peer: Peer) -> None:
            head = await peer.head()
            if head.start.startswith(b"POST"):
                await peer.request(head)
                await peer.send(sized(b"202 Accepted"))
                return
            origin = b"http://" + head.all(b"host")[0]
            for piece in _stream(b"event: endpoint\r\ndata: " + origin + b"/messages/?session_id=1\r\n\r\n"):
                await peer.send(piece)
            await peer.stage.until("posted")
            await peer.send(_chunk(MESSAGE) + b"0\r\n\r\n")

        stage = server.play(play)
        async with connect(front.port) as stream, connect(front.port) as other:
            assert await _begun(stream) == b"event: endpoint\r\ndata: /messages/?session_id=1\r\n\r\n"
            await other.send(post(b"{}", target=b"/messages/?session_id=1"))
            assert (await other.reply()).status == 202
            stage.reached("posted")
            assert await read_chunk(stream.reader) == MESSAGE
            assert await read_chunk(stream.reader) == b""
        assert [(received.target, received.body) for received in server.received] == [
            (b"/messages/?session_id=1", b"{}")
        ]
        assert (bridge.received, server.failures) == ([], [])
        assert [(one.door, one.result, one.status) for one in front.recorder.outcomes] == [
            (Door.MCP, Result.RELAYED, 202),
            (Door.MCP, Result.RELAYED, 200),
        ]


async def test_a_stream_is_asked_for_uncompressed_and_every_frame_goes_on_as_soon_as_it_is_whole() -> None:
    async with _house() as (server, _, front):
        relative = b"event: endpoint\ndata: /messages/?session_id=1\n\n"

        async def play(peer: Peer) -> None:
            await peer.request()
            for piece in _stream(b": hello\n\n" + relative[:20]):
                await peer.send(piece)
            await peer.stage.until("first was heard")
            await peer.send(_chunk(relative[20:] + b": the end"))
            await peer.stage.until("second was heard")
            await peer.send(b"0\r\n\r\n")

        stage = server.play(play)
        async with connect(front.port) as stream:
            assert await _begun(stream) == b": hello\n\n"
            stage.reached("first was heard")
            assert await read_chunk(stream.reader) == relative
            stage.reached("second was heard")
            assert await read_chunk(stream.reader) == b": the end"
            assert await read_chunk(stream.reader) == b""
        assert server.received[0].head.all(b"accept-encoding") == [b"identity"]


async def test_a_place_is_served_only_while_a_stream_that_named_it_is_open() -> None:
    async with _house() as (server, bridge, front):

        async def play(peer: Peer) -> None:
            await _streaming(peer, b"event: endpoint\ndata: /messages/?session_id=1\n\n")

        stage = server.play(play)
        async with connect(front.port) as other:

            async def ask(request: bytes) -> None:
                bridge.play(answers(sized(b"404 Not Found")))
                await other.send(request)
                assert (await other.reply()).status == 404
                assert len(bridge.received) == 1

            async with connect(front.port) as first, connect(front.port) as second:
                await _begun(first)
                await _begun(second)
                assert front.doors.places == {"/messages/?session_id=1": 2}
                await ask(get(b"/messages/?session_id=1"))
                await ask(post(b"{}", target=b"/messages/?session_id=2"))
                stage.reached("end")
                assert await read_chunk(first.reader) == await read_chunk(second.reader) == b""
            assert front.doors.places == {}
            await ask(post(b"{}", target=b"/messages/?session_id=1"))


async def test_a_stream_that_is_left_ends_at_the_server_and_gives_its_place_up() -> None:
    async with _house() as (server, _, front):

        async def play(peer: Peer) -> None:
            await peer.request()
            for piece in _stream(b"event: endpoint\ndata: /messages/?session_id=1\n\n"):
                await peer.send(piece)
            await peer.gone()
            peer.stage.reached("gone")

        stage = server.play(play)
        async with connect(front.port) as stream:
            await _begun(stream)
        await stage.until("gone")
        assert [one.result for one in front.recorder.outcomes] == [Result.GONE]
        assert front.doors.places == {}


async def test_a_stream_can_name_no_more_than_a_few_places() -> None:
    async with _house() as (server, _, front):
        named = b"".join(b"event: endpoint\ndata: /m?%d\n\n" % number for number in range(MAX_PLACES + 5))

        async def play(peer: Peer) -> None:
            await _streaming(peer, named)

        stage = server.play(play)
        async with connect(front.port) as stream:
            assert await _begun(stream) == named
            assert len(front.doors.places) == MAX_PLACES
            stage.reached("end")
            assert await read_chunk(stream.reader) == b""


@pytest.mark.parametrize("name", [b"//[broken", b"http://[broken/m"])
async def test_a_place_that_cannot_be_read_goes_through_and_is_nobodys(name: bytes) -> None:
    async with _house() as (server, _, front):
        frame = b"event: endpoint\ndata: " + name + b"\n\n"

        async def play(peer: Peer) -> None:
            await _streaming(peer, frame)

        stage = server.play(play)
        async with connect(front.port) as stream:
            assert await _begun(stream) == frame
            assert front.doors.places == {}
            stage.reached("end")
            assert await read_chunk(stream.reader) == b""


@pytest.mark.parametrize(
    ("status", "kind"), [(b"405 Method Not Allowed", b"text/plain"), (b"200 OK", b"application/json")]
)
async def test_what_is_no_stream_passes_as_it_is(status: bytes, kind: bytes) -> None:
    async with _house() as (server, _, front):
        body = b"event: endpoint\ndata: http://127.0.0.1:%d/m\n\n" % server.port
        server.play(answers(sized(status, b"Content-Type: " + kind, b"Allow: POST", body=body)))
        async with connect(front.port) as wire:
            await wire.send(get(b"/sse"))
            heard = await wire.reply()
    assert (heard.body, heard.all(b"allow")) == (body, [b"POST"])


async def test_a_server_that_is_down_is_an_error_of_the_relay() -> None:
    async with asyncio.timeout(10), _front("http://127.0.0.1:9") as front, connect(front.port) as wire:
        await wire.send(get(b"/sse"))
        assert (await wire.reply()).status == 502
        assert [one.result for one in front.recorder.outcomes] == [Result.FAILED]


@pytest.fixture(scope="module", name="room")
def _room() -> Iterator[Room]:
    with peer_room() as opened:
        yield opened


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("server", "words"), [("mcp-1.30", ()), ("mcp-1.30", ("--absolute",)), ("ts-1", ())], ids=["path", "url", "node"]
)
@pytest.mark.parametrize("client", ["mcp-1.22", "mcp-1.30", "ts-1"])
@pytest.mark.parametrize("answer", ["accept", "decline"])
async def test_real_clients_are_asked_over_http_sse(
    *, room: Room, server: str, words: tuple[str, ...], client: str, answer: str
) -> None:
    origin = room.server(server, "--sse", *words).url.removesuffix("/sse")
    async with _front(origin) as front:
        url = f"http://127.0.0.1:{front.port}/sse"
        slow = call("slow", {"seconds": 0.1, "steps": 2}, progress=True)
        run = room.client(client, url=url, sse=True, answer=answer, calls=[call("ask"), slow])
        assert (await run.heard(kind="asked"))["message"] == "Your name?"
        assert (await run.heard(kind="result"))["text"] == [f"{answer}:{'zed-name' if answer == 'accept' else ''}"]
        assert (await run.heard(kind="result", count=2))["text"] == ["took 0.1 s"]
        # The SDK for Node forgets whom to tell once the result is there, so it may not tell of the last step.
        assert run.said(method="notifications/progress")
        assert await run.heard(kind="closed")
    assert {one.door for one in front.recorder.outcomes} == {Door.MCP}
    assert front.recorder.defects == []
