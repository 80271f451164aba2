"""The audit trail in the state file: any byte of any column is proved, also against whoever writes to the file."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.core.audit import AuditBounds, Head, entry_after
from proxy.core.audit_check import Broken, Damage, Intact, verify
from proxy.core.errors import StateUnavailable
from proxy.core.nonces import NonceClaim
from proxy.stores.sqlite_audit import SqliteAuditTrail
from proxy.stores.sqlite_nonces import SqliteNonceStore
from proxy.stores.state_file import Renewer, open_state_file
from proxy.stores.writer import SqliteWriter
from tests.support.audit_chain import AT, DEEDS, chain
from tests.support.disk_faults import FULL, FailingWriter, nth, spoil_header

COLUMNS = ("number", "at_ms", "who", "what", "subject", "details", "previous", "digest")
LENGTH = 9


@asynccontextmanager
async def _closing(writer: SqliteWriter) -> AsyncIterator[SqliteAuditTrail]:
    try:
        async with asyncio.timeout(20):
            yield SqliteAuditTrail(writer, AuditBounds(entries=40, at_once=10))
    finally:
        await asyncio.to_thread(writer.close)


@asynccontextmanager
async def _trail(path: Path) -> AsyncIterator[SqliteAuditTrail]:
    async with _closing(await asyncio.to_thread(SqliteWriter, path)) as trail:
        yield trail


async def _fill(trail: SqliteAuditTrail, count: int) -> None:
    for n in range(count):
        await trail.append(DEEDS[n % len(DEEDS)], who="alice", subject="bob", at=AT + n)


async def _check(trail: SqliteAuditTrail) -> Intact | Broken:
    whole = await trail.whole()
    return verify(whole.entries, whole.head)


def _tamper(path: Path, statement: str, *arguments: object) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement, arguments)
    connection.close()


@pytest.mark.requirement("audit.chain")
async def test_the_chain_goes_on_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _trail(path) as trail:
        await _fill(trail, 3)
    async with _trail(path) as trail:
        await _fill(trail, 2)
        assert [entry.number for entry in await trail.read(after=0, limit=9)] == [1, 2, 3, 4, 5]
        assert isinstance(await _check(trail), Intact)


@pytest.mark.requirement("audit.chain")
async def test_two_processes_that_share_a_file_write_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _trail(path) as one, _trail(path) as other:
        for trail in (one, other, other, one):
            await _fill(trail, 2)
        assert (await one.head()).number == 8
        assert isinstance(await _check(other), Intact)


@pytest.mark.requirement("audit.chain")
async def test_an_entry_that_cannot_be_written_is_refused_and_the_chain_goes_on(tmp_path: Path) -> None:
    writer = await asyncio.to_thread(lambda: FailingWriter(tmp_path / "state.db", fails=nth(2, FULL)))
    async with _closing(writer) as trail:
        await _fill(trail, 1)
        with pytest.raises(StateUnavailable, match="full"):
            await _fill(trail, 1)
        await _fill(trail, 2)
        assert (await trail.head()).number == 3
        assert isinstance(await _check(trail), Intact)


@pytest.mark.requirement("audit.tamper_located")
@given(
    number=st.integers(1, LENGTH),
    column=st.sampled_from(COLUMNS[2:]),
    spoil=st.tuples(st.integers(0, 1_000), st.integers(1, 255)),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_byte_of_any_column_that_is_another_is_found(
    tmp_path_factory: pytest.TempPathFactory, number: int, column: str, spoil: tuple[int, int]
) -> None:
    path = tmp_path_factory.mktemp("audit") / "state.db"
    async with _trail(path) as trail:
        await _fill(trail, LENGTH)
        entry = (await trail.read(after=number - 1, limit=1))[0]
        value = getattr(entry, column)
        before = value.encode() if isinstance(value, str) else value
        place = spoil[0] % len(before)
        after = before[:place] + bytes([before[place] ^ spoil[1]]) + before[place + 1 :]
        cast = "CAST(? AS TEXT)" if isinstance(value, str) else "?"
        statement = f"UPDATE audit SET {column} = {cast} WHERE number = ?"  # noqa: S608  # names of our own
        await asyncio.to_thread(_tamper, path, statement, after, number)
        assert await _check(trail) == Broken(Damage.ALTERED, number, number - 1)


@pytest.mark.requirement("audit.tamper_located")
@pytest.mark.parametrize("number", [1, 5, LENGTH])
@pytest.mark.parametrize("bit", [0, 7, 13, 31, 62])
async def test_any_bit_of_a_time_or_a_number_that_is_another_is_found(tmp_path: Path, number: int, bit: int) -> None:
    path = tmp_path / "state.db"
    async with _trail(path) as trail:
        await _fill(trail, LENGTH)
        before = (await trail.read(after=number - 1, limit=1))[0]
        await asyncio.to_thread(
            _tamper, path, "UPDATE audit SET at_ms = ? WHERE number = ?", before.at_ms ^ (1 << bit), number
        )
        assert await _check(trail) == Broken(Damage.ALTERED, number, number - 1)
        await asyncio.to_thread(_tamper, path, "UPDATE audit SET at_ms = ? WHERE number = ?", before.at_ms, number)
        assert isinstance(await _check(trail), Intact)
        other = number ^ (16 << bit % 32)
        await asyncio.to_thread(_tamper, path, "UPDATE audit SET number = ? WHERE number = ?", other, number)
        damage = Damage.ALTERED if number == LENGTH else Damage.MISSING
        assert await _check(trail) == Broken(damage, number, number - 1)


LAST = "(SELECT max(number) FROM audit)"


@pytest.mark.requirement("audit.tamper_located")
@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("DELETE FROM audit WHERE number = 4", Broken(Damage.MISSING, 4, 3)),
        ("DELETE FROM audit WHERE number > 6", Broken(Damage.CUT_OFF, 7, 6)),
        ("DELETE FROM audit", Broken(Damage.CUT_OFF, 1, 0)),
        ("UPDATE audit SET who = 'mallory' WHERE number = 9", Broken(Damage.ALTERED, 9, 8)),
        ("UPDATE audit_head SET digest = zeroblob(32)", Broken(Damage.ALTERED, 9, 8)),
    ],
)
async def test_what_was_done_to_the_end_is_found_and_stays_so_when_the_trail_goes_on(
    tmp_path: Path, statement: str, found: Broken
) -> None:
    path = tmp_path / "state.db"
    async with _trail(path) as trail:
        await _fill(trail, LENGTH)
        await asyncio.to_thread(_tamper, path, statement)
        assert await _check(trail) == found
        await _fill(trail, 3)
        later = await _check(trail)
    assert isinstance(later, Broken)
    assert later.number <= 10


@pytest.mark.requirement("audit.tamper_located")
async def test_what_a_forger_put_at_the_end_is_found_and_stays_so_when_the_trail_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _trail(path) as trail:
        await _fill(trail, LENGTH)
        forged = entry_after(await trail.head(), DEEDS[0], who="mallory", subject="", at=AT)
        row = [getattr(forged, column) for column in COLUMNS]
        await asyncio.to_thread(_tamper, path, "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *row)
        assert await _check(trail) == Broken(Damage.INSERTED, LENGTH + 1, LENGTH)
        await _fill(trail, 3)
        assert await _check(trail) == Broken(Damage.ALTERED, LENGTH + 1, LENGTH)


@pytest.mark.requirement("audit.tamper_located")
async def test_a_head_with_another_number_is_found_until_the_next_entry_proves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _trail(path) as trail:
        await _fill(trail, LENGTH)
        await asyncio.to_thread(_tamper, path, "UPDATE audit_head SET number = 7")
        assert await _check(trail) == Broken(Damage.INSERTED, 8, 7)
        await _fill(trail, 1)
        assert isinstance(await _check(trail), Intact), "no entry was touched"


@pytest.mark.requirement("audit.chain")
async def test_where_only_the_head_is_gone_the_chain_goes_on_from_its_last_entry(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _trail(path) as trail:
        await _fill(trail, LENGTH)
        await asyncio.to_thread(_tamper, path, "DELETE FROM audit_head")
        assert await _check(trail) == Broken(Damage.INSERTED, 1, 0)
        await _fill(trail, 1)
        assert (await trail.head()).number == LENGTH + 1
        assert isinstance(await _check(trail), Intact)


def _remove(path: Path) -> None:
    for name in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
        name.unlink()


def _spoil(path: Path) -> None:
    _remove(path)
    path.write_bytes(b"")
    spoil_header(path)


@pytest.mark.requirement("audit.chain")
@pytest.mark.parametrize("lose", [_remove, _spoil])
async def test_a_file_that_is_lost_while_it_is_used_leaves_a_trace_of_what_it_held(
    tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    path = tmp_path / "state.db"
    found = await asyncio.to_thread(open_state_file, path, wall=lambda: AT)
    async with _closing(found.writer) as trail:
        await _fill(trail, 5)
        held = await trail.head()
        for _ in range(2):
            await asyncio.to_thread(lose, path)
            await trail.head()
        await _fill(trail, 2)
        assert [entry.what for entry in await trail.read(after=0, limit=1)] == ["trail_lost"]
        assert await _check(trail) == Intact(held, await trail.head(), (6,))


@pytest.mark.requirement("audit.chain")
async def test_a_fresh_file_of_a_trail_without_entries_begins_at_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    found = await asyncio.to_thread(open_state_file, path, wall=lambda: AT)
    async with _closing(found.writer) as trail:
        await asyncio.to_thread(_remove, path)
        assert await trail.head() == Head()
        await _fill(trail, 1)
        assert (await trail.head()).number == 1
        assert chain(1)[0].number == 1


@pytest.mark.requirement("audit.chain")
@pytest.mark.requirement("nonces.durable")
async def test_what_can_be_read_of_a_damaged_file_is_carried_over(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with _trail(path) as trail:
        await _fill(trail, 5)
        held = await trail.head()
        nonces = SqliteNonceStore(trail._writer)
        assert await nonces.claim("k", "n", expires=AT + 300, now=AT) is NonceClaim.CLAIMED
    renew = Renewer(lambda: AT)
    (await asyncio.to_thread(lambda: renew(path, is_damaged=True))).close()
    assert not renew.unreadable
    async with _trail(path) as trail:
        assert await trail.head() == held
        assert await _check(trail) == Intact(Head(), held, ())
        assert await SqliteNonceStore(trail._writer).claim("k", "n", expires=AT + 300, now=AT) is NonceClaim.REPLAYED
