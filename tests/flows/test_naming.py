"""Answers in the log get the name of their question, or none: never a wrong one."""

import orjson
import pytest

from proxy.core.elicitation import Answer, AnswerKind, BridgeStatus, Elicitation
from proxy.core.ids import AgentId
from proxy.core.questions import QuestionBook
from proxy.core.sequences import SequenceMap
from proxy.flows import naming
from proxy.flows.naming import AnswerNames
from tests.support.fake_bridge import FakeBridge
from tests.support.flow_stand import FlowStand, Item, flow_stand, ids, items
from tests.support.manual_clock import ManualClock, settle

ALICE, CAROL = AgentId("alice"), AgentId("carol")
RED: Item = {"colour": "red"}
BLUE: Item = {"colour": "blue"}


class Stand:
    """Names over a book and a fake Bridge that writes its notes."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.bridge = FakeBridge(self.clock)
        self.book = QuestionBook(redeliver_s=30)
        self.sequences = SequenceMap()
        self.names = AnswerNames(self.book, self.clock)

    def ask(self, asker: str = "alice", to_agent: str = "bob") -> Elicitation:
        """A question that this sidecar saw being asked."""
        question = self.bridge.ask(to_agent, from_agent=asker)
        self.book.add(question)
        return question

    def note(self, kind: str = "accepted", content: Item | None = None, *, by: str = "bob") -> None:
        """A note of an answer, with nothing said about whose."""
        data = {"elicitation_type": f"elicitation_{kind}", "responding_agent": by, "response_data": content}
        self.bridge.store(data, source=by)

    def settle(self, question: Elicitation, content: Item) -> None:
        """Bob's answer went through this sidecar."""
        answer = Answer(elicitation_id=question.elicitation_id, kind=AnswerKind.ACCEPT, content=content)
        self.book.claim(answer, question.to_agent, wall=self.clock.wall())
        self.book.settle(question.elicitation_id, now=self.clock.now())

    async def read(self, reader: AgentId = ALICE, *, since: int = 0) -> list[Item | None]:
        """What this agent reads; None for what it has not to read."""
        batch = [message for message in self.bridge.log if message.sequence > since]
        self.names.learn(reader, [(message.sequence, message) for message in batch])
        told = [self.names.translate(reader, one, one.raw, sequence=one.sequence) for one in batch]
        return [None if item is None else orjson.loads(item) for item in told]


def _id(item: Item | None) -> object:
    """The elicitation an item names, if it names one."""
    assert item is not None
    data = item["data"]
    assert isinstance(data, dict)
    return data.get("elicitation_id")


class TestLeftOut:
    @pytest.mark.requirement("notes.told_apart")
    async def test_notes_that_say_nothing_to_the_agent_are_left_out(self) -> None:
        stand = Stand()
        stand.bridge.store({"elicitation_type": "elicitation_requested", "nonce": "n"})
        stand.bridge.store({"elicitation_type": "elicitation_expired"})
        stand.note(by="alice")
        stand.bridge.store({"text": "a message"})
        left_out = await stand.read()
        assert left_out[:3] == [None] * 3
        assert left_out[3] == orjson.loads(stand.bridge.log[3].raw)

    async def test_an_answer_that_is_nobodys_here_passes_as_it_is_and_costs_no_call(self) -> None:
        stand = Stand()
        stand.note(content=RED)
        assert await stand.read() == [orjson.loads(stand.bridge.log[0].raw)]
        assert stand.bridge.calls == []


