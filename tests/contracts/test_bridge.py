"""What the Bridge port promises, on the fake and over HTTP on the development Bridge."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson
import pytest
from yarl import URL

from proxy.core.elicitation import Answer, AnswerKind, BridgeStatus
from proxy.core.errors import BridgeRefused, BridgeUnavailable
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.secret import Secret
from proxy.devbridge.settings import Settings
from proxy.ports import Bridge
from proxy.upstream.bridge_http import HttpBridge
from proxy.upstream.session import open_bridge_session
from tests.support.fake_bridge import FakeBridge
from tests.support.manual_bridge import ManualBridge, start_bridge
from tests.support.manual_clock import ManualClock, settle

ALICE, BOB = AgentId("alice"), AgentId("bob")
FORGED = Secret("Bearer forged:bob:1:2")
NOWHERE = ElicitationId("elicit_nowhere")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A Bridge, and what a test does to it behind the port."""

    bridge: Bridge
    token: Callable[[str], Awaitable[Secret]]
    store: Callable[[object], Awaitable[int]]
    ask: Callable[[str], Awaitable[ElicitationId]]
    parked: Callable[[], Awaitable[None]]
    """Wait until a wait is parked."""
    pass_time: Callable[[float], Awaitable[None]]
    go_down: Callable[[], Awaitable[None]]
    wall: Callable[[], float]


def _fake() -> Subject:
    clock = ManualClock()
    bridge = FakeBridge(clock)

    async def token(agent_id: str) -> Secret:
        return bridge.token(agent_id)

    async def store(data: object) -> int:
        return bridge.store(data)

    async def ask(to_agent: str) -> ElicitationId:
        return bridge.ask(to_agent).elicitation_id

    async def go_down() -> None:
        bridge.go_down()

    return Subject(
        bridge=bridge,
        token=token,
        store=store,
        ask=ask,
        parked=settle,
        pass_time=clock.advance,
        go_down=go_down,
        wall=clock.wall,
    )


def _over_http(bridge: Bridge, made: ManualBridge, own_token: str) -> Subject:
    async def token(agent_id: str) -> Secret:
        return Secret(f"Bearer {await made.token(agent_id)}")

    async def store(data: object) -> int:
        body = {"event_type": "CUSTOM", "agent_id": "alice", "data": data}
        _, answer = await made.call("POST", "/event/store", token=own_token, body=body)
        return int(str(answer["sequence"]))

    async def ask(to_agent: str) -> ElicitationId:
        _, answer = await made.ask(own_token, to_agent=to_agent)
        return ElicitationId(str(answer["elicitation_id"]))

    async def pass_time(seconds: float) -> None:
        made.pace.advance(seconds)

    return Subject(
        bridge=bridge,
        token=token,
        store=store,
        ask=ask,
        parked=made.pace.until_sleeping,
        pass_time=pass_time,
        go_down=made.client.close,
        wall=made.pace.wall_s,
    )


@asynccontextmanager
async def _http() -> AsyncIterator[Subject]:
    made = await start_bridge(Settings())
    try:
        async with open_bridge_session(connect_timeout_s=1) as session:
            bridge = HttpBridge(session, URL(str(made.client.make_url("/"))), request_timeout_s=5)
            yield _over_http(bridge, made, await made.token("alice"))
    finally:
        await made.client.close()


