"""What the relay does when things go wrong, with bodies handed over, and with bodies of a gibibyte."""

import asyncio
import contextlib
import resource
import socket
import struct
from collections.abc import AsyncIterator

import aiohttp
import orjson
import pytest
import yarl
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from proxy.downstream.relay import Relay, RelayOutcome
from proxy.downstream.relay_reply import RelayReply
from proxy.downstream.relay_upstream import open_relay_session
from tests.support.corpus import OK, chunked, get, post, reply, sized
from tests.support.raw_http import Reply, connect, read_head
from tests.support.raw_upstream import Peer, RawUpstream, answers, raw_upstream
from tests.support.relay_stand import RelayCall, Stand, relay_stand

MEBIBYTE = 1024 * 1024
STREAMED_BYTES = 1024 * MEBIBYTE


@contextlib.asynccontextmanager
async def _house(call: RelayCall | None = None, path: str = "") -> AsyncIterator[tuple[RawUpstream, Stand]]:
    async with raw_upstream() as upstream:
        url = f"http://127.0.0.1:{upstream.port}{path}"
        async with relay_stand(url) if call is None else relay_stand(url, call=call) as stand:
            yield upstream, stand


async def _ask(stand: Stand, request: bytes) -> Reply:
    async with asyncio.timeout(5), connect(stand.port) as wire:
        await wire.send(request)
        return await wire.reply(method=request.split(b" ", 1)[0])


def _problem(answer: Reply) -> dict[str, object]:
    assert answer.all(b"content-type") == [b"application/problem+json"]
    problem: dict[str, object] = orjson.loads(answer.body)
    assert problem["status"] == answer.status
    return problem


def _reset(peer: Peer) -> None:
    raw: socket.socket = peer.wire.writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.abort()


def _unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_an_upstream_that_is_down_gives_a_problem_and_an_outcome() -> None:
    async with relay_stand(f"http://127.0.0.1:{_unused_port()}") as stand:
        answer = await _ask(stand, post(b"abc"))
    assert answer.status == 502
    assert _problem(answer)["code"] == "bridge_unavailable"
    assert stand.outcomes == [RelayOutcome(status=0, bytes_up=0, bytes_down=0, complete=False)]


async def test_an_upstream_that_does_not_accept_is_given_up_after_the_connect_timeout() -> None:
    with contextlib.ExitStack() as open_sockets:
        deaf = open_sockets.enter_context(socket.socket())
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):
            filler = open_sockets.enter_context(socket.socket())
            filler.setblocking(False)  # noqa: FBT003  # the standard library takes it by position only
            filler.connect_ex(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        async with relay_stand(url, connect_timeout_s=0.05) as stand:
            answer = await _ask(stand, get(b"/"))
    assert _problem(answer)["code"] == "bridge_unavailable"


@pytest.mark.parametrize("request_bytes", [get(b"/"), post(b"abc"), get(b"/", method=b"DELETE")])
async def test_a_fresh_connection_that_dies_is_not_tried_again(request_bytes: bytes) -> None:
    async def dies(peer: Peer) -> None:
        await peer.request()

    async with _house() as (upstream, stand):
        upstream.play(dies)
        answer = await _ask(stand, request_bytes)
    assert _problem(answer)["code"] == "bridge_unavailable"
    assert len(upstream.received) == 1


async def _serves_one_request_per_connection(peer: Peer) -> None:
    await peer.request()
    await peer.send(sized(b"200 OK"))
    await peer.request()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (get(b"/again"), 200),
        (get(b"/again", method=b"HEAD"), 200),
        (get(b"/again", method=b"OPTIONS"), 200),
        (post(b"abc"), 502),
        (post(b"abc", method=b"PUT"), 502),
        (get(b"/again", method=b"DELETE"), 502),
        (post(b"abc", method=b"GET"), 502),
    ],
)
async def test_only_a_safe_request_is_repeated_after_a_kept_connection_died(request_bytes: bytes, status: int) -> None:
    async with _house() as (upstream, stand):
        upstream.play(_serves_one_request_per_connection)
        assert (await _ask(stand, get(b"/first"))).status == 200
        assert (await _ask(stand, request_bytes)).status == status
        assert upstream.connections == (2 if status == 200 else 1)


@pytest.mark.parametrize(
    "answer",
    [
        b"hello there\r\n\r\n",
        reply(b"101 Switching Protocols", b"Upgrade: websocket", b"Connection: upgrade"),
        reply(b"200 OK", b"Content-Length: 1", b"Content-Length: 2", body=b"x"),
    ],
)
async def test_what_is_no_reply_gives_a_problem_that_does_not_quote_it(answer: bytes) -> None:
    async with _house() as (upstream, stand):
        upstream.play(answers(answer))
        problem = _problem(await _ask(stand, get(b"/")))
    assert problem["code"] == "bad_bridge_reply"
    assert "hello" not in str(problem["detail"])


