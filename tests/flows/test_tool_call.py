"""The legacy tools of MCP clients: waits held, answers taken, and what is left to the MCP server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from proxy.core.answers import GivenAnswer
from proxy.core.elicitation import Answer, AnswerKind, BridgeStatus, Elicitation
from proxy.core.errors import (
    AnswerForbidden,
    AnswerInvalid,
    BridgeUnavailable,
    ElicitationUnavailable,
    TokenRefused,
    TooManyWaits,
)
from proxy.core.flags import FlagSet
from proxy.core.ids import AgentId, ElicitationId, Sequence
from proxy.core.legacy import WaitAsk
from proxy.core.outcome import ElicitationOutcome, Result
from proxy.core.routing import Reason, Route
from proxy.flows.agent_sessions import AgentSessions
from proxy.flows.tool_call import Access, ToolAnswered, ToolCalls, ToolWaited
from proxy.mcp.inbound import AnswerTool
from tests.support.fake_bridge import refused
from tests.support.flow_stand import EVERYBODY, FlowStand, Item, flow_stand
from tests.support.manual_clock import settle

BOB = AgentId("bob")
NOBODY = FlagSet(elicitation_enabled=True, elicitation_percentage=0.0)


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools and what they stand on."""

    calls: ToolCalls
    made: FlowStand

    async def access(self, agent_id: str = "bob") -> Access:
        """A session of ours."""
        access = await self.calls.access_for(AgentId(agent_id), "")
        assert access is not None
        return access

    async def wait(
        self, *, timeout_s: int = 30, cap_s: int = 300, access: Access | None = None
    ) -> "asyncio.Task[ToolWaited | None]":
        """Begin a wait of bob and let everything run that can."""
        ask = WaitAsk(agent_id=BOB, since=Sequence(0), timeout_s=timeout_s)
        used = access or await self.access()

        async def begin() -> ToolWaited | None:
            return await self.calls.wait(ask, self.calls.decide(BOB), used, hold_cap_s=cap_s)

        task = self.made.group.create_task(begin())
        await settle()
        return task

    async def answer(
        self,
        elicitation_id: ElicitationId,
        tool: AnswerTool = AnswerTool.RESPOND,
        *,
        agent_id: str = "bob",
        kind: AnswerKind = AnswerKind.ACCEPT,
        authorization: str = "",
    ) -> ToolAnswered | None:
        """Give an answer."""
        content = {"colour": "red"} if kind is AnswerKind.ACCEPT else None
        answer = Answer(elicitation_id=elicitation_id, kind=kind, content=content)
        async with asyncio.timeout(5):
            return await self.calls.answer(GivenAnswer(answer=answer, agent_id=AgentId(agent_id)), tool, authorization)

    async def known(self, **asked: object) -> Elicitation:
        """A question that is in the book."""
        question = self.made.bridge.ask("bob", **asked)  # type: ignore[arg-type]  # as the fake has them
        self.made.feeds.question_created(question)
        return question


@asynccontextmanager
async def _tools(*, flags: FlagSet = EVERYBODY, max_parked: int = 100) -> AsyncIterator[Tools]:
    async with flow_stand(flags=flags, max_parked=max_parked) as made:
        sessions = AgentSessions(made.bridge, made.spawn)
        yield Tools(ToolCalls(made.feeds, made.answers, made.board, sessions), made)


def _said(result: dict[str, object]) -> Item:
    """The JSON in a result, said twice."""
    (content,) = result["content"] if isinstance(result["content"], list) else []
    assert result["structuredContent"] == {"result": content["text"]}
    assert result["isError"] is False
    found: Item = json.loads(content["text"])
    return found


def _reply(task: "asyncio.Task[ToolWaited | None]") -> Item:
    waited = task.result()
    assert waited is not None
    return _said(waited.result)


class TestAccess:
    async def test_a_token_of_the_callers_own_is_used_and_no_session_opened(self) -> None:
        async with _tools() as tools:
            access = await tools.calls.access_for(BOB, "Bearer own")
            assert access is not None
            assert (access.secret.reveal(), access.is_own) == ("Bearer own", False)
            assert tools.made.bridge.count("open_session") == 0

    async def test_without_one_a_session_of_ours_is_shared_by_all_calls_of_the_agent(self) -> None:
        async with _tools() as tools:
            first, second = await tools.access(), await tools.access()
            assert first == second
            assert first.is_own
            assert tools.made.bridge.count("open_session") == 1

    async def test_where_none_can_be_opened_there_is_none(self) -> None:
        async with _tools() as tools:
            tools.made.bridge.go_down()
            assert await tools.calls.access_for(BOB, "") is None


