"""Answers of unclear outcome: sent again only when they did not arrive, and never taken for another one."""

import asyncio

import pytest

from proxy.core.elicitation import BridgeStatus, Elicitation
from proxy.core.errors import (
    AnswerConflict,
    AnswerUndelivered,
    BadBridgeReply,
    BridgeTimeout,
    BridgeUnavailable,
    ElicitationExpired,
    SidecarError,
    TokenRefused,
)
from proxy.core.outcome import ElicitationOutcome
from tests.support.answering import BLUE, CUT, RED, ask, give
from tests.support.fake_bridge import refused
from tests.support.flow_stand import FlowStand, flow_stand


async def _land_unseen(made: FlowStand, question: Elicitation) -> None:
    made.bridge.fails("respond", lambda: BridgeUnavailable(CUT), times=1, after=True)
    made.bridge.fails("status", lambda: BridgeUnavailable(CUT), times=1)
    assert isinstance(await give(made, question, RED), AnswerUndelivered)


class TestDoubt:
    @pytest.mark.requirement("answers.unclear_outcome")
    @pytest.mark.parametrize("status", [502, 504])
    async def test_what_a_gateway_says_of_the_bridge_leaves_it_open_whether_the_answer_arrived(
        self, status: int
    ) -> None:
        async with flow_stand() as made:
            question = ask(made)
            made.bridge.fails("respond", lambda: refused(status), times=1, after=True)
            assert await give(made, question, RED) is ElicitationOutcome.ACCEPTED
            assert [answer.content for answer in made.bridge.answers] == [RED]

    @pytest.mark.requirement("answers.unclear_outcome")
    async def test_the_same_answer_after_one_that_landed_unseen_is_a_success_and_counts_once(self) -> None:
        async with flow_stand() as made:
            question = ask(made)
            await _land_unseen(made, question)
            assert await give(made, question, RED) is ElicitationOutcome.ACCEPTED
            assert await give(made, question, RED) is ElicitationOutcome.DUPLICATE
            assert [answer.content for answer in made.bridge.answers] == [RED]

    @pytest.mark.requirement("answers.first_wins")
    async def test_a_different_answer_after_one_that_landed_unseen_is_no_success(self) -> None:
        async with flow_stand() as made:
            question = ask(made)
            await _land_unseen(made, question)
            for _ in range(2):
                assert isinstance(await give(made, question, BLUE), AnswerConflict)
            assert await give(made, question, RED) is ElicitationOutcome.ACCEPTED

    @pytest.mark.requirement("answers.never_false")
    @pytest.mark.parametrize("status", [400, 404, 500, 503])
    async def test_an_answer_that_the_bridge_refused_is_no_success_when_another_one_stands(self, status: int) -> None:
        async with flow_stand() as made:
            question = ask(made)
            made.bridge.end(question.elicitation_id, BridgeStatus.ACCEPTED)  # by another sidecar
            made.bridge.fails("respond", lambda: refused(status))
            for _ in range(2):
                assert isinstance(await give(made, question, BLUE), AnswerConflict)
            assert made.bridge.answers == []

    @pytest.mark.requirement("answers.never_false")
    async def test_a_refusal_stays_one_when_another_answer_arrives_before_the_second_try(self) -> None:
        async with flow_stand() as made:
            question = ask(made)
            made.bridge.fails("respond", lambda: refused(500), times=1)
            status = made.bridge.gate("status", after=True)
            async with asyncio.TaskGroup() as group:
                call = group.create_task(give(made, question, BLUE))
                await status.reached()
                made.bridge.end(question.elicitation_id, BridgeStatus.ACCEPTED)
                status.open()
            assert isinstance(call.result(), AnswerConflict)
            assert made.bridge.count("respond") == 2

    @pytest.mark.requirement("answers.never_false")
    async def test_of_different_answers_that_may_both_have_arrived_none_is_a_success(self) -> None:
        async with flow_stand() as made:
            question = ask(made)
            made.bridge.fails("respond", lambda: BridgeUnavailable(CUT), times=1)
            made.bridge.fails("status", lambda: BridgeUnavailable(CUT), times=1)
            assert isinstance(await give(made, question, RED), AnswerUndelivered)
            made.bridge.fails("respond", lambda: BridgeTimeout("late"), times=1, after=True)
            for content in (BLUE, RED, BLUE):
                assert isinstance(await give(made, question, content), AnswerConflict)

    @pytest.mark.requirement("answers.unclear_outcome")
    async def test_after_one_that_may_have_arrived_the_state_is_asked_for_before_anything_is_sent(self) -> None:
        async with flow_stand() as made:
            question = ask(made)
            await _land_unseen(made, question)
            assert (made.bridge.count("respond"), made.bridge.count("status")) == (1, 1)
            assert await give(made, question, RED) is ElicitationOutcome.ACCEPTED
            assert (made.bridge.count("respond"), made.bridge.count("status")) == (1, 2)

    @pytest.mark.requirement("answers.unclear_outcome")
    async def test_the_bridge_that_ends_the_question_by_it_does_not_take_the_success_away(self) -> None:
        """A poll finds the question over before the agent gives the same answer again."""
        async with flow_stand() as made:
            question = ask(made)
            await _land_unseen(made, question)
            wait = await made.wait("bob", made.bridge.token("bob"), timeout_s=4)
            await made.clock.advance(4)
            assert wait.result().found.items == ()
            assert isinstance(await give(made, question, BLUE), AnswerConflict)
            assert await give(made, question, RED) is ElicitationOutcome.ACCEPTED

    @pytest.mark.requirement("answers.unclear_outcome")
    async def test_a_sending_that_an_exit_breaks_off_may_have_arrived(self) -> None:
        async with flow_stand() as made:
            question = ask(made)
            gate = made.bridge.gate("respond", after=True)
            async with asyncio.TaskGroup() as group:
                call = group.create_task(give(made, question, RED))
                await gate.reached()
                made.feeds.parts.errands.close()
                assert isinstance(await call, AnswerUndelivered)
            made.bridge.ungate("respond", after=True)
            assert await give(made, question, RED) is ElicitationOutcome.ACCEPTED
            assert [answer.content for answer in made.bridge.answers] == [RED]


