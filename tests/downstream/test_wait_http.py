"""The door of the legacy wait, in a whole house before a development Bridge that keeps the same time."""

import asyncio
import socket
from pathlib import Path

import pytest

from proxy.devbridge.events import Draft, EventLog
from proxy.devbridge.settings import Switches
from tests.support.house import ON, Heard, Stand, house, stand, until
from tests.support.raw_http import connect
from tests.support.raw_upstream import answers, raw_upstream

OFF = {"flags.elicitation_enabled": "false"}


def _kinds(value: object) -> object:
    """The shape of a JSON value: keys in order, and types."""
    if isinstance(value, dict):
        return {key: _kinds(inner) for key, inner in value.items()}
    return type(value)


async def _direct(stand: Stand, query: str, token: str) -> Heard:
    """The same wait, asked of the Bridge itself."""
    url = stand.bridge.client.make_url("/")
    return await stand.house.call("GET", f"/event/wait?{query}", token=token, port=url.port or 0)


def _items(heard: Heard) -> list[dict[str, object]]:
    items = heard.json["events"]
    assert isinstance(items, list)
    assert heard.json["count"] == len(items)
    return items


def _data(item: dict[str, object]) -> dict[str, object]:
    data = item["data"]
    assert isinstance(data, dict)
    return data


