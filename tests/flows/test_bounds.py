"""What one agent, one asker, or an agent that never comes back can take of the sidecar: a share, and not for good."""

import pytest

from proxy.core import asker_share
from proxy.core.answers import GivenAnswer
from proxy.core.elicitation import Answer, AnswerKind, Elicitation
from proxy.core.errors import TooManyWaits
from proxy.core.ids import AgentId, Sequence
from proxy.core.legacy import WaitAsk
from proxy.core.questions import KEEP_ANSWERED_S
from proxy.core.routing import Way
from proxy.core.secret import Secret
from proxy.flows.feeds import IDLE_S
from proxy.flows.wait import MESSAGES_FIRST_S, serve_wait
from tests.support.answering import RED, give
from tests.support.flow_stand import FlowStand, flow_stand, ids, items, sequences
from tests.support.manual_clock import settle


async def _refused(made: FlowStand, agent_id: str, token: Secret) -> TooManyWaits:
    ask = WaitAsk(agent_id=AgentId(agent_id), since=Sequence(0), timeout_s=5)
    with pytest.raises(TooManyWaits) as caught:
        await serve_wait(made.feeds, ask, made.board.decide(ask.agent_id, Way.OPEN), token, may_fall_back=True)
    return caught.value


@pytest.mark.requirement("wait.bound_per_agent")
class TestWaitsOfOneAgent:
    async def test_one_more_than_may_be_is_refused_with_a_time_and_the_others_stay(self) -> None:
        async with flow_stand() as made:
            made.feeds.max_parked_per_agent = 2
            token = made.bridge.token("bob")
            await made.known({"bob": token})
            parked = [await made.wait("bob", token, timeout_s=5) for _ in range(2)]
            refused = await _refused(made, "bob", token)
            assert (refused.status, refused.retry_after_s) == (503, 1)
            assert "wait.max_parked_per_agent" in refused.detail
            assert not (other := await made.wait("carol", made.bridge.token("carol"), timeout_s=5)).done()
            await made.clock.advance(5)
            assert [task.done() for task in (*parked, other)] == [True] * 3
            assert made.feeds.parked == 0
            assert not (await made.wait("bob", token, timeout_s=5)).done()

    async def test_its_tokens_count_together(self) -> None:
        async with flow_stand() as made:
            made.feeds.max_parked_per_agent = 2
            tokens = [made.bridge.token("bob") for _ in range(3)]
            for token in tokens:
                await made.known({"bob": token})
            _ = [await made.wait("bob", token, timeout_s=5) for token in tokens[:2]]
            await _refused(made, "bob", tokens[2])

    async def test_tokens_that_nobody_has_accepted_take_nothing_from_the_agent_and_leave_nothing(self) -> None:
        async with flow_stand() as made:
            made.feeds.max_parked_per_agent = 2
            token = made.bridge.token("bob")
            await made.known({"bob": token})
            made.bridge.gate("wait")
            made.bridge.gate("pending")
            forged = [await made.wait("bob", Secret(f"Bearer forged{number}"), timeout_s=5) for number in range(2)]
            assert [task.done() for task in forged] == [False, False]
            await _refused(made, "bob", Secret("Bearer forged2"))
            assert not (await made.wait("bob", token, timeout_s=5)).done()
            assert len(list(made.feeds.of("bob"))) == 3
            made.bridge.ungate("wait")
            made.bridge.ungate("pending")
            await settle()
            assert [task.result().status for task in forged] == [403, 403]
            assert len(list(made.feeds.of("bob"))) == 1


@pytest.mark.requirement("questions.asker_share")
class TestOneAsker:
    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(asker_share, "MAX_PER_ASKER", 3)

    async def test_who_floods_an_agent_keeps_no_other_asker_out_and_loses_no_question(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            flood = [made.bridge.ask("bob", from_agent="mallory", timeout_s=3600) for _ in range(8)]
            alices = made.bridge.ask("bob", timeout_s=3600)
            found = ids(items(await made.wait("bob", token)))
            assert found == [question.elicitation_id for question in (*flood[:3], alices)]
            assert made.breaker.way(made.clock.now()) is Way.OPEN
            await _answered(made, token, flood[0])
            await _answered(made, token, flood[1])
            # Room was made: the next ones are fetched from the Bridge, which has kept them.
            task = await made.wait("bob", token)
            await made.clock.advance(5)
            assert ids(items(task)) == [question.elicitation_id for question in flood[3:5]]

    async def test_what_is_seen_at_its_creation_is_within_the_share_or_left_to_the_bridge(self) -> None:
        async with flow_stand() as made:
            flood = [made.bridge.ask("bob", from_agent="mallory", timeout_s=3600) for _ in range(5)]
            for question in flood:
                made.feeds.question_seen(question)
            assert len(made.book) == 3
            # An answer to one that is beyond it is taken all the same.
            token = made.bridge.token("bob")
            assert not isinstance(await _looked_up(made, token, flood[4]), Exception)


async def _answered(made: FlowStand, token: Secret, question: Elicitation) -> None:
    assert not isinstance(await give(made, question, {}, token=token), Exception)


async def _looked_up(made: FlowStand, token: Secret, question: Elicitation) -> object:
    answer = Answer(elicitation_id=question.elicitation_id, kind=AnswerKind.ACCEPT, content={})
    given = GivenAnswer(answer=answer, agent_id=AgentId("bob"))
    assert await made.answers.look_up(given, token)
    return await give(made, question, {}, token=token)


@pytest.mark.requirement("backpressure.bound")
class TestAgentsThatDoNotRead:
    async def test_one_that_never_comes_back_leaves_nothing_when_its_questions_have_expired(self) -> None:
        async with flow_stand() as made:
            for number in range(50):
                name = f"agent{number}"
                _ = made.bridge.ask(name, timeout_s=60)
                made.bridge.store({"n": number})
                assert items(await made.wait(name, made.bridge.token(name)))
            assert len(made.book) == 50
            await made.clock.advance(60 + KEEP_ANSWERED_S)
            made.book.prune(now=made.clock.now(), wall=made.clock.wall())
            assert len(made.book) == 0
            await made.clock.advance(IDLE_S)
            for _ in range(30):
                _ = await made.wait("new", made.bridge.token("new"), timeout_s=1)
                await made.clock.advance(1)
            assert sum(1 for number in range(50) for _ in made.feeds.of(f"agent{number}")) == 0
            assert made.feeds.parked == 0

    async def test_a_flood_of_questions_leaves_half_of_each_reply_to_messages_and_ten_to_a_reply(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            for number in range(200):
                made.feeds.question_created(made.bridge.ask("bob", from_agent=f"asker{number}", timeout_s=3600))
            numbers = [made.bridge.store({"n": number}) for number in range(20)]
            read: list[object] = []
            for _ in range(6):
                task = await made.wait("bob", token, since=int(str(read[-1])) if read else 0)
                await made.clock.advance(MESSAGES_FIRST_S)
                found = items(task)
                messages = [item for item in found if item["event_type"] == "custom"]
                assert (len(found), len(messages)) in {(10, 5), (10, 0)}
                read += sequences(messages)
            assert read == numbers

    async def test_a_question_is_answered_though_a_hundred_others_wait(self) -> None:
        async with flow_stand() as made:
            token = made.bridge.token("bob")
            shape = {"colour": {"type": "string"}}
            questions = [
                made.bridge.ask("bob", from_agent=f"asker{n}", timeout_s=3600, shape=shape) for n in range(100)
            ]
            for question in questions:
                made.feeds.question_created(question)
            assert not isinstance(await give(made, questions[99], RED, token=token), Exception)
