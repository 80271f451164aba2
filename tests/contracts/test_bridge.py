"""What the Bridge port promises: on the fake, over HTTP on the development Bridge, and over the event log of either.

The same holds for a Bridge that is found out (`auto`), whichever it turns out to be.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from uuid import uuid4

import orjson
import pytest
from yarl import URL

from proxy.core.elicitation import Answer, AnswerKind, BridgeStatus
from proxy.core.errors import BridgeRefused, BridgeUnavailable
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.secret import Secret
from proxy.devbridge.settings import Settings, Switches
from proxy.ports import Bridge
from proxy.upstream.bridge_auto import AutoBridge
from proxy.upstream.bridge_bus import BusBridge
from proxy.upstream.bridge_http import HttpBridge
from proxy.upstream.session import open_bridge_session
from tests.support.bus_log import ask as a_question
from tests.support.fake_bridge import FakeBridge
from tests.support.fake_bus import FakeLog, bus_on
from tests.support.house import SharedClock
from tests.support.manual_bridge import ManualBridge, start_bridge
from tests.support.manual_clock import ManualClock, settle

ALICE, BOB = AgentId("alice"), AgentId("bob")
FORGED = Secret("Bearer forged:bob:1:2")
NOWHERE = ElicitationId("elicit_nowhere")
ON_A_BUS = ElicitationId("0" * 32)


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
    after_cancel: BridgeStatus = BridgeStatus.DECLINED
    """State after the addressee's cancel, which the Bridge's own call knows only from the asker."""


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


def _fake_bus() -> Subject:
    clock = ManualClock()
    log = FakeLog(clock, is_patient=False)
    bus = bus_on(log)

    async def token(agent_id: str) -> Secret:
        return log.token(agent_id)

    async def store(data: object) -> int:
        log.is_patient = True
        return log.store(data)

    async def ask(to_agent: str) -> ElicitationId:
        return (await bus_on(log).ask(a_question(to_agent=to_agent), log.token("alice"))).elicitation_id

    async def go_down() -> None:
        log.go_down()

    return Subject(
        bridge=bus,
        token=token,
        store=store,
        ask=ask,
        parked=settle,
        pass_time=clock.advance,
        go_down=go_down,
        wall=clock.wall,
        after_cancel=BridgeStatus.CANCELLED,
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
async def _http(way: str) -> AsyncIterator[Subject]:
    made = await start_bridge(Settings(switches=Switches(elicitation=not way.endswith("bus"))))
    try:
        async with open_bridge_session(connect_timeout_s=1) as session:
            http = HttpBridge(session, URL(str(made.client.make_url("/"))), request_timeout_s=5)
            subject = _over_http(_on(way, http, made), made, own_token := await made.token("alice"))
            if way.endswith("bus"):
                asker = _bus(http, made)

                async def ask(to_agent: str) -> ElicitationId:
                    question = await asker.ask(a_question(to_agent=to_agent), Secret(f"Bearer {own_token}"))
                    return question.elicitation_id

                subject = replace(subject, ask=ask, after_cancel=BridgeStatus.CANCELLED)
            yield subject
    finally:
        await made.client.close()


def _on(way: str, http: HttpBridge, made: ManualBridge) -> Bridge:
    match way:
        case "http":
            return http
        case "http bus":
            return _bus(http, made)
        case _:
            return AutoBridge(http, _bus(http, made), SharedClock(made.pace), reprobe_s=30)


def _bus(http: HttpBridge, made: ManualBridge) -> BusBridge:
    return BusBridge(http, SharedClock(made.pace), mint=lambda: uuid4().hex)


@pytest.fixture(params=["fake", "http", "fake bus", "http bus", "auto", "auto bus"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    if request.param.startswith("fake"):
        yield _fake_bus() if request.param == "fake bus" else _fake()
        return
    async with asyncio.timeout(20), _http(request.param) as made:
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
        (AnswerKind.CANCEL, None),
    ],
)
async def test_an_answer_ends_its_question(subject: Subject, kind: AnswerKind, status: BridgeStatus | None) -> None:
    token, elicitation_id = await subject.token("bob"), await subject.ask("bob")
    assert await subject.bridge.status(elicitation_id, token) is BridgeStatus.PENDING
    await subject.bridge.respond(_answer(elicitation_id, kind), BOB, token)
    assert await subject.bridge.status(elicitation_id, token) is (status or subject.after_cancel)
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


@pytest.mark.parametrize("name", ["elicit_nowhere", ON_A_BUS, "..", ".", "a/b?c#d", "%2e%2e", "x y", "\N{SNOWMAN}"])
async def test_what_the_bridge_does_not_know_has_no_state(subject: Subject, name: str) -> None:
    token = await subject.token("bob")
    await subject.ask("bob")
    assert await subject.bridge.status(ElicitationId(name), token) is None


@pytest.mark.parametrize("name", [NOWHERE, ON_A_BUS])
async def test_answering_what_the_bridge_does_not_know_is_refused(subject: Subject, name: ElicitationId) -> None:
    token = await subject.token("bob")
    await subject.ask("bob")
    with pytest.raises(BridgeRefused):
        await subject.bridge.respond(_answer(name), BOB, token)


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
