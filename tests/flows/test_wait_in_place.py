"""Waits on the legacy route that are served here in the relay's place: they end with the Bridge, as a call would."""

import pytest

from proxy.core.errors import BridgeUnavailable
from proxy.core.flags import FlagSet, parse_patch
from proxy.core.outcome import Result
from proxy.core.routing import Route
from tests.support.flow_stand import EVERYBODY, flow_stand
from tests.support.manual_clock import settle

pytestmark = pytest.mark.requirement("fallback.in_place")

NOBODY = FlagSet()


async def test_a_bridge_that_is_away_is_told_at_once() -> None:
    async with flow_stand(flags=NOBODY) as made:
        made.bridge.go_down()
        served = (await made.wait("bob", made.bridge.token("bob"), since=7)).result()  # no time has passed
        assert served.exchange.route is Route.LEGACY
        assert (served.result, served.status) == (Result.FAILED, 502)
        assert isinstance(served.error, BridgeUnavailable)


async def test_a_bridge_that_goes_away_in_the_middle_ends_all_such_waits_and_is_asked_no_more() -> None:
    async with flow_stand(flags=NOBODY) as made:
        token = made.bridge.token("bob")
        made.bridge.store({})
        tasks = [await made.wait("bob", token, since=1) for _ in range(3)]
        await made.clock.advance(5)
        assert not any(task.done() for task in tasks)
        made.bridge.go_down()
        await settle()
        assert [task.result().status for task in tasks] == [502] * 3
        asked = made.bridge.count("wait")
        await made.clock.advance(30)
        assert made.bridge.count("wait") == asked


async def test_a_bridge_that_is_back_before_the_wait_begins_is_waited_for() -> None:
    async with flow_stand(flags=NOBODY) as made:
        token = made.bridge.token("bob")
        made.bridge.store({})
        gone = await made.wait("bob", token, since=1)
        made.bridge.go_down()
        await settle()
        assert gone.result().status == 502
        made.bridge.come_back(keeps_log=True)
        made.bridge.tokens.add(token.reveal())
        task = await made.wait("bob", token, since=1, timeout_s=2)
        await made.clock.advance(2)
        assert (task.result().status, task.result().result) == (200, Result.TIMED_OUT)


async def test_a_bridge_that_is_away_and_does_not_answer_is_told_at_the_deadline() -> None:
    async with flow_stand() as made:
        token = made.bridge.token("bob")
        made.bridge.store({})
        other = await made.wait("bob", token, since=1, timeout_s=300)
        made.bridge.go_down()
        await settle()
        made.bridge.come_back(keeps_log=True)
        gate = made.bridge.gate("wait")
        await made.clock.advance(1)
        await gate.reached()
        await made.board.change(parse_patch({"elicitation_enabled": False}), author="op", expected=None)
        task = await made.wait("bob", token, since=1, timeout_s=2)
        assert not task.done()
        await made.clock.advance(2)
        assert task.result().status == 502
        assert not other.done(), "a wait of the elicitation cohort goes on"
        other.cancel()
        gate.open()


async def test_a_wait_of_the_elicitation_cohort_outlives_a_restart_of_the_bridge() -> None:
    async with flow_stand(flags=EVERYBODY) as made:
        token = made.bridge.token("bob")
        made.bridge.store({})
        task = await made.wait("bob", token, since=1)
        made.bridge.go_down()
        await made.clock.advance(2)
        assert not task.done()
        made.bridge.come_back(keeps_log=True)
        await made.clock.advance(28)
        assert (task.result().status, task.result().result) == (200, Result.TIMED_OUT)
