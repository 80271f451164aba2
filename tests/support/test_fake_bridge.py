"""The fake Bridge's own means; what it has in common with the real one is in the contract suite."""

import asyncio

import pytest

from proxy.core.elicitation import Answer, AnswerKind
from proxy.core.errors import BridgeTimeout, BridgeUnavailable
from proxy.core.ids import AgentId
from tests.support.fake_bridge import FakeBridge, refused
from tests.support.manual_clock import START_S, ManualClock, settle

BOB = AgentId("bob")


async def test_calls_are_recorded_with_their_time_and_counted_while_they_run() -> None:
    clock = ManualClock()
    bridge = FakeBridge(clock)
    token = bridge.token("bob")
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(bridge.wait(BOB, token, since=0, hold_s=5))
        await settle()
        assert bridge.running["wait"] == 3
        await clock.advance(5)
    await bridge.pending(BOB, token)
    assert (bridge.running["wait"], bridge.peak["wait"]) == (0, 3)
    assert (bridge.count("wait"), bridge.count("pending", since=START_S + 5)) == (3, 1)
    assert bridge.calls[-1].token == token.reveal()


async def test_a_planned_fault_hits_as_often_as_planned() -> None:
    bridge = FakeBridge(ManualClock())
    token = bridge.token("bob")
    bridge.fails("pending", lambda: BridgeTimeout("late"), times=2)
    for _ in range(2):
        with pytest.raises(BridgeTimeout):
            await bridge.pending(BOB, token)
    assert await bridge.pending(BOB, token) == ()


async def test_a_planned_fault_may_break_the_reply_of_a_call_that_was_carried_out() -> None:
    bridge = FakeBridge(ManualClock())
    token = bridge.token("bob")
    answer = Answer(elicitation_id=bridge.ask("bob").elicitation_id, kind=AnswerKind.DECLINE)
    bridge.fails("respond", lambda: BridgeTimeout("late"), after=True)
    with pytest.raises(BridgeTimeout):
        await bridge.respond(answer, BOB, token)
    assert bridge.answers == [answer]


@pytest.mark.parametrize("after", [False, True])
async def test_a_gate_holds_a_call_before_or_after_its_effect(*, after: bool) -> None:
    bridge = FakeBridge(ManualClock())
    token = bridge.token("bob")
    question = bridge.ask("bob")
    gate = bridge.gate("respond", after=after)
    answer = Answer(elicitation_id=question.elicitation_id, kind=AnswerKind.ACCEPT, content={})
    async with asyncio.TaskGroup() as group:
        task = group.create_task(bridge.respond(answer, BOB, token))
        await gate.reached()
        assert bridge.answers == ([answer] if after else [])
        assert not task.done()
        bridge.ungate("respond", after=after)
    assert bridge.answers == [answer]


async def test_a_bridge_that_goes_down_breaks_what_is_under_way_and_refuses_the_rest() -> None:
    clock = ManualClock()
    bridge = FakeBridge(clock)
    token = bridge.token("bob")
    bridge.store()

    async def breaks() -> None:
        with pytest.raises(BridgeUnavailable):
            await bridge.wait(BOB, token, since=1, hold_s=5)

    async with asyncio.TaskGroup() as group:
        group.create_task(breaks())
        await settle()
        bridge.go_down()
    with pytest.raises(BridgeUnavailable):
        await bridge.pending(BOB, token)
    bridge.come_back(keeps_log=True)
    with pytest.raises(type(refused(403))):
        await bridge.pending(BOB, token)
    assert len(bridge.log) == 1


async def test_with_a_tick_a_message_is_found_at_the_next_look_only() -> None:
    clock = ManualClock()
    bridge = FakeBridge(clock, tick_s=1.0)
    token = bridge.token("bob")
    async with asyncio.TaskGroup() as group:
        task = group.create_task(bridge.wait(BOB, token, since=0, hold_s=5))
        await clock.advance(0.5)
        bridge.store()
        await settle()
        assert not task.done()
        await clock.advance(0.5)
        assert [message.sequence for message in task.result()] == [1]


async def test_notes_are_written_when_asked_for() -> None:
    bridge = FakeBridge(ManualClock(), writes_notes=True)
    token = bridge.token("bob")
    question = bridge.ask("bob")
    await bridge.respond(Answer(elicitation_id=question.elicitation_id, kind=AnswerKind.DECLINE), BOB, token)
    assert [b"elicitation_requested" in bridge.log[0].data, b"elicitation_declined" in bridge.log[1].data] == [True] * 2
