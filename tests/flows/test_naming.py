"""Answers in the log get the name of their question, or none: never a wrong one."""

import orjson
import pytest

from proxy.core.elicitation import BridgeStatus, Elicitation
from proxy.core.errors import BadBridgeReply, BridgeTimeout, BridgeUnavailable
from proxy.core.ids import AgentId
from proxy.core.questions import QuestionBook
from proxy.core.sequences import SequenceMap
from proxy.flows import naming
from proxy.flows.naming import MAX_STATES, AnswerNames
from tests.support.fake_bridge import FakeBridge, refused
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
        self.names = AnswerNames(self.book, self.sequences, self.bridge, self.clock)
        self.spent = 0

    def ask(self, asker: str = "alice", to_agent: str = "bob") -> Elicitation:
        """A question that this sidecar saw being asked."""
        question = self.bridge.ask(to_agent, from_agent=asker)
        self.book.add(question)
        return question

    def note(self, kind: str = "accepted", content: Item | None = None, *, by: str = "bob") -> None:
        """A note of an answer, with nothing said about whose."""
        data = {"elicitation_type": f"elicitation_{kind}", "responding_agent": by, "response_data": content}
        self.bridge.store(data, source=by)

    def end(self, question: Elicitation, status: BridgeStatus = BridgeStatus.ACCEPTED) -> None:
        """The question was answered somewhere else."""
        self.bridge.end(question.elicitation_id, status)

    async def read(self, reader: AgentId = ALICE, *, since: int = 0) -> list[Item | None]:
        """What this agent reads; None for what it has not to read."""
        batch = [message for message in self.bridge.log if message.sequence > since]
        credential = self.bridge.token(reader)
        await self.names.learn(reader, batch, credential, spend=self._spend)
        told = [self.names.translate(reader, one, one.raw, sequence=one.sequence) for one in batch]
        return [None if item is None else orjson.loads(item) for item in told]

    def _spend(self) -> None:
        self.spent += 1


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
        assert (stand.spent, stand.bridge.calls) == (0, [])


class TestByState:
    @pytest.mark.requirement("naming.by_state")
    @pytest.mark.parametrize(
        ("kind", "status"),
        [
            ("accepted", BridgeStatus.ACCEPTED),
            ("declined", BridgeStatus.DECLINED),
            ("cancelled", BridgeStatus.CANCELLED),
        ],
    )
    async def test_an_answer_given_elsewhere_gets_the_name_of_the_one_question_that_is_over(
        self, kind: str, status: BridgeStatus
    ) -> None:
        stand = Stand()
        over, _still_open = stand.ask(), stand.ask()
        stand.end(over, status)
        stand.note(kind, RED)
        (item,) = await stand.read()
        assert item is not None
        assert _id(item) == over.elicitation_id
        assert (item["event_type"], item["sequence"], item["source_agent"]) == ("elicitation_response", 1, "bob")
        assert stand.spent == 2

    @pytest.mark.requirement("naming.never_wrong")
    async def test_another_askers_answer_never_gets_the_name_of_my_open_question(self) -> None:
        stand = Stand()
        mine = stand.ask("alice")
        stand.note(content=BLUE)  # bob's answer to a question of somebody else, whom this sidecar does not know
        (item,) = await stand.read()
        assert _id(item) is None
        assert stand.book.asked_of("alice", "bob") == [mine]

    @pytest.mark.requirement("naming.never_wrong")
    async def test_an_answer_of_another_kind_than_the_state_is_not_mine(self) -> None:
        stand = Stand()
        stand.end(stand.ask(), BridgeStatus.DECLINED)
        stand.note("accepted", RED)
        assert [_id(item) for item in await stand.read()] == [None]

    @pytest.mark.requirement("naming.never_wrong")
    async def test_two_answers_that_compete_for_one_question_both_stay_without_a_name(self) -> None:
        stand = Stand()
        stand.end(stand.ask())
        stand.note(content=BLUE)
        stand.note(content=RED)
        assert [_id(item) for item in await stand.read()] == [None, None]
        assert stand.spent == 0

    @pytest.mark.requirement("naming.never_wrong")
    async def test_one_answer_and_two_questions_that_are_over_is_not_decided(self) -> None:
        stand = Stand()
        stand.end(stand.ask())
        stand.end(stand.ask())
        stand.note(content=RED)
        assert [_id(item) for item in await stand.read()] == [None]

    @pytest.mark.requirement("naming.never_wrong")
    async def test_an_answer_at_the_end_of_a_full_batch_may_have_a_rival_in_the_next_one(self) -> None:
        stand = Stand()
        stand.end(stand.ask())
        for _ in range(9):
            stand.bridge.store({})
        stand.note(content=BLUE)
        assert _id((await stand.read())[-1]) is None
        assert stand.spent == 0

    @pytest.mark.requirement("notes.never_lost")
    @pytest.mark.parametrize(
        "error", [BridgeTimeout("late"), BridgeUnavailable("gone"), BadBridgeReply("what"), refused(403), refused(503)]
    )
    async def test_a_bridge_that_cannot_tell_leaves_the_answer_as_it_is(self, error: Exception) -> None:
        stand = Stand()
        stand.end(stand.ask())
        stand.note(content=RED)
        stand.bridge.fails("status", lambda: error)
        assert await stand.read() == [orjson.loads(stand.bridge.log[0].raw)]

    @pytest.mark.requirement("feed.rate")
    async def test_one_batch_asks_for_a_few_states_only(self) -> None:
        stand = Stand()
        for _ in range(MAX_STATES + 1):
            stand.ask(to_agent="bob")
        for name in ("dave", "erin"):
            for _ in range(3):
                stand.ask(to_agent=name)
        stand.note(content=RED)
        stand.note(content=RED, by="dave")
        stand.note(content=RED, by="erin")
        assert [_id(item) for item in await stand.read()] == [None] * 3
        assert stand.spent == 3

    async def test_what_was_named_once_keeps_its_name_without_another_call(self) -> None:
        stand = Stand()
        over = stand.ask()
        stand.end(over)
        stand.note(content=RED)
        first = await stand.read()
        assert await stand.read() == first
        assert stand.spent == 1
        assert stand.book.asked_of("alice", "bob") == []

    async def test_the_oldest_names_are_forgotten_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(naming, "MAX_NAMED", 2)
        stand = Stand()
        for number in range(3):
            stand.end(stand.ask())
            stand.note(content=RED)
            await stand.read(since=number)
        assert [_id(item) is None for item in await stand.read()] == [True, False, False]

    async def test_a_name_holds_for_its_reader_only(self) -> None:
        stand = Stand()
        stand.end(stand.ask("alice"))
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