@pytest.mark.requirement("mcp.wait")
class TestWait:
    async def test_a_question_is_one_item_of_the_legacy_reply(self) -> None:
        async with _tools() as tools:
            task = await tools.wait()
            assert not task.done()
            question = await tools.known()
            await settle()
            reply = _reply(task)
            (item,) = reply["events"] if isinstance(reply["events"], list) else []
            assert (reply["status"], item["event_type"]) == ("new_events", "elicitation_request")
            assert item["data"]["elicitation_id"] == question.elicitation_id

    async def test_a_wait_ends_after_the_time_it_asked_for(self) -> None:
        async with _tools() as tools:
            task = await tools.wait(timeout_s=20)
            await tools.made.clock.advance(20)
            assert _reply(task) == {"events": [], "count": 0, "waited_seconds": 20, "status": "timeout"}

    async def test_a_wait_of_an_impatient_client_ends_at_the_cap(self) -> None:
        async with _tools() as tools:
            task = await tools.wait(timeout_s=300, cap_s=55)
            await tools.made.clock.advance(55)
            assert _reply(task)["waited_seconds"] == 55

    async def test_a_wait_beyond_the_bridges_own_cap_repeats_what_was_asked(self) -> None:
        async with _tools() as tools:
            task = await tools.wait(timeout_s=400, cap_s=300)
            await tools.made.clock.advance(300)
            assert _reply(task)["waited_seconds"] == 400

    async def test_a_wait_of_no_time_brings_an_open_question_or_is_left_to_the_server(self) -> None:
        async with _tools() as tools:
            empty = await tools.wait(timeout_s=0)
            assert empty.result() is None
            tools.made.bridge.ask("bob")
            await tools.made.clock.advance(5)
            assert len(str(_reply(await tools.wait(timeout_s=0))["events"])) > 2
            assert tools.made.bridge.count("open_session") == 1

    async def test_questions_of_a_lost_reply_are_offered_again(self) -> None:
        async with _tools() as tools:
            await tools.known()
            task = await tools.wait()
            waited = task.result()
            assert waited is not None
            parked = await tools.wait()
            assert not parked.done()
            tools.calls.take_back(waited.served)
            await settle()
            assert _reply(parked)["events"] == _said(waited.result)["events"]

    async def test_as_many_waits_as_may_be_parked_are(self) -> None:
        async with _tools(max_parked=1) as tools:
            parked = await tools.wait()
            with pytest.raises(TooManyWaits):
                await tools.calls.wait(
                    WaitAsk(agent_id=BOB, since=Sequence(0), timeout_s=9),
                    tools.calls.decide(BOB),
                    await tools.access(),
                    hold_cap_s=9,
                )
            tools.made.feeds.drain()
            await settle()
            assert _reply(parked)["status"] == "timeout"

    async def test_without_the_fallback_a_failure_is_an_error(self) -> None:
        flags = FlagSet(elicitation_enabled=True, elicitation_percentage=100.0, legacy_fallback=False)
        async with _tools(flags=flags) as tools:
            access = await tools.access()
            tools.made.bridge.fails("pending", lambda: refused(500))
            with pytest.raises(ElicitationUnavailable):
                await tools.calls.wait(
                    WaitAsk(agent_id=BOB, since=Sequence(0), timeout_s=9),
                    tools.calls.decide(BOB),
                    access,
                    hold_cap_s=9,
                )

    async def test_with_it_the_same_wait_goes_the_legacy_way(self) -> None:
        async with _tools() as tools:
            access = await tools.access()
            tools.made.bridge.fails("pending", lambda: refused(500))
            task = await tools.wait(access=access)
            tools.made.bridge.store({"n": 1})
            await settle()
            waited = task.result()
            assert waited is not None
            assert (waited.served.exchange.route, waited.served.exchange.fell_back) == (Route.LEGACY, Reason.FALLBACK)
            assert _said(waited.result)["count"] == 1

    @pytest.mark.requirement("mcp.one_session")
    async def test_a_session_that_the_bridge_forgot_is_opened_anew_within_the_wait(self) -> None:
        async with _tools() as tools:
            stale = await tools.access()
            tools.made.bridge.come_back(keeps_log=True)
            task = await tools.wait(access=stale)
            await tools.known()
            await settle()
            assert _reply(task)["count"] == 1
            assert tools.made.bridge.count("open_session") == 2
            assert (await tools.access()).secret is not stale.secret

    @pytest.mark.requirement("mcp.one_session")
    @pytest.mark.parametrize("trusted", [False, True])
    async def test_a_session_that_the_bridge_forgot_is_opened_anew_for_a_wait_of_no_time(
        self, *, trusted: bool
    ) -> None:
        async with _tools() as tools:
            stale = await tools.access()
            if trusted:
                assert (await tools.wait(timeout_s=0)).result() is None
                await tools.made.clock.advance(5)
            tools.made.bridge.come_back()
            tools.made.bridge.ask("bob")
            assert _reply(await tools.wait(timeout_s=0, access=stale))["count"] == 1
            assert tools.made.bridge.count("open_session") == 2

    @pytest.mark.requirement("mcp.one_session")
    @pytest.mark.parametrize("status", [404, 500])
    @pytest.mark.parametrize("times", [1, 2])
    async def test_a_bridge_that_only_lacks_elicitation_keeps_the_session(self, status: int, times: int) -> None:
        async with _tools() as tools:
            access = await tools.access()
            tools.made.bridge.fails("pending", lambda: refused(status), times=times)
            assert (await tools.wait(timeout_s=0, access=access)).result() is None
            assert await tools.access() == access

    async def test_a_bridge_that_is_away_leaves_a_wait_of_no_time_to_the_server(self) -> None:
        async with _tools() as tools:
            access = await tools.access()
            tools.made.bridge.fails("pending", lambda: BridgeUnavailable("refused"))
            assert (await tools.wait(timeout_s=0, access=access)).result() is None
            assert await tools.access() == access

    async def test_a_refusal_that_stands_is_told_as_the_legacy_tool_tells_it(self) -> None:
        async with _tools() as tools:
            stale = await tools.access()
            tools.made.bridge.come_back(keeps_log=True)
            tools.made.bridge.fails("open_session", lambda: refused(500))
            task = await tools.wait(access=stale)
            assert "Bridge returned status 403" in str(_reply(task)["error"])
            waited = task.result()
            assert waited is not None
            assert waited.served.result is Result.RELAYED

    async def test_a_token_of_the_callers_own_that_is_refused_is_never_replaced(self) -> None:
        async with _tools() as tools:
            access = await tools.calls.access_for(BOB, "Bearer forged")
            task = await tools.wait(access=access)
            assert "Bridge returned status 403" in str(_reply(task)["error"])
            assert (await tools.wait(timeout_s=0, access=access)).result() is None
            assert tools.made.bridge.count("open_session") == 0


