"""Waits that are suspended until their client comes back: what is kept, what is refused, and what is told then."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import orjson
import pytest

from proxy.core.errors import InvalidState, StateUnavailable
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.ids import Sequence as Number
from proxy.core.legacy import WaitAsk
from proxy.core.outcome import ElicitationOutcome
from proxy.flows.asked_wait import ToldWait
from proxy.flows.client_answers import ClientAnswers
from proxy.flows.suspended_wait import ResumedWait, SuspendedCall, SuspendedWaits
from proxy.flows.tool_call import ToolCalls
from proxy.mcp.mrtr import SealKey
from proxy.mcp.revisions import Mode
from proxy.mcp.tools import Retry, ToolCall
from proxy.stores.memory import MemoryExchangeStore
from tests.support.fake_bridge import refused
from tests.support.flow_stand import FlowStand, Item, flow_stand
from tests.support.manual_clock import settle

pytestmark = pytest.mark.requirement("mcp.elicit.envelope")

BOB = AgentId("bob")


class Store(MemoryExchangeStore):
    """A store that fails when it is told to, and that others may write to."""

    __slots__ = ("change", "is_broken")

    is_broken: bool
    change: Callable[[bytes], bytes] | None

    async def keys(self) -> Sequence[SealKey]:
        if self.is_broken:
            raise StateUnavailable("the disk is full")
        return await super().keys()

    async def resume(self, handle: bytes, digest: bytes, *, now: float) -> bytes | None:
        found = await super().resume(handle, digest, now=now)
        return found if found is None or self.change is None else self.change(found)


@dataclass(slots=True)
class Made:
    """The flow, a client's call and what it heard."""

    stand: FlowStand
    calls: ToolCalls
    store: Store
    flow: SuspendedWaits
    call: SuspendedCall
    noted: list[ElicitationOutcome] = field(default_factory=list)

    async def wait(self) -> ToldWait:
        """A wait that finds something, suspended if that can be."""
        waiting = self.calls.wait(self.call.ask, self.calls.decide(BOB), self.call.access, hold_cap_s=30)
        task = self.stand.group.create_task(waiting)
        await settle()
        waited = task.result()
        assert waited is not None
        return await self.flow.suspend(ToldWait(waited=waited), self.call)

    async def retry(self, told: ToldWait, responses: object) -> ResumedWait:
        """Come back with answers."""
        state = told.waited.result["requestState"]
        assert isinstance(state, str)
        tool = replace(self.call.call, retry=Retry(state=state, responses=orjson.dumps(responses)))
        async with asyncio.timeout(5):
            return await self.flow.resume(replace(self.call, call=tool))


@asynccontextmanager
async def _made() -> AsyncIterator[Made]:
    async with flow_stand() as stand:
        calls = ToolCalls(stand.feeds, stand.answers, stand.board, stand.feeds.parts.sessions)
        access = await calls.access_for(BOB, "")
        assert access is not None
        store = Store(stand.clock, bytes)
        store.is_broken, store.change = False, None
        answers = ClientAnswers(calls, stand.feeds.parts.errands, stand.recorder)
        flow = SuspendedWaits(calls, answers, store, clock=stand.clock, chance=bytes, server_info={"name": "x"})
        noted: list[ElicitationOutcome] = []
        call = SuspendedCall(
            principal="",
            call=ToolCall(name="wait", arguments=b'{"agent_id":"bob"}', modes=frozenset({Mode.FORM})),
            ask=WaitAsk(agent_id=BOB, since=Number(3), timeout_s=30),
            access=access,
            note=noted.append,
        )
        yield Made(stand, calls, store, flow, call, noted)


def _items(resumed: ResumedWait) -> list[Item]:
    content = resumed.result["content"]
    assert isinstance(content, list)
    found: list[Item] = orjson.loads(content[0]["text"])["events"]
    return found


def _accepted(elicitation_id: ElicitationId) -> dict[str, object]:
    return {f"esc:{elicitation_id}": {"action": "accept", "content": {"colour": "red"}}}


