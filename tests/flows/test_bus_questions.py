"""Questions over the bus, as the flows of one sidecar ask, deliver, answer and take them back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from proxy.core.answers import GivenAnswer
from proxy.core.elicitation import Answer, AnswerKind, BridgeStatus, Elicitation
from proxy.core.errors import AnswerInvalid, BridgeUnavailable, ElicitationUnknown
from proxy.core.ids import AgentId
from proxy.core.outcome import ElicitationOutcome
from proxy.core.secret import Secret
from proxy.flows.bus_questions import BusQuestions
from proxy.upstream.bridge_auto import AutoBridge
from proxy.upstream.bridge_bus import BusBridge
from tests.support.bus_log import ask, bus_id
from tests.support.fake_bus import FakeLog, bus_on
from tests.support.flow_stand import FlowStand, flow_stand, ids, items, read
from tests.support.manual_clock import settle

ALICE, BOB = AgentId("alice"), AgentId("bob")


@dataclass(frozen=True, slots=True)
class Stand:
    """Flows before a Bridge that only stores events and waits."""

    flows: FlowStand
    log: FakeLog
    bus: BusBridge
    questions: BusQuestions
    alice: Secret
    bob: Secret

    def given(self, asked: Elicitation, kind: AnswerKind = AnswerKind.ACCEPT, *, by: AgentId = BOB) -> GivenAnswer:
        content = {"colour": "red"} if kind is AnswerKind.ACCEPT else None
        return GivenAnswer(answer=Answer(elicitation_id=asked.elicitation_id, kind=kind, content=content), agent_id=by)


@asynccontextmanager
async def bus_stand() -> AsyncIterator[Stand]:
    async with flow_stand() as flows:
        log = FakeLog(flows.clock)
        bus = bus_on(log)
        flows.feeds.parts = replace(flows.feeds.parts, bridge=bus, judge=bus.judge)
        questions = BusQuestions(bus, flows.feeds, flows.answers)
        log.store({"word": "the first event of a Bridge"})
        yield Stand(flows, log, bus, questions, log.token("alice"), log.token("bob"))


@pytest.mark.requirement("bus.named")
async def test_a_question_reaches_its_agent_at_once_and_the_answer_its_asker() -> None:
    async with bus_stand() as made:
        waiting = await made.flows.wait("bob", made.bob, since=1)
        asked = await made.questions.ask(ask(), made.alice)
        await settle()
        assert ids(items(waiting)) == [asked.elicitation_id]
        hearing = await made.flows.wait("alice", made.alice, since=1)
        assert await made.questions.answer(made.given(asked), made.bob) is ElicitationOutcome.ACCEPTED
        await settle()
        [item] = items(hearing)
        assert (item["sequence"], item["event_type"]) == (3, "elicitation_response")


@pytest.mark.requirement("bus.named")
async def test_a_question_of_another_sidecar_comes_with_the_long_poll_and_only_once() -> None:
    async with bus_stand() as made:
        waiting = await made.flows.wait("bob", made.bob, since=1)
        asked = await bus_on(made.log).ask(replace(ask(), message="From afar?"), made.alice)
        assert asked.elicitation_id == bus_id(1)
        await settle()
        assert ids(items(waiting)) == [asked.elicitation_id]
        again = await made.flows.wait("bob", made.bob, since=1, timeout_s=5)
        await made.flows.clock.advance(5)
        assert items(again) == []


async def test_a_wait_of_zero_seconds_finds_the_question_too() -> None:
    async with bus_stand() as made:
        await made.flows.known({"bob": made.bob})
        asked = await bus_on(made.log).ask(ask(), made.alice)
        peeked = await made.flows.peek("bob", made.bob, since=1)
        assert peeked is not None
        assert ids(read(peeked)) == [asked.elicitation_id]


@pytest.mark.requirement("bus.budget")
async def test_a_parked_wait_stays_under_the_bridges_rule() -> None:
    async with bus_stand() as made:
        for number in range(200):
            made.log.store({"word": number})
        _ = await made.flows.wait("bob", made.bob, since=201, timeout_s=120)
        for _ in range(60):
            await made.flows.clock.advance(1)
        assert 10 < len(made.log.calls) < 100


async def test_a_question_that_is_over_is_withdrawn_before_it_is_offered_again() -> None:
    async with bus_stand() as made:
        asked = await made.questions.ask(ask(), made.alice)
        waiting = await made.flows.wait("bob", made.bob, since=1)
        assert ids(items(waiting)) == [asked.elicitation_id]
        taking_back = made.given(asked, AnswerKind.CANCEL, by=ALICE)
        assert await made.questions.answer(taking_back, made.alice) is ElicitationOutcome.CANCELLED
        assert made.flows.book.get(asked.elicitation_id) is None
        assert await made.questions.listed(BOB, made.bob) == ()
        _, status = await made.questions.standing(asked.elicitation_id, made.alice)
        assert status is BridgeStatus.CANCELLED


async def test_the_addressees_cancel_is_an_answer() -> None:
    async with bus_stand() as made:
        asked = await made.questions.ask(ask(), made.alice)
        given = made.given(asked, AnswerKind.CANCEL)
        assert await made.questions.answer(given, made.bob) is ElicitationOutcome.CANCELLED
        own = await made.questions.ask(ask(to_agent="alice"), made.alice)
        given = made.given(own, AnswerKind.CANCEL, by=ALICE)
        assert await made.questions.answer(given, made.alice) is ElicitationOutcome.CANCELLED


async def test_what_does_not_fit_is_refused_and_the_question_stays_open() -> None:
    async with bus_stand() as made:
        asked = await bus_on(made.log).ask(ask(), made.alice)
        wrong = Answer(elicitation_id=asked.elicitation_id, kind=AnswerKind.ACCEPT, content={"colour": 7})
        with pytest.raises(AnswerInvalid):
            await made.questions.answer(GivenAnswer(answer=wrong, agent_id=BOB), made.bob)
        assert await made.questions.listed(BOB, made.bob) == (asked,)


async def test_an_unknown_question_is_said_to_be_unknown() -> None:
    async with bus_stand() as made:
        with pytest.raises(ElicitationUnknown):
            await made.questions.standing(bus_id(9), made.bob)
        nowhere = Answer(elicitation_id=bus_id(9), kind=AnswerKind.DECLINE)
        with pytest.raises(ElicitationUnknown):
            await made.questions.answer(GivenAnswer(answer=nowhere, agent_id=BOB), made.bob)


@pytest.mark.requirement("bus.auto")
async def test_where_it_cannot_be_told_the_bridge_shall_answer() -> None:
    async with bus_stand() as made:
        auto = AutoBridge(made.log, made.bus, made.flows.clock, reprobe_s=30)
        questions = BusQuestions(auto, made.flows.feeds, made.flows.answers)
        made.log.fails("pending", lambda: BridgeUnavailable("gone"))
        assert not await questions.takes_new(made.alice)
        assert not await questions.is_in_use(made.alice)
        await made.questions.ask(ask(), made.alice)
        assert await questions.is_in_use(made.alice)
        assert await made.questions.takes_new(made.alice)


@pytest.mark.requirement("bus.bridge_restart")
async def test_copies_of_a_log_that_is_gone_show_no_question_as_a_message() -> None:
    async with bus_stand() as made:
        waiting = await made.flows.wait("alice", made.alice, since=1, timeout_s=5)
        await made.questions.ask(ask(), made.alice)
        await made.flows.clock.advance(5)
        assert items(waiting) == []
        made.log.come_back()
        made.log.store({"word": "another log"}, source="carol")
        alice = made.log.token("alice")
        heard = await made.flows.wait("alice", alice, since=1, timeout_s=5)
        await made.flows.clock.advance(5)
        assert [item["data"] for item in items(heard)] == [{"word": "another log"}]
