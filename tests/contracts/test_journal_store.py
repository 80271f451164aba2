"""What the JournalStore port promises, on every store: it amounts to `core.replay`, in whatever batches."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core.journal import Change, End, QuestionEnded, QuestionNoted, Recovered
from proxy.core.replay import replay
from proxy.ports import JournalStore
from proxy.stores.journal import SqliteJournal
from proxy.stores.memory_journal import MemoryJournal
from proxy.stores.writer import SqliteWriter
from tests.support.journal_changes import IDS, changes, question, stamped

lists = st.lists(changes, max_size=25)
EXAMPLES = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(name="store", params=["memory", "sqlite"])
async def _store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[JournalStore]:
    if request.param == "memory":
        yield MemoryJournal()
        return
    writer = await asyncio.to_thread(SqliteWriter, tmp_path / "state.db")
    try:
        yield SqliteJournal(writer)
    finally:
        await asyncio.to_thread(writer.close)


def _batches(found: list[Change], cuts: list[int]) -> list[list[Change]]:
    places = [0, *sorted(cut % (len(found) + 1) for cut in cuts), len(found)]
    return [found[begin:end] for begin, end in pairwise(places)]


@pytest.mark.requirement("journal.contract")
async def test_a_fresh_journal_holds_nothing(store: JournalStore) -> None:
    assert await store.recover() == Recovered()
    await store.prune(now=0)
    await store.apply([])
    assert await store.recover() == Recovered()


@pytest.mark.requirement("journal.contract")
@given(found=lists, cuts=st.lists(st.integers(0, 30), max_size=4))
@EXAMPLES
async def test_what_is_recovered_is_what_the_changes_amount_to_in_whatever_batches_they_came(
    store: JournalStore, found: list[Change], cuts: list[int]
) -> None:
    await store.replace([])
    for batch in _batches(found, cuts):
        await store.apply(stamped(batch))
    assert await store.recover() == replay(found)


@pytest.mark.requirement("journal.contract")
@given(before=lists, found=lists, after=lists)
@EXAMPLES
async def test_a_replacement_leaves_nothing_open_of_what_was_before(
    store: JournalStore, before: list[Change], found: list[Change], after: list[Change]
) -> None:
    await store.apply(stamped(before))
    await store.replace(stamped(found))
    assert await store.recover() == replay(found)
    await store.apply(stamped(after))
    assert await store.recover() == replay([*found, *after])


@pytest.mark.requirement("journal.bounds")
@given(found=lists, now=st.sampled_from([0.0, 1e9, 1e12]))
@EXAMPLES
async def test_pruning_keeps_what_is_open(store: JournalStore, found: list[Change], now: float) -> None:
    await store.replace(stamped(found))
    await store.prune(now=now)
    assert await store.recover() == replay(found)


async def test_a_question_that_is_asked_again_under_its_old_id_is_a_new_one(store: JournalStore) -> None:
    ended: list[Change] = [QuestionNoted(question(IDS[0])), QuestionEnded(IDS[0], End.FORGOTTEN)]
    again = QuestionNoted(question(IDS[0], expires_at=9.5))
    await store.apply(stamped([*ended, again]))
    (kept,) = (await store.recover()).questions
    assert kept.question == again.question
