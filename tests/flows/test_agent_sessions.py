"""Bridge sessions of our own: one for each agent, shared, and opened anew only when the Bridge forgot it."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress

import pytest

from proxy.core.errors import BridgeUnavailable
from proxy.core.ids import AgentId
from proxy.core.secret import Secret
from proxy.flows import agent_sessions
from proxy.flows.agent_sessions import AgentSessions
from tests.support.fake_bridge import FakeBridge
from tests.support.manual_clock import ManualClock, settle

pytestmark = pytest.mark.requirement("mcp.one_session")

ALICE, BOB = AgentId("alice"), AgentId("bob")


def _sessions(group: asyncio.TaskGroup) -> tuple[AgentSessions, FakeBridge]:
    bridge = FakeBridge(ManualClock())

    def spawn(work: Coroutine[object, object, None], name: str) -> "asyncio.Task[None]":
        return group.create_task(work, name=name)

    return AgentSessions(bridge, spawn), bridge


async def _credential(sessions: AgentSessions, agent_id: AgentId) -> Secret:
    return await sessions.credential_for(agent_id)


async def test_a_session_is_opened_at_the_first_need_and_kept() -> None:
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        sessions, bridge = _sessions(group)
        first = await sessions.credential_for(BOB)
        assert first.reveal() in bridge.tokens
        assert await sessions.credential_for(BOB) is first
        assert await sessions.credential_for(ALICE) is not first
        assert bridge.count("open_session") == 2


async def test_calls_at_once_share_one_opening() -> None:
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        sessions, bridge = _sessions(group)
        gate = bridge.gate("open_session")
        tasks = [group.create_task(_credential(sessions, BOB)) for _ in range(5)]
        other = group.create_task(_credential(sessions, ALICE))
        await gate.reached(2)
        assert bridge.count("open_session") == 2
        gate.open()
        assert len({id(await task) for task in tasks}) == 1
        assert await other not in [await task for task in tasks]
        assert bridge.count("open_session") == 2


async def test_an_opening_goes_on_when_the_call_that_began_it_is_given_up() -> None:
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        sessions, bridge = _sessions(group)
        gate = bridge.gate("open_session")
        first, second = (group.create_task(_credential(sessions, BOB)) for _ in range(2))
        await gate.reached()
        first.cancel()
        await settle()
        gate.open()
        assert await second is await sessions.credential_for(BOB)
        with suppress(asyncio.CancelledError):
            await first
        assert first.cancelled()
        assert bridge.count("open_session") == 1


async def test_a_failure_is_told_to_all_and_forgotten() -> None:
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        sessions, bridge = _sessions(group)
        bridge.fails("open_session", lambda: BridgeUnavailable("refused"), times=1)
        gate = bridge.gate("open_session")

        async def fail() -> None:
            with pytest.raises(BridgeUnavailable, match="refused"):
                await sessions.credential_for(BOB)

        tasks = [group.create_task(fail()) for _ in range(2)]
        await gate.reached()
        gate.open()
        for task in tasks:
            await task
        assert (await sessions.credential_for(BOB)).reveal() in bridge.tokens
        assert bridge.count("open_session") == 2


async def test_a_refused_credential_is_replaced_once_however_many_saw_it_refused() -> None:
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        sessions, bridge = _sessions(group)
        refused = await sessions.credential_for(BOB)
        sessions.forget(BOB, refused)
        renewed = await sessions.credential_for(BOB)
        assert renewed is not refused
        sessions.forget(BOB, refused)
        sessions.forget(ALICE, refused)
        assert await sessions.credential_for(BOB) is renewed
        assert bridge.count("open_session") == 2


async def test_the_oldest_is_forgotten_beyond_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_sessions, "MAX_SESSIONS", 2)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        sessions, bridge = _sessions(group)
        kept = [await sessions.credential_for(AgentId(f"agent-{number}")) for number in range(3)]
        assert [await sessions.credential_for(AgentId(f"agent-{number}")) for number in (1, 2)] == kept[1:]
        assert bridge.count("open_session") == 3
        assert await sessions.credential_for(AgentId("agent-0")) is not kept[0]


async def test_when_the_sidecar_stops_nobody_is_left_waiting_for_a_session() -> None:
    tasks: list[asyncio.Task[None]] = []
    loop = asyncio.get_running_loop()

    def spawn(work: Coroutine[object, object, None], name: str) -> "asyncio.Task[None]":
        tasks.append(loop.create_task(work, name=name))
        return tasks[-1]

    bridge = FakeBridge(ManualClock())
    gate = bridge.gate("open_session")
    sessions = AgentSessions(bridge, spawn)
    async with asyncio.timeout(5):
        waiting = loop.create_task(_credential(sessions, BOB))
        await gate.reached()
        tasks[0].cancel()
        with pytest.raises(BridgeUnavailable, match="stops"):
            await waiting