@pytest.fixture(params=["fake", "http"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    if request.param == "fake":
        yield _fake()
        return
    async with asyncio.timeout(20), _http() as made:
        yield made


def _answer(elicitation_id: ElicitationId, kind: AnswerKind = AnswerKind.ACCEPT) -> Answer:
    content = {"colour": "red"} if kind is AnswerKind.ACCEPT else None
    return Answer(elicitation_id=elicitation_id, kind=kind, content=content)


async def test_a_wait_gets_what_comes_after_its_cursor_in_order_and_ten_at_most(subject: Subject) -> None:
    stored = [await subject.store({"n": number}) for number in range(12)]
    token = await subject.token("bob")
    first = await subject.bridge.wait(BOB, token, since=stored[0], hold_s=5)
    assert [message.sequence for message in first] == stored[1:11]
    rest = await subject.bridge.wait(BOB, token, since=first[-1].sequence, hold_s=5)
    assert [message.sequence for message in rest] == stored[11:]
    assert orjson.loads(rest[0].data) == {"n": 11}
    assert orjson.loads(rest[0].raw)["sequence"] == stored[11]
    assert (rest[0].source_agent, rest[0].event_type.lower()) == ("alice", "custom")
    assert rest[0].created_at == pytest.approx(subject.wall())


async def test_a_wait_that_sees_nothing_is_empty_after_its_time(subject: Subject) -> None:
    token, last = await subject.token("bob"), await subject.store({})
    async with asyncio.TaskGroup() as group:
        task = group.create_task(subject.bridge.wait(BOB, token, since=last, hold_s=1))
        await subject.parked()
        assert not task.done()
        await subject.pass_time(1)
    assert task.result() == ()


async def test_a_parked_wait_gets_a_message_that_comes(subject: Subject) -> None:
    token, last = await subject.token("bob"), await subject.store({})
    async with asyncio.TaskGroup() as group:
        task = group.create_task(subject.bridge.wait(BOB, token, since=last, hold_s=5))
        await subject.parked()
        stored = await subject.store({"n": 1})
        await subject.pass_time(1)
    assert [message.sequence for message in task.result()] == [stored]


async def test_an_unknown_credential_is_refused_everywhere_in_the_bridges_words(subject: Subject) -> None:
    elicitation_id = await subject.ask("bob")
    calls: list[Awaitable[object]] = [
        subject.bridge.wait(BOB, FORGED, since=0, hold_s=1),
        subject.bridge.pending(BOB, FORGED),
        subject.bridge.status(elicitation_id, FORGED),
        subject.bridge.respond(_answer(elicitation_id), BOB, FORGED),
    ]
    for call in calls:
        with pytest.raises(BridgeRefused) as caught:
            await call
        assert caught.value.bridge_status == 403
        assert isinstance(orjson.loads(caught.value.body)["detail"], str)
        assert caught.value.content_type.startswith("application/json")
    assert await subject.bridge.status(elicitation_id, await subject.token("bob")) is BridgeStatus.PENDING


async def test_pending_lists_the_questions_to_one_agent(subject: Subject) -> None:
    token = await subject.token("bob")
    assert await subject.bridge.pending(BOB, token) == ()
    mine, other = await subject.ask("bob"), await subject.ask("carol")
    (question,) = await subject.bridge.pending(BOB, token)
    assert (question.elicitation_id, question.from_agent, question.to_agent) == (mine, "alice", BOB)
    assert (question.message, question.schema["type"]) == ("Which colour?", "object")
    assert question.created_at == pytest.approx(subject.wall())
    assert question.expires_at > question.created_at
    assert mine != other


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (AnswerKind.ACCEPT, BridgeStatus.ACCEPTED),
        (AnswerKind.DECLINE, BridgeStatus.DECLINED),
        (AnswerKind.CANCEL, BridgeStatus.DECLINED),
    ],
)
async def test_an_answer_ends_its_question(subject: Subject, kind: AnswerKind, status: BridgeStatus) -> None:
    token, elicitation_id = await subject.token("bob"), await subject.ask("bob")
    assert await subject.bridge.status(elicitation_id, token) is BridgeStatus.PENDING
    await subject.bridge.respond(_answer(elicitation_id, kind), BOB, token)
    assert await subject.bridge.status(elicitation_id, token) is status
    assert await subject.bridge.pending(BOB, token) == ()


async def test_a_second_answer_is_refused(subject: Subject) -> None:
    token, elicitation_id = await subject.token("bob"), await subject.ask("bob")
    await subject.bridge.respond(_answer(elicitation_id), BOB, token)
    with pytest.raises(BridgeRefused):
        await subject.bridge.respond(_answer(elicitation_id, AnswerKind.DECLINE), BOB, token)
    assert await subject.bridge.status(elicitation_id, token) is BridgeStatus.ACCEPTED


async def test_an_answer_from_another_agent_is_refused(subject: Subject) -> None:
    elicitation_id = await subject.ask("bob")
    with pytest.raises(BridgeRefused):
        await subject.bridge.respond(_answer(elicitation_id), AgentId("carol"), await subject.token("carol"))
    assert await subject.bridge.status(elicitation_id, await subject.token("bob")) is BridgeStatus.PENDING


@pytest.mark.parametrize("name", ["elicit_nowhere", "..", ".", "a/b?c#d", "%2e%2e", "x y", "\N{SNOWMAN}"])
async def test_what_the_bridge_does_not_know_has_no_state(subject: Subject, name: str) -> None:
    token = await subject.token("bob")
    await subject.ask("bob")
    assert await subject.bridge.status(ElicitationId(name), token) is None


async def test_answering_what_the_bridge_does_not_know_is_refused(subject: Subject) -> None:
    token = await subject.token("bob")
    await subject.ask("bob")
    with pytest.raises(BridgeRefused):
        await subject.bridge.respond(_answer(NOWHERE), BOB, token)


async def test_a_session_that_was_opened_is_accepted(subject: Subject) -> None:
    credential = await subject.bridge.open_session(BOB)
    assert await subject.bridge.pending(BOB, credential) == ()


async def test_a_call_that_is_given_up_leaves_the_port_usable(subject: Subject) -> None:
    token, last = await subject.token("bob"), await subject.store({})
    async with asyncio.TaskGroup() as group:
        task = group.create_task(subject.bridge.wait(BOB, token, since=last, hold_s=5))
        await subject.parked()
        task.cancel()
    assert await subject.bridge.pending(BOB, token) == ()


async def test_a_bridge_that_is_gone_is_unavailable(subject: Subject) -> None:
    token = await subject.token("bob")
    await subject.go_down()
    with pytest.raises(BridgeUnavailable):
        await subject.bridge.pending(BOB, token)