async def test_half_a_head_gives_a_problem_that_does_not_quote_it() -> None:
    async with _house() as (upstream, stand):
        upstream.play(answers(b"HTTP/1.1 200 OK\r\nX-Secret: tok"))
        problem = _problem(await _ask(stand, get(b"/")))
    assert problem["code"] == "bridge_unavailable"
    assert "ecret" not in str(problem["detail"])


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_body_ending_by_close_that_is_reset_never_looks_complete(version: bytes) -> None:
    async def resets(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply(b"200 OK", body=b"partial"))
        await peer.stage.until("partly read")
        _reset(peer)

    async with _house() as (upstream, stand):
        stage = upstream.play(resets)
        async with asyncio.timeout(5), connect(stand.port) as wire:
            await wire.send(get(b"/", version=version))
            await read_head(wire.reader)
            await wire.reader.readuntil(b"partial")
            stage.reached("partly read")
            try:
                rest = await wire.reader.read()
            except ConnectionResetError:
                rest = b"reset"
    assert rest == (b"reset" if version == b"1.0" else b"\r\n")
    assert stand.outcomes == [RelayOutcome(status=200, bytes_up=0, bytes_down=7, complete=False)]


async def test_chunks_that_break_in_the_middle_end_the_reply_unfinished() -> None:
    async def breaks(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply(b"200 OK", b"Transfer-Encoding: chunked", body=b"2\r\nhi\r\n"))
        await peer.stage.until("partly read")
        await peer.send(b"zz\r\nno chunk")
        await peer.gone()

    async with _house() as (upstream, stand):
        stage = upstream.play(breaks)
        async with asyncio.timeout(5), connect(stand.port) as wire:
            await wire.send(get(b"/"))
            await wire.reader.readuntil(b"hi\r\n")
            stage.reached("partly read")
            assert await wire.reader.read() == b""


async def test_an_agent_that_leaves_during_its_upload_takes_the_upstream_connection_along() -> None:
    async def listens(peer: Peer) -> None:
        await peer.head()
        peer.stage.reached("uploading")
        await peer.gone()
        peer.stage.reached("let go")

    async with _house() as (upstream, stand):
        stage = upstream.play(listens)
        async with connect(stand.port) as wire:
            await wire.send(get(b"/", b"Content-Length: 100", method=b"POST") + b"some")
            await stage.until("uploading")
        await stage.until("let go")
    assert [(outcome.status, outcome.complete) for outcome in stand.outcomes] == [(0, False)]


async def test_an_agent_whose_connection_just_closed_ends_its_call_quietly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = RelayReply._start

    async def start_too_late(down: RelayReply, request: web.BaseRequest) -> AbstractStreamWriter:
        assert request.transport is not None
        request.transport.close()
        return await start(down, request)

    monkeypatch.setattr(RelayReply, "_start", start_too_late)
    async with _house() as (upstream, stand), connect(stand.port) as wire:
        upstream.play(answers(OK))
        await wire.send(get(b"/"))
        assert await wire.reader.read() == b""
    assert stand.outcomes == [RelayOutcome(status=200, bytes_up=0, bytes_down=0, complete=False)]


async def test_a_request_body_that_cannot_be_read_is_the_agents_fault() -> None:
    async def spoil(relay: Relay, request: web.Request) -> web.StreamResponse:
        request.content.set_exception(web.RequestPayloadError("planted"))
        return await relay.relay(request)

    async with _house(spoil) as (upstream, stand):
        upstream.play(answers(OK))
        answer = await _ask(stand, post(b"abc").removesuffix(b"bc"))
    assert answer.status == 400
    assert _problem(answer)["code"] == "invalid_input"


async def test_a_kept_connection_carries_many_calls() -> None:
    async with _house() as (upstream, stand):
        upstream.play(answers(*[OK] * 5))
        for _ in range(5):
            assert (await _ask(stand, get(b"/"))).status == 200
        assert upstream.connections == 1


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(b"a body", b"Expect: 100-continue"),
        get(b"/event/store", b"Transfer-Encoding: chunked", method=b"POST") + chunked(b"a b", b"ody"),
    ],
)
async def test_a_body_that_a_door_has_read_is_sent_with_its_length(request_bytes: bytes) -> None:
    async def read_first(relay: Relay, request: web.Request) -> web.StreamResponse:
        return await relay.relay(request, body=await request.read())

    async with _house(read_first) as (upstream, stand):
        upstream.play(answers(OK))
        assert (await _ask(stand, request_bytes)).status == 200
        (received,) = upstream.received
    assert received.body == b"a body"
    assert received.head.all(b"content-length") == [b"6"]
    assert received.head.all(b"transfer-encoding") == []
    assert stand.outcomes == [RelayOutcome(status=200, bytes_up=6, bytes_down=13, complete=True)]


