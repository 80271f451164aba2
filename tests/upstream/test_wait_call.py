"""Waits at an MCP server that a question holds up."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from proxy.core.elicitation import AnswerKind
from proxy.core.errors import BridgeUnavailable
from proxy.mcp.ask import Answered
from proxy.upstream import bridge_mcp
from tests.support.asking_server import events, item
from tests.support.manual_clock import settle
from tests.support.source_stand import OTHER, SourceStand, sequences, source_stand

pytestmark = pytest.mark.requirement("mcp.source")


@pytest.fixture
async def stand() -> AsyncIterator[SourceStand]:
    async with source_stand() as made:
        yield made


async def test_a_wait_ends_in_time_while_its_question_holds_the_call_up(stand: SourceStand) -> None:
    waiting, call, _, _ = await stand.asked()
    await stand.clock.advance(19.9)
    assert not waiting.done()
    await stand.clock.advance(0.1)
    assert waiting.result() == ()
    assert not call.is_over


async def test_a_wait_that_is_given_up_leaves_a_call_with_a_question(stand: SourceStand) -> None:
    waiting, call, asking, question = await stand.asked()
    waiting.cancel()
    await stand.clock.advance(60)
    assert not call.is_over
    await stand.give(question)
    assert asking.result() == Answered(AnswerKind.ACCEPT, {"colour": "red"})


async def test_the_next_wait_takes_part_in_the_call_and_gets_what_it_brings(stand: SourceStand) -> None:
    waiting, call, _, question = await stand.asked(5)
    waiting.cancel()
    joined = await stand.wait(5)
    also = await stand.wait(6)
    assert len(stand.server.calls) == 1
    await stand.give(question)
    call.end(events(item(6), item(7)))
    await settle()
    assert (sequences(joined), sequences(also)) == ([6, 7], [7])


async def test_what_a_call_brings_when_nobody_waits_is_kept_for_the_next_wait(stand: SourceStand) -> None:
    waiting, call, _, question = await stand.asked(5)
    waiting.cancel()
    await stand.give(question)
    call.end(events(item(6)))
    await settle()
    assert sequences(await stand.wait(5)) == [6]
    assert len(stand.server.calls) == 1
    _ = await stand.wait(6)
    assert len(stand.server.calls) == 2


async def test_a_wait_that_is_given_up_as_the_result_comes_leaves_it_to_the_next(stand: SourceStand) -> None:
    waiting, call, _, question = await stand.asked(5)
    await stand.give(question)
    call.end(events(item(6)))
    for _ in range(40):
        if call.is_over:
            break
        await asyncio.sleep(0)
    waiting.cancel()
    await settle()
    found = [] if waiting.cancelled() else sequences(waiting)
    if not found:
        found = sequences(await stand.wait(5))
    assert found == [6]
    assert len(stand.server.calls) == 1


async def test_only_so_many_results_are_kept(stand: SourceStand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_mcp, "MAX_UNCLAIMED", 0)
    waiting, call, _, question = await stand.asked(5)
    waiting.cancel()
    await stand.give(question)
    call.end(events(item(6)))
    await settle()
    _ = await stand.wait(5)
    assert len(stand.server.calls) == 2


async def test_a_lower_cursor_is_never_carried_over_messages_it_has_not_seen(stand: SourceStand) -> None:
    waiting, call, _, question = await stand.asked(5)
    waiting.cancel()
    lower = await stand.wait(2)
    assert len(stand.server.calls) == 1
    await stand.give(question)
    call.end(events(item(6)))
    await settle()
    assert not lower.done()
    assert stand.server.calls[1].arguments["since_sequence"] == 2
    stand.server.calls[1].end(events(item(3), item(6)))
    await settle()
    assert sequences(lower) == [3, 6]


async def test_who_reads_from_the_beginning_gets_the_log_as_it_is_now(stand: SourceStand) -> None:
    waiting, call, _, question = await stand.asked(0)
    waiting.cancel()
    await stand.give(question)
    call.end(events(item(1)))
    await settle()
    fresh = await stand.wait(0)
    stand.server.calls[1].end(events(item(2)))
    await settle()
    assert sequences(fresh) == [2]


async def test_a_joined_wait_without_news_calls_again_with_the_time_that_is_left(stand: SourceStand) -> None:
    waiting, call, _, question = await stand.asked(5)
    waiting.cancel()
    joined = await stand.wait(6)
    await stand.clock.advance(12)
    await stand.give(question)
    call.end(events(item(6)))
    await settle()
    assert not joined.done()
    assert stand.server.calls[1].arguments == {"agent_id": "bob", "since_sequence": 6, "timeout_seconds": 8}


async def test_a_joined_wait_is_empty_when_its_time_is_up(stand: SourceStand) -> None:
    waiting, _, _, _ = await stand.asked(5)
    waiting.cancel()
    joined = await stand.wait(5, 3)
    await stand.clock.advance(3)
    assert joined.result() == ()
    assert len(stand.server.calls) == 1


async def test_a_call_that_breaks_is_everybodys_failure_who_takes_part(stand: SourceStand) -> None:
    waiting, call, _, _ = await stand.asked(5)
    joined = await stand.wait(5)
    call.fail(BridgeUnavailable("gone"))
    await settle()
    for task in (waiting, joined):
        with pytest.raises(BridgeUnavailable):
            task.result()
    _ = await stand.wait(5)
    assert len(stand.server.calls) == 2


async def test_after_its_question_a_call_has_its_own_time_again(stand: SourceStand) -> None:
    waiting, call, _, question = await stand.asked()
    waiting.cancel()
    await stand.clock.advance(100)
    await stand.give(question)
    await stand.clock.advance(24.9)
    assert not call.is_over
    await stand.clock.advance(0.1)
    assert call.is_cancelled


async def test_after_its_question_a_call_is_given_up_with_its_last_wait(stand: SourceStand) -> None:
    waiting, call, _, question = await stand.asked(5)
    joined = await stand.wait(5)
    await stand.give(question)
    waiting.cancel()
    await settle()
    assert not call.is_over
    joined.cancel()
    fresh = await stand.wait(5)
    assert call.is_cancelled
    stand.server.calls[1].end(events(item(6)))
    await settle()
    assert sequences(fresh) == [6]


async def test_another_credential_of_the_agent_has_calls_of_its_own(stand: SourceStand) -> None:
    _ = await stand.asked(5)
    _ = await stand.wait(5, secret=OTHER)
    assert [call.outgoing.headers["Authorization"] for call in stand.server.calls] == ["Bearer bobs", "Bearer other"]


async def test_at_the_end_all_calls_are_given_up_and_their_questions_withdrawn(stand: SourceStand) -> None:
    waiting, call, _, question = await stand.asked()
    await stand.bridge.close()
    assert call.is_cancelled
    assert stand.withdrawn == [question]
    with pytest.raises(BridgeUnavailable):
        waiting.result()
