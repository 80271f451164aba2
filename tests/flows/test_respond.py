"""Answers: exactly one goes up, whoever calls at the same time, leaves midway, or does not learn the outcome."""

import asyncio

import pytest

from proxy.core.answers import GivenAnswer
from proxy.core.elicitation import Answer, AnswerKind, BridgeStatus
from proxy.core.errors import (
    AgentFault,
    AnswerConflict,
    AnswerForbidden,
    AnswerInvalid,
    AnswerUndelivered,
    ElicitationExpired,
    ElicitationUnknown,
    OurFault,
    SchemaRefused,
    TokenRefused,
)
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.outcome import ElicitationOutcome
from proxy.core.routing import Way
from proxy.core.secret import Secret
from tests.support.answering import BLUE, RED, ask, give, taken
from tests.support.fake_bridge import refused
from tests.support.flow_stand import flow_stand, ids, items
from tests.support.manual_clock import settle


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
            question, token = ask(made), made.bridge.token("bob")
            assert await taken(made.give(question.elicitation_id, token, RED, kind=kind)) is outcome
            again = await made.give(question.elicitation_id, token, RED, kind=kind)
            assert (again.outcome, again.question) == (ElicitationOutcome.DUPLICATE, question)
            assert made.bridge.states[question.elicitation_id] is status
            assert made.bridge.count("respond") == 1

    @pytest.mark.requirement("answers.once_upstream")
    async def test_the_same_answer_from_many_at_once_goes_up_once(self) -> None:
        async with flow_stand() as made:
            question, token = ask(made), made.bridge.token("bob")
            gate = made.bridge.gate("respond")
            tasks = [made.give(question.elicitation_id, token, RED) for _ in range(10)]
            await gate.reached()
            await settle()
            gate.open()
            outcomes = sorted([await taken(task) for task in tasks])
            assert outcomes == [ElicitationOutcome.ACCEPTED, *[ElicitationOutcome.DUPLICATE] * 9]
            assert made.bridge.count("respond") == 1

    @pytest.mark.requirement("answers.first_wins")
    async def test_of_different_answers_at_once_the_first_wins_and_the_others_conflict(self) -> None:
        async with flow_stand() as made:
            question = ask(made)
            gate = made.bridge.gate("respond")
            async with asyncio.TaskGroup() as group:
                first = group.create_task(give(made, question, RED))
                await gate.reached()
                others = [group.create_task(give(made, question, {"colour": f"{n}"})) for n in range(5)]
                await settle()
                gate.open()
            assert first.result() is ElicitationOutcome.ACCEPTED
            assert [type(task.result()) for task in others] == [AnswerConflict] * 5
            assert [answer.content for answer in made.bridge.answers] == [RED]

    @pytest.mark.requirement("answers.once_upstream")
    async def test_a_waiting_twin_that_leaves_disturbs_nobody(self) -> None:
        async with flow_stand() as made:
            question, token = ask(made), made.bridge.token("bob")
            gate = made.bridge.gate("respond")
            first = made.give(question.elicitation_id, token, RED)
            await gate.reached()
            twin, other = (made.give(question.elicitation_id, token, RED) for _ in range(2))
            await settle()
            twin.cancel()
            gate.open()
            assert [await taken(first), await taken(other)] == [
                ElicitationOutcome.ACCEPTED,
                ElicitationOutcome.DUPLICATE,
            ]

    @pytest.mark.requirement("answers.back_to_asker")
    async def test_the_askers_poll_looks_again_at_once(self) -> None:
        async with flow_stand() as made:
            made.bridge.tick_s = 60
            made.bridge.writes_notes = True
            question = ask(made)
            asker = await made.wait("alice", made.bridge.token("alice"), since=1)
            await taken(made.give(question.elicitation_id, made.bridge.token("bob"), RED))
            await settle()
            assert ids(items(asker)) == [question.elicitation_id]


