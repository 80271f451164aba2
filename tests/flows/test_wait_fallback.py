"""Waits that cannot stay on the elicitation way, waits that operators move, and waits that are too many."""

import pytest

from proxy.core.errors import BridgeTimeout, BridgeUnavailable, ElicitationUnavailable, TooManyWaits
from proxy.core.flags import FlagSet, parse_patch
from proxy.core.ids import AgentId, Sequence
from proxy.core.legacy import WaitAsk
from proxy.core.outcome import Result
from proxy.core.routing import Reason, Route, Way
from proxy.flows.wait import serve_wait
from tests.support.fake_bridge import refused
from tests.support.flow_stand import flow_stand, items, sequences
from tests.support.manual_clock import settle

TIMEOUT_30 = b'{"events":[],"count":0,"waited_seconds":30,"status":"timeout"}'


class TestFallback:
    @pytest.mark.requirement("fallback.same_call")
    @pytest.mark.parametrize("error", [BridgeTimeout, BridgeUnavailable])
    async def test_a_failing_elicitation_way_ends_in_the_legacy_way_of_the_same_wait(
        self, error: type[Exception]
    ) -> None:
        async with flow_stand() as made:
            made.bridge.fails("pending", lambda: error("gone"))
            task = await made.wait("bob", made.bridge.token("bob"))
            await made.clock.advance(12)
            assert not task.done()
            assert made.bridge.count("pending") == 1
            made.bridge.store({"n": 1})
            await settle()
            served = task.result()
            assert (served.exchange.route, served.exchange.fell_back) == (Route.LEGACY, Reason.FALLBACK)
            assert sequences(items(task)) == [1]

    @pytest.mark.requirement("fallback.same_call")
    async def test_a_dead_bridge_is_asked_again_with_growing_pauses_until_the_deadline(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            made.bridge.go_down()
            begun = made.clock.now()
            task = await made.wait("bob", token, timeout_s=10)
            await made.clock.advance(10)
            served = task.result()
            assert (served.result, served.exchange.fell_back) == (Result.TIMED_OUT, Reason.FALLBACK)
            asked = [round(call.at - begun, 2) for call in made.bridge.calls if call.method == "wait"]
            assert asked[:7] == [0, 0.05, 0.15, 0.35, 0.75, 1.55, 2.55]
            assert asked[-1] > 8.5

    @pytest.mark.requirement("breaker.incapable")
    async def test_a_bridge_without_elicitation_is_remembered_for_a_while(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            made.bridge.fails("pending", lambda: refused(404))
            task = await made.wait("bob", token)
            assert not task.done()
            made.bridge.store({})
            await settle()
            assert task.result().exchange.fell_back is Reason.INCAPABLE
            later = await made.wait("bob", token, since=1, timeout_s=5)
            await made.clock.advance(5)
            assert (later.result().exchange.route, later.result().exchange.reason) == (Route.LEGACY, Reason.INCAPABLE)
            assert made.bridge.count("pending") == 1
            made.bridge.fails("pending", lambda: refused(404), times=0)
            await made.clock.advance(26)
            back = await made.wait("bob", token, since=1, timeout_s=1)
            await made.clock.advance(1)
            assert back.result().exchange.route is Route.ELICITATION

    @pytest.mark.requirement("breaker.opens")
    @pytest.mark.requirement("breaker.probe")
    async def test_the_breaker_opens_after_failures_and_one_real_call_probes(self) -> None:
        async with flow_stand(breaker_failures=2) as made:
            tokens = {name: made.bridge.token(name) for name in ("bob", "carol", "dave")}
            await made.known(tokens)
            made.bridge.fails("pending", lambda: refused(500))
            asked = made.bridge.count("pending")
            for name in ("bob", "carol"):
                task = await made.wait(name, tokens[name], timeout_s=1)
                await made.clock.advance(1)
                assert task.result().exchange.fell_back is Reason.FALLBACK
            refused_one = await made.wait("dave", tokens["dave"], timeout_s=1)
            await made.clock.advance(1)
            assert refused_one.result().exchange.reason is Reason.BREAKER_OPEN
            assert made.bridge.count("pending") == asked + 2
            await made.clock.advance(9)
            # Half open: the first asks, the second does not.
            gate = made.bridge.gate("pending")
            probe = await made.wait("bob", tokens["bob"], timeout_s=2)
            await gate.reached()
            beside = await made.wait("carol", tokens["carol"], timeout_s=2)
            assert made.bridge.count("pending") == asked + 3
            made.bridge.fails("pending", lambda: refused(500), times=0)
            gate.open()
            await made.clock.advance(2)
            assert probe.result().exchange.route is Route.ELICITATION
            assert beside.result().exchange.reason is Reason.BREAKER_OPEN

    @pytest.mark.requirement("breaker.probe")
    async def test_a_probe_whose_agent_leaves_lets_another_probe(self) -> None:
        async with flow_stand(breaker_failures=1) as made:
            bob, carol = made.bridge.token("bob"), made.bridge.token("carol")
            made.bridge.fails("pending", lambda: refused(500), times=1)
            task = await made.wait("bob", bob, timeout_s=1)
            await made.clock.advance(11)
            assert task.done()
            gate = made.bridge.gate("pending")
            leaving = await made.wait("bob", bob)
            await gate.reached()
            leaving.cancel()
            await settle()
            gate.open()
            second = await made.wait("carol", carol, timeout_s=1)
            await made.clock.advance(1)
            assert second.result().exchange.route is Route.ELICITATION

    async def test_a_wait_that_finds_the_breaker_open_though_it_began_before_says_so(self) -> None:
        async with flow_stand(breaker_failures=1) as made:
            bob, carol = made.bridge.token("bob"), made.bridge.token("carol")
            await made.known({"carol": carol})
            parked = await made.wait("bob", bob, timeout_s=5)
            await made.clock.advance(2)
            made.bridge.fails("pending", lambda: refused(500), times=1)
            other = await made.wait("carol", carol, timeout_s=1)
            await made.clock.advance(3)
            assert other.done()
            assert parked.result().exchange.fell_back in {Reason.BREAKER_OPEN, Reason.FALLBACK}

    @pytest.mark.requirement("fallback.switched_off")
    async def test_without_fallback_a_failure_is_an_error_at_once(self) -> None:
        flags = FlagSet(elicitation_enabled=True, elicitation_percentage=100.0, legacy_fallback=False)
        async with flow_stand(flags=flags, breaker_failures=1) as made:
            token = made.bridge.token("bob")
            await made.known({"bob": token})
            made.bridge.fails("pending", lambda: refused(500))
            asked = made.bridge.count("pending")
            for reason in ("fallback", "breaker_open"):
                task = await made.wait("bob", token)
                await made.clock.advance(2)
                served = task.result()
                assert isinstance(served.error, ElicitationUnavailable)
                assert reason in served.error.detail
                assert (served.result, served.status) == (Result.FAILED, 503)
            assert made.bridge.count("pending") == asked + 1


class TestOperators:
    @pytest.mark.requirement("flags.parked_waits")
    async def test_a_change_of_flags_sends_parked_waits_the_legacy_way(self) -> None:
        async with flow_stand() as made:
            task = await made.wait("bob", made.bridge.token("bob"))
            await made.board.change(parse_patch({"elicitation_enabled": False}), author="op", expected=None)
            await settle()
            assert not task.done()
            polls = made.bridge.count("pending")
            made.feeds.question_created(made.bridge.ask("bob"))
            await made.clock.advance(5)
            assert not task.done()
            assert made.bridge.count("pending") == polls
            made.bridge.store({})
            await settle()
            served = task.result()
            assert (served.exchange.route, served.exchange.reason) == (Route.LEGACY, Reason.DISABLED)
            assert served.exchange.fell_back is None
            assert sequences(items(task)) == [1]

    async def test_a_change_that_does_not_concern_an_agent_leaves_its_wait_alone(self) -> None:
        async with flow_stand() as made:
            task = await made.wait("bob", made.bridge.token("bob"))
            await made.board.change(parse_patch({"deprecation_warnings": True}), author="op", expected=None)
            await made.clock.advance(1)
            made.feeds.question_created(made.bridge.ask("bob"))
            await settle()
            assert task.result().exchange.route is Route.ELICITATION

    @pytest.mark.requirement("drain.answers_all")
    async def test_a_drain_answers_every_parked_wait_at_once(self) -> None:
        async with flow_stand() as made:
            tasks = [await made.wait(name, made.bridge.token(name)) for name in ("bob", "carol", "dave")]
            made.feeds.drain()
            await settle()
            assert [task.result().body for task in tasks] == [TIMEOUT_30] * 3
            assert made.feeds.parked == 0

    @pytest.mark.requirement("drain.answers_all")
    async def test_a_wait_that_comes_during_the_drain_is_answered_without_a_poll(self) -> None:
        async with flow_stand() as made:
            made.feeds.drain()
            task = await made.wait("bob", made.bridge.token("bob"))
            assert task.result().body == TIMEOUT_30
            assert made.bridge.calls == []

    @pytest.mark.requirement("wait.bound")
    async def test_more_waits_than_may_be_parked_are_refused_and_leave_nothing(self) -> None:
        async with flow_stand(max_parked=2) as made:
            token = made.bridge.token("bob")
            tasks = [await made.wait("bob", token, timeout_s=5) for _ in range(2)]
            ask = WaitAsk(agent_id=AgentId("carol"), since=Sequence(0), timeout_s=5)
            decision = made.board.decide(ask.agent_id, Way.OPEN)
            with pytest.raises(TooManyWaits) as caught:
                await serve_wait(made.feeds, ask, decision, made.bridge.token("carol"), may_fall_back=True)
            assert caught.value.retry_after_s == 1
            assert list(made.feeds.of("carol")) == []
            await made.clock.advance(5)
            assert [task.done() for task in tasks] == [True, True]
            assert made.feeds.parked == 0
            assert not (await made.wait("bob", token)).done()
