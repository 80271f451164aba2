"""The door of the legacy wait, in a whole house before a development Bridge that keeps the same time."""

from pathlib import Path

import pytest

from proxy.devbridge.events import Draft, EventLog
from tests.support.house import OFF, ON, Heard, Stand, fields, house, stand, until
from tests.support.raw_http import connect
from tests.support.raw_upstream import answers, raw_upstream


async def _direct(stand: Stand, query: str, token: str) -> Heard:
    """The same wait, asked of the Bridge itself."""
    url = stand.bridge.client.make_url("/")
    return await stand.house.call("GET", f"/event/wait?{query}", token=token, port=url.port or 0)


@pytest.mark.requirement("wait.reply_shape")
class TestShape:
    async def test_a_question_has_the_shape_of_a_message_of_the_bridge(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            task = await made.parked("bob", bob, timeout_seconds=30)
            asked = await made.ask(alice)
            heard = await task
            own = await _direct(made, "agent_id=bob&since_sequence=1&timeout_seconds=3", bob)
            item, model = heard.items[0], own.items[0]
            assert heard.status == 200
            assert list(heard.json) == list(own.json)
            assert {key: type(heard.json[key]) for key in own.json} == {key: type(own.json[key]) for key in own.json}
            assert {**_kinds_of(item), "data": dict} == {**_kinds_of(model), "data": dict}
            assert heard.headers["Content-Type"] == own.headers["Content-Type"]
            assert item["event_type"] == "elicitation_request"
            assert item["source_agent"] == "alice"
            assert fields(item["data"]) == {
                "elicitation_id": asked["elicitation_id"],
                "message": "Which colour?",
                "schema": {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]},
                "expires_at": asked["expires_at"],
            }

    async def test_questions_stand_before_messages_and_never_above_the_cursor(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            task = await made.parked("bob", bob, timeout_seconds=30)
            first = {"event_type": "CUSTOM", "agent_id": "alice", "data": {"n": 0}}
            assert (await made.bridge.call("POST", "/event/store", token=alice, body=first))[0] == 200
            made.clock.advance(1)
            await task
            # The next long poll goes on for nobody; what it brings is kept for the next wait.
            await until(lambda: made.bridge.state.parked_waits == 1)
            for number in (1, 2):
                body = {"event_type": "CUSTOM", "agent_id": "alice", "data": {"n": number}}
                assert (await made.bridge.call("POST", "/event/store", token=alice, body=body))[0] == 200
            made.clock.advance(1)
            await until(lambda: made.bridge.state.parked_waits == 0)
            asked = await made.ask(alice, message="Which number?")
            heard = await made.wait("bob", bob, since_sequence=2, timeout_seconds=30)
            question, *messages = heard.items
            assert fields(question["data"])["elicitation_id"] == asked["elicitation_id"]
            assert question["sequence"] == 2
            assert [message["sequence"] for message in messages] == [3, 4]
            assert [fields(message["data"]) for message in messages] == [{"n": 1}, {"n": 2}]

    @pytest.mark.requirement("delivery.items_untouched")
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
    @pytest.mark.requirement("wait.timeout_cap")
    @pytest.mark.parametrize("asked_s", [1, 2, 60])
    async def test_a_wait_that_sees_nothing_ends_in_the_words_of_the_bridge(self, tmp_path: Path, asked_s: int) -> None:
        async with stand(tmp_path) as made:
            bob = await made.bridge.token("bob")
            task = await made.parked("bob", bob, timeout_seconds=asked_s)
            made.clock.advance(asked_s)
            heard = await task
            assert heard.body == b'{"events":[],"count":0,"waited_seconds":%d,"status":"timeout"}' % asked_s
            assert made.house.lines[-1]["event"] == "timed_out"

    @pytest.mark.requirement("wait.timeout_cap")
    async def test_a_wait_without_a_time_lasts_as_long_as_at_the_bridge(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            bob = await made.bridge.token("bob")
            task = await made.parked("bob", bob)
            made.clock.advance(59.5)
            assert (await made.house.health())["parked_waits"] == 1
            made.clock.advance(0.5)
            assert (await task).json["waited_seconds"] == 60

    @pytest.mark.requirement("wait.timeout_cap")
    async def test_a_wait_lasts_300_seconds_at_most_and_repeats_the_number_that_was_asked(self, tmp_path: Path) -> None:
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
            (item,) = heard.items
            assert fields(item["data"])["elicitation_id"] == asked["elicitation_id"]
            assert item["sequence"] == 2
            assert heard.json["waited_seconds"] == 0
            assert made.house.lines[-1]["elicitations"] == ["offered"]

    @pytest.mark.requirement("drain.answers_all")
    async def test_a_stopping_sidecar_answers_parked_waits_with_the_time_they_asked(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            bob = await made.bridge.token("bob")
            tasks = [await made.parked("bob", bob, timeout_seconds=asked_s) for asked_s in (30, 400)]
            assert (await made.house.admin("POST", "/shutdown")).status == 202
            replies = [(await task).json for task in tasks]
            assert [reply["waited_seconds"] for reply in replies] == [30, 400]
            assert {reply["status"] for reply in replies} == {"timeout"}


class TestTheBridgesOwnWords:
    @pytest.mark.requirement("wait.left_to_the_bridge")
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

    @pytest.mark.requirement("feed.trusted_only")
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

    @pytest.mark.requirement("wait.arguments")
    async def test_the_last_of_repeated_parameters_counts_and_unknown_ones_do_not(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            await made.bridge.ask(alice)
            query = "agent_id=carol&x=1&since_sequence=2&agent_id=bob&timeout_seconds=9"
            heard = await made.house.call("GET", f"/event/wait?{query}", token=bob)
            assert heard.items[0]["event_type"] == "elicitation_request"


class TestLegacy:
    @pytest.mark.requirement("door.off")
    async def test_a_reply_in_the_legacy_cohort_is_relayed_byte_for_byte(self) -> None:
        item = (
            b'{ "sequence" : 7, "event_type": "custom", "timestamp": "2026-11-23T00:00:00+00:00", "data": {"a":1.0} }'
        )
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

    @pytest.mark.requirement("door.off")
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
            assert heard.items == own.items
            assert made.house.lines[-1]["reason"] == "split"

    @pytest.mark.requirement("routing.owner")
    async def test_other_methods_and_other_paths_are_no_waits(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            bob = await made.bridge.token("bob")
            assert (await made.house.call("POST", "/event/wait?agent_id=bob", token=bob)).status == 405
            assert (await made.house.call("GET", "/event/wait/?agent_id=bob", token=bob)).status == 404
            assert [line["door"] for line in made.house.lines] == ["http_relay", "http_relay"]

    async def test_configured_paths_are_waits(self, tmp_path: Path) -> None:
        async with stand(tmp_path, {"wait.paths": "/old/wait,/event/wait"}) as made:
            bob = await made.bridge.token("bob")
            heard = await made.house.call("GET", "/old/wait?agent_id=bob&timeout_seconds=0", token=bob)
            assert heard.status == 404
            assert made.house.lines[-1]["door"] == "http_wait"

    @pytest.mark.requirement("sequences.restart")
    async def test_after_a_restart_of_the_bridge_a_legacy_agent_keeps_its_cursor(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            bob = await made.bridge.token("bob")
            for number in range(5):
                await made.store(bob, {"n": number})
            heard = await made.wait("bob", bob, since_sequence=0, timeout_seconds=30)
            assert [item["sequence"] for item in heard.items] == [1, 2, 3, 4, 5, 6]
            await until(lambda: made.bridge.state.parked_waits == 1)
            made.clock.advance(30)
            await until(lambda: made.bridge.state.parked_waits == 0)
            # Round trips on the same loop: by now the end of the long poll has been seen here too.
            for _ in range(3):
                await made.house.health()
            made.clock.advance(10)
            _restart_log(made, messages=1)
            assert (await made.wait("bob", bob, since_sequence=6, timeout_seconds=30)).items[0]["sequence"] == 7
            await made.house.flags(elicitation_percentage=0)
            heard = await made.wait("bob", bob, since_sequence=6, timeout_seconds=30)
            assert [item["sequence"] for item in heard.items] == [7, 8]
            assert (made.house.lines[-1]["route"], made.house.lines[-1]["reason"]) == ("legacy", "split")
            asked = await made.bridge.ask(bob)
            assert asked[0] == 200
            heard = await made.wait("bob", bob, since_sequence=8, timeout_seconds=0)
            assert heard.items == []


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


@pytest.mark.requirement("door.removed")
class TestRemoved:
    async def test_a_removed_wait_is_410_with_the_link_of_the_guide(self, tmp_path: Path) -> None:
        guide = "https://guide.example/move"
        async with stand(tmp_path, {"legacy.guide_url": guide}) as made:
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
