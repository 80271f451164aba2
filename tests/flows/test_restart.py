"""What a sidecar that was killed goes on with: questions, answers on their way, names, and messages it had read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.core.elicitation import Elicitation
from proxy.core.errors import AnswerConflict
from proxy.core.outcome import ElicitationOutcome
from proxy.core.secret import Secret
from tests.support.answering import BLUE, RED, give
from tests.support.flow_stand import FlowStand, World, flow_stand, ids, items, sequences
from tests.support.manual_clock import settle

EVERYTHING = 1_000_000


@asynccontextmanager
async def process(world: World, *, lost: int = 0) -> AsyncIterator[FlowStand]:
    """One process that is killed at the end of the block; so many of its last writes never reached the disk."""
    async with flow_stand(world=world) as made:
        yield made
        world.journal.crash(lost=lost)


def ask(made: FlowStand) -> Elicitation:
    """A question to bob that the sidecar has seen."""
    question = made.bridge.ask("bob", shape={"colour": {"type": "string"}})
    made.feeds.question_created(question)
    return question


async def store(world: World, *texts: str) -> None:
    """Messages in the Bridge's log."""
    for text in texts:
        world.bridge.store({"text": text})
    await settle()


async def lose_log(world: World) -> None:
    """The Bridge begins anew, a little later."""
    await world.clock.advance(2)
    world.bridge.come_back()


def texts(found: list[dict[str, object]]) -> list[object]:
    """What the messages of a reply say."""
    return [data["text"] for item in found if isinstance(data := item["data"], dict)]


@pytest.mark.requirement("restart.questions")
class TestQuestions:
    async def test_a_question_is_offered_again_without_the_bridge_telling_of_it(self) -> None:
        world = World()
        async with process(world) as made:
            await store(world, "the log of a Bridge is never empty")
            question = ask(made)
            token = made.bridge.token("bob")
            assert ids(items(await made.wait("bob", token, since=1))) == [question.elicitation_id]
        async with process(world) as made:
            gate = made.bridge.gate("pending")
            assert ids(items(await made.wait("bob", token, since=1))) == [question.elicitation_id]
            gate.open()

    async def test_it_is_shown_only_on_a_token_that_the_bridge_accepts_now(self) -> None:
        world = World()
        async with process(world) as made:
            ask(made)
        async with process(world) as made:
            assert (await made.wait("bob", Secret("Bearer forged:bob"))).result().status == 403
            made.bridge.go_down()
            task = await made.wait("bob", made.bridge.token("bob"), timeout_s=5)
            await made.clock.advance(5)
            assert task.result().found.items == ()

    async def test_one_that_the_bridge_has_ended_meanwhile_is_forgotten(self) -> None:
        world = World()
        async with process(world) as made:
            question = ask(made)
        del world.bridge.questions[question.elicitation_id], world.bridge.states[question.elicitation_id]
        async with process(world) as made:
            _ = await made.wait("bob", made.bridge.token("bob"), timeout_s=4)
            await made.clock.advance(4)
            assert not made.answers.knows(question.elicitation_id)


@pytest.mark.requirement("restart.answers")
class TestAnswers:
    async def test_an_answer_is_on_record_before_it_goes_up(self) -> None:
        world = World()
        async with process(world, lost=EVERYTHING) as made:
            question = ask(made)
            gate = made.bridge.gate("respond")
            async with asyncio.TaskGroup() as group:
                call = group.create_task(give(made, question, RED))
                await gate.reached()
                world.journal.crash(lost=EVERYTHING)
                gate.open()
                await call
        async with process(world) as made:
            assert made.book.doubted(question.elicitation_id) is not None

    async def test_killed_after_it_arrived_the_same_answer_is_a_success_without_a_second_effect(self) -> None:
        world = World()
        async with process(world) as made:
            question = ask(made)
            gate = made.bridge.gate("respond", after=True)
            async with asyncio.TaskGroup() as group:
                group.create_task(give(made, question, RED))
                await gate.reached()
                world.journal.crash(lost=EVERYTHING)
                gate.open()
            made.bridge.ungate("respond", after=True)
        assert [answer.content for answer in world.bridge.answers] == [RED]
        async with process(world) as made:
            assert isinstance(await give(made, question, BLUE), AnswerConflict)
            assert await give(made, question, RED) is ElicitationOutcome.ACCEPTED
            assert await give(made, question, RED) is ElicitationOutcome.DUPLICATE
        assert (len(world.bridge.answers), world.bridge.count("respond")) == (1, 1)
        async with process(world) as made:
            assert await give(made, question, RED) is ElicitationOutcome.DUPLICATE

    async def test_killed_before_it_was_sent_the_same_answer_goes_up_once(self) -> None:
        world = World()
        async with process(world) as made:
            question = ask(made)
            gate = made.bridge.gate("respond")
            async with asyncio.TaskGroup() as group:
                call = group.create_task(give(made, question, RED))
                await gate.reached()
                world.journal.crash(lost=0)
                made.bridge.go_down()
                gate.open()
                await call
            made.bridge.ungate("respond")
        world.bridge.come_back(keeps_log=True)
        async with process(world) as made:
            assert await give(made, question, RED) is ElicitationOutcome.ACCEPTED
        assert [answer.content for answer in world.bridge.answers] == [RED]

    async def test_an_answer_keeps_its_questions_name(self) -> None:
        world = World(writes_notes=True)
        async with process(world) as made:
            question = ask(made)
            assert await give(made, question, RED) is ElicitationOutcome.ACCEPTED
            alice = made.bridge.token("alice")
            assert ids(items(await made.wait("alice", alice))) == [question.elicitation_id]
        async with process(world) as made:  # that reply may have been lost
            assert ids(items(await made.wait("alice", alice))) == [question.elicitation_id]

    async def test_one_that_its_asker_has_not_read_yet_finds_its_question_after_the_restart(self) -> None:
        world = World(writes_notes=True)
        async with process(world) as made:
            question = ask(made)
            assert await give(made, question, RED) is ElicitationOutcome.ACCEPTED
        async with process(world) as made:
            alice = made.bridge.token("alice")
            assert ids(items(await made.wait("alice", alice))) == [question.elicitation_id]

    async def test_the_name_of_one_is_not_given_to_the_next_in_the_same_words(self) -> None:
        world = World(writes_notes=True)
        async with process(world, lost=EVERYTHING) as made:
            first, second = ask(made), ask(made)
            alice = made.bridge.token("alice")
            await give(made, first, RED)
            heard = items(await made.wait("alice", alice))
            assert ids(heard) == [first.elicitation_id]
        async with process(world) as made:
            for question in (first, second):
                made.feeds.question_created(question)
            await give(made, second, RED)
            cursor = max(int(str(number)) for number in sequences(heard))
            assert ids(items(await made.wait("alice", alice, since=cursor))) == [second.elicitation_id]


