"""The audit commands: the list of a running sidecar, and checks and exports of the state file itself."""

import asyncio
import re
import sqlite3
import stat
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from proxy.cli.audit import command
from proxy.core.audit import AuditBounds
from proxy.stores.sqlite_audit import SqliteAuditTrail
from proxy.stores.writer import SqliteWriter
from tests.support.audit_chain import AT, DEEDS, NAMES
from tests.support.house import house, until_told, write_tokens

PUT_IN = "INSERT INTO audit SELECT 11, at_ms, who, what, subject, details, previous, digest FROM audit WHERE number = 4"
NOBODY = "http://127.0.0.1:1"


async def _write(path: Path, count: int, bounds: AuditBounds | None = None) -> None:
    writer = await asyncio.to_thread(SqliteWriter, path)
    trail = SqliteAuditTrail(writer, bounds or AuditBounds())
    for n in range(count):
        await trail.append(DEEDS[n % len(DEEDS)], who=NAMES[n % 5], subject=NAMES[-n % 5], at=AT + n / 8)
    await asyncio.to_thread(writer.close)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A state file with ten entries, which nobody has open."""
    await _write(tmp_path / "state.db", 10)
    return tmp_path / "state.db"


def _run(*words: str | Path) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


def _state(path: Path) -> list[str]:
    return ["--state", f"sqlite://{path}"]


@pytest.mark.requirement("cli.audit")
class TestList:
    async def test_the_last_entries_are_listed_or_those_behind_a_number(self, tmp_path: Path) -> None:
        tokens = await asyncio.to_thread(write_tokens, tmp_path)
        async with house(NOBODY, {"admin.token_file": str(tokens)}) as made:
            where = ["--admin", str(made.bound.admin), "--token-file", str(tokens)]
            await made.flags(elicitation_percentage=5)
            forced = {"agent_id": "alice\\ \u00e9", "cohort": "legacy"}
            assert (await made.admin("POST", "/agent/force_elicitation", body=forced)).status == 200

            async def are_told() -> bool:
                return (await made.admin("GET", "/audit")).json["head"] != {"number": 3} and b"alice" in (
                    await made.admin("GET", "/audit")
                ).body

            await until_told(are_told)
            result = await asyncio.to_thread(_run, *where)
            assert result.exit_code == 0, result.stderr
            lines = result.stdout.splitlines()
            assert len(lines) == 3
            assert any(re.fullmatch(r" +\d+  \S+\+00:00  sidecar  started  \{.*\}", line) for line in lines)
            assert '  agent_forced  alice\\ \u00e9  {"cohort":"legacy","until":null}' in lines[-1]
            one = await asyncio.to_thread(_run, "--after", "2", "--json", *where)
            assert [entry["number"] for entry in orjson.loads(one.stdout)["entries"]] == [3]

    async def test_an_entry_that_nobody_can_have_written_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        await _write(path, 3)

        def alter() -> None:
            with sqlite3.connect(path) as connection:
                connection.execute("UPDATE audit SET details = '{' WHERE number = 2")
            connection.close()

        await asyncio.to_thread(alter)
        async with house(NOBODY, {"state.url": f"sqlite://{path}"}) as made:
            result = await asyncio.to_thread(_run, "--admin", str(made.bound.admin))
            assert "     2  unreadable: see `elicit-sidecar audit verify`" in result.stdout.splitlines()


@pytest.mark.requirement("cli.audit_verify")
class TestVerify:
    def test_a_whole_trail_is_intact_and_the_head_is_told(self, path: Path) -> None:
        result = _run("verify", *_state(path))
        assert (result.exit_code, result.stderr) == (0, "")
        assert re.fullmatch(r"intact: entries 1 to 10, head 10:[0-9a-f]{64}\n", result.stdout)
        told = orjson.loads(_run("verify", "--json", *_state(path)).stdout)
        assert (told["intact"], told["first"], told["head"]["number"], told["losses"]) == (True, 1, 10, [])

    async def test_one_whose_oldest_entries_went_by_the_rule_is_intact(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        await _write(path, 20, AuditBounds(entries=10, at_once=4))
        result = await asyncio.to_thread(_run, "verify", *_state(path))
        assert result.exit_code == 0
        assert "entries 17 to 24" in result.stdout

    async def test_an_empty_one_is_intact(self, tmp_path: Path) -> None:
        await _write(tmp_path / "state.db", 0)
        result = await asyncio.to_thread(_run, "verify", *_state(tmp_path / "state.db"))
        assert result.stdout.startswith("intact: no entries, head 0:")

    @pytest.mark.parametrize(
        ("statement", "damage", "number"),
        [
            ("UPDATE audit SET subject = 'eve' WHERE number = 4", "altered", 4),
            ("UPDATE audit SET who = CAST(who AS BLOB) WHERE number = 4", "altered", 4),
            ("DELETE FROM audit WHERE number = 4", "missing", 4),
            ("DELETE FROM audit WHERE number > 8", "cut_off", 9),
            (PUT_IN, "altered", 11),
            ("UPDATE audit_head SET number = 12", "cut_off", 11),
        ],
    )  # fmt: skip
    def test_damage_is_told_with_its_place_and_kind(self, path: Path, statement: str, damage: str, number: int) -> None:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = replace(sql, 'STRICT', '') WHERE name IN ('audit', 'audit_head')"
        )
        connection.commit()
        connection.close()
        connection = sqlite3.connect(path)
        connection.execute(statement)
        connection.commit()
        connection.close()
        result = _run("verify", *_state(path))
        assert result.exit_code == 1
        assert result.stdout.startswith(f"broken ({damage}): ")
        assert re.search(rf"entry {number}\b", result.stdout), result.stdout
        told = orjson.loads(_run("verify", "--json", *_state(path)).stdout)
        assert (told["intact"], told["damage"], told["number"]) == (False, damage, number)

    def test_a_damaged_file_is_broken_behind_the_last_entry_that_can_be_read(self, path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
        path.write_bytes(content)
        result = _run("verify", *_state(path))
        assert result.exit_code == 1
        assert result.stdout.startswith("broken (unreadable) behind entry ")
        assert orjson.loads(_run("verify", "--json", *_state(path)).stdout)["damage"] == "unreadable"
        assert _run("export", *_state(path)).exit_code == 1

    def test_a_check_changes_no_byte(self, path: Path) -> None:
        before = path.read_bytes()
        assert _run("verify", *_state(path)).exit_code == 0
        assert path.read_bytes() == before

    def test_a_noted_head_must_be_in_it(self, path: Path, tmp_path: Path) -> None:
        noted = _run("export", "-o", tmp_path / "x", *_state(path)).stderr.split()[-1]
        assert _run("verify", "--head", noted, *_state(path)).exit_code == 0
        other = f"10:{'0' * 64}"
        result = _run("verify", "--head", other, *_state(path))
        assert (result.exit_code, result.stdout) == (
            1,
            "broken (other): the trail does not go on from the noted head 10\n",
        )
        assert _run("verify", "--head", f"11:{'0' * 64}", *_state(path)).exit_code == 1
        assert _run("verify", "--head", "10", *_state(path)).exit_code == 2

    async def test_a_noted_head_may_have_gone_with_old_entries(self, tmp_path: Path) -> None:
        path = tmp_path / "state.db"
        await _write(path, 5, AuditBounds(entries=10, at_once=4))
        noted = (await asyncio.to_thread(_run, "export", "-o", tmp_path / "x", *_state(path))).stderr.split()[-1]
        await _write(path, 20, AuditBounds(entries=10, at_once=4))
        result = await asyncio.to_thread(_run, "verify", "--head", noted, *_state(path))
        assert result.exit_code == 0
        assert "the noted head went with old entries" in result.stdout

    @pytest.mark.parametrize("state", ["memory:", "sqlite:///nowhere/at/all.db", "ftp:x"])
    def test_state_that_cannot_be_read_is_no_verdict(self, state: str) -> None:
        for words in (["verify"], ["export"]):
            result = _run(*words, "--state", state)
            assert result.exit_code == 2
            assert result.stderr
            assert "Traceback" not in result.output


@pytest.mark.requirement("cli.audit_export")
class TestExport:
    def test_it_is_one_line_of_json_per_entry_and_can_be_checked(self, path: Path, tmp_path: Path) -> None:
        out = tmp_path / "trail.jsonl"
        result = _run("export", "-o", out, *_state(path))
        assert (result.exit_code, result.stdout) == (0, "")
        assert stat.S_IMODE(out.stat().st_mode) == 0o600
        assert [orjson.loads(line)["number"] for line in out.read_bytes().splitlines()] == list(range(1, 11))
        assert _run("export", *_state(path)).stdout_bytes == out.read_bytes()
        assert _run("verify", "--file", out).stdout.startswith("intact: entries 1 to 10")
        head = result.stderr.split()[-1]
        assert _run("verify", "--file", out, "--head", head).exit_code == 0

    def test_what_was_cut_off_is_found_with_the_head(self, path: Path, tmp_path: Path) -> None:
        out = tmp_path / "trail.jsonl"
        head = _run("export", "-o", out, *_state(path)).stderr.split()[-1]
        out.write_bytes(b"".join(out.read_bytes().splitlines(keepends=True)[:-2]))
        assert _run("verify", "--file", out).exit_code == 0
        result = _run("verify", "--file", out, "--head", head)
        assert result.exit_code == 1
        assert result.stdout.startswith("broken (cut_off): the trail ends before entry 9")

    def test_an_older_head_must_be_in_it(self, path: Path, tmp_path: Path) -> None:
        out = tmp_path / "trail.jsonl"
        _run("export", "-o", out, *_state(path))
        digest = orjson.loads(out.read_bytes().splitlines()[3])["digest"]
        assert _run("verify", "--file", out, "--head", f"4:{digest}").exit_code == 0
        assert _run("verify", "--file", out, "--head", f"5:{digest}").exit_code == 1

    def test_another_byte_in_any_line_is_found_in_that_line(self, path: Path, tmp_path: Path) -> None:
        out, bad = tmp_path / "trail.jsonl", tmp_path / "bad.jsonl"
        _run("export", "-o", out, *_state(path))
        content = out.read_bytes()
        for at in range(0, len(content), 97):
            altered = bytearray(content)
            altered[at] ^= 1
            bad.write_bytes(altered)
            result = _run("verify", "--file", bad)
            assert result.exit_code == 1, at
            line = content[:at].count(b"\n") + 1
            assert f"; line {line} of what was read" in result.stdout, (at, result.stdout)

    def test_files_that_cannot_be_used_are_named(self, path: Path, tmp_path: Path) -> None:
        assert _run("verify", "--file", tmp_path / "none").exit_code == 2
        result = _run("export", "-o", tmp_path / "no" / "folder", *_state(path))
        assert result.exit_code == 2
        assert "cannot write" in result.stderr
