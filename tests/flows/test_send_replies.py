"""The way back of dual mode: which legacy replies answer a question, and how an answer becomes a legacy reply."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import orjson
import pytest

from proxy.core.answers import GivenAnswer
from proxy.core.elicitation import Answer, AnswerKind, Elicitation
from proxy.core.errors import AnswerUndelivered, BridgeTimeout
from proxy.core.flags import FlagSet
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.outcome import ElicitationOutcome
from proxy.core.secret import Secret
from proxy.core.send_marks import MARK
from proxy.core.sends import Send, ask_of
from proxy.flows.send_replies import LOOKUPS, MAX_HANDED, RETRIES_S, SendReplies
from tests.support.fake_bridge import refused
from tests.support.flow_stand import FlowStand, World, flow_stand, items
from tests.support.manual_clock import settle

ALICE, BOB = AgentId("alice"), AgentId("bob")
YES: Mapping[str, object] = {"reply": "yes"}


@dataclass(frozen=True)
class Dual:
    """Bob answers, in the legacy cohort unless a test says else."""

    stand: FlowStand
    alice: Secret
    bob: Secret

    def send(self, text: str = "Ship it?") -> int:
        """An event from alice to bob; its number."""
        return self.stand.bridge.store({"to_agent": "bob", "message": text})

    def asked(self, number: int, text: str = "Ship it?", *, life_s: float = 300.0) -> Elicitation:
        """The question that the sidecar of alice has made of it."""
        ask = ask_of(Send(from_agent=ALICE, to_agent=BOB, event_type="", data={"message": text}), number, life_s=life_s)
        assert ask is not None
        return self.stand.bridge.put(ask)

    def known(self, number: int) -> Elicitation:
        """The same, made here."""
        question = self.asked(number)
        self.stand.feeds.question_created(question)
        self.stand.feeds.parts.sent.believe(question.elicitation_id)
        return question

    async def meant(self, number: object, **data: object) -> ElicitationId | None:
        """The question that a reply of bob to a number is taken for."""
        body = orjson.dumps({"agent_id": "bob", "data": {"in_reply_to": number, "content": YES, **data}})
        async with asyncio.timeout(5):
            given = await self.stand.replies.meant(body, self.bob)
        return None if given is None else given.answer.elicitation_id

    async def give(self, question: Elicitation, content: Mapping[str, object] = YES) -> None:
        """Bob's answer."""
        await self.stand.give(question.elicitation_id, self.bob, dict(content))

    def stored(self) -> list[dict[str, object]]:
        """The data of what was stored in bob's name, notes of the Bridge aside."""
        found = [orjson.loads(message.data) for message in self.stand.bridge.log if message.source_agent == "bob"]
        return [data for data in found if "elicitation_type" not in data]


@asynccontextmanager
async def _dual(*, in_elicitation: tuple[str, ...] = (), writes_notes: bool = True) -> AsyncIterator[Dual]:
    flags = FlagSet(elicitation_enabled=True, elicitation_whitelist=in_elicitation)
    async with flow_stand(flags=flags, world=World(writes_notes=writes_notes)) as stand:
        yield Dual(stand, stand.bridge.token("alice"), stand.bridge.token("bob"))


# Which replies are answers


@pytest.mark.requirement("dual.legacy_receiver")
async def test_a_reply_to_the_send_that_became_a_question_here_is_its_answer() -> None:
    async with _dual() as dual:
        number = dual.send()
        question = dual.known(number)
        assert await dual.meant(number, to_agent="alice") == question.elicitation_id
        assert await dual.meant(number, to_agent="carol") is None
        assert dual.stand.bridge.count("wait") == 0, "what is known need not be read"


@pytest.mark.requirement("dual.legacy_receiver")
async def test_one_that_became_a_question_elsewhere_is_looked_for() -> None:
    async with _dual() as dual:
        number = dual.send()
        question = dual.asked(number)
        assert await dual.meant(number) == question.elicitation_id
        assert dual.stand.feeds.parts.sent.is_true(question.elicitation_id)


@pytest.mark.requirement("dual.legacy_receiver")
async def test_a_reply_to_the_note_of_a_question_is_its_answer() -> None:
    async with _dual() as dual:
        dual.stand.bridge.store({"word": "before"})
        number = dual.send()
        question = dual.asked(number)
        note = dual.stand.bridge.log[-1].sequence
        assert await dual.meant(note) == question.elicitation_id


