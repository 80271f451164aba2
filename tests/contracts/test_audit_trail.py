"""What the AuditTrail port promises, on every store."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core.audit import AuditBounds, Head, lines_of, read_lines
from proxy.core.audit_check import Broken, Damage, Intact, verify
from proxy.core.deeds import OperatorActed, Word
from proxy.core.errors import InvalidInput
from proxy.ports import AuditTrail
from proxy.stores.memory_audit import MemoryAuditTrail
from proxy.stores.sqlite_audit import SqliteAuditTrail
from proxy.stores.writer import SqliteWriter
from tests.support.audit_chain import AT, DEEDS, chain

Make = Callable[[AuditBounds], AuditTrail]
SMALL = AuditBounds(entries=10, at_once=4)


@pytest.fixture(params=["memory", "sqlite"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    if request.param == "memory":
        yield MemoryAuditTrail
        return
    writer = await asyncio.to_thread(SqliteWriter, tmp_path / "state.db")
    try:
        yield lambda bounds: SqliteAuditTrail(writer, bounds)
    finally:
        await asyncio.to_thread(writer.close)


@pytest.fixture
def trail(make: Make) -> AuditTrail:
    return make(AuditBounds())


async def fill(trail: AuditTrail, count: int) -> None:
    for entry, n in zip(chain(count), range(count), strict=True):
        await trail.append(DEEDS[n % len(DEEDS)], who=entry.who, subject=entry.subject, at=AT + n / 8)


@pytest.mark.requirement("audit.chain")
async def test_a_trail_that_is_empty_begins_at_nothing(trail: AuditTrail) -> None:
    assert await trail.head() == Head()
    assert list(await trail.read(after=0, limit=9)) == []
    whole = await trail.whole()
    assert verify(whole.entries, whole.head) == Intact(Head(), Head(), ())


@pytest.mark.requirement("audit.chain")
async def test_each_entry_follows_the_one_before(trail: AuditTrail) -> None:
    await fill(trail, 7)
    entries = chain(7)
    whole = await trail.whole()
    assert list(whole.entries) == entries
    assert whole.head == await trail.head() == entries[-1].head
    assert list(await trail.read(after=0, limit=100)) == entries
    assert list(await trail.read(after=2, limit=3)) == entries[2:5]
    assert list(await trail.read(after=7, limit=3)) == []
    assert verify(whole.entries, whole.head) == Intact(Head(), whole.head, ())


@pytest.mark.requirement("audit.chain")
async def test_what_is_appended_comes_back_as_the_entry_that_is_kept(trail: AuditTrail) -> None:
    entry = await trail.append(OperatorActed(action=Word("shutdown")), who="operator", subject="", at=AT)
    assert list(await trail.read(after=0, limit=1)) == [entry]
    assert entry.is_true


@pytest.mark.requirement("audit.no_secrets")
async def test_what_cannot_be_written_down_leaves_no_trace(trail: AuditTrail) -> None:
    await fill(trail, 2)
    for deed, who in ((OperatorActed(action=Word("Bearer abc")), "operator"), (DEEDS[0], "a\nb")):
        with pytest.raises(InvalidInput):
            await trail.append(deed, who=who, subject="", at=AT)
    assert await trail.head() == chain(2)[-1].head
    await fill(trail, 1)
    whole = await trail.whole()
    assert isinstance(verify(whole.entries, whole.head), Intact)


@pytest.mark.requirement("audit.chain")
async def test_many_at_once_make_one_chain(trail: AuditTrail) -> None:
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        tasks = [group.create_task(trail.append(DEEDS[n % 4], who="alice", subject="", at=AT)) for n in range(60)]
    whole = await trail.whole()
    assert sorted(task.result().number for task in tasks) == list(range(1, 61))
    assert isinstance(verify(whole.entries, whole.head), Intact)


@pytest.mark.requirement("audit.bound")
async def test_the_oldest_go_by_the_rule_and_the_trail_stays_whole(make: Make) -> None:
    trail = make(SMALL)
    await fill(trail, 10)
    assert len((await trail.whole()).entries) == 10
    await fill(trail, 1)
    whole = await trail.whole()
    assert [entry.number for entry in whole.entries] == list(range(5, 13))
    assert whole.entries[-2].what == "trail_rotated"
    assert verify(whole.entries, whole.head) == Intact(chain(4)[-1].head, whole.head, ())
    assert [entry.number for entry in await trail.read(after=0, limit=2)] == [5, 6]
    assert [entry.number for entry in await trail.read(after=10, limit=9)] == [11, 12]


@pytest.mark.requirement("audit.bound")
@given(counts=st.lists(st.integers(1, 30), min_size=1, max_size=3))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_however_much_is_written_the_bound_and_the_chain_hold(make: Make, counts: list[int]) -> None:
    trail = make(SMALL)
    archive = [*(await trail.whole()).entries]  # the store lives on from one example to the next
    for count in counts:
        await fill(trail, count)
        whole = await trail.whole()
        assert len(whole.entries) <= SMALL.entries
        assert isinstance(verify(whole.entries, whole.head), Intact)
        last = archive[-1].number if archive else 0
        if whole.entries[0].number <= last + 1:
            archive += [entry for entry in whole.entries if entry.number > last]
            assert isinstance(verify(read_lines(b"".join(lines_of(archive))), whole.head), Intact)
        else:
            archive = [*whole.entries]


@pytest.mark.requirement("audit.tamper_located")
async def test_an_export_is_checked_against_the_head_that_was_kept_elsewhere(trail: AuditTrail) -> None:
    await fill(trail, 9)
    kept_elsewhere = await trail.head()
    export = b"".join(lines_of((await trail.whole()).entries))
    assert isinstance(verify(read_lines(export), kept_elsewhere), Intact)
    cut = export[: export.rindex(b"\n", 0, -1) + 1]
    assert verify(read_lines(cut), kept_elsewhere) == Broken(Damage.CUT_OFF, 9, 8)
