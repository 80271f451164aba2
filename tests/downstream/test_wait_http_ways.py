"""How a wait in the elicitation cohort begins to be served, changes its way, and is left."""

import asyncio
import socket
from pathlib import Path

import pytest

from proxy.devbridge.settings import Switches
from tests.support.house import OFF, ON, fields, stand, until


class TestHandOver:
    @pytest.mark.requirement("questions.seen_at_creation")
    async def test_a_question_seen_being_asked_is_handed_over_without_another_poll(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            task = await made.parked("bob", bob, timeout_seconds=30)
            before = dict(made.bridge.state.arrived)
            asked = await made.ask(alice)
            assert fields((await task).items[0]["data"])["elicitation_id"] == asked["elicitation_id"]
            after = dict(made.bridge.state.arrived)
            assert {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)} == {
                "POST /elicitation/create": 1
            }

    @pytest.mark.requirement("door.polling")
    async def test_a_question_asked_at_the_bridge_itself_is_found_by_polling(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            task = await made.parked("bob", bob, timeout_seconds=30)
            asked = (await made.bridge.ask(alice))[1]
            made.clock.advance(0.1)
            (item,) = (await task).items
            assert fields(item["data"])["elicitation_id"] == asked["elicitation_id"]
            assert made.house.lines[-1]["delivery_seconds"] == [0.1]

    @pytest.mark.requirement("feed.one_poll")
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

    @pytest.mark.requirement("questions.redelivery")
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
            assert fields((await again).items[0]["data"])["elicitation_id"] == asked["elicitation_id"]

    @pytest.mark.requirement("questions.at_least_once")
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
                cut.settimeout(0)
                cut.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                await loop.sock_connect(cut, ("127.0.0.1", made.house.port))
                target = "/event/wait?agent_id=bob&since_sequence=1&timeout_seconds=30"
                request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bob}\r\n\r\n"
                await loop.sock_sendall(cut, request.encode())
                assert await loop.sock_recv(cut, 9) == b"HTTP/1.1 "
            await until(lambda: made.house.lines[-1]["event"] == "gone")
            heard = await made.wait("bob", bob, since_sequence=1, timeout_seconds=30)
            assert len(heard.items) == 9
            assert [line["event"] for line in made.house.lines if line["door"] == "http_wait"] == [
                "delivered",
                "gone",
                "delivered",
            ]


class TestLeaving:
    @pytest.mark.requirement("feed.disconnect")
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

    @pytest.mark.requirement("door.one_outcome")
    async def test_an_agent_that_hangs_up_on_a_relayed_wait_releases_the_bridge(self, tmp_path: Path) -> None:
        async with stand(tmp_path, flags=OFF) as made:
            bob = await made.bridge.token("bob")
            task = made.wait("bob", bob, since_sequence=1, timeout_seconds=30)
            await until(lambda: made.bridge.state.parked_waits == 1)
            task.cancel()
            await until(lambda: made.bridge.state.parked_waits == 0)
            await until(lambda: len(made.house.lines) == 1)
            assert made.house.lines[0]["event"] == "gone"

    @pytest.mark.requirement("wait.bound")
    async def test_one_wait_more_than_may_be_parked_is_refused(self, tmp_path: Path) -> None:
        async with stand(tmp_path, {"wait.max_parked": "1"}) as made:
            bob = await made.bridge.token("bob")
            task = await made.parked("bob", bob, timeout_seconds=30)
            heard = await made.wait("bob", bob, timeout_seconds=30)
            assert heard.status == 503
            assert heard.problem["code"] == "too_many_waits"
            assert heard.headers["Retry-After"] == "1"
            made.clock.advance(30)
            await task


class TestOperators:
    @pytest.mark.requirement("flags.next_call")
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

    @pytest.mark.requirement("flags.parked_waits")
    async def test_a_parked_wait_learns_a_change_of_flags(self, tmp_path: Path) -> None:
        async with stand(tmp_path) as made:
            alice, bob = await made.bridge.token("alice"), await made.bridge.token("bob")
            task = await made.parked("bob", bob, timeout_seconds=30)
            await made.house.flags(elicitation_enabled=False)
            asked = await made.ask(alice)
            made.clock.advance(1)
            (item,) = (await task).items
            # The agent now reads what the whole legacy cohort reads: the Bridge's own note.
            assert (item["event_type"], item["sequence"]) == ("custom", 2)
            assert fields(item["data"])["message"] == "Which colour?"
            assert "elicitation_id" not in fields(item["data"]), asked
            line = made.house.lines[-1]
            assert (line["route"], line["reason"], line["cohort"]) == ("legacy", "disabled", "elicitation")

    @pytest.mark.requirement("flags.overrides")
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

    @pytest.mark.requirement("flags.parked_waits")
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
    @pytest.mark.requirement("breaker.incapable")
    async def test_a_bridge_without_elicitation_is_served_the_legacy_way_in_the_same_call(self, tmp_path: Path) -> None:
        async with stand(tmp_path, {"bridge.source": "rest"}, switches=Switches(elicitation=False)) as made:
            bob = await made.bridge.token("bob")
            task = made.wait("bob", bob, since_sequence=1, timeout_seconds=30)
            await until(lambda: made.arrived("unmatched") + made.arrived("GET /elicitation/pending") > 0)
            await until(lambda: made.bridge.state.parked_waits > 0)
            body = {"event_type": "CUSTOM", "agent_id": "bob", "data": {"n": 1}}
            assert (await made.bridge.call("POST", "/event/store", token=bob, body=body))[0] == 200
            made.clock.advance(1)
            heard = await task
            assert [item["sequence"] for item in heard.items] == [2]
            # What was learned holds for the next wait, which does not try again.
            await made.wait("bob", bob, timeout_seconds=0)
            assert (made.house.lines[-1]["route"], made.house.lines[-1]["reason"]) == ("legacy", "incapable")
            assert made.house.lines[-1]["fell_back"] == "incapable"

    @pytest.mark.requirement("fallback.same_call")
    async def test_a_parked_wait_falls_back_with_the_time_that_is_left(self, tmp_path: Path) -> None:
        async with stand(tmp_path, {"breaker.failures": "1"}) as made:
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

    @pytest.mark.requirement("fallback.switched_off")
    async def test_without_the_fallback_a_failing_way_is_an_error(self, tmp_path: Path) -> None:
        flags = {**ON, "flags.legacy_fallback": "false"}
        async with stand(tmp_path, flags=flags, switches=Switches(fail_elicitation=True)) as made:
            bob = await made.bridge.token("bob")
            heard = await made.wait("bob", bob, since_sequence=1, timeout_seconds=30)
            assert heard.status == 503
            assert heard.problem["code"] == "elicitation_unavailable"
            assert [line["event"] for line in made.house.lines] == ["failed"]
