"""The outcomes of calls on a pipe."""

import asyncio

import pytest

from proxy.core.outcome import Door, Result
from proxy.downstream import mcp_ledger
from proxy.downstream.mcp_ledger import Ledger
from proxy.downstream.served import Draft
from tests.support.fake_recorder import FakeRecorder
from tests.support.manual_clock import ManualClock, settle

pytestmark = pytest.mark.requirement("stdio.legacy")


def _ledger() -> tuple[Ledger, FakeRecorder, ManualClock]:
    recorder, clock = FakeRecorder(), ManualClock()
    return Ledger(recorder, clock), recorder, clock


async def test_a_call_leaves_what_its_draft_says_and_how_long_it_took() -> None:
    ledger, recorder, clock = _ledger()
    draft = Draft(Door.MCP, agent_id="bob")
    served = ledger.begin(draft, "wait_for_messages")
    await clock.advance(2)
    draft.result = Result.DELIVERED
    ledger.end(served)
    (outcome,) = recorder.outcomes
    assert (outcome.agent_id, outcome.result, outcome.seconds) == ("bob", Result.DELIVERED, 2)
    assert (outcome.method, outcome.path) == ("tools/call", "wait_for_messages")


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_a_call_that_a_task_serves_is_over_with_the_task(*, is_cancelled: bool) -> None:
    ledger, recorder, clock = _ledger()
    gate = asyncio.Event()

    async def work() -> None:
        await gate.wait()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(work())
        ledger.follow(task, Draft(Door.MCP_STDIO, result=Result.GONE), "wait_for_messages")
        await clock.advance(3)
        assert recorder.outcomes == []
        if is_cancelled:
            task.cancel()
        gate.set()
    await settle()
    (outcome,) = recorder.outcomes
    assert (outcome.result, outcome.seconds, outcome.path) == (Result.GONE, 3, "wait_for_messages")


def test_what_is_no_call_of_a_tool_says_what_it_is() -> None:
    ledger, recorder, _ = _ledger()
    ledger.end(ledger.begin(Draft(Door.MCP_STDIO), "elicitation/create", method="response"))
    (outcome,) = recorder.outcomes
    assert (outcome.method, outcome.path) == ("response", "elicitation/create")


async def test_the_time_of_an_item_counts_from_the_call_where_the_item_is_older() -> None:
    ledger, recorder, clock = _ledger()
    draft = Draft(Door.MCP, agent_id="bob")
    long_ago = clock.wall() - 3600
    served = ledger.begin(draft, "wait_for_messages")
    await clock.advance(2)
    draft.delivered([long_ago, clock.wall() - 0.5, clock.wall() + 9, None], wall=clock.wall())
    ledger.end(served)
    (outcome,) = recorder.outcomes
    assert outcome.delivery_seconds == pytest.approx((2, 0.5, 0))


def test_a_wait_at_the_server_ends_with_the_response_that_has_its_id() -> None:
    ledger, recorder, _ = _ledger()
    ledger.passed_on(1, Draft(Door.MCP, result=Result.GONE), "wait")
    ledger.passed_on("1", Draft(Door.MCP, result=Result.GONE), "wait")
    ledger.passed_by(b'{"id":1,"method":"sampling/createMessage"}\n{"id":null,"error":{}}\n{"id":2,"result":{}}\nx\n')
    assert recorder.outcomes == []
    ledger.passed_by(b'{"id":"1","result":{}}\n{"id":"1","result":{}}\n')
    assert [outcome.result for outcome in recorder.outcomes] == [Result.RELAYED]
    ledger.cancelled(1)
    ledger.cancelled(1)
    ledger.close()
    assert [outcome.result for outcome in recorder.outcomes] == [Result.RELAYED, Result.GONE]


def test_so_many_are_remembered_and_not_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_ledger, "MAX_RELAYED", 2)
    ledger, recorder, _ = _ledger()
    for number in range(5):
        ledger.passed_on(number, Draft(Door.MCP, result=Result.GONE), "wait")
    ledger.close()
    assert len(recorder.outcomes) == 2