class TestElsewhere:
    @pytest.mark.requirement("naming.never_wrong")
    @pytest.mark.parametrize("status", [BridgeStatus.PENDING, BridgeStatus.ACCEPTED])
    async def test_an_answer_that_did_not_pass_here_has_no_name_however_my_question_stands(
        self, status: BridgeStatus
    ) -> None:
        stand = Stand()
        mine = stand.ask("alice")
        stand.bridge.end(mine.elicitation_id, status)
        stand.note(content=BLUE)  # to a question of somebody else, or written by somebody who never was asked
        assert await stand.read() == [orjson.loads(stand.bridge.log[0].raw)]
        assert stand.book.asked_of("alice", "bob") == [mine]
        assert stand.bridge.calls == []

    @pytest.mark.requirement("naming.never_wrong")
    async def test_an_answer_of_another_content_than_the_one_that_passed_here_has_no_name(self) -> None:
        stand = Stand()
        mine = stand.ask("alice")
        stand.settle(mine, RED)
        stand.note(content=BLUE)
        stand.note(content=RED)
        assert [_id(item) for item in await stand.read()] == [None, mine.elicitation_id]

    async def test_a_cancel_of_the_addressee_is_read_as_the_decline_that_it_went_up_as_with_its_name(self) -> None:
        stand = Stand()
        question = stand.ask()
        cancel = Answer(elicitation_id=question.elicitation_id, kind=AnswerKind.CANCEL)
        stand.book.claim(cancel, question.to_agent, wall=stand.clock.wall())
        stand.book.settle(question.elicitation_id, now=stand.clock.now())
        stand.note("declined")
        (item,) = await stand.read()
        assert item is not None
        assert _id(item) == question.elicitation_id
        data = item["data"]
        assert isinstance(data, dict)
        assert data["response_type"] == "decline"

    async def test_what_was_named_once_keeps_its_name(self) -> None:
        stand = Stand()
        stand.settle(stand.ask(), RED)
        stand.note(content=RED)
        first = await stand.read()
        assert await stand.read() == first
        assert stand.book.asked_of("alice", "bob") == []

    async def test_the_oldest_names_are_forgotten_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(naming, "MAX_NAMED", 2)
        stand = Stand()
        for number in range(3):
            stand.settle(stand.ask(), RED)
            stand.note(content=RED)
            await stand.read(since=number)
        assert [_id(item) is None for item in await stand.read()] == [True, False, False]

    async def test_a_name_holds_for_its_reader_only(self) -> None:
        stand = Stand()
        stand.settle(stand.ask("alice"), RED)
        stand.note(content=RED)
        assert _id((await stand.read(ALICE))[0]) is not None
        assert _id((await stand.read(CAROL))[0]) is None


class TestExact:
    """Answers that went through this sidecar, in whole waits."""

    async def _answered(self, made: FlowStand, question: Elicitation, content: Item) -> None:
        token = made.bridge.token("bob")
        task = made.give(question.elicitation_id, token, content)
        await settle()
        assert task.done()

    @pytest.mark.requirement("answers.back_to_asker")
    async def test_the_asker_reads_the_answer_with_its_id_at_once(self) -> None:
        async with flow_stand() as made:
            made.bridge.writes_notes = True
            made.bridge.tick_s = 1.0
            question = made.bridge.ask("bob")
            made.feeds.question_created(question)
            asker = await made.wait("alice", made.bridge.token("alice"), since=1)
            await made.clock.advance(0.3)
            await self._answered(made, question, RED)
            (item,) = items(asker)
            assert item["data"] == {
                "elicitation_id": question.elicitation_id,
                "in_reply_to": question.elicitation_id,
                "response_type": "accept",
                "data": RED,
            }
            assert made.bridge.count("status") == 0

    @pytest.mark.requirement("naming.never_wrong")
    async def test_two_askers_of_one_agent_each_get_their_own_answer_in_whatever_order(self) -> None:
        async with flow_stand() as made:
            made.bridge.writes_notes = True
            mine, other = made.bridge.ask("bob"), made.bridge.ask("bob", from_agent="carol")
            for question in (mine, other):
                made.feeds.question_created(question)
            alice = await made.wait("alice", made.bridge.token("alice"), since=2)
            await self._answered(made, other, BLUE)
            await made.clock.advance(0.5)
            (first,) = items(alice)
            assert _id(first) is None  # carol's answer, as the Bridge wrote it
            await self._answered(made, mine, RED)
            second = await made.wait("alice", made.bridge.token("alice"), since=3)
            assert ids(items(second)) == [mine.elicitation_id]
            carol = await made.wait("carol", made.bridge.token("carol"), since=2)
            assert [_id(item) for item in items(carol)] == [other.elicitation_id, None]

    @pytest.mark.requirement("naming.never_wrong")
    async def test_answers_of_two_askers_in_one_batch_are_told_apart_by_their_content(self) -> None:
        async with flow_stand() as made:
            made.bridge.writes_notes = True
            mine, other = made.bridge.ask("bob"), made.bridge.ask("bob", from_agent="carol")
            for question in (mine, other):
                made.feeds.question_created(question)
            await self._answered(made, other, BLUE)
            await self._answered(made, mine, RED)
            alice = await made.wait("alice", made.bridge.token("alice"), since=2)
            assert [_id(item) for item in items(alice)] == [None, mine.elicitation_id]

    async def test_a_name_survives_a_reply_that_was_lost(self) -> None:
        async with flow_stand() as made:
            made.bridge.writes_notes = True
            question = made.bridge.ask("bob")
            made.feeds.question_created(question)
            await self._answered(made, question, RED)
            for _ in range(2):
                task = await made.wait("alice", made.bridge.token("alice"), since=1)
                assert ids(items(task)) == [question.elicitation_id]
