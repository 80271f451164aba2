"""The audit trail as it is read out of a state file by somebody else than its sidecar."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from proxy.core.audit import Trail
from proxy.core.audit_check import Broken, Damage, Intact, verify
from proxy.core.errors import StateUnavailable
from proxy.stores.audit_file import Unreadable, read_audit
from proxy.stores.database import SCHEMA_VERSION
from proxy.stores.sqlite_audit import SqliteAuditTrail
from proxy.stores.writer import SqliteWriter
from tests.support.audit_chain import AT, DEEDS, NAMES


async def _append(trail: SqliteAuditTrail, count: int) -> None:
    for n in range(count):
        await trail.append(DEEDS[n % len(DEEDS)], who=NAMES[n % 5], subject=NAMES[-n % 5], at=AT + n / 8)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A state file with nine entries, which nobody has open."""
    found = tmp_path / "state.db"
    writer = await asyncio.to_thread(SqliteWriter, found)
    await _append(SqliteAuditTrail(writer), 9)
    await asyncio.to_thread(writer.close)
    return found


def _read(path: Path) -> Trail:
    found = read_audit(path)
    assert isinstance(found, Trail)
    return found


@pytest.mark.requirement("cli.audit_verify")
async def test_it_is_read_while_the_sidecar_writes(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    writer = await asyncio.to_thread(SqliteWriter, path)
    trail = SqliteAuditTrail(writer)
    for count in (1, 4):
        await _append(trail, count)
        found = await asyncio.to_thread(_read, path)
        assert found == await trail.whole()
    await asyncio.to_thread(writer.close)


@pytest.mark.requirement("cli.audit_verify")
def test_the_log_that_a_killed_sidecar_leaves_is_read_too(path: Path, tmp_path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("UPDATE audit SET subject = 'eve' WHERE number = 9")
    connection.commit()  # stands in the log only, as long as this connection is open
    copy = tmp_path / "copy.db"
    for suffix in ("", "-wal"):
        copy.with_name(copy.name + suffix).write_bytes(path.with_name(path.name + suffix).read_bytes())
    connection.close()
    assert _read(copy).entries[8].subject == "eve"


@pytest.mark.requirement("audit.tamper_located")
def test_each_byte_of_an_entry_in_the_file_is_found_at_that_entry(path: Path, tmp_path: Path) -> None:
    content, trail = path.read_bytes(), _read(path)
    assert isinstance(verify(trail.entries, trail.head), Intact)
    entry = trail.entries[5]
    end = content.index(entry.previous + entry.digest) + 64
    texts = (entry.who, entry.what, entry.subject, entry.details)
    begin = end - 64 - sum(len(text.encode()) for text in texts) - 6 - 9  # the date, and the types of the columns
    bad = tmp_path / "bad.db"
    for at in range(begin, end):
        for flip in (1, 0x80):
            altered = bytearray(content)
            altered[at] ^= flip
            bad.write_bytes(altered)
            found = read_audit(bad)
            if isinstance(found, Unreadable):
                assert found.behind < entry.number, (at - begin, flip)
                assert at < begin + 9, "only where the shape of the record stands"
            else:
                assert verify(found.entries, found.head) == Broken(Damage.ALTERED, 6, 5), (at - begin, flip)


def test_a_file_that_ends_in_the_middle_is_damaged(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    found = read_audit(path)
    assert isinstance(found, Unreadable)
    assert found.behind == 0
    assert str(path) in found.why


@pytest.mark.parametrize("content", [b"no database, but text that is long enough to be looked at" * 20])
def test_what_is_no_database_is_damaged(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert isinstance(read_audit(path), Unreadable)


def test_what_cannot_be_read_is_an_error(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StateUnavailable, match="cannot be read"):
        read_audit(tmp_path / "none.db")
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE audit")
    connection.commit()
    connection.close()
    with pytest.raises(StateUnavailable, match="no such table"):
        read_audit(path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    with pytest.raises(StateUnavailable, match="newer release"):
        read_audit(path)
