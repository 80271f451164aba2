"""A question is told as an elicitation or by the note of the Bridge, whichever was first, on whatever way."""

import pytest

from proxy.core.flags import FlagSet, parse_patch
from proxy.core.secret import Secret
from tests.support.flow_stand import EVERYBODY, FlowStand, Item, World, flow_stand, ids, items, sequences

pytestmark = pytest.mark.requirement("delivery.told_once")

NOBODY = FlagSet(elicitation_enabled=True, elicitation_percentage=0.0)
ASKED = 1
"""The number of the Bridge's note of the first question."""


async def _hear(stand: FlowStand, token: Secret, *, since: int = 0) -> list[Item]:
    """One wait of two seconds."""
    task = await stand.wait("bob", token, since=since, timeout_s=2)
    await stand.clock.advance(3)
    return items(task)


async def _all_on_elicitation(stand: FlowStand, *, enabled: bool) -> None:
    percentage = 100 if enabled else 0
    await stand.board.change(parse_patch({"elicitation_percentage": percentage}), author="op", expected=None)


def _are_notes(found: list[Item]) -> list[bool]:
    return ["elicitation_requested" in str(item["data"]) for item in found]


async def test_what_was_told_as_an_elicitation_is_repeated_as_one_on_the_legacy_way_at_the_place_of_its_note() -> None:
    async with flow_stand(world=World(writes_notes=True)) as stand:
        token = stand.bridge.token("bob")
        asked = stand.bridge.ask("bob")
        assert ids(await _hear(stand, token)) == [asked.elicitation_id]
        await _all_on_elicitation(stand, enabled=False)
        found = await _hear(stand, token)
        assert ids(found) == [asked.elicitation_id]
        assert sequences(found) == [ASKED]
        assert await _hear(stand, token, since=ASKED) == []


async def test_once_it_is_answered_its_note_is_left_out_on_the_legacy_way() -> None:
    async with flow_stand(world=World(writes_notes=True)) as stand:
        token = stand.bridge.token("bob")
        asked = stand.bridge.ask("bob")
        await _hear(stand, token)
        await stand.give(asked.elicitation_id, token)
        await _all_on_elicitation(stand, enabled=False)
        stand.bridge.store({"text": "a word"})
        found = await _hear(stand, token)
        assert "a word" in str(found)
        assert not any(_are_notes(found))
        assert asked.elicitation_id not in str(found)


async def test_a_wait_that_falls_back_does_not_tell_of_it_by_its_note() -> None:
    async with flow_stand(world=World(writes_notes=True), breaker_failures=1) as stand:
        token = stand.bridge.token("bob")
        asked = stand.bridge.ask("bob")
        await _hear(stand, token)
        await stand.give(asked.elicitation_id, token)
        stand.breaker.failed(stand.clock.now())
        assert not any(_are_notes(await _hear(stand, token)))


async def test_what_was_told_by_its_note_is_not_put_as_an_elicitation_later() -> None:
    async with flow_stand(world=World(writes_notes=True), flags=NOBODY) as stand:
        token = stand.bridge.token("bob")
        stand.bridge.ask("bob")
        found = await _hear(stand, token)
        assert _are_notes(found) == [True]
        await _all_on_elicitation(stand, enabled=True)
        assert await _hear(stand, token, since=ASKED) == []


async def test_a_note_that_did_not_arrive_comes_as_a_note_on_the_elicitation_way_too() -> None:
    async with flow_stand(world=World(writes_notes=True), flags=NOBODY) as stand:
        token = stand.bridge.token("bob")
        stand.bridge.ask("bob")
        lost = await _hear(stand, token)
        await _all_on_elicitation(stand, enabled=True)
        assert await _hear(stand, token) == lost


async def test_what_was_ignored_is_repeated_on_the_legacy_way_though_its_note_is_behind_the_cursor() -> None:
    async with flow_stand(world=World(writes_notes=True), redeliver_s=30.0) as stand:
        token = stand.bridge.token("bob")
        asked = stand.bridge.ask("bob", timeout_s=600.0)
        await _hear(stand, token)
        await _all_on_elicitation(stand, enabled=False)
        await _hear(stand, token)
        assert await _hear(stand, token, since=ASKED) == []
        await stand.clock.advance(60)
        assert ids(await _hear(stand, token, since=ASKED)) == [asked.elicitation_id]


@pytest.mark.requirement("restart.questions")
@pytest.mark.parametrize("is_note", [True, False])
async def test_how_it_was_told_outlives_the_process(*, is_note: bool) -> None:
    world = World(writes_notes=True)
    async with flow_stand(world=world, flags=NOBODY if is_note else EVERYBODY) as stand:
        token = stand.bridge.token("bob")
        stand.bridge.ask("bob")
        told = await _hear(stand, token)
        assert _are_notes(told) == [is_note]
    world.journal.crash(lost=1_000_000)
    async with flow_stand(world=world, flags=EVERYBODY if is_note else NOBODY) as stand:
        again = await _hear(stand, token)
        assert _are_notes(again) == [is_note]


async def test_two_questions_in_the_same_words_are_told_apart_by_their_deadlines() -> None:
    async with flow_stand(world=World(writes_notes=True), flags=NOBODY) as stand:
        token = stand.bridge.token("bob")
        stand.bridge.ask("bob")
        assert _are_notes(await _hear(stand, token)) == [True]
        await _all_on_elicitation(stand, enabled=True)
        second = stand.bridge.ask("bob")
        assert ids(await _hear(stand, token, since=ASKED)) == [second.elicitation_id]


@pytest.mark.requirement("naming.never_wrong")
async def test_an_answer_read_on_the_legacy_way_leaves_its_name_to_no_other_in_the_same_words() -> None:
    async with flow_stand(world=World(writes_notes=True), flags=NOBODY) as stand:
        alice, bob = stand.bridge.token("alice"), stand.bridge.token("bob")
        first, second = stand.bridge.ask("bob"), stand.bridge.ask("bob")
        for question in (first, second):
            stand.feeds.question_created(question)
        await stand.give(first.elicitation_id, bob)
        heard = await stand.wait("alice", alice, timeout_s=2)
        await stand.clock.advance(3)
        await _all_on_elicitation(stand, enabled=True)
        await stand.give(second.elicitation_id, bob)
        cursor = max(int(str(number)) for number in sequences(items(heard)))
        later = await stand.wait("alice", alice, since=cursor, timeout_s=2)
        await stand.clock.advance(3)
        assert ids(items(later)) == [second.elicitation_id]