class TestLeaving:
    @pytest.mark.requirement("answers.goes_on")
    @pytest.mark.parametrize("after", [False, True])
    async def test_an_answer_whose_caller_hung_up_arrives_and_again_is_the_same_success(self, *, after: bool) -> None:
        async with flow_stand() as made:
            question, token = ask(made), made.bridge.token("bob")
            gate = made.bridge.gate("respond", after=after)
            leaving = made.give(question.elicitation_id, token, RED)
            await gate.reached()
            leaving.cancel()
            await settle()
            assert leaving.cancelled()
            gate.open()
            await settle()
            assert made.bridge.states[question.elicitation_id] is BridgeStatus.ACCEPTED
            assert await give(made, question, RED) is ElicitationOutcome.DUPLICATE
            assert isinstance(await give(made, question, BLUE), AnswerConflict)
            assert (made.bridge.count("respond"), len(made.bridge.answers)) == (1, 1)

    @pytest.mark.requirement("answers.goes_on")
    async def test_the_same_answer_joins_the_one_whose_caller_hung_up_on_the_way(self) -> None:
        async with flow_stand() as made:
            question, token = ask(made), made.bridge.token("bob")
            gate = made.bridge.gate("respond", after=True)
            leaving = made.give(question.elicitation_id, token, RED)
            await gate.reached()
            leaving.cancel()
            await settle()
            twin = made.give(question.elicitation_id, token, RED)
            async with asyncio.TaskGroup() as group:
                other = group.create_task(give(made, question, BLUE))
                await settle()
                assert not twin.done()
                assert not other.done()
                gate.open()
            assert await taken(twin) is ElicitationOutcome.DUPLICATE
            assert isinstance(other.result(), AnswerConflict)
            assert made.bridge.count("respond") == 1

    @pytest.mark.requirement("answers.released")
    async def test_an_answer_that_failed_after_its_caller_hung_up_leaves_the_question_open(self) -> None:
        async with flow_stand() as made:
            question, token = ask(made), made.bridge.token("bob")
            made.bridge.fails("respond", lambda: refused(500), times=2)
            gate = made.bridge.gate("respond")
            leaving = made.give(question.elicitation_id, token, RED)
            await gate.reached()
            leaving.cancel()
            await settle()
            gate.open()
            await settle()
            assert await give(made, question, BLUE) is ElicitationOutcome.ACCEPTED

    @pytest.mark.requirement("answers.released")
    async def test_one_that_the_bridge_refuses_keeps_a_better_one_out_only_while_it_is_on_its_way(self) -> None:
        async with flow_stand() as made:
            question = ask(made)
            gate = made.bridge.gate("respond")
            async with asyncio.TaskGroup() as group:
                forged = group.create_task(give(made, question, BLUE, token=Secret("Bearer nonsense:bob")))
                await gate.reached()
                honest = group.create_task(give(made, question, RED))
                await settle()
                gate.open()
            assert isinstance(forged.result(), TokenRefused)
            assert honest.result() is ElicitationOutcome.ACCEPTED

    @pytest.mark.requirement("errands.end_with_house")
    async def test_an_answer_that_the_bridge_keeps_waiting_ends_with_the_house(self) -> None:
        async with asyncio.timeout(5), flow_stand() as made:
            question = ask(made)
            gate = made.bridge.gate("respond")
            async with asyncio.TaskGroup() as group:
                calls = [group.create_task(give(made, question, RED)) for _ in range(2)]
                await gate.reached()
                await settle()
                made.feeds.close()
            assert [type(call.result()) for call in calls] == [AnswerUndelivered] * 2

    @pytest.mark.requirement("answers.defects_stay_inside")
    async def test_a_defect_of_ours_is_reported_and_ends_no_more_than_the_answer(self) -> None:
        async with flow_stand() as made:
            question, defect = ask(made), RuntimeError("a defect")
            made.bridge.fails("respond", lambda: defect, times=1)
            assert isinstance(await give(made, question, RED), OurFault)
            assert made.recorder.defects == [("answer", defect)]
            assert await give(made, question, RED) is ElicitationOutcome.ACCEPTED