async def test_messages_alone_are_delivered_at_once() -> None:
    async with _made() as made:
        for _ in range(5):
            made.stand.bridge.store({"text": "hello"})
        told = await made.wait()
        assert "content" in told.waited.result


async def test_what_cannot_be_kept_is_delivered_at_once() -> None:
    async with _made() as made:
        made.stand.bridge.ask("bob")
        made.store.is_broken = True
        told = await made.wait()
        assert "content" in told.waited.result


@pytest.mark.requirement("store.exchanges.owner")
@pytest.mark.parametrize(("owner", "is_suspended"), [(b"", False), (b"somebody else", True)])
async def test_a_caller_without_a_place_left_is_answered_at_once_and_every_other_one_is_asked(
    owner: bytes, *, is_suspended: bool
) -> None:
    async with _made() as made:
        made.stand.bridge.ask("bob")
        for number in range(1, 101):
            await made.store.suspend(number.to_bytes(16), b"", owner=owner, expires_at=made.stand.clock.wall() + 600)
        told = await made.wait()
        assert ("requestState" in told.waited.result) == is_suspended


async def test_a_question_of_which_the_sidecar_forgot_is_asked_of_the_bridge() -> None:
    async with _made() as made:
        question = made.stand.bridge.ask("bob")
        told = await made.wait()
        made.stand.book.withdraw(question.elicitation_id)
        (item,) = _items(await made.retry(told, _accepted(question.elicitation_id)))
        assert item["event_type"] == "elicitation_answered"
        assert made.noted == [ElicitationOutcome.ACCEPTED]


@pytest.mark.parametrize(("is_refused", "code"), [(True, "bridge_refused"), (False, "elicitation_unknown")])
async def test_a_question_that_nobody_knows_any_more_is_told_by_its_id(*, is_refused: bool, code: str) -> None:
    async with _made() as made:
        question = made.stand.bridge.ask("bob")
        told = await made.wait()
        made.stand.book.withdraw(question.elicitation_id)
        del made.stand.bridge.questions[question.elicitation_id]
        if is_refused:
            made.stand.bridge.fails("pending", lambda: refused(500))
        (item,) = _items(await made.retry(told, _accepted(question.elicitation_id)))
        assert isinstance(item["data"], dict)
        assert (item["data"]["elicitation_id"], item["data"]["code"]) == (question.elicitation_id, code)
        assert not made.noted


async def test_a_missing_answer_to_a_question_that_ended_is_told_by_its_id() -> None:
    async with _made() as made:
        question = made.stand.bridge.ask("bob")
        told = await made.wait()
        made.stand.book.withdraw(question.elicitation_id)
        (item,) = _items(await made.retry(told, {}))
        assert isinstance(item["data"], dict)
        assert item["data"]["code"] == "elicitation_unknown"


async def test_a_record_that_is_not_this_calls_is_refused() -> None:
    async with _made() as made:
        question = made.stand.bridge.ask("bob")
        told = await made.wait()
        made.store.change = lambda record: record.replace(b'"agent":"bob"', b'"agent":"eve"')
        with pytest.raises(InvalidState):
            await made.retry(told, _accepted(question.elicitation_id))
        with pytest.raises(InvalidState):
            await made.flow.resume(made.call)
        broken = replace(made.call, call=replace(made.call.call, arguments=b"{"))
        with pytest.raises(InvalidState):
            await made.flow.resume(broken)


async def test_a_retry_whose_answers_cannot_be_read_is_ours_to_refuse() -> None:
    async with _made() as made:
        for responses, is_ours in ((b"[", True), (b"", True), (b'{"esc:e1":1}', True), (b'{"e1":1}', False)):
            tool = replace(made.call.call, retry=Retry(state="esc1.x", responses=responses))
            assert made.flow.may_be_ours(tool) is is_ours
        assert not made.flow.may_be_ours(made.call.call)
