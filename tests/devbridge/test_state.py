"""What outlives the process and what does not, and the bound on stores."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from proxy.devbridge.settings import Settings
from tests.support.manual_bridge import ManualBridge

Start = Callable[[Settings], Awaitable[ManualBridge]]


async def test_a_thousand_events_a_minute_are_stored_and_then_refused(bridge: ManualBridge) -> None:
    token = await bridge.token("alice")
    body = {"agent_id": "flood"}
    for _ in range(1000):
        assert (await bridge.call("POST", "/event/store", token=token, body=body))[0] == 200
    text = "Security validation failed: Rate limit exceeded for agent flood: 1000/min"
    assert await bridge.call("POST", "/event/store", token=token, body=body) == (500, {"detail": text})
    await bridge.set(rate_limits=False)
    assert (await bridge.call("POST", "/event/store", token=token, body=body))[0] == 200


async def test_a_restart_without_a_state_file_numbers_from_one_and_forgets_tokens(start: Start) -> None:
    first = await start(Settings())
    token = await first.token("alice")
    await first.ask(token)
    second = await start(Settings())
    assert (await second.call("GET", "/event/query", token=token))[0] == 403
    assert len(second.state.log) == 1


async def test_a_state_file_keeps_events_but_neither_tokens_nor_nonces(start: Start, tmp_path: Path) -> None:
    settings = Settings(state_file=tmp_path / "log.jsonl")
    first = await start(settings)
    alice = await first.token("alice")
    _, created = await first.ask(alice)
    # Read before the first one is closed: what was shown must be in the file already, as after a kill.
    second = await start(settings)
    assert (await second.call("GET", "/event/query", token=alice))[0] == 403
    alice, bob = await second.token("alice"), await second.token("bob")
    _, heard = await second.call("GET", "/event/wait?agent_id=alice", token=alice)
    events = heard["events"]
    assert isinstance(events, list)
    assert [event["event_type"] for event in events] == ["agent_registered", "custom", "agent_registered"]
    assert (await second.call("GET", "/elicitation/pending?agent_id=bob", token=bob))[1]["count"] == 0
    await second.ask(alice)
    assert (await second.call("GET", "/elicitation/pending?agent_id=bob", token=bob))[1]["count"] == 2
    text = "Replay attack detected"
    assert await second.answer(bob, created["elicitation_id"]) == (500, {"detail": text})
