"""What the doors of answers and questions do with bodies: relay them, read them, leave them alone."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import orjson
import pytest

from tests.support.asking import RED, ask_bob
from tests.support.house import OFF, ON, Heard, Stand, house, stand, until
from tests.support.raw_http import connect
from tests.support.raw_upstream import Peer, answers, raw_upstream

ONLY_OTHERS_READ = (
    b'{"data":' + b"[" * 2000 + b"]" * 2000 + b',"x":"elicitation_id"}',
    b'{"data":{"in_reply_to":"x","n":' + b"9" * 400 + b"}}",
)


class TestMessages:
    @pytest.mark.requirement("door.untouched")
    async def test_a_message_is_relayed_untouched(self) -> None:
        body = b' {"event_type":"custom", "data" :{"n":1.0,"n":2,"u":"\\u00fc"}, "agent_id":"bob"}\r\n'
        async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}", ON) as made:
            upstream.play(answers(b"HTTP/1.1 200 OK\r\nX-Case: 1\r\nContent-Length: 3\r\n\r\n{ }"))
            async with connect(made.port) as wire:
                head = b"POST /event/store?x=%20 HTTP/1.1\r\nHost: localhost\r\nauthorization: Bearer 0123456789\r\n"
                await wire.send(head + b"X-oDD: \xfc\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                reply = await wire.reply()
            assert (reply.status, reply.body) == (200, b"{ }")
            assert (b"X-Case", b"1") in reply.headers
            (received,) = upstream.received
            assert (received.target, received.body) == (b"/event/store?x=%20", body)
            assert received.head.all(b"x-odd") == [b"\xfc"]
            assert received.head.all(b"content-length") == [b"%d" % len(body)]
            assert [(line["event"], line["door"]) for line in made.lines] == [("relayed", "http_store")]

    @pytest.mark.requirement("sends.addressee")
    async def test_an_addressed_message_reaches_its_parked_addressee_at_once(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            task = await made.parked("bob", bob, timeout_seconds=30)
            assert (await made.store(alice, {"to": "bob", "text": "hello"}, agent_id="alice")).status == 200
            # Time has stood still: the Bridge's own poll would have needed a second.
            (item,) = (await task).items
            assert item["data"] == {"to": "bob", "text": "hello"}

    @pytest.mark.requirement("answers.not_ours")
    @pytest.mark.parametrize("percentage", [0, 100])
    async def test_a_reply_within_another_conversation_is_a_message(self, tmp_path: Path, percentage: int) -> None:
        flags = {**ON, "flags.elicitation_percentage": str(percentage)}
        async with stand(tmp_path, flags=flags) as made:
            bob = await made.bridge.token("bob")
            for data in ({"in_reply_to": "msg-17", "response_type": "ack"}, {"in_reply_to": "", "x": 1}):
                assert (await made.store(bob, data)).json["status"] == "stored"
            body = {"event_type": "CUSTOM", "data": {"in_reply_to": "msg-18"}}
            assert (await made.house.call("POST", "/event/store", token=bob, body=body)).status == 200
            assert made.arrived("POST /event/store") == 3
            if percentage == 0:
                assert made.arrived("GET /elicitation/pending") == 0

    @pytest.mark.requirement("answers.not_ours")
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"[]",
            b"{",
            b'"\xff\xfe"',
            b'{"data":{"elicitation_id":"\xff"}}',
            b'{"data":{"elicitation_id":7}}',
            b'{"data":"elicitation_id"}',
            b'{"event_type":"CUSTOM","event_type":"AGENT_HEARTBEAT","data":{}}',
            b'{"elicitation_id":"elicit_x","responding_agent":"bob"}',
            b'{"elicitation_id":"elicit_x","responding_agent":"","response_type":"accept"}',
        ],
    )
    @pytest.mark.parametrize("path", ["/event/store", "/elicitation/respond", "/elicitation/create"])
    async def test_a_body_that_is_no_answer_is_relayed_and_answered_by_the_bridge(
        self, tmp_path: Path, path: str, body: bytes
    ) -> None:
        async with stand(tmp_path) as made:
            await ask_bob(made)
            bob = await made.bridge.token("bob")
            port = made.bridge.client.port or 0
            own = await made.house.call("POST", path, token=bob, raw=body, port=port)
            heard = await made.house.call("POST", path, token=bob, raw=body)
            assert (heard.status, _without_times(heard.body)) == (own.status, _without_times(own.body))
            assert made.house.lines[-1]["event"] == "relayed"

    @pytest.mark.requirement("answers.not_ours")
    @pytest.mark.parametrize("body", ONLY_OTHERS_READ)
    async def test_a_message_that_only_others_can_read_is_relayed_and_answered_by_the_bridge(
        self, tmp_path: Path, body: bytes
    ) -> None:
        async with stand(tmp_path) as made:
            await ask_bob(made)
            bob = await made.bridge.token("bob")
            own = await made.bridge.client.post("/event/store", data=body, headers={"Authorization": f"Bearer {bob}"})
            heard = await made.house.call("POST", "/event/store", token=bob, raw=body)
            assert (heard.status, heard.body) == (own.status, await own.read())

    @pytest.mark.requirement("door.untouched")
    async def test_a_large_body_with_a_length_is_relayed_without_being_read(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            bob = await made.bridge.token("bob")
            data = {"texts": ["x" * 1_000_000] * 3, "elicitation_id": "elicit_x"}
            assert (await made.store(bob, data)).json["status"] == "stored"
            assert made.arrived("GET /elicitation/pending") == 0

    async def test_a_large_body_without_a_length_is_refused(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            bob = await made.bridge.token("bob")
            heard = await _chunked(made, bob, b'{"data":{"text":"' + b"x" * 2_100_000 + b'"}}')
            assert heard.status == 413
            assert heard.problem["code"] == "body_too_large"
            assert made.arrived("POST /event/store") == 0
            assert made.house.lines[-1]["event"] == "refused"


def _without_times(body: bytes) -> object:
    """A reply of the Bridge without what differs from call to call."""
    value = orjson.loads(body)
    if isinstance(value, dict):
        value.pop("event_id", None)
        value.pop("sequence", None)
    return value


async def _chunked(made: Stand, token: str, body: bytes, *, size: int = 65_536) -> Heard:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), size):
            yield body[at : at + size]

    headers = {"Authorization": f"Bearer {token}"}
    url = f"http://127.0.0.1:{made.house.port}/event/store"
    async with asyncio.timeout(10), made.house.session.post(url, data=pieces(), headers=headers) as reply:
        return Heard(reply.status, reply.headers, await reply.read())


class TestBodies:
    async def test_an_answer_in_chunks_is_an_answer(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            body = {"agent_id": "bob", "data": {"elicitation_id": asked.named, "content": RED}}
            assert (await _chunked(made, asked.bob, orjson.dumps(body), size=7)).status == 200
            assert await asked.status() == "accepted"

    async def test_a_message_in_chunks_is_stored(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            bob = await made.bridge.token("bob")
            heard = await _chunked(made, bob, b'{"data":{"text":"hello"},"agent_id":"bob"}', size=5)
            assert heard.json["status"] == "stored"
            assert made.bridge.state.log.everything()[-1].draft.data == {"text": "hello"}

    @pytest.mark.requirement("door.expect")
    @pytest.mark.parametrize("expect", [b"100-continue", b"100-Continue"])
    async def test_a_body_held_back_is_asked_for(self, tmp_path: Path, expect: bytes) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            body = orjson.dumps({"agent_id": "bob", "data": {"elicitation_id": asked.named, "content": RED}})
            async with connect(made.house.port) as wire:
                await wire.send(_head(asked.bob, b"Expect: " + expect, b"Content-Length: %d" % len(body)))
                assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
                await wire.send(body)
                reply = await wire.reply()
                assert (reply.status, reply.interim, reply.complete) == (200, (), True)
                # The connection is in step: it carries the next call.
                message = b'{"agent_id":"bob","data":{}}'
                await wire.send(_head(asked.bob, b"Expect: 100-continue", b"Content-Length: %d" % len(message)))
                assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
                await wire.send(message)
                assert orjson.loads((await wire.reply()).body)["status"] == "stored"
            assert await asked.status() == "accepted"

    @pytest.mark.requirement("door.expect")
    async def test_a_client_of_http_1_0_is_sent_no_interim_reply(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            body = orjson.dumps({"agent_id": "bob", "data": {"elicitation_id": asked.named, "content": RED}})
            head = _head(asked.bob, b"Expect: 100-continue", b"Content-Length: %d" % len(body))
            async with connect(made.house.port) as wire:
                await wire.send(head.replace(b"HTTP/1.1", b"HTTP/1.0") + body)
                reply = await wire.reply()
            assert (reply.status, reply.interim) == (200, ())

    @pytest.mark.requirement("door.one_outcome")
    async def test_a_caller_that_leaves_inside_its_body_is_gone(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            bob = await made.bridge.token("bob")
            async with connect(made.house.port) as wire:
                await wire.send(_head(bob, b"Content-Length: 100") + b'{"data"')
                await made.house.health()
            await until(lambda: len(made.house.lines) == 1)
            assert made.house.lines[0]["event"] == "gone"
            assert (await made.house.metrics())["elicit_sidecar_defects_total"] == 0

    @pytest.mark.requirement("parsers.documented_errors")
    @pytest.mark.parametrize(
        ("content", "status"),
        [
            (b'{"colour":' + b"[" * 30 + b"]" * 30 + b"}", 422),
            (b'{"colour":' + b"[" * 200 + b"]" * 200 + b"}", 400),
            (b'{"colour":"red","colour":7}', 422),
            (b'{"colour":7,"colour":"red"}', 200),
            (b'{"colour":"red","n":' + b"9" * 30 + b"}", 200),
            # No double holds it, so it is no JSON for the Bridge either, which says so.
            (b'{"colour":' + b"9" * 400 + b"}", 422),
        ],
    )
    async def test_odd_content_is_judged_and_never_breaks_the_door(
        self, tmp_path: Path, content: bytes, status: int
    ) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            raw = b'{"agent_id":"bob","data":{"elicitation_id":"%s","content":%s}}' % (
                str(asked.named).encode(),
                content,
            )
            heard = await made.house.call("POST", "/event/store", token=asked.bob, raw=raw)
            assert heard.status == status
            assert await asked.status() == ("accepted" if status == 200 else "pending")
            assert (await made.house.metrics())["elicit_sidecar_defects_total"] == 0


def _head(token: str, *fields: bytes) -> bytes:
    first = [b"POST /event/store HTTP/1.1", b"Host: localhost", f"Authorization: Bearer {token}".encode()]
    return b"\r\n".join([*first, *fields, b"", b""])


class TestCreate:
    @pytest.mark.requirement("questions.seen_at_creation")
    async def test_a_question_is_relayed_and_noted(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            assert made.house.lines[-1]["event"] == "relayed"
            assert (await asked.outcomes()) == {"seen": 1}
            assert (await made.house.metrics())["elicit_sidecar_elicitations_pending"] == 1

    async def test_a_question_the_bridge_refuses_is_not_noted(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice = await made.bridge.token("alice")
            body = {"from_agent": "alice", "to_agent": "bob", "message": "?", "schema": "x"}
            heard = await made.house.call("POST", "/elicitation/create", token=alice, body=body)
            assert heard.status == 422
            assert (await made.house.metrics())["elicit_sidecar_elicitations_pending"] == 0

    async def test_a_reply_without_a_question_is_passed_on_and_not_noted(self) -> None:
        async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}", ON) as made:
            upstream.play(answers(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n<html/>"))
            heard = await made.call("POST", "/elicitation/create", token="0123456789", body={"to_agent": "bob"})
            assert heard.body == b"<html/>"
            assert (await made.metrics())["elicit_sidecar_elicitations_pending"] == 0


@pytest.mark.requirement("door.off")
class TestOff:
    @pytest.mark.parametrize("path", [b"/event/store", b"/elicitation/respond", b"/elicitation/create"])
    @pytest.mark.parametrize("framing", ["length", "chunked"])
    async def test_bodies_are_not_even_read_while_nothing_is_in_use(self, path: bytes, framing: str) -> None:
        chunked = framing == "chunked"
        field = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 10"
        first, second = (b"5\r\nabcde\r\n", b"5\r\nfghij\r\n0\r\n\r\n") if chunked else (b"abcde", b"fghij")

        async def script(peer: Peer) -> None:
            head = await peer.head()
            assert (await peer.wire.reader.readexactly(len(first))) == first
            peer.stage.reached("first half arrived")
            assert (await peer.wire.reader.readexactly(len(second))) == second
            peer.stage.reached(head.start.decode())
            await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}") as made:
            stage = upstream.play(script)
            async with connect(made.port) as wire:
                head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer 0123456789\r\n" % path
                await wire.send(head + field + b"\r\n\r\n" + first)
                await stage.until("first half arrived")
                await wire.send(second)
                assert (await wire.reply()).status == 200
            assert upstream.failures == []

    async def test_an_open_question_is_still_answered_after_elicitation_was_switched_off(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            asked = await ask_bob(made)
            await made.house.flags(elicitation_enabled=False)
            assert (await asked.give("store")).status == 200
            assert await asked.status() == "accepted"

    async def test_a_forced_agent_answers_while_elicitation_is_off_for_all_others(self, tmp_path: Path) -> None:
        async with stand(tmp_path, flags=OFF) as made:
            await made.house.admin("POST", "/agent/force_elicitation", body={"agent_id": "bob"})
            asked = await ask_bob(made)
            assert (await asked.give("store")).status == 200
            assert await asked.status() == "accepted"


@pytest.mark.requirement("door.bridge_down")
class TestBridgeDown:
    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("GET", "/health", None),
            ("POST", "/event/store", {"event_type": "CUSTOM", "agent_id": "bob", "data": {}}),
            ("POST", "/elicitation/create", {"from_agent": "alice", "to_agent": "bob"}),
            ("POST", "/event/store", {"agent_id": "bob", "data": {"elicitation_id": "elicit_x"}}),
            ("POST", "/elicitation/respond", {"elicitation_id": "elicit_x", "responding_agent": "bob"}),
        ],
    )
    @pytest.mark.parametrize("flags", [ON, OFF], ids=["on", "off"])
    async def test_calls_get_a_502_problem_at_once(
        self, method: str, path: str, body: object, flags: Mapping[str, str]
    ) -> None:
        # Port 1 of the loopback: nobody listens there.
        async with house("http://127.0.0.1:1", flags) as made:
            async with asyncio.timeout(0.9):
                heard = await made.call(method, path, token="0123456789", body=body)
            assert heard.status == 502
            is_answer = flags is ON and path == "/event/store" and "elicit_x" in str(body)
            code = "answer_undelivered" if is_answer else "bridge_unavailable"
            assert heard.problem["code"] == code
            assert heard.problem["retryable"] is True
            (line,) = made.lines
            assert (line["event"], line["error_code"], line["fault"]) == ("failed", code, "bridge")