class TestShape:
    async def test_a_question_has_the_shape_of_a_message_of_the_bridge(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            task = await made.parked("bob", bob, timeout_seconds=30)
            asked = await made.ask(alice)
            heard = await task
            own = await _direct(made, "agent_id=bob&since_sequence=1&timeout_seconds=3", bob)
            item, model = _items(heard)[0], _items(own)[0]
            assert heard.status == 200
            assert list(heard.json) == list(own.json)
            assert {key: type(heard.json[key]) for key in own.json} == {key: type(own.json[key]) for key in own.json}
            assert {**_kinds_of(item), "data": dict} == {**_kinds_of(model), "data": dict}
            assert heard.headers["Content-Type"] == own.headers["Content-Type"]
            assert item["event_type"] == "elicitation_request"
            assert item["source_agent"] == "alice"
            assert _data(item) == {
                "elicitation_id": asked["elicitation_id"],
                "message": "Which colour?",
                "schema": {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]},
                "expires_at": asked["expires_at"],
            }

    async def test_questions_stand_before_messages_and_never_above_the_cursor(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            task = await made.parked("bob", bob, timeout_seconds=30)
            await made.ask(alice)
            await task
            # The long poll goes on for nobody; what it brings is kept for the next wait.
            for number in (1, 2):
                body = {"event_type": "CUSTOM", "agent_id": "alice", "data": {"n": number}}
                assert (await made.bridge.call("POST", "/event/store", token=alice, body=body))[0] == 200
            made.clock.advance(1)
            await until(lambda: made.bridge.state.parked_waits == 0)
            asked = await made.ask(alice, message="Which number?")
            heard = await made.wait("bob", bob, since_sequence=1, timeout_seconds=30)
            question, *messages = _items(heard)
            assert _data(question)["elicitation_id"] == asked["elicitation_id"]
            assert question["sequence"] == 1
            assert [message["sequence"] for message in messages] == [3, 4]
            assert [_data(message) for message in messages] == [{"n": 1}, {"n": 2}]

    async def test_a_message_reaches_a_parked_wait_as_the_bytes_that_the_bridge_wrote(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            bob = await made.bridge.token("bob")
            task = await made.parked("bob", bob, timeout_seconds=30)
            body = {"event_type": "CUSTOM", "agent_id": "alice", "data": {"text": "grüße", "n": 1.50}}
            await made.bridge.call("POST", "/event/store", token=bob, body=body)
            made.clock.advance(1)
            heard = await task
            own = await _direct(made, "agent_id=bob&since_sequence=1&timeout_seconds=3", bob)
            assert heard.body.partition(b'"events":')[2].partition(b',"count"')[0] in own.body
            assert made.house.lines[-1]["items"] == 1
            assert made.house.lines[-1]["delivery_seconds"] == [1.0]


def _kinds_of(value: dict[str, object]) -> dict[str, object]:
    return {key: type(inner) for key, inner in value.items()}


class TestTime:
    @pytest.mark.parametrize("asked_s", [1, 2, 60])
    async def test_a_wait_that_sees_nothing_ends_in_the_words_of_the_bridge(
        self, tmp_path: Path, asked_s: int
    ) -> None:
        async with stand(tmp_path) as made:
            bob = await made.bridge.token("bob")
            task = await made.parked("bob", bob, timeout_seconds=asked_s)
            made.clock.advance(asked_s)
            heard = await task
            assert heard.body == b'{"events":[],"count":0,"waited_seconds":%d,"status":"timeout"}' % asked_s
            assert made.house.lines[-1]["event"] == "timed_out"

    async def test_a_wait_without_a_time_lasts_as_long_as_at_the_bridge(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            bob = await made.bridge.token("bob")
            task = await made.parked("bob", bob)
            made.clock.advance(59.5)
            assert (await made.house.health())["parked_waits"] == 1
            made.clock.advance(0.5)
            assert (await task).json["waited_seconds"] == 60

    async def test_a_wait_lasts_300_seconds_at_most_and_repeats_the_number_that_was_asked(
        self, tmp_path: Path
    ) -> None:
        async with stand(tmp_path) as made:
            bob = await made.bridge.token("bob")
            task = await made.parked("bob", bob, timeout_seconds=400)
            made.clock.advance(299.5)
            assert (await made.house.health())["parked_waits"] == 1
            made.clock.advance(0.5)
            assert (await task).json == {"events": [], "count": 0, "waited_seconds": 400, "status": "timeout"}

    @pytest.mark.parametrize("asked_s", [0, -5])
    async def test_a_wait_of_no_time_with_nothing_to_say_is_the_bridges_own_reply(
        self, tmp_path: Path, asked_s: int
    ) -> None:
        async with stand(tmp_path) as made:
            bob = await made.bridge.token("bob")
            own = await _direct(made, f"agent_id=bob&timeout_seconds={asked_s}", bob)
            heard = await made.wait("bob", bob, timeout_seconds=asked_s)
            assert heard.body == own.body
            assert heard.json["waited_seconds"] == asked_s
            assert (await made.house.health())["parked_waits"] == 0

    @pytest.mark.parametrize("asked_s", [0, -5])
    async def test_a_wait_of_no_time_still_brings_an_open_question(self, tmp_path: Path, asked_s: int) -> None:
        async with stand(tmp_path) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            asked = (await made.bridge.ask(alice))[1]
            heard = await made.wait("bob", bob, since_sequence=2, timeout_seconds=asked_s)
            (item,) = _items(heard)
            assert _data(item)["elicitation_id"] == asked["elicitation_id"]
            assert item["sequence"] == 2
            assert heard.json["waited_seconds"] == 0
            assert made.house.lines[-1]["elicitations"] == ["offered"]

    async def test_a_stopping_sidecar_answers_parked_waits_with_the_time_they_asked(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            bob = await made.bridge.token("bob")
            tasks = [await made.parked("bob", bob, timeout_seconds=asked_s) for asked_s in (30, 400)]
            assert (await made.house.admin("POST", "/shutdown")).status == 202
            replies = [(await task).json for task in tasks]
            assert [reply["waited_seconds"] for reply in replies] == [30, 400]
            assert {reply["status"] for reply in replies} == {"timeout"}


class TestTheBridgesOwnWords:
    @pytest.mark.parametrize(
        "query",
        [
            "",
            "since_sequence=1",
            "agent_id=bob&timeout_seconds=1.5",
            "agent_id=bob&timeout_seconds=abc",
            "agent_id=bob&timeout_seconds=",
            "agent_id=bob&since_sequence=",
            "agent_id=bob&since_sequence=1e3&timeout_seconds=x",
            f"agent_id=bob&since_sequence={10**30}",
            f"agent_id=bob&timeout_seconds={10**30}",
            "agent_id=&timeout_seconds=0",
            "agent_id=%ff&timeout_seconds=0",
            "agent_id=a%00b&timeout_seconds=0",
            f"agent_id={'x' * 301}&timeout_seconds=0",
            "agent_id=bob&since_sequence=-1&timeout_seconds=0",
            "&".join(["agent_id=bob", "timeout_seconds=0", *(f"x{n}=1" for n in range(200))]),
        ],
    )
    async def test_a_query_that_cannot_be_read_is_answered_by_the_bridge(self, tmp_path: Path, query: str) -> None:
        async with stand(tmp_path) as made:
            bob = await made.bridge.token("bob")
            own = await _direct(made, query, bob)
            heard = await made.house.call("GET", f"/event/wait?{query}", token=bob)
            assert (heard.status, heard.body) == (own.status, own.body)
            (line,) = made.house.lines
            assert line["event"] in {"relayed", "timed_out"}
            assert "route" not in line

    @pytest.mark.parametrize(
        "authorization", ["", "Basic Zm9vOmJhcg==", "Bearer", "Bearer short", "Bearer forged:bob:1795386707.73:00"]
    )
    @pytest.mark.parametrize("flags", [ON, OFF], ids=["on", "off"])
    async def test_a_token_that_the_bridge_refuses_is_refused_in_its_words(
        self, tmp_path: Path, authorization: str, flags: dict[str, str]
    ) -> None:
        async with stand(tmp_path, flags=flags) as made:
            headers = {"Authorization": authorization} if authorization else {}
            target, port = "/event/wait?agent_id=bob&timeout_seconds=30", made.bridge.client.port or 0
            own = await made.house.call("GET", target, headers=headers, port=port)
            heard = await made.house.call("GET", target, headers=headers)
            assert own.status in {401, 403}
            assert (heard.status, heard.body) == (own.status, own.body)
            assert heard.headers["Content-Type"] == own.headers["Content-Type"]
            assert [line["event"] for line in made.house.lines] == ["relayed"]

    async def test_the_last_of_repeated_parameters_counts_and_unknown_ones_do_not(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            await made.bridge.ask(alice)
            query = "agent_id=carol&x=1&since_sequence=2&agent_id=bob&timeout_seconds=9"
            heard = await made.house.call("GET", f"/event/wait?{query}", token=bob)
            assert _items(heard)[0]["event_type"] == "elicitation_request"


class TestLegacy:
    async def test_a_reply_in_the_legacy_cohort_is_relayed_byte_for_byte(self) -> None:
        item = b'{ "sequence" : 7, "event_type": "custom", "timestamp": "2026-11-23T00:00:00+00:00", "data": {"a":1.0} }'
        body = b'{"events": [' + item + b'] ,\n "count":1,"zz":null,"waited_seconds":0.1e1,"status":"new_events"}'
        head = b"HTTP/1.1 200 Very Fine\r\nX-Odd-Case: yes\r\ncontent-length: %d\r\n" % len(body)
        async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}") as made:
            upstream.play(answers(head + b"Content-Type: application/json\r\n\r\n" + body))
            async with connect(made.port) as wire:
                request = b"GET /event/wait?timeout_seconds=2&agent_id=b%6Fb HTTP/1.1\r\nHost: localhost\r\n"
                await wire.send(request + b"authorization: Bearer 0123456789\r\n\r\n")
                reply = await wire.reply()
            assert (reply.status, reply.reason, reply.body) == (200, b"Very Fine", body)
            assert (b"X-Odd-Case", b"yes") in reply.headers
            assert upstream.received[0].target == b"/event/wait?timeout_seconds=2&agent_id=b%6Fb"
            (line,) = made.lines
            assert (line["event"], line["items"], line["reason"]) == ("delivered", 1, "disabled")

    @pytest.mark.parametrize(
        ("status", "body", "result"),
        [
            (200, b'{"events":[],"count":0,"waited_seconds":2,"status":"timeout"}', "timed_out"),
            (200, b"<html>", "relayed"),
            (404, b'{"detail":"Not Found"}', "relayed"),
            (500, b'{"detail":"broken"}', "relayed"),
        ],
    )
    async def test_every_reply_in_the_legacy_cohort_is_passed_on(self, status: int, body: bytes, result: str) -> None:
        reply = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body
        async with raw_upstream() as upstream, house(f"http://127.0.0.1:{upstream.port}") as made:
            upstream.play(answers(reply))
            heard = await made.call("GET", "/event/wait?agent_id=bob", token="0123456789")
            assert (heard.status, heard.body) == (status, body)
            assert [line["event"] for line in made.lines] == [result]

    async def test_the_legacy_cohort_sees_the_bridges_own_notes(self, tmp_path: Path) -> None:
        async with stand(tmp_path, flags={**ON, "flags.elicitation_percentage": "0"}) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            await made.ask(alice)
            heard = await made.wait("bob", bob, since_sequence=0, timeout_seconds=3)
            own = await _direct(made, "agent_id=bob&since_sequence=0&timeout_seconds=3", bob)
            assert _items(heard) == _items(own)
            assert made.house.lines[-1]["reason"] == "split"

    async def test_other_methods_and_other_paths_are_no_waits(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            bob = await made.bridge.token("bob")
            assert (await made.house.call("POST", "/event/wait?agent_id=bob", token=bob)).status == 405
            assert (await made.house.call("GET", "/event/wait/?agent_id=bob", token=bob)).status == 404
            assert [line["door"] for line in made.house.lines] == ["http_relay", "http_relay"]

    async def test_configured_paths_are_waits(self, tmp_path: Path) -> None:
        async with stand(tmp_path, wait__paths="/old/wait,/event/wait") as made:
            bob = await made.bridge.token("bob")
            heard = await made.house.call("GET", "/old/wait?agent_id=bob&timeout_seconds=0", token=bob)
            assert heard.status == 404
            assert made.house.lines[-1]["door"] == "http_wait"

    async def test_after_a_restart_of_the_bridge_a_legacy_agent_keeps_its_cursor(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            bob = await made.bridge.token("bob")
            for number in range(5):
                await made.store(bob, {"n": number})
            heard = await made.wait("bob", bob, since_sequence=0, timeout_seconds=30)
            assert [item["sequence"] for item in _items(heard)] == [1, 2, 3, 4, 5, 6]
            await until(lambda: made.bridge.state.parked_waits == 1)
            made.clock.advance(30)
            await until(lambda: made.bridge.state.parked_waits == 0)
            # Round trips on the same loop: by now the end of the long poll has been seen here too.
            for _ in range(3):
                await made.house.health()
            made.clock.advance(10)
            _restart_log(made, messages=1)
            assert _items(await made.wait("bob", bob, since_sequence=6, timeout_seconds=30))[0]["sequence"] == 7
            await made.house.flags(elicitation_percentage=0)
            heard = await made.wait("bob", bob, since_sequence=6, timeout_seconds=30)
            assert [item["sequence"] for item in _items(heard)] == [7, 8]
            assert (made.house.lines[-1]["route"], made.house.lines[-1]["reason"]) == ("legacy", "split")
            asked = await made.bridge.ask(bob)
            assert asked[0] == 200
            heard = await made.wait("bob", bob, since_sequence=8, timeout_seconds=0)
            assert _items(heard) == []


def _restart_log(made: Stand, *, messages: int) -> None:
    """The Bridge begins a new log, as after a restart without its secret."""
    made.bridge.state.log = EventLog()
    for number in range(messages + 1):
        draft = Draft(
            event_type="custom",
            data={"again": number},
            source_agent="alice",
            source_component="http_server",
            aggregate_id="x",
            aggregate_type="x",
        )
        made.bridge.state.log.append(draft, made.clock.wall())


class TestRemoved:
    async def test_a_removed_wait_is_410_with_the_link_of_the_guide(self, tmp_path: Path) -> None:
        guide = "https://guide.example/move"
        async with stand(tmp_path, legacy__guide_url=guide) as made:
            bob = await made.bridge.token("bob")
            await made.house.flags(legacy_support=False)
            before = sum(made.bridge.state.arrived.values())
            heard = await made.wait("bob", bob, timeout_seconds=30)
            assert heard.status == 410
            assert heard.problem["code"] == "legacy_removed"
            assert heard.problem["guide"] == guide
            assert guide in str(heard.problem["detail"])
            assert sum(made.bridge.state.arrived.values()) == before
            (line,) = made.house.lines
            assert (line["event"], line["route"], line["reason"], line["status"]) == (
                "refused",
                "removed",
                "removed",
                410,
            )


class TestHandOver:
    async def test_a_question_seen_being_asked_is_handed_over_without_another_poll(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            task = await made.parked("bob", bob, timeout_seconds=30)
            before = dict(made.bridge.state.arrived)
            asked = await made.ask(alice)
            assert _data(_items(await task)[0])["elicitation_id"] == asked["elicitation_id"]
            after = dict(made.bridge.state.arrived)
            assert {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)} == {
                "POST /elicitation/create": 1
            }

    async def test_a_question_asked_at_the_bridge_itself_is_found_by_polling(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            task = await made.parked("bob", bob, timeout_seconds=30)
            asked = (await made.bridge.ask(alice))[1]
            made.clock.advance(0.1)
            (item,) = _items(await task)
            assert _data(item)["elicitation_id"] == asked["elicitation_id"]
            assert made.house.lines[-1]["delivery_seconds"] == [0.1]

    async def test_many_waits_of_one_agent_cost_one_upstream_poll(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            tasks = [await made.parked("bob", bob, timeout_seconds=30) for _ in range(5)]
            assert made.bridge.state.parked_waits == 1
            assert made.arrived("GET /elicitation/pending") == 1
            await made.ask(alice)
            done, still = await asyncio.wait(tasks, timeout=5, return_when=asyncio.FIRST_COMPLETED)
            assert (len(done), len(still)) == (1, 4)
            made.clock.advance(30)
            for task in still:
                assert (await task).status == 200

    async def test_an_unanswered_question_is_offered_again_after_its_time(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            task = await made.parked("bob", bob, timeout_seconds=30)
            asked = await made.ask(alice, timeout_seconds=300)
            await task
            again = await made.parked("bob", bob, timeout_seconds=100)
            made.clock.advance(29)
            assert (await made.house.health())["parked_waits"] == 1
            made.clock.advance(1)
            made.clock.advance(1)
            assert _data(_items(await again)[0])["elicitation_id"] == asked["elicitation_id"]

    async def test_a_reply_cut_on_the_wire_is_offered_again_at_once(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            task = await made.parked("bob", bob, timeout_seconds=30)
            await made.ask(alice)
            await task
            for _ in range(9):
                await made.ask(alice, message="x" * 900_000)
            loop = asyncio.get_running_loop()
            with socket.socket() as cut:
                cut.setblocking(False)
                cut.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                await loop.sock_connect(cut, ("127.0.0.1", made.house.port))
                target = "/event/wait?agent_id=bob&since_sequence=1&timeout_seconds=30"
                request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bob}\r\n\r\n"
                await loop.sock_sendall(cut, request.encode())
                assert await loop.sock_recv(cut, 9) == b"HTTP/1.1 "
            await until(lambda: made.house.lines[-1]["event"] == "gone")
            heard = await made.wait("bob", bob, since_sequence=1, timeout_seconds=30)
            assert len(_items(heard)) == 9
            assert [line["event"] for line in made.house.lines if line["door"] == "http_wait"] == [
                "delivered",
                "gone",
                "delivered",
            ]


class TestLeaving:
    async def test_an_agent_that_hangs_up_releases_everything(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            bob = await made.bridge.token("bob")
            first, second = [await made.parked("bob", bob, timeout_seconds=30) for _ in range(2)]
            first.cancel()
            await made.house.until_parked(1)
            assert made.bridge.state.parked_waits == 1
            second.cancel()
            await made.house.until_parked(0)
            await until(lambda: made.bridge.state.parked_waits == 0)
            counters = (await made.bridge.call("GET", "/dev/counters"))[1]
            assert counters["parked_waits"] == 0
            assert [line["event"] for line in made.house.lines] == ["gone", "gone"]
            metrics = await made.house.metrics()
            assert metrics['elicit_sidecar_calls_total{door="http_wait",result="gone"}'] == 2
            assert metrics["elicit_sidecar_parked_waits"] == 0

    async def test_an_agent_that_hangs_up_on_a_relayed_wait_releases_the_bridge(self, tmp_path: Path) -> None:
        async with stand(tmp_path, flags=OFF) as made:
            bob = await made.bridge.token("bob")
            task = made.wait("bob", bob, since_sequence=1, timeout_seconds=30)
            await until(lambda: made.bridge.state.parked_waits == 1)
            task.cancel()
            await until(lambda: made.bridge.state.parked_waits == 0)
            await until(lambda: len(made.house.lines) == 1)
            assert made.house.lines[0]["event"] == "gone"

    async def test_one_wait_more_than_may_be_parked_is_refused(self, tmp_path: Path) -> None:
        async with stand(tmp_path, wait__max_parked="1") as made:
            bob = await made.bridge.token("bob")
            task = await made.parked("bob", bob, timeout_seconds=30)
            heard = await made.wait("bob", bob, timeout_seconds=30)
            assert heard.status == 503
            assert heard.problem["code"] == "too_many_waits"
            assert heard.headers["Retry-After"] == "1"
            made.clock.advance(30)
            await task


class TestOperators:
    async def test_a_change_of_flags_holds_for_the_next_call(self, tmp_path: Path) -> None:
        async with stand(tmp_path, flags=OFF) as made:
            bob = await made.bridge.token("bob")
            await made.wait("bob", bob, timeout_seconds=0)
            await made.house.flags(elicitation_enabled=True, elicitation_percentage=100)
            await made.wait("bob", bob, timeout_seconds=0)
            await made.house.flags(elicitation_denylist=["bob"])
            await made.wait("bob", bob, timeout_seconds=0)
            ways = [(line["route"], line["reason"]) for line in made.house.lines]
            assert ways == [("legacy", "disabled"), ("elicitation", "split"), ("legacy", "denied")]

    async def test_a_parked_wait_learns_a_change_of_flags(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            task = await made.parked("bob", bob, timeout_seconds=30)
            await made.house.flags(elicitation_enabled=False)
            asked = await made.ask(alice)
            made.clock.advance(1)
            (item,) = _items(await task)
            # The agent now reads what the whole legacy cohort reads: the Bridge's own note.
            assert (item["event_type"], item["sequence"]) == ("custom", 2)
            assert _data(item)["message"] == "Which colour?"
            assert "elicitation_id" not in _data(item), asked
            line = made.house.lines[-1]
            assert (line["route"], line["reason"], line["cohort"]) == ("legacy", "disabled", "elicitation")

    async def test_an_agent_can_be_forced_and_unforced(self, tmp_path: Path) -> None:
        async with stand(tmp_path, flags=OFF) as made:
            bob = await made.bridge.token("bob")
            heard = await made.house.admin("POST", "/agent/force_elicitation", body={"agent_id": "bob"})
            assert heard.status == 200, heard
            await made.wait("bob", bob, timeout_seconds=0)
            heard = await made.house.admin("DELETE", "/agent/force_elicitation?agent_id=bob")
            assert heard.status == 200, heard
            await made.wait("bob", bob, timeout_seconds=0)
            ways = [(line["route"], line["reason"]) for line in made.house.lines]
            assert ways == [("elicitation", "forced"), ("legacy", "disabled")]

    async def test_forcing_an_agent_to_legacy_reaches_its_parked_wait(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            bob = await made.bridge.token("bob")
            task = await made.parked("bob", bob, timeout_seconds=30)
            body = {"agent_id": "bob", "cohort": "legacy", "ttl_s": 60}
            assert (await made.house.admin("POST", "/agent/force_elicitation", body=body)).status == 200
            made.clock.advance(30)
            assert (await task).json["status"] == "timeout"
            assert (made.house.lines[-1]["route"], made.house.lines[-1]["reason"]) == ("legacy", "forced")


class TestFallback:
    async def test_a_bridge_without_elicitation_is_served_the_legacy_way_in_the_same_call(
        self, tmp_path: Path
    ) -> None:
        async with stand(tmp_path, switches=Switches(elicitation=False)) as made:
            bob = await made.bridge.token("bob")
            heard = await made.wait("bob", bob, since_sequence=0, timeout_seconds=30)
            assert [item["sequence"] for item in _items(heard)] == [1]
            await until(lambda: made.arrived("unmatched") + made.arrived("GET /elicitation/pending") > 0)
            # What was learned holds for the next wait, which does not try again.
            await made.wait("bob", bob, timeout_seconds=0)
            assert (made.house.lines[-1]["route"], made.house.lines[-1]["reason"]) == ("legacy", "incapable")
            assert made.house.lines[-1]["fell_back"] == "incapable"

    async def test_a_parked_wait_falls_back_with_the_time_that_is_left(self, tmp_path: Path) -> None:
        async with stand(tmp_path, breaker__failures="1") as made:
            bob = await made.bridge.token("bob")
            task = await made.parked("bob", bob, timeout_seconds=30)
            await made.bridge.set(fail_elicitation=True)
            made.clock.advance(10)
            await until(lambda: made.arrived("GET /elicitation/pending") == 2)
            made.clock.advance(20)
            assert (await task).json["waited_seconds"] == 30
            line = made.house.lines[-1]
            assert (line["route"], line["fell_back"], line["seconds"]) == ("legacy", "fallback", 30.0)
            # The breaker now sends the next wait the legacy way from the start, which counts as a fallback too.
            await made.wait("bob", bob, timeout_seconds=0)
            assert made.house.lines[-1]["fell_back"] == "breaker_open"
            metrics = await made.house.metrics()
            assert metrics['elicit_sidecar_fallbacks_total{reason="fallback"}'] == 1
            assert metrics['elicit_sidecar_fallbacks_total{reason="breaker_open"}'] == 1
            assert metrics['elicit_sidecar_breaker_state{state="open"}'] == 1

    async def test_without_the_fallback_a_failing_way_is_an_error(self, tmp_path: Path) -> None:
        flags = {**ON, "flags.legacy_fallback": "false"}
        async with stand(tmp_path, flags=flags, switches=Switches(fail_elicitation=True)) as made:
            bob = await made.bridge.token("bob")
            heard = await made.wait("bob", bob, since_sequence=1, timeout_seconds=30)
            assert heard.status == 503
            assert heard.problem["code"] == "elicitation_unavailable"
            assert [line["event"] for line in made.house.lines] == ["failed"]