async def test_an_empty_body_that_a_door_has_read_adds_nothing() -> None:
    async def read_first(relay: Relay, request: web.Request) -> web.StreamResponse:
        return await relay.relay(request, body=await request.read())

    async with _house(read_first) as (upstream, stand):
        upstream.play(answers(OK))
        await _ask(stand, get(b"/a?"))
        (received,) = upstream.received
    assert [name for name, _ in received.head.headers] == [b"Host"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (OK, [(200, b'{"ok": true}\n')]),
        (sized(b"404 No", body=b"no"), [(404, b"no")]),
        (sized(b"200 OK", body=b"x" * MEBIBYTE), [(200, b"x" * MEBIBYTE)]),
        (sized(b"200 OK", body=b"x" * (MEBIBYTE + 1)), []),
        (reply(b"200 OK", b"Content-Length: 9", body=b"short"), []),
    ],
)
async def test_a_door_is_told_of_a_whole_and_small_reply(answer: bytes, told: list[tuple[int, bytes]]) -> None:
    heard: list[tuple[int, bytes]] = []

    async def listen(relay: Relay, request: web.Request) -> web.StreamResponse:
        return await relay.relay(request, on_reply=lambda status, body: heard.append((status, body)))

    async with _house(listen) as (upstream, stand):
        upstream.play(answers(answer))
        await _ask(stand, get(b"/"))
    assert heard == told


@pytest.mark.parametrize(("path", "target"), [("", b"/a?b"), ("/", b"/a?b"), ("/base/x/", b"/base/x/a?b")])
async def test_the_path_of_the_upstream_comes_before_the_target(path: str, target: bytes) -> None:
    async with _house(path=path) as (upstream, stand):
        upstream.play(answers(OK))
        await _ask(stand, get(b"/a?b"))
        assert upstream.received[0].target == target
        assert upstream.received[0].head.all(b"host") == [b"127.0.0.1:%d" % upstream.port]


async def test_an_absolute_target_is_sent_as_path_and_query() -> None:
    async with _house() as (upstream, stand):
        upstream.play(answers(OK))
        await _ask(stand, get(b"http://agent.example/a%2F?b"))
        assert upstream.received[0].target == b"/a%2F?b"


async def test_an_interim_reply_and_the_final_one_together_send_no_late_continue() -> None:
    async with _house() as (upstream, stand):

        async def answers_at_once(peer: Peer) -> None:
            await peer.head()
            await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" + sized(b"413 Too Large", body=b"no"))
            await peer.gone()

        upstream.play(answers_at_once)
        async with asyncio.timeout(5), connect(stand.port) as wire:
            await wire.send(get(b"/", b"Content-Length: 9", b"Expect: 100-continue", method=b"PUT"))
            answer = await wire.reply()
    assert (answer.status, answer.body) == (413, b"no")


async def test_a_websocket_whose_upstream_vanishes_at_once_ends() -> None:
    handshake = get(b"/ws/a", b"Connection: upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: k")

    async def vanishes(peer: Peer) -> None:
        await peer.request()
        await peer.send(reply(b"101 Switching Protocols", b"Connection: upgrade", b"Upgrade: websocket"))
        _reset(peer)

    async with _house() as (upstream, stand):
        upstream.play(vanishes)
        async with asyncio.timeout(5), connect(stand.port) as wire:
            await wire.send(handshake)
            answer = await wire.reader.read()
    assert answer.startswith((b"HTTP/1.1 101", b"HTTP/1.1 502"))


async def test_a_session_of_another_make_is_refused() -> None:
    async def relay_by_plain_session(_: Relay, request: web.Request) -> web.StreamResponse:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(TypeError, match="open_relay_session"):
                await Relay(session, yarl.URL("http://127.0.0.1:9")).relay(request)
        return web.Response(status=299)

    async with _house(relay_by_plain_session) as (_, stand):
        assert (await _ask(stand, get(b"/"))).status == 299


async def test_the_session_serves_ordinary_requests_too() -> None:
    async with raw_upstream() as upstream, open_relay_session(connect_timeout_s=0.5) as session:
        upstream.play(answers(OK))
        async with session.post(f"http://127.0.0.1:{upstream.port}/a", data=b"abc") as answer:
            assert await answer.json() == {"ok": True}
        (received,) = upstream.received
    assert received.body == b"abc"
    assert sorted(name for name, _ in received.head.headers) == [b"Content-Length", b"Host"]


async def test_bodies_of_any_size_pass_both_ways_in_constant_memory() -> None:
    block = bytes(MEBIBYTE)
    head = b"Content-Length: %d" % STREAMED_BYTES

    async def swallows_and_returns(peer: Peer) -> None:
        await peer.head()
        left = STREAMED_BYTES
        while left:
            left -= len(await peer.wire.reader.read(MEBIBYTE))
        await peer.send(reply(b"200 OK", head))
        for _ in range(STREAMED_BYTES // MEBIBYTE):
            await peer.send(block)

    async with _house() as (upstream, stand):
        upstream.play(swallows_and_returns)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        async with connect(stand.port) as wire:
            await wire.send(get(b"/big", head, method=b"PUT"))
            for _ in range(STREAMED_BYTES // MEBIBYTE):
                await wire.send(block)
            await wire.reply_head()
            left = STREAMED_BYTES
            while left:
                left -= len(await wire.reader.read(MEBIBYTE))
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert stand.outcomes[0].bytes_up == stand.outcomes[0].bytes_down == STREAMED_BYTES
    # Both ends live in this process too; all buffers together stay far below one body.
    assert grown_kib < 48 * 1024
