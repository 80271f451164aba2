"""Tokens, and the faults that switches put in front of the elicitation doors."""

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from proxy.devbridge.settings import Settings, Switches
from tests.support.manual_bridge import ManualBridge

Start = Callable[[Settings], Awaitable[ManualBridge]]


@pytest.mark.parametrize(
    ("header", "status", "detail"),
    [
        (None, 403, "Not authenticated"),
        ("Bearer", 403, "Not authenticated"),
        ("Basic abcdefghijkl", 403, "Invalid authentication credentials"),
        ("Bearer short", 401, "Invalid authentication token"),
        ("Bearer s:alice:1.0:forged", 403, "Authentication token is not valid or has expired"),
    ],
)
async def test_a_call_without_a_valid_token_is_refused(
    bridge: ManualBridge, header: str | None, status: int, detail: str
) -> None:
    headers = {} if header is None else {"Authorization": header}
    for path in ("/event/wait?agent_id=a", "/event/query", "/elicitation/pending?agent_id=a"):
        reply = await bridge.client.get(path, headers=headers)
        assert (reply.status, await reply.json()) == (status, {"detail": detail})


async def test_an_abused_session_is_refused_after_a_minute_unless_the_rule_is_off(
    bridge: ManualBridge,
) -> None:
    token = await bridge.token("alice")
    for _ in range(103):
        assert (await bridge.call("GET", "/event/query", token=token))[0] == 200
    bridge.pace.advance(61)
    assert (await bridge.call("GET", "/event/query", token=token))[0] == 403
    await bridge.set(abuse_rule=False)
    assert (await bridge.call("GET", "/event/query", token=token))[0] == 200


async def test_the_older_bridge_knows_no_elicitation(start: Start) -> None:
    bridge = await start(Settings(switches=Switches(elicitation=False)))
    assert await bridge.ask(await bridge.token("alice")) == (404, {"detail": "Not Found"})
    await bridge.set(elicitation=True)
    assert (await bridge.ask(await bridge.token("alice")))[0] == 200


async def test_failures_are_switched_for_good_or_for_the_next_few(bridge: ManualBridge) -> None:
    alice = await bridge.token("alice")
    await bridge.set(fail_next=2)
    assert [(await bridge.ask(alice))[0] for _ in range(3)] == [500, 500, 200]
    assert (await bridge.call("GET", "/dev/switches"))[1]["fail_next"] == 0
    await bridge.set(fail_elicitation=True)
    assert (await bridge.ask(alice))[0] == 500
    assert (await bridge.call("GET", "/event/query", token=alice))[0] == 200


async def test_a_slow_bridge_answers_after_its_delay(bridge: ManualBridge) -> None:
    alice = await bridge.token("alice")
    await bridge.set(slow_ms=250)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(bridge.ask(alice))
        await bridge.pace.until_sleeping()
        bridge.pace.advance(0.24)
        assert not task.done()
        bridge.pace.advance(0.01)
        assert (await task)[0] == 200


async def test_a_hanging_bridge_answers_once_the_switch_is_off(bridge: ManualBridge) -> None:
    alice = await bridge.token("alice")
    await bridge.set(hang_elicitation=True)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        task = group.create_task(bridge.ask(alice))
        while "POST /elicitation/create" not in bridge.state.arrived:  # noqa: ASYNC110  (a counter has no event)
            await asyncio.sleep(0)
        await bridge.set(slow_ms=0)
        assert not task.done()
        await bridge.set(hang_elicitation=False)
        assert (await task)[0] == 200


async def test_a_lost_reply_leaves_the_answer_taken(bridge: ManualBridge) -> None:
    alice, bob = await bridge.token("alice"), await bridge.token("bob")
    _, created = await bridge.ask(alice)
    await bridge.set(lose_respond_reply=True)
    with pytest.raises(aiohttp.ClientConnectionError):
        await bridge.answer(bob, created["elicitation_id"])
    _, standing = await bridge.call("GET", f"/elicitation/status/{created['elicitation_id']}", token=alice)
    assert standing["status"] == "accepted"