@pytest.mark.requirement("mcp.answer")
class TestAnswer:
    @pytest.mark.parametrize(
        ("tool", "status", "message"),
        [(AnswerTool.RESPOND, "success", "accepted"), (AnswerTool.SEND, "stored", "answered: accept")],
    )
    async def test_an_answer_goes_to_the_bridge_once_and_is_told_as_its_tool_tells_it(
        self, tool: AnswerTool, status: str, message: str
    ) -> None:
        async with _tools() as tools:
            question = await tools.known()
            for outcome in (ElicitationOutcome.ACCEPTED, ElicitationOutcome.DUPLICATE):
                answered = await tools.answer(question.elicitation_id, tool)
                assert answered is not None
                assert answered.outcome is outcome
                said = _said(answered.result)
                assert said["status"] == status
                assert message in str(said["message"])
            assert [answer.content for answer in tools.made.bridge.answers] == [{"colour": "red"}]

    async def test_a_question_that_nobody_saw_yet_is_looked_up(self) -> None:
        async with _tools() as tools:
            question = tools.made.bridge.ask("bob")
            assert await tools.answer(question.elicitation_id) is not None
            assert await tools.answer(ElicitationId("elicit_none")) is None

    async def test_a_question_on_the_legacy_way_is_the_servers_and_no_session_is_opened(self) -> None:
        async with _tools(flags=NOBODY) as tools:
            question = tools.made.bridge.ask("bob")
            assert await tools.answer(question.elicitation_id) is None
            assert not tools.made.bridge.calls

    async def test_a_question_that_is_known_is_answered_also_after_the_agent_went_back(self) -> None:
        async with _tools(flags=NOBODY) as tools:
            question = await tools.known()
            assert await tools.answer(question.elicitation_id) is not None

    async def test_what_the_asker_withdraws_is_between_it_and_the_bridge(self) -> None:
        async with _tools() as tools:
            question = await tools.known()
            given = await tools.answer(question.elicitation_id, agent_id="alice", kind=AnswerKind.CANCEL)
            assert given is None
            assert tools.made.bridge.states[question.elicitation_id] is BridgeStatus.PENDING
            assert await tools.answer(question.elicitation_id, kind=AnswerKind.CANCEL) is not None

    async def test_the_agents_own_mistakes_are_raised(self) -> None:
        async with _tools() as tools:
            question = await tools.known(shape={"colour": {"type": "integer"}})
            with pytest.raises(AnswerInvalid, match="colour"):
                await tools.answer(question.elicitation_id)
            with pytest.raises(AnswerForbidden):
                await tools.answer(question.elicitation_id, agent_id="eve")

    @pytest.mark.parametrize("fault", [refused(500), refused(404), BridgeUnavailable("down")])
    async def test_what_cannot_be_looked_up_now_is_left_to_the_server(self, fault: Exception) -> None:
        async with _tools() as tools:
            question = tools.made.bridge.ask("bob")
            tools.made.bridge.fails("pending", lambda: fault)
            assert await tools.answer(question.elicitation_id) is None

    async def test_without_a_session_it_is_left_to_the_server(self) -> None:
        async with _tools() as tools:
            question = await tools.known()
            tools.made.bridge.fails("open_session", lambda: refused(500))
            assert await tools.answer(question.elicitation_id) is None

    @pytest.mark.requirement("mcp.one_session")
    @pytest.mark.parametrize("is_known", [True, False])
    async def test_a_session_that_the_bridge_forgot_is_opened_anew_for_the_answer(self, *, is_known: bool) -> None:
        async with _tools() as tools:
            await tools.access()
            tools.made.bridge.come_back()
            question = await tools.known() if is_known else tools.made.bridge.ask("bob")
            assert await tools.answer(question.elicitation_id) is not None
            assert len(tools.made.bridge.answers) == 1
            assert tools.made.bridge.count("open_session") == 2

    async def test_where_it_cannot_be_opened_anew_the_answer_is_left_to_the_server(self) -> None:
        async with _tools() as tools:
            await tools.access()
            tools.made.bridge.come_back()
            question = await tools.known()
            tools.made.bridge.fails("open_session", lambda: refused(500))
            assert await tools.answer(question.elicitation_id) is None

    async def test_a_token_of_the_callers_own_that_is_refused_is_its_own_affair(self) -> None:
        async with _tools() as tools:
            question = await tools.known()
            with pytest.raises(TokenRefused):
                await tools.answer(question.elicitation_id, authorization="Bearer forged")
            assert tools.made.bridge.count("open_session") == 0


@pytest.mark.requirement("mcp.answer.agent")
class TestAnswersAs:
    @pytest.mark.parametrize(
        ("waited", "answers_as"),
        [((), "bob"), (("bob",), "bob"), (("bob", "eve"), "bob"), (("eve",), "eve"), (("carol", "eve"), "eve")],
    )
    async def test_the_agent_that_was_asked_answers_where_it_may_be_behind_the_client(
        self, waited: tuple[str, ...], answers_as: str
    ) -> None:
        async with _tools() as tools:
            question = await tools.known()
            assert tools.calls.knows(question.elicitation_id)
            agents = [AgentId(name) for name in waited]
            assert tools.calls.answers_as(question.elicitation_id, agents) == answers_as

    async def test_a_question_that_is_not_known_is_answered_by_whoever_waited_last(self) -> None:
        async with _tools() as tools:
            unknown = ElicitationId("elicit_none")
            assert not tools.calls.knows(unknown)
            assert tools.calls.answers_as(unknown, [AgentId("carol"), BOB]) == "bob"
            assert tools.calls.answers_as(unknown, []) is None
