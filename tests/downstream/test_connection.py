"""Connections of a port: peers that leave, heads that do not end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from proxy.downstream import connection
from proxy.downstream.connection import ENDS_WITH_PEER, MAX_HEAD_BYTES, PortRunner
from proxy.downstream.relay import Relay, add_relay_route
from tests.support.asking import RED, ask_bob
from tests.support.corpus import OK, chunked, get, post
from tests.support.house import OFF, ON, house, stand, until, until_told
from tests.support.raw_http import connect
from tests.support.raw_upstream import Peer, Stage, answers, raw_upstream
from tests.support.relay_stand import relay_stand

CHUNKED = get(b"/event/store", b"Transfer-Encoding: chunked", method=b"POST") + chunked(b"a b", b"ody")


@asynccontextmanager
async def _port(handler: Handler) -> AsyncIterator[int]:
    app = web.Application()
    add_relay_route(app, handler)
    runner = PortRunner(app, shutdown_timeout_s=0.01)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _send_and_leave(port: int, request: bytes) -> None:
    async with connect(port) as wire:
        await wire.send(request.replace(b"HOST", b"localhost"))


def _json_post(target: str, token: str, body: object) -> bytes:
    raw = orjson.dumps(body)
    return post(raw, b"Authorization: Bearer " + token.encode(), target=target.encode())


async def _echo(request: web.Request) -> web.Response:
    return web.Response(text=str(len(await request.read())))


class TestLeaving:
    @pytest.mark.parametrize("flags", [ON, OFF], ids=["on", "off"])
    @pytest.mark.parametrize(
        "request_bytes",
        [post(b"a body"), CHUNKED, post(b"a body", b"Authorization: Bearer x")],
        ids=["sized", "chunked", "looked into"],
    )
    async def test_what_was_handed_over_completely_is_sent_on_after_its_sender_left(
        self, flags: dict[str, str], request_bytes: bytes
    ) -> None:
        async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}", flags) as made:
            upstream.play(answers(*[OK] * 10))
            for _ in range(10):
                await _send_and_leave(made.port, request_bytes)
            await until(lambda: len(upstream.received) == 10)
            assert {(received.body, received.complete) for received in upstream.received} == {(b"a body", True)}
            await until(lambda: len(made.lines) == 10)

    @pytest.mark.parametrize("flags", [ON, OFF], ids=["on", "off"])
    async def test_messages_of_senders_that_leave_are_in_the_log(self, tmp_path: Path, flags: dict[str, str]) -> None:
        async with stand(tmp_path, flags=flags) as made:
            alice = await made.bridge.token("alice")
            for number in range(5):
                event = {"agent_id": "alice", "event_type": "AGENT_HEARTBEAT", "data": {"number": number}}
                await _send_and_leave(made.house.port, _json_post("/event/store", alice, event))
            await until(lambda: made.arrived("POST /event/store") == 5)

    @pytest.mark.parametrize("way", ["respond", "store"])
    async def test_an_answer_of_an_agent_that_leaves_is_given(self, tmp_path: Path, way: str) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            given = {"elicitation_id": asked.named, "response_type": "accept"}
            request = (
                _json_post("/elicitation/respond", asked.bob, {**given, "responding_agent": "bob", "data": RED})
                if way == "respond"
                else _json_post("/event/store", asked.bob, {"agent_id": "bob", "data": {**given, "content": RED}})
            )
            await _send_and_leave(made.house.port, request)

            async def is_accepted() -> bool:
                return await asked.status() == "accepted"

            await until_told(is_accepted)

    async def test_a_question_of_an_agent_that_leaves_is_asked(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice = await made.bridge.token("alice")
            await _send_and_leave(made.house.port, _json_post("/elicitation/create", alice, {"message": "?"}))
            await until(lambda: made.arrived("POST /elicitation/create") == 1)

    @pytest.mark.parametrize("request_bytes", [post(b"a body"), CHUNKED])
    async def test_to_leave_before_it_went_up_only_drops_the_reply(self, request_bytes: bytes) -> None:
        stage = Stage()

        async def late(relay: Relay, request: web.Request) -> web.StreamResponse:
            stage.reached("began")
            await until(lambda: request.transport is None)
            return await relay.relay(request)

        async with (
            raw_upstream() as upstream,
            relay_stand(f"http://127.0.0.1:{upstream.port}", call=late) as relaying,
        ):
            upstream.play(answers(OK))
            async with connect(relaying.port) as wire:
                await wire.send(request_bytes)
                await stage.until("began")
            async with asyncio.timeout(5):
                await relaying.ended.wait()
            assert upstream.received[0].body == b"a body"
            (outcome,) = relaying.outcomes
            assert (outcome.status, outcome.bytes_up, outcome.complete) == (200, 6, False)

    @pytest.mark.parametrize("request_bytes", [post(b"a body"), CHUNKED, get(b"/wait")])
    async def test_to_leave_after_it_went_up_lets_go_of_the_upstream(self, request_bytes: bytes) -> None:
        async def listens(peer: Peer) -> None:
            await peer.request()
            peer.stage.reached("received")
            await peer.gone()
            peer.stage.reached("let go")

        async with raw_upstream() as upstream, relay_stand(f"http://127.0.0.1:{upstream.port}") as relaying:
            stage = upstream.play(listens)
            async with connect(relaying.port) as wire:
                await wire.send(request_bytes)
                await stage.until("received")
            await stage.until("let go")
            assert [(outcome.status, outcome.complete) for outcome in relaying.outcomes] == [(0, False)]

    @pytest.mark.parametrize(
        ("request_bytes", "ends_with_peer"),
        [
            (get(b"/"), False),
            (get(b"/", method=b"HEAD"), False),
            (get(b"/", method=b"OPTIONS"), False),
            (get(b"/", b"Content-Length: 9", method=b"POST") + b"half", False),
            (post(b"whole"), True),
        ],
    )
    async def test_any_other_call_ends_at_once_when_its_peer_leaves(
        self, request_bytes: bytes, *, ends_with_peer: bool
    ) -> None:
        stage = Stage()

        async def hang(request: web.Request) -> web.Response:
            request[ENDS_WITH_PEER] = ends_with_peer
            try:
                stage.reached("began")
                await asyncio.Event().wait()
            finally:
                stage.reached("ended")
            return web.Response()

        async with _port(hang) as port:
            async with connect(port) as wire:
                await wire.send(request_bytes)
                await stage.until("began")
            await stage.until("ended")

    @pytest.mark.parametrize("carry_out_s", [0.01, 60], ids=["limit", "stop"])
    async def test_a_call_goes_on_for_a_bounded_time_and_no_longer_than_the_port(
        self, monkeypatch: pytest.MonkeyPatch, carry_out_s: float
    ) -> None:
        monkeypatch.setattr(connection, "CARRY_OUT_S", carry_out_s)
        stage = Stage()

        async def hang(request: web.Request) -> web.Response:
            stage.reached("began")
            await until(lambda: request.transport is None)
            stage.reached("alone")
            try:
                await asyncio.Event().wait()
            finally:
                stage.reached("ended")
            return web.Response()

        async with _port(hang) as port:
            async with connect(port) as wire:
                await wire.send(post(b"whole"))
                await stage.until("began")
            await stage.until("alone")
            if carry_out_s < 1:
                await stage.until("ended")
        await stage.until("ended")

    async def test_a_call_carried_out_is_answered_to_nobody_and_ends(self) -> None:
        stage = Stage()

        async def late(request: web.Request) -> web.Response:
            stage.reached("began")
            await until(lambda: request.transport is None)
            body = await request.text()
            stage.reached(body)
            return web.Response(text=body)

        async with _port(late) as port:
            async with connect(port) as wire:
                await wire.send(post(b"whole"))
                await stage.until("began")
            await stage.until("whole")


class TestHeads:
    async def test_a_head_that_does_not_end_is_refused(self) -> None:
        async with _port(_echo) as port, asyncio.timeout(5), connect(port) as wire:
            await wire.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
            with_name = b"X-Long: " + b"x" * 60_000 + b"\r\n"
            for _ in range(MAX_HEAD_BYTES // len(with_name) + 1):
                wire.writer.write(with_name)
            reply = await wire.reply()
            assert (reply.status, reply.body) == (431, b"")
            assert await wire.reader.read() == b""

    async def test_it_takes_a_running_call_of_its_connection_along(self) -> None:
        stage = Stage()

        async def hang(_: web.Request) -> web.Response:
            try:
                stage.reached("began")
                await asyncio.Event().wait()
            finally:
                stage.reached("ended")
            return web.Response()

        async with _port(hang) as port, connect(port) as wire:
            await wire.send(get(b"/"))
            await stage.until("began")
            wire.writer.write(b"GET / HTTP/1.1\r\n" + (b"X-Long: " + b"x" * 60_000 + b"\r\n") * 9)
            await stage.until("ended")

    async def test_trailers_that_do_not_end_break_off_their_call(self) -> None:
        stage = Stage()

        async def read(request: web.Request) -> web.Response:
            try:
                await request.read()
            finally:
                stage.reached("ended")
            return web.Response()

        async with _port(read) as port, connect(port) as wire:
            await wire.send(get(b"/", b"Transfer-Encoding: chunked", method=b"POST") + b"2\r\nhi\r\n0\r\n")
            wire.writer.write((b"X-Long: " + b"x" * 60_000 + b"\r\n") * 9)
            await stage.until("ended")

    @pytest.mark.parametrize("body_bytes", [0, 3 * MAX_HEAD_BYTES])
    async def test_long_heads_and_bodies_one_after_another_pass(self, body_bytes: int) -> None:
        fields = [b"X-Long-%d: " % number + b"x" * 60_000 for number in range(3)]
        request = post(b"x" * body_bytes, *fields)
        async with _port(_echo) as port, asyncio.timeout(5), connect(port) as wire:
            for _ in range(4):
                for begin in range(0, len(request), 50_000):
                    await wire.send(request[begin : begin + 50_000])
                reply = await wire.reply()
                assert (reply.status, reply.body) == (200, b"%d" % body_bytes)

    @pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: local"], ids=["nothing", "half a head"])
    async def test_a_connection_without_a_head_is_closed(self, monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
        monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.01)
        async with _port(_echo) as port, asyncio.timeout(5), connect(port) as wire:
            await wire.send(sent)
            assert await wire.reader.read() == b""

    async def test_a_connection_with_a_head_outlives_a_later_one_without(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.05)
        stage = Stage()

        async def wait(_: web.Request) -> web.Response:
            stage.reached("began")
            await stage.until("the other is closed")
            return web.Response()

        async with _port(wait) as port, asyncio.timeout(5), connect(port) as wire:
            await wire.send(get(b"/"))
            await stage.until("began")
            async with connect(port) as silent:
                assert await silent.reader.read() == b""
            stage.reached("the other is closed")
            assert (await wire.reply()).status == 200
