"""Answers of clients on their way to the Bridge, whatever becomes of the call they belong to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson
import pytest

from proxy.core.elicitation import AnswerKind, BridgeStatus, Elicitation
from proxy.core.ids import AgentId
from proxy.core.outcome import ElicitationOutcome
from proxy.core.secret import Secret
from proxy.flows.client_answers import ClientAnswers, Disposed
from proxy.flows.tool_call import Access, ToolCalls
from proxy.mcp.ask import Answered, CannotBeAsked, Failed, Reply
from tests.support.flow_stand import FlowStand, Item, flow_stand
from tests.support.manual_clock import settle

pytestmark = pytest.mark.requirement("mcp.elicit.answers")

RED = Answered(AnswerKind.ACCEPT, {"colour": "red"})


@dataclass(frozen=True, slots=True)
class Given:
    """The flow and what it stands on."""

    made: FlowStand
    answers: ClientAnswers
    access: Access
    question: Elicitation

    def state(self) -> BridgeStatus:
        """How the question stands at the Bridge."""
        return self.made.bridge.states[self.question.elicitation_id]

    async def give(self, reply: Reply | None) -> Disposed:
        """Give an answer."""
        async with asyncio.timeout(5):
            return await self.answers.give(self.question, reply, self.access, since=3)


@asynccontextmanager
async def _given() -> AsyncIterator[Given]:
    async with flow_stand() as made:
        calls = ToolCalls(made.feeds, made.answers, made.board, made.feeds.parts.sessions)
        access = await calls.access_for(AgentId("bob"), "")
        assert access is not None
        question = made.bridge.ask("bob")
        made.feeds.question_created(question)
        made.recorder.elicitations.clear()
        yield Given(made, ClientAnswers(calls, made.feeds.parts.errands, made.recorder), access, question)


def _item(disposed: Disposed) -> Item:
    item: Item = orjson.loads(disposed.item)
    assert item["sequence"] == 3
    return item


async def test_an_answer_is_brought_to_the_bridge() -> None:
    async with _given() as given:
        disposed = await given.give(RED)
        assert _item(disposed)["event_type"] == "elicitation_answered"
        assert (disposed.outcome, disposed.is_left) == (ElicitationOutcome.ACCEPTED, False)
        assert given.state() is BridgeStatus.ACCEPTED
        assert not given.made.recorder.elicitations  # the call itself tells it
        assert (await given.give(RED)).outcome is ElicitationOutcome.DUPLICATE


async def test_an_answer_without_content_is_one_with_none() -> None:
    async with _given() as given:
        disposed = await given.give(Answered(AnswerKind.DECLINE))
        assert disposed.outcome is ElicitationOutcome.DECLINED


@pytest.mark.parametrize(
    ("reply", "outcome", "error"),
    [
        (None, None, None),
        (CannotBeAsked(-32601, "no"), None, None),
        (Failed("broke", -32603), None, "broke"),
        (Failed("expected another content"), ElicitationOutcome.INVALID, "expected another content"),
    ],
)
async def test_what_is_no_answer_leaves_the_question_to_the_agent(
    reply: Reply | None, outcome: ElicitationOutcome | None, error: str | None
) -> None:
    async with _given() as given:
        disposed = await given.give(reply)
        assert (disposed.outcome, disposed.is_left) == (outcome, True)
        item = _item(disposed)
        assert item["event_type"] == "elicitation_request"
        assert isinstance(item["data"], dict)
        assert item["data"].get("error") == error
        assert given.state() is BridgeStatus.PENDING


async def test_content_that_cannot_be_written_again_is_refused() -> None:
    deep: dict[str, object] = {}
    for _ in range(300):
        deep = {"a": deep}
    async with _given() as given:
        disposed = await given.give(Answered(AnswerKind.ACCEPT, deep))
        assert disposed.outcome is ElicitationOutcome.INVALID
        assert given.state() is BridgeStatus.PENDING


async def test_without_a_session_at_the_bridge_the_answer_is_told_as_not_given() -> None:
    async with _given() as given:
        given.made.bridge.is_down = True
        for sessions in (given.access, Access(Secret("Bearer own"), is_own=False)):
            disposed = await given.answers.give(given.question, RED, sessions, since=3)
            assert disposed.outcome is ElicitationOutcome.UNDELIVERED
            assert disposed.is_left


async def test_an_answer_goes_on_when_its_call_is_over() -> None:
    async with _given() as given:
        gate = given.made.bridge.gate("respond")
        task = given.made.group.create_task(given.give(RED))
        await gate.reached()
        task.cancel()
        await settle()
        assert given.state() is BridgeStatus.PENDING
        gate.open()
        await settle()
        assert given.state() is BridgeStatus.ACCEPTED
        assert given.made.recorder.elicitations == [(ElicitationOutcome.ACCEPTED, "bob")]


async def test_a_late_answer_counts_and_a_late_failure_does_not() -> None:
    async with _given() as given:
        given.answers.give_late(given.question, Failed("broke"), given.access)
        await settle()
        assert given.state() is BridgeStatus.PENDING
        given.answers.give_late(given.question, RED, given.access)
        await settle()
        assert given.state() is BridgeStatus.ACCEPTED
        assert given.made.recorder.elicitations == [(ElicitationOutcome.ACCEPTED, "bob")]


async def test_an_answer_that_is_given_up_at_the_end_is_told_as_unclear() -> None:
    async with _given() as given:
        gate = given.made.bridge.gate("respond")
        task = given.made.group.create_task(given.give(RED))
        await gate.reached()
        given.made.feeds.parts.errands.close()
        disposed = await task
        assert disposed.outcome is ElicitationOutcome.UNDELIVERED