@pytest.mark.requirement("restart.messages")
class TestMessages:
    async def test_what_was_read_here_outlives_the_bridges_log_and_our_own_death(self) -> None:
        world = World()
        async with process(world) as made:
            await store(world, "one", "two", "three")
            assert texts(items(await made.wait("bob", made.bridge.token("bob")))) == ["one", "two", "three"]
        await lose_log(world)
        await store(world, "four")
        async with process(world) as made:
            token = made.bridge.token("bob")  # that reply was lost; bob has the first message only
            found = items(await made.wait("bob", token, since=1))
            assert texts(found) == ["two", "three", "four"]
            assert sequences(found)[:2] == [2, 3]
            assert items(await made.wait("bob", token, since=3)) == found[2:]
        assert world.recorder.lost == []

    async def test_what_was_never_read_is_reported_once_and_only_that(self) -> None:
        world = World()
        async with process(world) as made:
            await store(world, "one", "two")
            token, other = made.bridge.token("bob"), made.bridge.token("carol")
            assert sequences(items(await made.wait("bob", token))) == [1, 2]
            made.feeds.forget_idle()
            await store(world, "three", "four")
            assert sequences(items(await made.wait("carol", other, since=2))) == [3, 4]
        await lose_log(world)
        await store(world, "five")
        async with process(world) as made:
            token = made.bridge.token("bob")
            assert texts(items(await made.wait("bob", token, since=0))) == ["one", "two", "five"]
            for _ in range(2):
                found = items(await made.wait("bob", token, since=2))
                assert texts(found) == ["five"]
        assert world.recorder.lost == [("bob", 2)]

    async def test_a_kill_and_a_renumbering_show_no_message_under_two_numbers(self) -> None:
        """The Bridge changes its log, a message of the new one is shown, and everything unsynced is lost."""
        world = World()
        async with process(world) as made:
            await store(world, "one")
            token = made.bridge.token("bob")
            assert sequences(items(await made.wait("bob", token))) == [1]
            made.bridge.go_down()
            await made.clock.advance(10)
            made.bridge.come_back()
            await store(world, "two")
            token = made.bridge.token("bob")
            (shown,) = items(await made.wait("bob", token, since=1))
            world.journal.crash(lost=EVERYTHING)
        async with process(world) as made:
            assert items(await made.wait("bob", token, since=1)) == [shown]
            await store(world, "three")
            assert texts(items(await made.wait("bob", token, since=int(str(shown["sequence"]))))) == ["three"]

    async def test_somebody_elses_token_gets_no_copies_and_moves_no_cursor(self) -> None:
        world = World()
        async with process(world) as made:
            await store(world, "one", "two")
            assert sequences(items(await made.wait("bob", made.bridge.token("bob")))) == [1, 2]
            carol = made.bridge.token("carol")
            _ = await made.wait("bob", carol, since=2, timeout_s=1)
            await made.clock.advance(1)
            made.bridge.go_down()
            await made.clock.advance(10)
            made.bridge.come_back()
            await store(world, "three")
            carol = made.bridge.token("carol")
            assert texts(items(await made.wait("bob", carol, since=1))) == ["three"]
            assert texts(items(await made.wait("bob", made.bridge.token("bob"), since=1))) == ["two", "three"]

    async def test_on_the_legacy_way_they_come_as_the_bridge_wrote_them(self) -> None:
        world = World()
        async with process(world) as made:
            note = {"elicitation_type": "elicitation_requested", "to_agent": "carol", "text": "note"}
            world.bridge.store(note)
            await store(world, "two")
            assert sequences(items(await made.wait("bob", made.bridge.token("bob")))) == [2]
        await lose_log(world)
        await store(world, "three")
        async with process(world) as made:
            made.breaker.incapable(made.clock.now())
            assert texts(items(await made.wait("bob", made.bridge.token("bob"), since=0))) == ["note", "two", "three"]
