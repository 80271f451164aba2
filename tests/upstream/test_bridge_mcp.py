"""Waits and credentials of the Bridge port over an MCP server that asks by itself."""

import asyncio
from collections.abc import AsyncIterator
from typing import NoReturn

import pytest

from proxy.core.errors import BadBridgeReply, BridgeRefused, BridgeTimeout, BridgeUnavailable, InvalidInput
from proxy.mcp.revisions import Era, Mode
from proxy.upstream import bridge_mcp
from proxy.upstream.bridge_mcp import TRUST_S
from tests.support.asking_server import AskingServer, events, item
from tests.support.manual_clock import settle
from tests.support.source_stand import BOB, BOBS, CAROL, OTHER, SourceStand, sequences, source_stand

pytestmark = pytest.mark.requirement("mcp.source")


@pytest.fixture
async def stand() -> AsyncIterator[SourceStand]:
    async with source_stand() as made:
        yield made


@pytest.mark.parametrize("era", list(Era))
async def test_a_wait_is_a_call_of_the_tool_in_the_servers_era_that_can_be_asked_by_form(
    stand: SourceStand, era: Era
) -> None:
    stand.server.era = era
    task = await stand.wait(7, 20.9)
    (call,) = stand.server.calls
    assert (call.era, call.outgoing.method) == (era, "tools/call")
    assert call.outgoing.params.startswith(b'{"name":"wait_tool","arguments":')
    assert call.arguments == {"agent_id": "bob", "since_sequence": 7, "timeout_seconds": 20}
    assert call.outgoing.modes == {Mode.FORM}
    assert call.outgoing.headers == {"Authorization": "Bearer bobs"}
    assert call.outgoing.principal == BOBS.fingerprint().hex()
    call.end(events(item(9), item(8, {"n": 1})))
    await settle()
    assert sequences(task) == [8, 9]
    assert task.result()[0].data == b'{"n":1}'


async def test_a_wait_that_sees_nothing_is_empty(stand: SourceStand) -> None:
    task = await stand.wait(hold_s=0)
    assert stand.server.calls[0].arguments["timeout_seconds"] == 1
    stand.server.calls[0].end(events())
    await settle()
    assert task.result() == ()


async def test_a_server_that_does_not_answer_in_time_has_timed_out(stand: SourceStand) -> None:
    task = await stand.wait(hold_s=20)
    await stand.clock.advance(24.9)
    assert not task.done()
    await stand.clock.advance(0.1)
    with pytest.raises(BridgeTimeout):
        task.result()
    assert stand.server.calls[0].is_cancelled


async def test_a_wait_that_is_given_up_gives_up_its_call(stand: SourceStand) -> None:
    task = await stand.wait()
    task.cancel()
    await settle()
    assert stand.server.calls[0].is_cancelled
    again = await stand.wait(3)
    stand.server.calls[1].end(events(item(4)))
    await settle()
    assert sequences(again) == [4]


async def test_a_wait_that_is_given_up_before_it_began_leaves_nothing(stand: SourceStand) -> None:
    work = stand.bridge.wait(BOB, BOBS, since=0, hold_s=5)
    work.send(None)
    with pytest.raises(asyncio.CancelledError):
        work.throw(asyncio.CancelledError())
    await settle()
    assert stand.server.calls == []


async def test_two_waits_without_a_question_are_two_calls(stand: SourceStand) -> None:
    one, two = await stand.wait(1), await stand.wait(5)
    stand.server.calls[1].end(events(item(6)))
    await settle()
    assert sequences(two) == [6]
    one.cancel()


async def test_a_failed_call_is_the_waits_failure(stand: SourceStand) -> None:
    task = await stand.wait()
    stand.server.calls[0].fail(BridgeUnavailable("gone"))
    await settle()
    with pytest.raises(BridgeUnavailable):
        task.result()
    task = await stand.wait()
    stand.server.calls[1].refuse("no such tool")
    await settle()
    with pytest.raises(BridgeRefused) as caught:
        task.result()
    assert (caught.value.bridge_status, caught.value.body) == (502, b'{"detail":"no such tool"}')


