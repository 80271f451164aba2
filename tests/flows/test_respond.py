"""Answers: exactly one goes up, whoever calls at the same time, leaves midway, or does not learn the outcome."""

import asyncio

import pytest

from proxy.core.answers import GivenAnswer
from proxy.core.elicitation import Answer, AnswerKind, BridgeStatus, Elicitation
from proxy.core.errors import (
    AnswerConflict,
    AnswerForbidden,
    AnswerInvalid,
    AnswerUndelivered,
    BadBridgeReply,
    BridgeTimeout,
    BridgeUnavailable,
    ElicitationExpired,
    ElicitationUnknown,
    SchemaRefused,
    SidecarError,
    TokenRefused,
)
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.outcome import ElicitationOutcome
from proxy.core.secret import Secret
from proxy.flows import respond as respond_module
from proxy.flows.respond import AnswerTaken
from tests.support.fake_bridge import Gate, refused
from tests.support.flow_stand import FlowStand, Item, flow_stand, ids, items
from tests.support.manual_clock import settle

RED: Item = {"colour": "red"}
BLUE: Item = {"colour": "blue"}
CUT = "connection reset"


def _ask(made: FlowStand) -> Elicitation:
    question = made.bridge.ask("bob", shape={"colour": {"type": "string"}})
    made.feeds.question_created(question)
    return question


async def _taken(task: "asyncio.Task[AnswerTaken]") -> ElicitationOutcome:
    async with asyncio.timeout(5):
        return (await task).outcome


async def _give(
    made: FlowStand, question: Elicitation, content: Item, **how: object
) -> ElicitationOutcome | SidecarError:
    """Give an answer in a task of its own, as a call of its own would; its error is a value here."""
    token = made.bridge.token("bob")
    answer = Answer(elicitation_id=question.elicitation_id, kind=AnswerKind.ACCEPT, content=content)
    given = GivenAnswer(answer=answer, agent_id=AgentId(str(how.get("agent_id", "bob"))))
    try:
        async with asyncio.timeout(5):
            return (await made.answers.give(given, token)).outcome
    except SidecarError as error:
        return error


class TestOnce:
    @pytest.mark.parametrize(
        ("kind", "outcome", "status"),
        [
            (AnswerKind.ACCEPT, ElicitationOutcome.ACCEPTED, BridgeStatus.ACCEPTED),
            (AnswerKind.DECLINE, ElicitationOutcome.DECLINED, BridgeStatus.DECLINED),
            (AnswerKind.CANCEL, ElicitationOutcome.CANCELLED, BridgeStatus.DECLINED),
        ],
    )
    @pytest.mark.requirement("answers.once_upstream")
    async def test_an_answer_goes_up_once_and_again_is_the_same_success_without_effect(
        self, kind: AnswerKind, outcome: ElicitationOutcome, status: BridgeStatus
    ) -> None:
        async with flow_stand() as made:
            question, token = _ask(made), made.bridge.token("bob")
            assert await _taken(made.give(question.elicitation_id, token, RED, kind=kind)) is outcome
            again = await made.give(question.elicitation_id, token, RED, kind=kind)
            assert (again.outcome, again.question) == (ElicitationOutcome.DUPLICATE, question)
            assert made.bridge.states[question.elicitation_id] is status
            assert made.bridge.count("respond") == 1

    @pytest.mark.requirement("answers.once_upstream")
    async def test_the_same_answer_from_many_at_once_goes_up_once(self) -> None:
        async with flow_stand() as made:
            question, token = _ask(made), made.bridge.token("bob")
            gate = made.bridge.gate("respond")
            tasks = [made.give(question.elicitation_id, token, RED) for _ in range(10)]
            await gate.reached()
            await settle()
            gate.open()
            outcomes = sorted([await _taken(task) for task in tasks])
            assert outcomes == [ElicitationOutcome.ACCEPTED, *[ElicitationOutcome.DUPLICATE] * 9]
            assert made.bridge.count("respond") == 1

    @pytest.mark.requirement("answers.first_wins")
    async def test_of_different_answers_at_once_the_first_wins_and_the_others_conflict(self) -> None:
        async with flow_stand() as made:
            question = _ask(made)
            gate = made.bridge.gate("respond")
            async with asyncio.TaskGroup() as group:
                first = group.create_task(_give(made, question, RED))
                await gate.reached()
                others = [group.create_task(_give(made, question, {"colour": f"{n}"})) for n in range(5)]
                await settle()
                gate.open()
            assert first.result() is ElicitationOutcome.ACCEPTED
            assert [type(task.result()) for task in others] == [AnswerConflict] * 5
            assert [answer.content for answer in made.bridge.answers] == [RED]

    @pytest.mark.requirement("answers.once_upstream")
    async def test_a_waiting_twin_that_leaves_disturbs_nobody(self) -> None:
        async with flow_stand() as made:
            question, token = _ask(made), made.bridge.token("bob")
            gate = made.bridge.gate("respond")
            first = made.give(question.elicitation_id, token, RED)
            await gate.reached()
            twin, other = (made.give(question.elicitation_id, token, RED) for _ in range(2))
            await settle()
            twin.cancel()
            gate.open()
            assert [await _taken(first), await _taken(other)] == [
                ElicitationOutcome.ACCEPTED,
                ElicitationOutcome.DUPLICATE,
            ]

    @pytest.mark.requirement("answers.back_to_asker")
    async def test_the_askers_poll_looks_again_at_once(self) -> None:
        async with flow_stand() as made:
            made.bridge.tick_s = 60
            made.bridge.writes_notes = True
            question = _ask(made)
            asker = await made.wait("alice", made.bridge.token("alice"), since=1)
            await _taken(made.give(question.elicitation_id, made.bridge.token("bob"), RED))
            await settle()
            assert ids(items(asker)) == [question.elicitation_id]


