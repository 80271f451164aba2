"""What operators see when the state was damaged, or can only be read for now."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from proxy.stores import database as database_module
from proxy.stores import writer as writer_module
from tests.support.house import ON, House, house, until_told, write_tokens

NOBODY = "http://127.0.0.1:1"


async def _given(folder: Path) -> dict[str, str]:
    tokens = await asyncio.to_thread(write_tokens, folder)
    return {**ON, "state.url": f"sqlite://{folder}/state.db", "admin.token_file": str(tokens)}


async def _reasons(made: House) -> list[object]:
    ready = await made.admin("GET", "/readyz")
    assert (ready.status, ready.json["ready"]) == (200, True)
    health = (await made.admin("GET", "/health")).json
    reasons = ready.json["reasons"]
    assert isinstance(reasons, list)
    assert (health["status"], health["reasons"]) == ("degraded" if reasons else "healthy", reasons)
    return reasons


def _spoil(path: Path, content: bytes) -> None:
    for name in path.parent.glob("state.db*"):
        name.unlink()
    path.write_bytes(content)


@pytest.mark.requirement("state.damaged")
async def test_a_damaged_state_is_set_aside_and_shown_and_nobody_is_moved_to_elicitation(tmp_path: Path) -> None:
    given = await _given(tmp_path)
    await asyncio.to_thread(_spoil, tmp_path / "state.db", b"noise" * 1000)
    async with house(NOBODY, given) as made:
        (reason,) = await _reasons(made)
        assert str(reason).startswith(f"state was set aside: {tmp_path}/state.db.corrupt-")
        assert "elicitation is off until they are set" in str(reason)
        assert (await made.admin("GET", "/feature_flags")).json["elicitation_enabled"] is False
        assert "elicit_sidecar_state_set_aside 1.0" in (await made.admin("GET", "/metrics")).body.decode()
        await made.flags(elicitation_enabled=True, reason="looked at")
        assert await _reasons(made) == [reason]
    async with house(NOBODY, given) as made:
        assert await _reasons(made) == []
        assert (await made.admin("GET", "/feature_flags")).json["elicitation_enabled"] is True


@pytest.mark.requirement("state.read_only")
async def test_a_state_that_another_process_holds_is_read_and_shown_until_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "BUSY_S", 0.05)
    monkeypatch.setattr(database_module.open_database, "__kwdefaults__", {"wait_s": 0.05})
    given = await _given(tmp_path)
    async with house(NOBODY, given) as made:
        await made.flags(elicitation_percentage=25, reason="week 5")
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None, check_same_thread=False)
    await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
    async with house(NOBODY, given) as made:
        (reason,) = await _reasons(made)
        assert "state is in memory only" in str(reason)
        assert "database is locked" in str(reason)
        assert (await made.admin("GET", "/feature_flags")).json["elicitation_percentage"] == 25
        await asyncio.to_thread(other.execute, "ROLLBACK")

        async def is_whole() -> bool:
            return (await made.admin("GET", "/readyz")).json["reasons"] == []

        await until_told(is_whole)
        assert await _reasons(made) == []
    await asyncio.to_thread(other.close)


def _spoil_history(path: Path) -> None:
    """Make the history longer than what SQLite keeps in memory, and overwrite a part of it on the disk."""
    connection = sqlite3.connect(path, isolation_level=None)
    rows = [(number, "x" * 3_000) for number in range(10, 1_510)]
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO flag_history VALUES (?, 1.0, 'op', ?, '{}')", rows)
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 4 // 4096 * 4096)
        file.write(b"\xa5" * (size // 2))


@pytest.mark.requirement("state.lost")
async def test_a_state_that_is_damaged_while_it_is_used_is_set_aside_and_goes_on_with_what_is_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = await _given(tmp_path)
    async with house(NOBODY, given) as made:
        before = await made.flags(elicitation_percentage=25, reason="week 5")
        await asyncio.to_thread(_spoil_history, tmp_path / "state.db")
        heard = await made.admin("GET", "/feature_flags/history?limit=1000")
        assert (heard.status, heard.problem["code"]) == (503, "state_unavailable")

        async def is_set_aside() -> bool:
            reasons = (await made.admin("GET", "/readyz")).json["reasons"]
            return len(reasons) == 1 and "state was set aside" in str(reasons) if isinstance(reasons, list) else False

        await until_told(is_set_aside)
        assert (await made.metrics())["elicit_sidecar_state_set_aside"] == 1
        assert (await made.admin("GET", "/feature_flags")).json == before
        assert (await made.flags(elicitation_percentage=30))["version"] == int(str(before["version"])) + 1
    lines = ("journal in trouble", "state was damaged and set aside", "journal whole again")
    assert [sum(line in str(record.msg) for record in caplog.records) for line in lines] == [1, 1, 1]
    async with house(NOBODY, given) as made:
        assert await _reasons(made) == []
        assert (await made.admin("GET", "/feature_flags")).json["elicitation_percentage"] == 30