async def test_what_cannot_be_said_to_the_server_is_a_bad_reply(
    stand: SourceStand, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def request(*_: object, **__: object) -> object:
        raise InvalidInput("no")

    monkeypatch.setattr(AskingServer, "request", request)
    with pytest.raises(BadBridgeReply):
        await stand.bridge.wait(BOB, BOBS, since=0, hold_s=5)


# Credentials


async def test_a_refused_credential_is_refused_everywhere_and_its_session_is_forgotten(stand: SourceStand) -> None:
    stand.server.refused.add("Bearer other")
    for call in (
        stand.bridge.wait(BOB, OTHER, since=0, hold_s=5),
        stand.bridge.pending(BOB, OTHER),
    ):
        with pytest.raises(BridgeRefused) as caught:
            await call
        assert caught.value.bridge_status == 401
    await settle()
    assert stand.server.forgotten == [OTHER.fingerprint().hex()] * 2


async def test_a_credential_that_is_refused_later_is_not_believed_any_more(stand: SourceStand) -> None:
    task = await stand.wait()
    stand.server.calls[0].end(events())
    await settle()
    assert task.result() == ()
    assert await stand.bridge.pending(BOB, BOBS) == ()
    stand.server.refused.add("Bearer bobs")
    assert await stand.bridge.pending(BOB, BOBS) == ()
    with pytest.raises(BridgeRefused):
        await stand.bridge.wait(BOB, BOBS, since=0, hold_s=5)
    with pytest.raises(BridgeRefused):
        await stand.bridge.pending(BOB, BOBS)


async def test_the_server_is_asked_about_a_credential_once_a_minute_at_most(stand: SourceStand) -> None:
    for _ in range(3):
        assert await stand.bridge.pending(BOB, BOBS) == ()
    assert len(stand.server.descriptions) == 1
    await stand.clock.advance(TRUST_S)
    await stand.bridge.pending(BOB, BOBS)
    assert len(stand.server.descriptions) == 2
    assert stand.server.calls == []


async def test_what_stands_for_an_agent_without_credential_stays_here(stand: SourceStand) -> None:
    own = await stand.bridge.open_session(BOB)
    assert (await stand.bridge.open_session(BOB)).matches(own.reveal())
    assert not (await stand.bridge.open_session(CAROL)).matches(own.reveal())
    assert await stand.bridge.pending(BOB, own) == ()
    assert stand.server.descriptions[0].headers == {}
    assert stand.server.descriptions[0].principal == own.fingerprint().hex()


async def test_only_so_many_credentials_are_remembered(stand: SourceStand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_mcp, "MAX_KNOWN", 1)
    for secret in (BOBS, OTHER, BOBS, BOBS):
        assert await stand.bridge.pending(BOB, secret) == ()
    assert len(stand.server.descriptions) == 3


async def test_a_server_that_is_gone_is_unavailable(stand: SourceStand) -> None:
    stand.server.fault = BridgeUnavailable("gone")
    with pytest.raises(BridgeUnavailable):
        await stand.bridge.pending(BOB, BOBS)
    with pytest.raises(BridgeUnavailable):
        await stand.bridge.wait(BOB, BOBS, since=0, hold_s=5)


class Broken(AskingServer):
    """A mistake is planted in it."""

    __slots__ = ()

    async def request(self, *_: object, **__: object) -> NoReturn:
        raise ZeroDivisionError("planted")


async def test_a_defect_ends_its_wait_and_is_reported() -> None:
    async with source_stand(Broken()) as stand:
        waiting = await stand.wait()
        assert isinstance(waiting.exception(), BridgeUnavailable)
        assert [where for where, _ in stand.defects] == ["wait at the MCP server"]
