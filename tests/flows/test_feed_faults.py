"""What a feed does when questions vanish, the Bridge refuses, breaks or restarts, and when we ourselves are wrong."""

import pytest

from proxy.core.elicitation import BridgeStatus
from proxy.core.errors import BadBridgeReply, BridgeTimeout, BridgeUnavailable
from proxy.core.outcome import ElicitationOutcome, Result
from proxy.flows.naming import AnswerNames
from tests.support.fake_bridge import refused
from tests.support.flow_stand import flow_stand, ids, items, sequences
from tests.support.manual_clock import settle


class TestQuestions:
    @pytest.mark.requirement("questions.at_least_once")
    @pytest.mark.parametrize("status", [BridgeStatus.EXPIRED, BridgeStatus.ACCEPTED, BridgeStatus.CANCELLED, None])
    async def test_a_question_that_the_bridge_has_ended_is_forgotten(self, status: BridgeStatus | None) -> None:
        async with flow_stand() as made:
            question = made.bridge.ask("bob")
            made.feeds.question_created(question)
            if status is None:
                del made.bridge.questions[question.elicitation_id], made.bridge.states[question.elicitation_id]
            else:
                made.bridge.end(question.elicitation_id, status)
            _ = await made.wait("bob", made.bridge.token("bob"))
            await made.clock.advance(2)
            assert not made.answers.knows(question.elicitation_id)

    @pytest.mark.requirement("questions.at_least_once")
    async def test_a_question_whose_state_the_bridge_cannot_tell_is_kept(self) -> None:
        async with flow_stand() as made:
            question = made.bridge.ask("bob")
            made.feeds.question_created(question)
            made.bridge.end(question.elicitation_id, BridgeStatus.EXPIRED)
            made.bridge.fails("status", lambda: refused(503))
            task = await made.wait("bob", made.bridge.token("bob"))
            await made.clock.advance(2)
            assert made.answers.knows(question.elicitation_id)
            assert task.done()

    async def test_a_question_that_is_not_listed_yet_but_still_pending_is_kept(self) -> None:
        async with flow_stand() as made:
            question = made.bridge.ask("bob")
            made.feeds.question_created(question)
            del made.bridge.questions[question.elicitation_id]
            _ = await made.wait("bob", made.bridge.token("bob"))
            await made.clock.advance(2)
            assert made.answers.knows(question.elicitation_id)

    @pytest.mark.requirement("feed.rate")
    async def test_of_many_that_vanished_only_a_few_are_asked_for_in_one_round(self) -> None:
        async with flow_stand() as made:
            for _ in range(20):
                question = made.bridge.ask("bob")
                made.feeds.question_created(question)
                made.bridge.end(question.elicitation_id, BridgeStatus.EXPIRED)
            gate = made.bridge.gate("wait")
            _ = await made.wait("bob", made.bridge.token("bob"))
            assert made.bridge.count("status") == 5
            gate.open()

    async def test_what_was_seen_first_by_a_poll_is_counted_once(self) -> None:
        async with flow_stand() as made:
            question = made.bridge.ask("bob")
            task = await made.wait("bob", made.bridge.token("bob"))
            assert ids(items(task)) == [question.elicitation_id]
            made.feeds.question_created(question)
            assert made.recorder.counted() == {ElicitationOutcome.SEEN: 1}


class TestDefects:
    @pytest.mark.requirement("feed.defect")
    @pytest.mark.parametrize("method", ["wait", "pending"])
    async def test_a_defect_ends_the_waits_of_its_feed_and_no_others_and_is_reported(self, method: str) -> None:
        async with flow_stand() as made:
            other = await made.wait("carol", made.bridge.token("carol"))
            await made.clock.advance(5)
            broken = ZeroDivisionError("planted")
            made.bridge.fails(method, lambda: broken, times=1)
            task = await made.wait("bob", made.bridge.token("bob"))
            served = task.result()
            assert (served.status, served.body) == (500, b'{"detail":"Internal error"}')
            assert made.recorder.defects == [("feed", broken)]
            assert not other.done()
            made.bridge.store({})
            await settle()
            assert sequences(items(other)) == [1]
            assert sequences(items(await made.wait("bob", made.bridge.token("bob")))) == [1]

    async def test_a_defect_in_naming_is_one_of_the_feed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def breaks(*_args: object, **_kwargs: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(AnswerNames, "learn", breaks)
        async with flow_stand() as made:
            made.bridge.store({})
            task = await made.wait("bob", made.bridge.token("bob"))
            assert task.result().status == 500
            assert len(made.recorder.defects) == 1


class TestRefusals:
    @pytest.mark.parametrize("status", [400, 404, 422, 429, 500, 503])
    async def test_what_the_bridge_says_to_the_wait_itself_goes_to_every_wait_and_leaves_the_token_trusted(
        self, status: int
    ) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            assert await made.peek("bob", token) is None
            made.bridge.fails("wait", lambda: refused(status, b"no"), times=1)
            gate = made.bridge.gate("wait")
            tasks = [await made.wait("bob", token) for _ in range(2)]
            gate.open()
            await settle()
            assert [(task.result().status, task.result().body) for task in tasks] == [(status, b"no")] * 2
            (feed,) = made.feeds.of("bob")
            assert feed.access.is_trusted()

    @pytest.mark.requirement("sessions.renewal")
    async def test_after_a_restart_of_the_bridge_the_wait_goes_on_with_a_new_token(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            made.bridge.store({})
            task = await made.wait("bob", token, since=1)
            await made.clock.advance(3)
            made.bridge.go_down()
            await made.clock.advance(1.3)
            made.bridge.come_back(keeps_log=True)
            await made.clock.advance(1)
            assert not task.done()
            assert made.bridge.count("open_session") == 1
            made.bridge.store({})
            await settle()
            assert sequences(items(task)) == [2]
            # The agent keeps its dead token, and it goes on working here.
            made.bridge.store({})
            assert sequences(items(await made.wait("bob", token, since=2))) == [3]

    @pytest.mark.requirement("sessions.renewal")
    async def test_a_token_that_was_evicted_without_a_break_is_refused_to_the_agent(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            _ = await made.wait("bob", token, timeout_s=1)
            await made.clock.advance(25)
            made.bridge.tokens.clear()
            assert (await made.wait("bob", token)).result().status == 403
            assert made.bridge.count("open_session") == 0
            assert list(made.feeds.of("bob")) == []

    @pytest.mark.requirement("sessions.renewal")
    async def test_an_outage_of_minutes_does_not_lose_the_right_to_a_new_token(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            task = await made.wait("bob", token, timeout_s=5)
            await made.clock.advance(1)
            made.bridge.go_down()
            await made.clock.advance(30)
            for _ in range(4):
                task = await made.wait("bob", token, timeout_s=30)
                await made.clock.advance(30)
                assert task.result().result is Result.TIMED_OUT
            made.bridge.come_back()
            made.bridge.store({})
            task = await made.wait("bob", token)
            await made.clock.advance(1)
            assert sequences(items(task)) == [1]

    @pytest.mark.parametrize("error", [BridgeTimeout("late"), BridgeUnavailable("gone"), BadBridgeReply("what")])
    async def test_a_long_poll_that_fails_is_tried_again(self, error: Exception) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            made.bridge.fails("wait", lambda: error, times=2)
            task = await made.wait("bob", token)
            made.bridge.store({})
            assert not task.done()
            await made.clock.advance(0.2)
            assert sequences(items(task)) == [1]