@pytest.mark.requirement("dual.legacy_receiver")
@pytest.mark.parametrize("number", [1, 7, "e1"])
async def test_every_other_reply_is_a_message(number: object) -> None:
    async with _dual() as dual:
        dual.stand.bridge.store({"word": "hello"})
        dual.asked(dual.send())
        waiting = asyncio.get_running_loop().create_task(dual.meant(number))
        await dual.stand.clock.advance(2)
        assert await waiting is None


async def test_nothing_is_read_where_nobody_was_asked() -> None:
    async with _dual() as dual:
        assert await dual.meant(dual.send()) is None
        assert (dual.stand.bridge.count("pending"), dual.stand.bridge.count("wait")) == (1, 0)


@pytest.mark.parametrize("method", ["pending", "wait"])
async def test_what_cannot_be_told_now_is_a_message(method: str) -> None:
    async with _dual() as dual:
        number = dual.send()
        dual.asked(number)
        dual.stand.bridge.fails(method, lambda: BridgeTimeout("slow"))
        assert await dual.meant(number) is None


@pytest.mark.requirement("dual.limit")
async def test_an_agent_that_replies_a_lot_is_not_looked_after_every_time() -> None:
    async with _dual() as dual:
        for _ in range(LOOKUPS.capacity + 5):
            await dual.meant(dual.send())
        assert dual.stand.bridge.count("pending") == LOOKUPS.capacity


async def test_after_a_restart_of_the_bridge_a_number_is_the_agents() -> None:
    async with _dual() as dual:
        number = dual.send()
        question = dual.asked(number)
        dual.stand.feeds.parts.sequences.offset = 1000
        assert await dual.meant(1000 + number) == question.elicitation_id


# Answers become replies


@pytest.mark.requirement("dual.answer")
async def test_an_answer_to_a_send_is_stored_as_a_reply_before_it_is_settled() -> None:
    async with _dual() as dual:
        number = dual.send()
        question = dual.known(number)
        gate = dual.stand.bridge.gate("store_event")
        giving = dual.stand.give(question.elicitation_id, dual.bob, dict(YES))
        await gate.reached()
        listed = dual.stand.book.listed(question.elicitation_id)
        assert listed is not None
        assert listed.state == "claimed"
        gate.open()
        await giving
        named = {"elicitation_id": question.elicitation_id, "in_reply_to": number, "to_agent": "alice"}
        mark = {MARK: {"sequence": number}}
        assert dual.stored() == [{**named, "response_type": "accept", "content": YES, **mark}]
        (upstream,) = dual.stand.bridge.answers
        assert upstream.content == {
            **YES,
            MARK: {**mark[MARK], **{k: named[k] for k in ("elicitation_id", "to_agent")}},
        }


@pytest.mark.requirement("dual.answer")
@pytest.mark.parametrize("sender", [(), ("alice",)], ids=["legacy", "elicitation"])
async def test_the_sender_reads_one_reply_to_its_event(sender: tuple[str, ...]) -> None:
    async with _dual(in_elicitation=sender) as dual:
        number = dual.send()
        await dual.give(dual.known(number))
        (reply,) = [
            item
            for item in items(await dual.stand.wait("alice", dual.alice))
            if isinstance(data := item["data"], dict) and data.get("in_reply_to") == number
        ]
        assert reply["event_type"] == ("elicitation_response" if sender else "custom")


async def test_an_answer_to_a_question_of_its_own_is_no_reply() -> None:
    async with _dual() as dual:
        question = replace(dual.asked(dual.send()), made_from=None)
        dual.stand.feeds.question_created(question)
        await dual.give(question)
        assert dual.stored() == []
        assert dual.stand.bridge.answers[0].content == YES


async def test_on_a_bus_the_answer_is_a_reply_already() -> None:
    async with _dual() as dual:
        question = replace(dual.asked(dual.send()), elicitation_id=ElicitationId("0" * 32))
        async with asyncio.timeout(5):
            await dual.stand.replies.tell(question, _answer(question), dual.bob)
        assert dual.stored() == []


def _answer(question: Elicitation) -> Answer:
    return Answer(elicitation_id=question.elicitation_id, kind=AnswerKind.ACCEPT, content=YES)


async def test_where_nobody_may_be_spoken_for_nothing_is_stored() -> None:
    async with _dual() as dual:
        question = dual.known(dual.send())
        alone = SendReplies(dual.stand.feeds, None)
        given = GivenAnswer(answer=_answer(question), agent_id=BOB)
        async with asyncio.timeout(5):
            await alone.tell(question, given.answer, dual.bob)
            assert not await alone.hand_over(given, dual.bob)
        assert dual.stored() == []


