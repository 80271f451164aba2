"""What the FlagStore port promises, on every store."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.core.cohort import Cohort
from proxy.core.errors import FlagConflict
from proxy.core.flags import FlagChange, FlagSet, describe_change, parse_patch
from proxy.core.ids import AgentId
from proxy.ports import FlagStore
from proxy.stores import flag_history
from proxy.stores.memory import MemoryFlagStore
from proxy.stores.sqlite import SqliteFlagStore
from proxy.stores.writer import SqliteWriter

ALICE, BOB = AgentId("alice"), AgentId("b\N{SNOWMAN}b'; DROP TABLE forced; --")
FIRST = FlagSet()


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FlagStore]:
    if request.param == "memory":
        yield MemoryFlagStore()
        return
    writer = await asyncio.to_thread(SqliteWriter, tmp_path / "state.db")
    try:
        yield SqliteFlagStore(writer)
    finally:
        await asyncio.to_thread(writer.close)


def _next(before: FlagSet, **flags: object) -> tuple[FlagSet, FlagChange]:
    after = before.patched(parse_patch(flags))
    return after, describe_change(before, after, at=before.version / 8, author="op", reason="why")


async def _set(store: FlagStore, before: FlagSet, **flags: object) -> FlagSet:
    after, change = _next(before, **flags)
    await store.compare_and_set(after, change, expected=before.version)
    return after


async def test_a_fresh_store_holds_nothing(store: FlagStore) -> None:
    assert await store.load() is None
    assert list(await store.history(10)) == []
    assert await store.forced() == {}


async def test_what_was_stored_is_loaded_with_every_flag(store: FlagStore) -> None:
    after = await _set(
        store,
        FIRST,
        elicitation_enabled=True,
        elicitation_percentage=12.345,
        elicitation_whitelist=["ops", "\N{SNOWMAN}"],
        elicitation_denylist=["bob"],
        ab_testing_enabled=True,
        legacy_fallback=False,
        legacy_support=False,
        deprecation_warnings=True,
    )
    assert await store.load() == after
    assert after.version == 2


@pytest.mark.requirement("flags.compare_and_set")
async def test_a_set_based_on_another_version_is_refused_and_changes_nothing(store: FlagStore) -> None:
    second = await _set(store, FIRST, elicitation_enabled=True)
    third, change = _next(replace(second, version=7), elicitation_percentage=50)
    with pytest.raises(FlagConflict) as caught:
        await store.compare_and_set(third, change, expected=7)
    assert caught.value.extra == {"version": 2}
    assert await store.load() == second
    assert [kept.version for kept in await store.history(10)] == [2]


@pytest.mark.requirement("flags.compare_and_set")
async def test_of_many_at_once_exactly_one_wins(store: FlagStore) -> None:
    outcomes: list[str] = []

    async def attempt(percentage: int) -> None:
        try:
            await _set(store, FIRST, elicitation_percentage=percentage)
        except FlagConflict:
            outcomes.append("conflict")
        else:
            outcomes.append("won")

    # The first set of a fresh store has nothing to compare with; from then on one version has one successor.
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for percentage in range(10):
            group.create_task(attempt(percentage))
    assert sorted(outcomes) == ["conflict"] * 9 + ["won"]
    assert len(await store.history(100)) == 1


async def test_the_history_shows_the_latest_first_and_as_many_as_asked(store: FlagStore) -> None:
    flags = FIRST
    for percentage in (5, 25, 50):
        flags = await _set(store, flags, elicitation_percentage=percentage)
    newest, older = await store.history(2)
    assert newest == FlagChange(
        version=4, at=3 / 8, author="op", reason="why", changes={"elicitation_percentage": [25.0, 50.0]}
    )
    assert older.version == 3
    assert list(await store.history(0)) == []


async def test_overrides_are_kept_with_their_ends_replaced_and_undone(store: FlagStore) -> None:
    await store.force(ALICE, Cohort.ELICITATION, until=None)
    await store.force(BOB, Cohort.ELICITATION, until=1_800_000_000.25)
    await store.force(BOB, Cohort.LEGACY, until=1_800_000_001.5)
    assert await store.forced() == {ALICE: (Cohort.ELICITATION, None), BOB: (Cohort.LEGACY, 1_800_000_001.5)}
    await store.force(ALICE, None, until=None)
    await store.force(ALICE, None, until=None)
    assert await store.forced() == {BOB: (Cohort.LEGACY, 1_800_000_001.5)}


async def test_overrides_and_flags_do_not_touch_one_another(store: FlagStore) -> None:
    await store.force(ALICE, Cohort.LEGACY, until=None)
    after = await _set(store, FIRST, elicitation_enabled=True)
    assert await store.forced() == {ALICE: (Cohort.LEGACY, None)}
    await store.force(ALICE, None, until=None)
    assert await store.load() == after


async def test_what_a_caller_does_with_a_result_does_not_change_the_store(store: FlagStore) -> None:
    await store.force(ALICE, Cohort.LEGACY, until=None)
    (await store.forced()).clear()
    assert ALICE in await store.forced()


@pytest.mark.requirement("flags.history_bound")
async def test_the_history_is_bounded_by_count_and_by_size_and_keeps_the_last(
    store: FlagStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flag_history, "KEPT_CHANGES", 3)
    flags = FIRST
    for percentage in range(1, 6):
        flags = await _set(store, flags, elicitation_percentage=percentage)
    assert [change.version for change in await store.history(10)] == [6, 5, 4]
    monkeypatch.setattr(flag_history, "KEPT_BYTES", 100)
    flags = await _set(store, flags, elicitation_whitelist=["x" * 200])
    assert [change.version for change in await store.history(10)] == [7]
    flags = await _set(store, flags, elicitation_percentage=6)
    assert [change.version for change in await store.history(10)] == [8]
    flags = await _set(store, flags, elicitation_percentage=7)
    assert [change.version for change in await store.history(10)] == [9, 8]
    assert await store.load() == flags
