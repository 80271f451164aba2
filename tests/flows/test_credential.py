"""The token an agent waits with: when it is trusted, and when another takes its place."""

import asyncio
from collections.abc import Coroutine

import pytest

from proxy.core.errors import BridgeTimeout
from proxy.core.ids import AgentId
from proxy.core.secret import Secret
from proxy.flows.agent_sessions import AgentSessions
from proxy.flows.credential import RENEW_S, TRUST_S, BridgeCredential
from tests.support.fake_bridge import FakeBridge, refused
from tests.support.manual_clock import ManualClock

BOB = AgentId("bob")


def _spawn(work: Coroutine[object, object, None], name: str) -> "asyncio.Task[None]":
    loop = asyncio.get_running_loop()
    return loop.create_task(work, name=name)


class Stand:
    def __init__(self, issued_to: str = "bob") -> None:
        self.clock = ManualClock()
        self.bridge = FakeBridge(self.clock)
        self.sessions = AgentSessions(self.bridge, _spawn)
        self.secret = self.bridge.token(issued_to)
        self.access = BridgeCredential(BOB, self.secret, self.sessions, self.clock)

    async def renewed(self, status: int = 403) -> bool:
        async with asyncio.timeout(5):
            return await self.access.renewed_after(refused(status))

    def opened(self) -> int:
        return self.bridge.count("open_session")


async def test_a_token_is_trusted_for_a_minute_after_the_bridge_accepted_it() -> None:
    stand = Stand()
    assert not stand.access.is_trusted()
    stand.access.accepted()
    await stand.clock.advance(TRUST_S - 0.001)
    assert stand.access.is_trusted()
    await stand.clock.advance(0.001)
    assert not stand.access.is_trusted()
    assert stand.access.is_known()


async def test_a_refused_token_loses_all_trust_at_once() -> None:
    stand = Stand()
    stand.access.accepted()
    stand.access.doubted()
    assert (stand.access.is_trusted(), stand.access.is_known()) == (False, True)
    stand.access.accepted()
    stand.access.given_up()
    assert (stand.access.is_trusted(), stand.access.is_known()) == (False, False)


@pytest.mark.requirement("sessions.renewal")
async def test_a_token_that_died_with_the_bridge_is_replaced_behind_the_agents_back() -> None:
    stand = Stand()
    stand.access.accepted()
    stand.access.disturbed()
    assert await stand.renewed()
    assert stand.access.secret.reveal() in stand.bridge.tokens - {stand.secret.reveal()}
    assert stand.access.stands_for(stand.secret.fingerprint())
    assert not stand.access.stands_for(Secret("Bearer other").fingerprint())


@pytest.mark.requirement("sessions.renewal")
@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
async def test_only_a_refused_token_is_replaced(status: int) -> None:
    stand = Stand()
    stand.access.accepted()
    stand.access.disturbed()
    assert not await stand.renewed(status)
    assert stand.opened() == 0


@pytest.mark.requirement("sessions.renewal")
async def test_without_a_break_of_contact_no_session_is_opened() -> None:
    stand = Stand()
    stand.access.accepted()
    assert not await stand.renewed()
    stand.access.disturbed()
    stand.access.accepted()
    assert not await stand.renewed()
    assert stand.opened() == 0


@pytest.mark.requirement("sessions.renewal")
async def test_a_token_that_never_was_accepted_is_not_replaced() -> None:
    stand = Stand()
    stand.access.disturbed()
    assert not await stand.renewed()
    stand.access.accepted()
    stand.access.given_up()
    stand.access.disturbed()
    assert not await stand.renewed()
    assert stand.opened() == 0


@pytest.mark.requirement("sessions.renewal")
async def test_sessions_are_opened_once_a_minute_at_most() -> None:
    stand = Stand()
    for expected in (True, False):
        stand.access.accepted()
        stand.access.disturbed()
        assert await stand.renewed() is expected
    await stand.clock.advance(RENEW_S)
    assert await stand.renewed()
    assert stand.opened() == 2


async def test_a_bridge_that_opens_no_session_lets_the_refusal_stand() -> None:
    stand = Stand()
    stand.access.accepted()
    stand.access.disturbed()
    stand.bridge.fails("open_session", lambda: BridgeTimeout("late"))
    assert not await stand.renewed()
    assert stand.access.secret is stand.secret


@pytest.mark.requirement("sessions.own_token")
@pytest.mark.parametrize("issued_to", ["mallory", "", "bobby", "mallory:bob"])
async def test_a_token_of_another_agent_is_not_replaced(issued_to: str) -> None:
    stand = Stand(issued_to)
    stand.access.accepted()
    stand.access.disturbed()
    assert not await stand.renewed()
    assert stand.opened() == 0
    assert stand.access.secret is stand.secret


@pytest.mark.requirement("sessions.shared")
async def test_all_tokens_of_one_agent_are_replaced_by_the_same_session() -> None:
    stand = Stand()
    others = [BridgeCredential(BOB, stand.bridge.token("bob"), stand.sessions, stand.clock) for _ in range(3)]
    for _ in range(2):  # two restarts
        for access in (stand.access, *others):
            access.accepted()
            access.disturbed()
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            renewals = [group.create_task(access.renewed_after(refused(403))) for access in (stand.access, *others)]
        assert [renewal.result() for renewal in renewals] == [True] * 4
        assert {access.secret for access in others} == {stand.access.secret}
        await stand.clock.advance(RENEW_S)
    assert stand.opened() == 2


@pytest.mark.requirement("sessions.shared")
async def test_a_session_that_died_too_is_replaced_at_once() -> None:
    stand = Stand()
    old = await stand.sessions.credential_for(BOB)  # opened for a call by MCP, before the Bridge restarted
    stand.access.accepted()
    stand.access.disturbed()
    assert await stand.renewed()
    assert stand.access.secret is old
    assert await stand.renewed()
    assert stand.access.secret is not old
    assert await stand.sessions.credential_for(BOB) is stand.access.secret
    assert not await stand.renewed()
    assert stand.opened() == 2


@pytest.mark.requirement("fallback.in_place")
def test_whoever_watches_hears_each_time_that_contact_breaks_and_no_longer_than_it_wants() -> None:
    made, heard = Stand(), list[str]()
    made.access.disturbed()
    with made.access.watched(lambda: heard.append("one")), made.access.watched(lambda: heard.append("two")):
        made.access.disturbed()
        assert made.access.is_disturbed()
        made.access.accepted()
        assert not made.access.is_disturbed()
        made.access.disturbed()
    made.access.disturbed()
    assert heard == ["one", "two"] * 2
