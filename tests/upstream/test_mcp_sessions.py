"""Which sessions are opened at a server of the handshake era, how long they are kept, and how they end."""

import asyncio
from dataclasses import replace

import pytest
from aiohttp import web

from proxy.core.errors import BridgeRefused
from proxy.mcp.calling import Outgoing
from proxy.mcp.revisions import Era, Mode
from proxy.upstream import mcp_sessions
from proxy.upstream.mcp_client import CLOSE_S
from tests.support.scripted_mcp import Got, UpstreamStand, never_asked, unheard, upstream_stand

pytestmark = pytest.mark.requirement("mcp.upstream.sessions")

CALL = Outgoing(method="tools/call", params=b'{"name":"echo"}', headers={"Authorization": "Bearer t"}, principal="p")


async def script(got: Got) -> web.StreamResponse | None:
    return got.result({}) if got.method == "tools/call" else None


async def send(stand: UpstreamStand, call: Outgoing = CALL) -> None:
    await stand.upstream.request(Era.HANDSHAKE, call, on_ask=never_asked, on_note=unheard)


def sessions(stand: UpstreamStand, verb: str = "POST") -> list[str]:
    method = "tools/call" if verb == "POST" else None
    return [got.headers["Mcp-Session-Id"] for got in stand.server.all(method, verb)]


async def test_only_requests_of_the_same_principal_client_and_modes_share_a_session() -> None:
    others = [
        replace(CALL, headers={"Authorization": "Bearer renewed"}),
        replace(CALL, principal="q"),
        replace(CALL, modes=frozenset({Mode.FORM})),
        replace(CALL, client_name="other"),
    ]
    async with upstream_stand(script) as stand:
        for call in (CALL, *others, CALL):
            await send(stand, call)
    assert sessions(stand) == ["s1", "s1", "s2", "s3", "s4", "s1"]


async def test_requests_that_come_at_once_share_one_opening() -> None:
    async with upstream_stand(script) as stand, asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(send(stand))
    assert sessions(stand) == ["s1"] * 5
    assert len(stand.server.all("initialize")) == 1


async def test_an_opening_that_fails_fails_all_that_wait_and_is_tried_again_by_the_next() -> None:
    async def refuse(got: Got) -> web.StreamResponse | None:
        is_first = got.method == "initialize" and len(stand.server.all("initialize")) == 1
        return web.Response(status=503) if is_first else await script(got)

    async def refused() -> None:
        with pytest.raises(BridgeRefused):
            await send(stand)

    async with upstream_stand(refuse) as stand:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(refused())
        await send(stand)
    assert len(stand.server.all("initialize")) == 2


async def test_a_session_that_nobody_uses_for_a_while_is_ended_with_its_credentials() -> None:
    async with upstream_stand(script) as stand:
        await send(stand)
        await stand.clock.advance(200)
        await send(stand)
        await stand.clock.advance(299)
        assert stand.server.all(None, "DELETE") == []
        await stand.clock.advance(2)
        (ended,) = await stand.server.until(1, None, "DELETE")
        await send(stand)
    assert (ended.headers["Mcp-Session-Id"], ended.headers["Authorization"]) == ("s1", "Bearer t")
    assert sessions(stand) == ["s1", "s1", "s2"]


async def test_a_session_in_use_is_not_ended_by_time() -> None:
    may_end = asyncio.Event()

    async def slow(got: Got) -> web.StreamResponse | None:
        if got.method == "tools/call":
            await may_end.wait()
        return await script(got)

    async with upstream_stand(slow) as stand:
        call = stand.group.create_task(send(stand))
        await stand.server.until(1, "tools/call")
        await stand.clock.advance(1000)
        assert stand.server.all(None, "DELETE") == []
        may_end.set()
        await call


