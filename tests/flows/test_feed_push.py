"""What the Bridge's own log tells ahead of the next poll: a question that was asked, an answer that was stored."""

import pytest

from tests.support.flow_stand import flow_stand, ids, items, sequences
from tests.support.manual_clock import settle


@pytest.mark.requirement("feed.pushed")
async def test_the_note_of_a_question_in_the_log_brings_the_question_at_the_fast_pace() -> None:
    async with flow_stand() as made:
        made.bridge.writes_notes = True
        made.bridge.store({})
        task = await made.wait("bob", made.bridge.token("bob"), since=1, timeout_s=300)
        await made.clock.advance(30)  # nothing has happened for long: polls keep the idle pace of one second
        polls = made.bridge.count("pending")
        question = made.bridge.ask("bob")
        await settle()
        await made.clock.advance(0.1)
        assert made.bridge.count("pending") == polls + 1
        assert ids(items(task)) == [question.elicitation_id]


@pytest.mark.requirement("feed.pushed")
async def test_the_note_of_a_question_to_somebody_else_brings_no_poll_of_its_own() -> None:
    async with flow_stand() as made:
        made.bridge.writes_notes = True
        made.bridge.store({})
        task = await made.wait("bob", made.bridge.token("bob"), since=1, timeout_s=300)
        await made.clock.advance(30)
        polls = made.bridge.count("pending")
        made.bridge.ask("carol")
        await settle()
        await made.clock.advance(0.1)
        assert made.bridge.count("pending") == polls
        assert not task.done()


@pytest.mark.requirement("feed.pushed")
async def test_what_was_stored_between_two_waits_reaches_the_second_without_a_tick_of_the_bridge() -> None:
    async with flow_stand() as made:
        made.bridge.tick_s = 1.0
        made.bridge.store({})
        token = made.bridge.token("alice")
        first = await made.wait("alice", token, since=1, timeout_s=1)
        await made.clock.advance(1)
        assert first.done()
        assert made.bridge.running["wait"] == 1  # the long poll runs on for nobody
        made.bridge.store({"n": 1})
        made.feeds.message_stored("alice")
        second = await made.wait("alice", token, since=1)
        await made.clock.advance(0.1)
        assert sequences(items(second)) == [2]
