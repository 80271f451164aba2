"""Questions of an MCP server: who is told, who may answer, and how they end."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.core.elicitation import Answer, AnswerKind, BridgeStatus
from proxy.core.errors import BridgeFault, BridgeRefused, BridgeTimeout, BridgeUnavailable
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.secret import Secret
from proxy.mcp.ask import Answered, CannotBeAsked, FormQuestion, UrlQuestion
from proxy.upstream import parked_questions
from tests.support.asking_server import COLOUR, SCHEMA, events, item
from tests.support.manual_clock import settle
from tests.support.source_stand import (
    BOB,
    BOBS,
    CAROL,
    OTHER,
    PARK_S,
    REQUEST_TIMEOUT_S,
    SourceStand,
    sequences,
    source_stand,
)

pytestmark = pytest.mark.requirement("mcp.source")


ACCEPTED = Answered(AnswerKind.ACCEPT, {"colour": "red"})


@pytest.fixture
async def stand() -> AsyncIterator[SourceStand]:
    async with source_stand() as made:
        yield made


async def test_a_question_is_announcedat_once_and_pending(stand: SourceStand) -> None:
    _ = await stand.asked()
    (question,) = stand.announced
    assert (question.to_agent, question.from_agent, question.message) == (BOB, "colour-server", "Which colour?")
    assert question.schema == SCHEMA
    assert (question.created_at, question.expires_at) == (stand.clock.wall(), stand.clock.wall() + PARK_S)
    described = len(stand.server.descriptions)
    assert await stand.bridge.pending(BOB, BOBS) == (question,)
    assert len(stand.server.descriptions) == described
    assert await stand.bridge.pending(CAROL, BOBS) == ()
    assert await stand.bridge.pending(BOB, OTHER) == ()
    assert await stand.status(question.elicitation_id) is BridgeStatus.PENDING


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (AnswerKind.ACCEPT, BridgeStatus.ACCEPTED),
        (AnswerKind.DECLINE, BridgeStatus.DECLINED),
        (AnswerKind.CANCEL, BridgeStatus.CANCELLED),
    ],
)
async def test_an_answer_goes_to_the_server_and_the_wait_goes_on(
    stand: SourceStand, kind: AnswerKind, status: BridgeStatus
) -> None:
    waiting, call, asking, question = await stand.asked()
    await stand.give(question, kind)
    assert asking.result() == Answered(kind, {"colour": "red"} if kind is AnswerKind.ACCEPT else None)
    assert await stand.status(question) is status
    assert await stand.bridge.pending(BOB, BOBS) == ()
    assert stand.withdrawn == []
    call.end(events(item(3)))
    await settle()
    assert sequences(waiting) == [3]


async def test_the_second_answer_is_refused_and_the_first_stands(stand: SourceStand) -> None:
    _, _, asking, question = await stand.asked()
    await stand.give(question)
    with pytest.raises(BridgeRefused) as caught:
        await stand.give(question, AnswerKind.DECLINE)
    assert caught.value.bridge_status == 409
    assert asking.result() == ACCEPTED
    assert await stand.status(question) is BridgeStatus.ACCEPTED


async def test_an_answer_to_an_unknown_question_is_refused(stand: SourceStand) -> None:
    with pytest.raises(BridgeRefused) as caught:
        await stand.give(ElicitationId("mcp-unknown"))
    assert caught.value.bridge_status == 404
    assert await stand.status(ElicitationId("mcp-unknown")) is None


@pytest.mark.parametrize(("agent_id", "secret"), [(CAROL, BOBS), (BOB, OTHER)])
async def test_an_answer_of_another_agent_or_with_another_credential_is_refused(
    stand: SourceStand, agent_id: AgentId, secret: Secret
) -> None:
    _, _, asking, question = await stand.asked()
    answer = Answer(elicitation_id=question, kind=AnswerKind.DECLINE)
    with pytest.raises(BridgeRefused) as caught:
        await stand.bridge.respond(answer, agent_id, secret)
    assert caught.value.bridge_status == 403
    assert not asking.done()
    assert await stand.status(question) is BridgeStatus.PENDING


async def test_out_of_time_the_server_gets_a_cancel(stand: SourceStand) -> None:
    _, call, asking, question = await stand.asked()
    await stand.clock.advance(PARK_S - 0.1)
    assert not asking.done()
    await stand.clock.advance(0.1)
    assert asking.result() == Answered(AnswerKind.CANCEL)
    assert await stand.status(question) is BridgeStatus.EXPIRED
    with pytest.raises(BridgeRefused) as caught:
        await stand.give(question)
    assert caught.value.bridge_status == 410
    assert not call.is_over


async def test_a_question_that_the_server_takes_back_is_withdrawn(stand: SourceStand) -> None:
    _, _, asking, question = await stand.asked()
    asking.cancel()
    await settle()
    assert stand.withdrawn == [question]
    assert await stand.status(question) is BridgeStatus.CANCELLED
    assert await stand.bridge.pending(BOB, BOBS) == ()
    with pytest.raises(BridgeRefused) as caught:
        await stand.give(question)
    assert caught.value.bridge_status == 409


async def test_a_call_that_breaks_takes_its_questions_along(stand: SourceStand) -> None:
    waiting, call, _, question = await stand.asked()
    call.fail(BridgeUnavailable("gone"))
    await settle()
    with pytest.raises(BridgeUnavailable):
        waiting.result()
    assert stand.withdrawn == [question]
    assert await stand.status(question) is BridgeStatus.CANCELLED


async def test_several_questions_of_one_call_are_answered_apart(stand: SourceStand) -> None:
    _, call, first, one = await stand.asked()
    second = call.ask(FormQuestion("And which shade?", SCHEMA), "2")
    await settle()
    two = stand.announced[1].elicitation_id
    assert [question.elicitation_id for question in await stand.bridge.pending(BOB, BOBS)] == [one, two]
    await stand.give(two, AnswerKind.DECLINE)
    assert (first.done(), second.result()) == (False, Answered(AnswerKind.DECLINE))
    await stand.give(one)
    assert first.result() == ACCEPTED


async def test_a_link_never_becomes_a_form(stand: SourceStand) -> None:
    _ = await stand.wait()
    asking = stand.server.calls[0].ask(UrlQuestion("Sign in", "https://example.org/", "e1"))
    await settle()
    assert isinstance(asking.result(), CannotBeAsked)
    assert stand.announced == []


async def test_a_schema_that_cannot_be_handed_on_cannot_be_asked(stand: SourceStand) -> None:
    schema: dict[str, object] = {}
    for _ in range(300):
        schema = {"properties": {"a": schema}}
    _ = await stand.wait()
    asking = stand.server.calls[0].ask(FormQuestion("Deep?", schema))
    await settle()
    assert isinstance(asking.result(), CannotBeAsked)


async def test_an_agent_that_has_as_many_questions_as_may_be_cancels_the_next_one() -> None:
    async with source_stand(max_parked_calls=1) as stand:
        _, call, first, question = await stand.asked()
        second = call.ask(COLOUR, "2")
        await settle()
        assert second.result() == Answered(AnswerKind.CANCEL)
        await stand.give(question)
        assert first.result() == ACCEPTED
        third = call.ask(COLOUR, "3")
        await settle()
        assert not third.done()


async def test_so_does_every_agent_where_the_sidecar_has_as_many_as_may_be(
    stand: SourceStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parked_questions, "MAX_OPEN", 1)
    _, call, _, _ = await stand.asked()
    second = call.ask(COLOUR, "2")
    await settle()
    assert second.result() == Answered(AnswerKind.CANCEL)


async def test_only_so_many_ends_are_remembered(stand: SourceStand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parked_questions, "MAX_ENDED", 1)
    _, call, _, one = await stand.asked()
    await stand.give(one)
    _ = call.ask(COLOUR, "2")
    await settle()
    await stand.give(stand.announced[1].elicitation_id, AnswerKind.DECLINE)
    assert await stand.status(one) is None


async def test_nobody_has_to_be_told() -> None:
    async with source_stand(tells=False) as stand:
        _ = await stand.wait()
        asking = stand.server.calls[0].ask()
        await settle()
        assert len(await stand.bridge.pending(BOB, BOBS)) == 1
        asking.cancel()
        await settle()
        assert await stand.bridge.pending(BOB, BOBS) == ()


async def test_an_answer_in_the_very_moment_in_which_the_server_takes_its_question_back_is_refused(
    stand: SourceStand,
) -> None:
    _, _, asking, question = await stand.asked()
    asking.cancel()
    with pytest.raises(BridgeRefused) as caught:
        await stand.give(question)
    assert caught.value.bridge_status == 409
    await settle()
    assert await stand.status(question) is BridgeStatus.CANCELLED
    assert stand.withdrawn == [question]


# An answer stands when the server has taken it.

ARRIVES = pytest.mark.requirement("mcp.source.arrival")


async def begin(
    stand: SourceStand, question: ElicitationId, kind: AnswerKind = AnswerKind.ACCEPT
) -> "asyncio.Task[None]":
    """Give an answer without waiting for its end."""
    giving = asyncio.get_running_loop().create_task(stand.give(question, kind))
    await settle()
    return giving


@ARRIVES
async def test_an_answer_stands_only_when_the_server_has_taken_it(stand: SourceStand) -> None:
    _, call, asking, question = await stand.asked()
    call.holds_back = True
    giving = await begin(stand, question)
    assert asking.result() == ACCEPTED
    assert not giving.done()
    assert await stand.status(question) is BridgeStatus.PENDING
    assert await stand.bridge.pending(BOB, BOBS) == ()
    call.asked[0].arrival.tell()
    await giving
    assert await stand.status(question) is BridgeStatus.ACCEPTED
    assert stand.withdrawn == []


@ARRIVES
@pytest.mark.parametrize("fault", [BridgeUnavailable("gone"), BridgeRefused("no", bridge_status=500)])
@pytest.mark.parametrize("kind", list(AnswerKind))
async def test_an_answer_that_the_server_does_not_take_is_no_success_and_its_question_is_over(
    stand: SourceStand, kind: AnswerKind, fault: BridgeFault
) -> None:
    _, call, _, question = await stand.asked()
    call.holds_back = True
    giving, again = await begin(stand, question, kind), await begin(stand, question, kind)
    call.asked[0].arrival.tell(fault)
    for each in (giving, again):
        with pytest.raises(type(fault)):
            await each
    assert await stand.status(question) is BridgeStatus.CANCELLED
    assert stand.withdrawn == [question]
    with pytest.raises(BridgeRefused) as caught:
        await stand.give(question, kind)
    assert caught.value.bridge_status == 409


@ARRIVES
async def test_an_answer_whose_fate_is_not_known_in_time_is_pending_and_may_be_given_again(stand: SourceStand) -> None:
    _, call, _, question = await stand.asked()
    call.holds_back = True
    giving = await begin(stand, question)
    await stand.clock.advance(REQUEST_TIMEOUT_S - 0.1)
    assert not giving.done()
    await stand.clock.advance(0.1)
    with pytest.raises(BridgeTimeout):
        await giving
    assert await stand.status(question) is BridgeStatus.PENDING
    with pytest.raises(BridgeRefused) as caught:
        await stand.give(question, AnswerKind.DECLINE)
    assert caught.value.bridge_status == 409
    again = await begin(stand, question)
    await stand.clock.advance(PARK_S)  # an answer on its way does not expire
    with pytest.raises(BridgeTimeout):
        await again
    call.asked[0].arrival.tell()
    assert await stand.status(question) is BridgeStatus.ACCEPTED


@ARRIVES
async def test_an_answer_that_comes_together_with_the_end_of_its_question_is_no_success(stand: SourceStand) -> None:
    _, _, asking, question = await stand.asked()
    answer = Answer(elicitation_id=question, kind=AnswerKind.ACCEPT, content={"colour": "red"})
    giving = asyncio.get_running_loop().create_task(stand.bridge.respond(answer, BOB, BOBS))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(BridgeUnavailable):
        await giving
    assert await stand.status(question) is BridgeStatus.CANCELLED
    assert stand.withdrawn == [question]


@ARRIVES
async def test_whoever_gives_up_waiting_leaves_the_answer_on_its_way(stand: SourceStand) -> None:
    _, call, _, question = await stand.asked()
    call.holds_back = True
    giving = await begin(stand, question)
    giving.cancel()
    await settle()
    call.asked[0].arrival.tell()
    assert await stand.status(question) is BridgeStatus.ACCEPTED