@pytest.mark.requirement("dual.fails")
async def test_a_reply_that_the_bridge_does_not_take_is_stored_later() -> None:
    async with _dual() as dual:
        question = dual.known(dual.send())
        dual.stand.bridge.fails("store_event", lambda: refused(500), times=3)
        await dual.give(question)
        assert dual.stored() == []
        await dual.stand.clock.advance(RETRIES_S[0] + RETRIES_S[1])
        assert dual.stored() == []
        await dual.stand.clock.advance(RETRIES_S[2])
        assert [data["elicitation_id"] for data in dual.stored()] == [question.elicitation_id]
        assert dual.stand.bridge.count("store_event") == 4


@pytest.mark.requirement("dual.fails")
async def test_one_that_it_never_takes_is_reported() -> None:
    async with _dual() as dual:
        question = dual.known(dual.send())
        dual.stand.bridge.fails("store_event", lambda: refused(500))
        await dual.give(question)
        await dual.stand.clock.advance(sum(RETRIES_S) + 1)
        assert (ElicitationOutcome.UNDELIVERED, "bob") in dual.stand.recorder.elicitations
        assert dual.stand.bridge.count("store_event") == 1 + len(RETRIES_S)


@pytest.mark.requirement("dual.answer")
async def test_whoever_answers_again_after_a_crash_has_the_sender_told() -> None:
    world = World(writes_notes=True)
    flags = FlagSet(elicitation_enabled=True)
    async with flow_stand(flags=flags, world=world) as stand:
        dual = Dual(stand, stand.bridge.token("alice"), stand.bridge.token("bob"))
        question = dual.known(dual.send())
        gate = stand.bridge.gate("store_event")
        given = GivenAnswer(answer=_answer(question), agent_id=BOB)
        giving = asyncio.get_running_loop().create_task(stand.answers.give(given, dual.bob))
        await gate.reached()
        stand.feeds.close()
        with pytest.raises(AnswerUndelivered):
            await giving
        world.bridge.ungate("store_event")
    async with flow_stand(flags=flags, world=world) as stand:
        dual = replace(dual, stand=stand)
        assert dual.stored() == []
        await dual.give(question)
        assert [data["elicitation_id"] for data in dual.stored()] == [question.elicitation_id]
        assert len(stand.bridge.answers) == 1


# Answers that come too late


@pytest.mark.requirement("dual.expired")
async def test_a_late_answer_is_handed_over_as_a_reply_once() -> None:
    async with _dual() as dual:
        question = dual.known(dual.send())
        await dual.stand.clock.advance(301)
        given = GivenAnswer(answer=_answer(question), agent_id=BOB)
        async with asyncio.timeout(5):
            assert await dual.stand.replies.hand_over(given, dual.bob)
            assert await dual.stand.replies.hand_over(given, dual.bob)
        await settle()
        assert [data["content"] for data in dual.stored()] == [YES]
        other = replace(given, answer=replace(given.answer, content={"reply": "no"}))
        assert await dual.stand.replies.hand_over(other, dual.bob)
        assert [data["content"] for data in dual.stored()] == [YES, {"reply": "no"}]


async def test_only_whoever_was_asked_by_a_send_may_answer_late() -> None:
    async with _dual() as dual:
        question = dual.known(dual.send())
        plain = replace(question, elicitation_id=ElicitationId("e0"), made_from=None)
        dual.stand.feeds.question_created(plain)
        for answer, agent_id in (
            (_answer(question), ALICE),
            (_answer(plain), BOB),
            (_answer(replace(plain, elicitation_id=ElicitationId("unknown"))), BOB),
        ):
            assert not await dual.stand.replies.hand_over(GivenAnswer(answer=answer, agent_id=agent_id), dual.bob)


async def test_of_too_many_late_answers_the_oldest_is_forgotten() -> None:
    async with _dual() as dual:
        first = dual.known(dual.send())
        given = GivenAnswer(answer=_answer(first), agent_id=BOB)
        assert await dual.stand.replies.hand_over(given, dual.bob)
        for number in range(MAX_HANDED):
            named, agent_id = ElicitationId(f"e{number}"), AgentId(f"bob-{number}")
            other = replace(first, elicitation_id=named, to_agent=agent_id)
            assert dual.stand.book.add(other)
            later = GivenAnswer(answer=_answer(other), agent_id=agent_id)
            assert await dual.stand.replies.hand_over(later, dual.bob)
        assert len(dual.stored()) == 1
        assert await dual.stand.replies.hand_over(given, dual.bob)
        assert len(dual.stored()) == 2
