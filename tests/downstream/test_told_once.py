"""The door of waits: an agent that changes its way does not read a question a second time in the other form."""

import asyncio
from pathlib import Path

import pytest

from tests.support.house import OFF, Stand, fields, stand
from tests.support.turns import let_others_run

pytestmark = pytest.mark.requirement("delivery.told_once")


async def _until_over(made: Stand, waiting: "asyncio.Task[object]") -> None:
    """Let time pass, step by step, until a wait has ended."""
    async with asyncio.timeout(20):
        while not waiting.done():
            made.clock.advance(0.05)
            await let_others_run()


async def test_what_was_relayed_as_a_note_is_not_put_as_an_elicitation_when_the_agent_changes_its_way(
    tmp_path: Path,
) -> None:
    async with stand(tmp_path, flags=OFF) as made:
        alice, bob = [await made.bridge.token(who) for who in ("alice", "bob")]
        before = len(made.bridge.state.log)
        first = made.wait("bob", bob, since_sequence=before, timeout_seconds=30)
        named = (await made.ask(alice))["elicitation_id"]
        await _until_over(made, first)
        (note,) = (await first).items
        assert fields(note["data"])["elicitation_type"] == "elicitation_requested"
        await made.house.flags(elicitation_enabled=True, elicitation_percentage=100)
        second = made.wait("bob", bob, since_sequence=note["sequence"], timeout_seconds=3)
        await _until_over(made, second)
        assert (await second).items == []
        assert (await made.respond(bob, named)).status == 200


async def test_an_answered_question_does_not_come_as_a_note_when_a_later_wait_falls_back(tmp_path: Path) -> None:
    async with stand(tmp_path, {"breaker.failures": "1"}) as made:
        alice, bob = [await made.bridge.token(who) for who in ("alice", "bob")]
        before = len(made.bridge.state.log)
        parked = await made.parked("bob", bob, timeout_seconds=30)
        named = (await made.ask(alice))["elicitation_id"]
        (item,) = (await parked).items
        assert item["event_type"] == "elicitation_request"
        assert (await made.respond(bob, named)).status == 200
        await made.bridge.set(fail_elicitation=True)
        waiting = made.wait("bob", bob, since_sequence=before, timeout_seconds=5)
        await _until_over(made, waiting)
        assert "elicitation_requested" not in str((await waiting).items)


async def test_an_open_question_stays_an_elicitation_when_elicitation_is_turned_off(tmp_path: Path) -> None:
    async with stand(tmp_path) as made:
        alice, bob = [await made.bridge.token(who) for who in ("alice", "bob")]
        before = len(made.bridge.state.log)
        parked = await made.parked("bob", bob, timeout_seconds=30)
        named = (await made.ask(alice))["elicitation_id"]
        await parked
        await made.house.flags(elicitation_enabled=False)
        waiting = made.wait("bob", bob, since_sequence=before, timeout_seconds=5)
        await _until_over(made, waiting)
        assert [fields(item["data"])["elicitation_id"] for item in (await waiting).items] == [named]
        assert (await made.respond(bob, named)).status == 200
        after = made.wait("bob", bob, since_sequence=before, timeout_seconds=5)
        await _until_over(made, after)
        assert "elicitation_requested" not in str((await after).items)


async def test_who_reads_in_another_agents_name_does_not_take_its_question_away(tmp_path: Path) -> None:
    async with stand(tmp_path, flags=OFF) as made:
        alice, bob, mallory = [await made.bridge.token(who) for who in ("alice", "bob", "mallory")]
        before = len(made.bridge.state.log)
        spying = made.wait("bob", mallory, since_sequence=before, timeout_seconds=30)
        named = (await made.ask(alice))["elicitation_id"]
        await _until_over(made, spying)
        assert "elicitation_requested" in str((await spying).items)
        await made.house.flags(elicitation_enabled=True, elicitation_percentage=100)
        waiting = made.wait("bob", bob, since_sequence=before, timeout_seconds=3)
        await _until_over(made, waiting)
        assert [fields(item["data"])["elicitation_id"] for item in (await waiting).items] == [named]