class TestUnclear:
    @pytest.mark.requirement("answers.unclear_outcome")
    @pytest.mark.parametrize(
        "error", [BridgeTimeout("late"), BridgeUnavailable(CUT), BadBridgeReply("what"), refused(500), refused(503)]
    )
    async def test_an_answer_that_did_not_arrive_is_sent_a_second_time(self, error: Exception) -> None:
        async with flow_stand() as made:
            question = ask(made)
            made.bridge.fails("respond", lambda: error, times=1)
            assert await give(made, question, RED) is ElicitationOutcome.ACCEPTED
            assert (made.bridge.count("respond"), made.bridge.count("status")) == (2, 1)

    @pytest.mark.requirement("answers.unclear_outcome")
    async def test_an_answer_whose_reply_was_lost_is_not_sent_again(self) -> None:
        async with flow_stand() as made:
            question = ask(made)
            made.bridge.fails("respond", lambda: BridgeUnavailable(CUT), after=True)
            assert await give(made, question, RED) is ElicitationOutcome.ACCEPTED
            assert (made.bridge.count("respond"), len(made.bridge.answers)) == (1, 1)

    @pytest.mark.requirement("answers.unclear_outcome")
    async def test_an_answer_that_never_arrives_is_undelivered_and_the_question_stays_open(self) -> None:
        async with flow_stand() as made:
            question = ask(made)
            made.bridge.fails("respond", lambda: refused(500, b'{"detail":"no: \xff"}'), times=2)
            error = await give(made, question, RED)
            assert isinstance(error, AnswerUndelivered)
            assert (error.retry_after_s, made.bridge.count("respond")) == (1, 2)
            assert '{"detail":"no: \ufffd"}' in error.detail
            assert await give(made, question, BLUE) is ElicitationOutcome.ACCEPTED

    @pytest.mark.requirement("answers.unclear_outcome")
    async def test_an_answer_that_surely_did_not_arrive_casts_no_doubt_on_the_next(self) -> None:
        async with flow_stand() as made:
            question = ask(made)
            made.bridge.fails("respond", lambda: refused(500), times=2)
            assert isinstance(await give(made, question, RED), AnswerUndelivered)
            made.bridge.fails("respond", lambda: BridgeUnavailable(CUT), after=True)
            assert await give(made, question, BLUE) is ElicitationOutcome.ACCEPTED
            assert [answer.content for answer in made.bridge.answers] == [BLUE]

    @pytest.mark.requirement("answers.unclear_outcome")
    @pytest.mark.parametrize("error", [BridgeTimeout("late"), refused(503)])
    async def test_where_the_bridge_cannot_even_tell_the_state_nothing_is_sent_again(self, error: Exception) -> None:
        async with flow_stand() as made:
            question = ask(made)
            made.bridge.fails("respond", lambda: BridgeTimeout("late"))
            made.bridge.fails("status", lambda: error)
            assert isinstance(await give(made, question, RED), AnswerUndelivered)
            assert made.bridge.count("respond") == 1

    @pytest.mark.requirement("answers.unclear_outcome")
    @pytest.mark.parametrize("status", [401, 403])
    async def test_a_token_that_the_bridge_refuses_is_the_agents_to_renew_and_the_question_stays_open(
        self, status: int
    ) -> None:
        async with flow_stand() as made:
            question = ask(made)
            made.bridge.fails("respond", lambda: refused(status), times=1)
            assert isinstance(await give(made, question, RED), TokenRefused)
            assert (made.bridge.count("respond"), made.bridge.count("status")) == (1, 0)
            assert not isinstance(await give(made, question, BLUE), SidecarError)

    @pytest.mark.requirement("answers.unclear_outcome")
    @pytest.mark.parametrize("status", [400, 429])
    async def test_a_clear_no_of_the_bridge_is_not_repeated(self, status: int) -> None:
        async with flow_stand() as made:
            question = ask(made)
            made.bridge.fails("respond", lambda: refused(status))
            assert isinstance(await give(made, question, RED), AnswerUndelivered)
            assert made.bridge.count("respond") == 1

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            (BridgeStatus.EXPIRED, ElicitationExpired),
            (BridgeStatus.DECLINED, AnswerConflict),
            (BridgeStatus.CANCELLED, AnswerConflict),
            (None, AnswerUndelivered),
        ],
    )
    @pytest.mark.requirement("answers.unclear_outcome")
    async def test_a_question_that_ended_otherwise_says_how(
        self, status: BridgeStatus | None, expected: type[SidecarError]
    ) -> None:
        async with flow_stand() as made:
            question = ask(made)
            if status is None:
                del made.bridge.states[question.elicitation_id], made.bridge.questions[question.elicitation_id]
            else:
                made.bridge.end(question.elicitation_id, status)
            assert isinstance(await give(made, question, RED), expected)
            assert made.bridge.count("respond") == 1

    async def test_an_answer_that_arrived_late_is_found_at_the_second_try(self) -> None:
        async with flow_stand() as made:
            question = ask(made)
            made.bridge.fails("respond", lambda: BridgeTimeout("late"), times=1)
            gate = made.bridge.gate("respond")
            async with asyncio.TaskGroup() as group:
                task = group.create_task(give(made, question, RED))
                await gate.reached()
                status = made.bridge.gate("status", after=True)
                gate.open()
                await status.reached()
                made.bridge.end(question.elicitation_id, BridgeStatus.ACCEPTED)
                status.open()
            assert task.result() is ElicitationOutcome.ACCEPTED