async def test_a_principal_can_be_forgotten() -> None:
    async with upstream_stand(script) as stand:
        await send(stand)
        await send(stand, replace(CALL, principal="q"))
        await stand.upstream.forget("p")
        assert sessions(stand, "DELETE") == ["s1"]
        await stand.upstream.forget("p")
        await send(stand)
    assert sessions(stand) == ["s1", "s2", "s3"]


async def test_a_session_in_use_ends_with_its_last_request() -> None:
    may_end = asyncio.Event()

    async def slow(got: Got) -> web.StreamResponse | None:
        if got.method == "tools/call":
            await may_end.wait()
        return await script(got)

    async with upstream_stand(slow) as stand:
        calls = [stand.group.create_task(send(stand)) for _ in range(2)]
        await stand.server.until(2, "tools/call")
        await stand.upstream.forget("p")
        assert stand.server.all(None, "DELETE") == []
        may_end.set()
        for call in calls:
            await call
        await stand.server.until(1, None, "DELETE")
    assert sessions(stand, "DELETE") == ["s1"]


async def test_a_server_that_lets_nobody_end_sessions_is_left_alone() -> None:
    async def refuse(got: Got) -> web.StreamResponse | None:
        return web.Response(status=405) if got.verb == "DELETE" else await script(got)

    async with upstream_stand(refuse) as stand:
        await send(stand)
        await stand.upstream.close()
        await send(stand)
    assert sessions(stand) == ["s1", "s2"]


async def test_last_words_take_no_longer_than_an_exit_may() -> None:
    is_gone = asyncio.Event()

    async def hang(got: Got) -> web.StreamResponse | None:
        if got.verb == "DELETE" or got.method == "notifications/cancelled":
            await asyncio.Event().wait()
        if got.method == "tools/call" and got.headers["Mcp-Session-Id"] == "s2":
            is_gone.set()
            await asyncio.Event().wait()
        return await script(got)

    async with upstream_stand(hang) as stand:
        await send(stand)
        call = stand.group.create_task(send(stand, replace(CALL, principal="q")))
        async with asyncio.timeout(5):
            await is_gone.wait()
        call.cancel()
        await stand.server.until(1, "notifications/cancelled")
        closing = stand.group.create_task(stand.upstream.close())
        await stand.server.until(1, None, "DELETE")
        assert not closing.done()
        await stand.clock.advance(CLOSE_S)
        await closing
        await stand.server.until(2, None, "DELETE")
        await stand.clock.advance(CLOSE_S)
    assert sorted(sessions(stand, "DELETE")) == ["s1", "s2"]


async def test_the_longest_idle_session_makes_room() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mcp_sessions, "MAX_SESSIONS", 2)
        async with upstream_stand(script) as stand:
            for principal in ("a", "b", "a", "c"):
                await send(stand, replace(CALL, principal=principal))
            await stand.server.until(1, None, "DELETE")
    assert sessions(stand, "DELETE") == ["s2"]


async def test_a_session_for_which_there_is_no_room_ends_with_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp_sessions, "MAX_SESSIONS", 1)
    may_end = asyncio.Event()

    async def slow(got: Got) -> web.StreamResponse | None:
        if got.method == "tools/call" and got.headers["Mcp-Session-Id"] == "s1":
            await may_end.wait()
        return await script(got)

    async with upstream_stand(slow) as stand:
        call = stand.group.create_task(send(stand))
        await stand.server.until(1, "tools/call")
        await send(stand, replace(CALL, principal="q"))
        await stand.server.until(1, None, "DELETE")
        may_end.set()
        await call
    assert sessions(stand, "DELETE") == ["s2"]


async def test_an_idle_session_that_the_server_lost_is_not_ended_there() -> None:
    async def lose(got: Got) -> web.StreamResponse | None:
        is_first = got.method == "tools/call" and got.headers["Mcp-Session-Id"] == "s1"
        return web.Response(status=404) if is_first else await script(got)

    async with upstream_stand(lose) as stand:
        await send(stand)
        await stand.upstream.close()
    assert sessions(stand, "DELETE") == ["s2"]