class TestLeaving:
    @pytest.mark.requirement("answers.released")
    async def test_a_caller_that_leaves_before_its_answer_arrived_leaves_the_question_open(self) -> None:
        async with flow_stand() as made:
            question, token = _ask(made), made.bridge.token("bob")
            gate = made.bridge.gate("respond")
            leaving = made.give(question.elicitation_id, token, RED)
            await gate.reached()
            twin = made.give(question.elicitation_id, token, RED)
            await settle()
            leaving.cancel()
            made.bridge.ungate("respond")
            assert await _taken(twin) is ElicitationOutcome.ACCEPTED
            assert len(made.bridge.answers) == 1

    async def _leave_after_it_landed(self, made: FlowStand, question: Elicitation) -> None:
        gate: Gate = made.bridge.gate("respond", after=True)
        leaving = made.give(question.elicitation_id, made.bridge.token("bob"), RED)
        await gate.reached()
        leaving.cancel()
        await settle()
        made.bridge.ungate("respond", after=True)

    @pytest.mark.requirement("answers.unclear_outcome")
    async def test_the_same_answer_after_one_that_landed_unseen_is_a_success_and_counts_once(self) -> None:
        async with flow_stand() as made:
            question = _ask(made)
            await self._leave_after_it_landed(made, question)
            assert await _give(made, question, RED) is ElicitationOutcome.ACCEPTED
            assert await _give(made, question, RED) is ElicitationOutcome.DUPLICATE
            assert [answer.content for answer in made.bridge.answers] == [RED]

    @pytest.mark.requirement("answers.first_wins")
    async def test_a_different_answer_after_one_that_landed_unseen_is_no_success(self) -> None:
        async with flow_stand() as made:
            question = _ask(made)
            await self._leave_after_it_landed(made, question)
            for _ in range(2):
                assert isinstance(await _give(made, question, BLUE), AnswerConflict)
            assert await _give(made, question, RED) is ElicitationOutcome.ACCEPTED

    async def test_only_so_many_answers_of_unknown_outcome_are_remembered(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(respond_module, "MAX_DOUBTFUL", 2)
        async with flow_stand() as made:
            made.bridge.fails("respond", lambda: BridgeUnavailable(CUT))
            made.bridge.fails("status", lambda: BridgeUnavailable(CUT))
            for _ in range(4):
                assert isinstance(await _give(made, _ask(made), RED), AnswerUndelivered)
            assert len(made.answers._doubtful) == 2


class TestUnclear:
    @pytest.mark.requirement("answers.unclear_outcome")
    @pytest.mark.parametrize(
        "error", [BridgeTimeout("late"), BridgeUnavailable(CUT), BadBridgeReply("what"), refused(500), refused(503)]
    )
    async def test_an_answer_that_did_not_arrive_is_sent_a_second_time(self, error: Exception) -> None:
        async with flow_stand() as made:
            question = _ask(made)
            made.bridge.fails("respond", lambda: error, times=1)
            assert await _give(made, question, RED) is ElicitationOutcome.ACCEPTED
            assert (made.bridge.count("respond"), made.bridge.count("status")) == (2, 1)

    @pytest.mark.requirement("answers.unclear_outcome")
    async def test_an_answer_whose_reply_was_lost_is_not_sent_again(self) -> None:
        async with flow_stand() as made:
            question = _ask(made)
            made.bridge.fails("respond", lambda: BridgeUnavailable(CUT), after=True)
            assert await _give(made, question, RED) is ElicitationOutcome.ACCEPTED
            assert (made.bridge.count("respond"), len(made.bridge.answers)) == (1, 1)

    @pytest.mark.requirement("answers.unclear_outcome")
    async def test_an_answer_that_never_arrives_is_undelivered_and_the_question_stays_open(self) -> None:
        async with flow_stand() as made:
            question = _ask(made)
            made.bridge.fails("respond", lambda: refused(500, b'{"detail":"no: \xff"}'), times=2)
            error = await _give(made, question, RED)
            assert isinstance(error, AnswerUndelivered)
            assert (error.retry_after_s, made.bridge.count("respond")) == (1, 2)
            assert '{"detail":"no: \ufffd"}' in error.detail
            assert await _give(made, question, BLUE) is ElicitationOutcome.ACCEPTED

    @pytest.mark.requirement("answers.unclear_outcome")
    async def test_an_answer_that_surely_did_not_arrive_casts_no_doubt_on_the_next(self) -> None:
        async with flow_stand() as made:
            question = _ask(made)
            made.bridge.fails("respond", lambda: refused(500), times=2)
            assert isinstance(await _give(made, question, RED), AnswerUndelivered)
            made.bridge.fails("respond", lambda: BridgeUnavailable(CUT), after=True)
            assert await _give(made, question, BLUE) is ElicitationOutcome.ACCEPTED
            assert [answer.content for answer in made.bridge.answers] == [BLUE]

    @pytest.mark.requirement("answers.unclear_outcome")
    @pytest.mark.parametrize("error", [BridgeTimeout("late"), refused(503)])
    async def test_where_the_bridge_cannot_even_tell_the_state_nothing_is_sent_again(self, error: Exception) -> None:
        async with flow_stand() as made:
            question = _ask(made)
            made.bridge.fails("respond", lambda: BridgeTimeout("late"))
            made.bridge.fails("status", lambda: error)
            assert isinstance(await _give(made, question, RED), AnswerUndelivered)
            assert made.bridge.count("respond") == 1

    @pytest.mark.requirement("answers.unclear_outcome")
    @pytest.mark.parametrize("status", [401, 403])
    async def test_a_token_that_the_bridge_refuses_is_the_agents_to_renew_and_the_question_stays_open(
        self, status: int
    ) -> None:
        async with flow_stand() as made:
            question = _ask(made)
            made.bridge.fails("respond", lambda: refused(status), times=1)
            assert isinstance(await _give(made, question, RED), TokenRefused)
            assert (made.bridge.count("respond"), made.bridge.count("status")) == (1, 0)
            assert not isinstance(await _give(made, question, BLUE), SidecarError)

    @pytest.mark.requirement("answers.unclear_outcome")
    @pytest.mark.parametrize("status", [400, 429])
    async def test_a_clear_no_of_the_bridge_is_not_repeated(self, status: int) -> None:
        async with flow_stand() as made:
            question = _ask(made)
            made.bridge.fails("respond", lambda: refused(status))
            assert isinstance(await _give(made, question, RED), AnswerUndelivered)
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
            question = _ask(made)
            if status is None:
                del made.bridge.states[question.elicitation_id], made.bridge.questions[question.elicitation_id]
            else:
                made.bridge.end(question.elicitation_id, status)
            assert isinstance(await _give(made, question, RED), expected)
            assert made.bridge.count("respond") == 1

    async def test_an_answer_that_arrived_late_is_found_at_the_second_try(self) -> None:
        async with flow_stand() as made:
            question = _ask(made)
            made.bridge.fails("respond", lambda: BridgeTimeout("late"), times=1)
            gate = made.bridge.gate("respond")
            async with asyncio.TaskGroup() as group:
                task = group.create_task(_give(made, question, RED))
                await gate.reached()
                status = made.bridge.gate("status", after=True)
                gate.open()
                await status.reached()
                made.bridge.end(question.elicitation_id, BridgeStatus.ACCEPTED)
                status.open()
            assert task.result() is ElicitationOutcome.ACCEPTED


class TestRefused:
    @pytest.mark.requirement("answers.released")
    async def test_an_answer_that_does_not_fit_leaves_the_question_open_and_names_the_place(self) -> None:
        async with flow_stand() as made:
            question = _ask(made)
            error = await _give(made, question, {"colour": 7})
            assert isinstance(error, AnswerInvalid)
            assert error.extra == {"path": "$.colour"}
            assert made.bridge.count("respond") == 0
            assert await _give(made, question, RED) is ElicitationOutcome.ACCEPTED

    async def test_a_decline_needs_no_content(self) -> None:
        async with flow_stand() as made:
            question = _ask(made)
            token = made.bridge.token("bob")
            task = made.give(question.elicitation_id, token, kind=AnswerKind.DECLINE)
            assert await _taken(task) is ElicitationOutcome.DECLINED

    @pytest.mark.requirement("answers.addressee_only")
    async def test_another_agent_may_not_answer(self) -> None:
        async with flow_stand() as made:
            question = _ask(made)
            assert isinstance(await _give(made, question, RED, agent_id="mallory"), AnswerForbidden)
            assert made.bridge.calls == []
            assert await _give(made, question, RED) is ElicitationOutcome.ACCEPTED

    async def test_what_nobody_knows_cannot_be_answered(self) -> None:
        async with flow_stand() as made:
            question = made.bridge.ask("bob")
            assert isinstance(await _give(made, question, RED), ElicitationUnknown)

    @pytest.mark.requirement("questions.deadline")
    async def test_an_answer_after_the_deadline_is_refused_without_a_call(self) -> None:
        async with flow_stand() as made:
            question = _ask(made)
            await made.clock.advance(600)
            assert isinstance(await _give(made, question, RED), ElicitationExpired)
            assert made.bridge.count("respond") == 0

    async def test_a_question_with_a_hostile_schema_takes_no_answer_but_stays_open(self) -> None:
        async with flow_stand() as made:
            question = made.bridge.ask("bob", shape={"colour": {"$ref": "http://127.0.0.1/x"}})
            made.feeds.question_created(question)
            assert isinstance(await _give(made, question, RED), SchemaRefused)
            token = made.bridge.token("bob")
            task = made.give(question.elicitation_id, token, kind=AnswerKind.DECLINE)
            assert await _taken(task) is ElicitationOutcome.DECLINED


class TestLookUp:
    def _given(self, elicitation_id: ElicitationId) -> GivenAnswer:
        answer = Answer(elicitation_id=elicitation_id, kind=AnswerKind.ACCEPT, content=RED)
        return GivenAnswer(answer=answer, agent_id=AgentId("bob"))

    async def test_a_question_that_only_the_bridge_knows_is_found(self) -> None:
        async with flow_stand() as made:
            question, token = made.bridge.ask("bob"), made.bridge.token("bob")
            assert not made.answers.knows(question.elicitation_id)
            assert await made.answers.look_up(self._given(question.elicitation_id), token)
            assert await made.answers.look_up(self._given(question.elicitation_id), token)
            assert made.bridge.count("pending") == 1
            assert not await made.answers.look_up(self._given(ElicitationId("elicit_none")), token)

    async def test_the_bridges_failure_is_the_callers_to_judge(self) -> None:
        async with flow_stand() as made:
            with pytest.raises(type(refused(403))):
                await made.answers.look_up(self._given(ElicitationId("elicit_1")), Secret("Bearer forged"))


@pytest.mark.requirement("sessions.renewal")
async def test_after_a_restart_of_the_bridge_the_answer_travels_with_the_new_token() -> None:
    async with flow_stand() as made:
        token = made.bridge.token("bob")
        made.bridge.store({})
        task = await made.wait("bob", token, since=1)
        made.bridge.go_down()
        await made.clock.advance(1)
        made.bridge.come_back(keeps_log=True)
        await made.clock.advance(2)
        assert not task.done()
        question, other = _ask(made), made.bridge.token("bob")
        assert await _taken(made.give(question.elicitation_id, token, RED)) is ElicitationOutcome.ACCEPTED
        assert made.bridge.calls[-1].token not in {token.reveal(), other.reveal()}
        # Another token of the same agent travels as it is.
        assert await _taken(made.give(_ask(made).elicitation_id, other, RED)) is ElicitationOutcome.ACCEPTED
        assert [call.token for call in made.bridge.calls if call.method == "respond"][-1] == other.reveal()