class TestRefused:
    @pytest.mark.requirement("answers.released")
    async def test_an_answer_that_does_not_fit_leaves_the_question_open_and_names_the_place(self) -> None:
        async with flow_stand() as made:
            question = ask(made)
            error = await give(made, question, {"colour": 7})
            assert isinstance(error, AnswerInvalid)
            assert error.extra == {"path": "$.colour"}
            assert made.bridge.count("respond") == 0
            assert await give(made, question, RED) is ElicitationOutcome.ACCEPTED

    async def test_a_decline_needs_no_content(self) -> None:
        async with flow_stand() as made:
            question = ask(made)
            token = made.bridge.token("bob")
            task = made.give(question.elicitation_id, token, kind=AnswerKind.DECLINE)
            assert await taken(task) is ElicitationOutcome.DECLINED

    @pytest.mark.requirement("answers.addressee_only")
    async def test_another_agent_may_not_answer(self) -> None:
        async with flow_stand() as made:
            question = ask(made)
            assert isinstance(await give(made, question, RED, agent_id="mallory"), AnswerForbidden)
            assert made.bridge.calls == []
            assert await give(made, question, RED) is ElicitationOutcome.ACCEPTED

    async def test_what_nobody_knows_cannot_be_answered(self) -> None:
        async with flow_stand() as made:
            question = made.bridge.ask("bob")
            assert isinstance(await give(made, question, RED), ElicitationUnknown)

    @pytest.mark.requirement("questions.deadline")
    async def test_an_answer_after_the_deadline_is_refused_without_a_call(self) -> None:
        async with flow_stand() as made:
            question = ask(made)
            await made.clock.advance(600)
            assert isinstance(await give(made, question, RED), ElicitationExpired)
            assert made.bridge.count("respond") == 0

    async def test_a_question_with_a_hostile_schema_takes_no_answer_but_stays_open(self) -> None:
        async with flow_stand() as made:
            question = made.bridge.ask("bob", shape={"colour": {"$ref": "http://127.0.0.1/x"}})
            made.feeds.question_created(question)
            assert isinstance(await give(made, question, RED), SchemaRefused)
            token = made.bridge.token("bob")
            task = made.give(question.elicitation_id, token, kind=AnswerKind.DECLINE)
            assert await taken(task) is ElicitationOutcome.DECLINED


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
        question, other = ask(made), made.bridge.token("bob")
        assert await taken(made.give(question.elicitation_id, token, RED)) is ElicitationOutcome.ACCEPTED
        assert made.bridge.calls[-1].token not in {token.reveal(), other.reveal()}
        # Another token of the same agent travels as it is.
        assert await taken(made.give(ask(made).elicitation_id, other, RED)) is ElicitationOutcome.ACCEPTED
        assert [call.token for call in made.bridge.calls if call.method == "respond"][-1] == other.reveal()


@pytest.mark.requirement("sessions.own_token")
async def test_after_a_restart_of_the_bridge_nobody_acts_as_another_with_a_dead_token() -> None:
    async with flow_stand() as made:
        token = made.bridge.token("mallory")
        made.bridge.store({})
        task = await made.wait("bob", token, since=1)  # the Bridge lets her read
        made.bridge.go_down()
        await made.clock.advance(1)
        made.bridge.come_back(keeps_log=True)
        await made.clock.advance(2)
        assert task.result().status == 403
        assert isinstance(await give(made, ask(made), RED, token=token), TokenRefused)
        assert (made.bridge.count("open_session"), made.bridge.answers) == (0, [])


@pytest.mark.requirement("sessions.shared")
async def test_after_a_restart_of_the_bridge_all_tokens_of_an_agent_share_one_new_session() -> None:
    async with flow_stand() as made:
        tokens = [made.bridge.token("bob") for _ in range(4)]
        tasks = [await made.wait("bob", token, since=1) for token in tokens]
        await made.clock.advance(1)
        made.bridge.go_down()
        await made.clock.advance(1)
        made.bridge.come_back(keeps_log=True)
        await made.clock.advance(2)
        assert [task.done() for task in tasks] == [False] * 4
        assert made.bridge.count("open_session") == 1
        own = await made.feeds.parts.sessions.credential_for(AgentId("bob"))  # as a call by MCP takes it
        assert {feed.access.secret for feed in made.feeds.of("bob")} == {own}
        assert made.bridge.count("open_session") == 1


@pytest.mark.requirement("answers.foreign_token")
@pytest.mark.parametrize(("owner", "kind"), [("bob", TokenRefused), ("mallory", AnswerForbidden)])
async def test_a_token_that_the_bridge_does_not_take_for_the_speakers_is_not_tried_twice_and_opens_no_breaker(
    owner: str, kind: type[AgentFault]
) -> None:
    async with flow_stand(breaker_failures=1) as made:
        question = ask(made)
        said = refused(500, b'{"detail":"Invalid agent session token"}')
        made.bridge.fails("respond", lambda: said)
        error = await give(made, question, RED, token=made.bridge.token(owner))
        assert type(error) is kind
        assert not kind.retryable
        assert (made.bridge.count("respond"), made.bridge.count("status")) == (1, 0)
        assert made.breaker.way(made.clock.now()) is Way.OPEN
        made.bridge.fails("respond", lambda: said, times=0)
        assert await give(made, question, {"colour": "blue"}) is ElicitationOutcome.ACCEPTED
