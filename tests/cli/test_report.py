"""`report security`: forms, files, exit codes, on a state file that nobody has open."""

import asyncio
import stat
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from proxy.cli.report import command
from proxy.core.deeds import CallRefused, Refusal, Word
from proxy.stores.sqlite_audit import SqliteAuditTrail
from proxy.stores.writer import SqliteWriter
from tests.support.house import write_tokens

pytestmark = pytest.mark.requirement("cli.report")

HOSTILE = "\\x1b[2J<b>`|"


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A state file with one entry."""
    found = tmp_path / "state.db"
    writer = await asyncio.to_thread(SqliteWriter, found)
    deed = CallRefused(why=Refusal.IMPERSONATION, rule=Word("claim"), calls=3)
    await SqliteAuditTrail(writer).append(deed, who="sidecar", subject=HOSTILE, at=1_700_000_000.0)
    await asyncio.to_thread(writer.close)
    return found


def _security(path: Path, *words: str | Path, env: Mapping[str, str] | None = None) -> Result:
    given = ["security", "--state", f"sqlite://{path}", *map(str, words)]
    return CliRunner().invoke(command, given, env=dict(env or {}))


def test_markdown_is_printed_without_a_control_character(path: Path) -> None:
    result = _security(path)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("# Security report\n")
    assert all(char == "\n" or char.isprintable() for char in result.stdout)
    assert "intact: entries 1 to 1" in result.stdout


def test_json_by_either_option(path: Path) -> None:
    told = orjson.loads(_security(path, "--json").stdout)
    again = orjson.loads(_security(path, "--format", "json").stdout)
    assert told["trail"] == again["trail"] == {"whole": True, "verdict": told["trail"]["verdict"], "entries": 1}
    assert told["refusals"]["by_subject"][0]["subject"] == HOSTILE
    assert told["failed"] is False


def test_a_page_is_written_to_a_file_that_nobody_else_may_read(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    result = _security(path, "--format", "html", "-o", out)
    assert (result.exit_code, result.stdout) == (0, "")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    page = out.read_text()
    assert page.startswith("<!doctype html>")
    assert "&lt;b&gt;" in page
    assert _security(path, "-o", tmp_path / "no" / "folder").exit_code == 2


def test_a_failed_check_is_exit_code_1(path: Path) -> None:
    path.chmod(0o644)
    result = _security(path, "--json")
    assert result.exit_code == 1
    high = [each for each in orjson.loads(result.stdout)["findings"] if each["severity"] == "high"]
    assert {each["check"] for each in high} == {"files"}
    assert f"chmod 600 {path}" in [each["advice"] for each in high]
    assert _security(path, "--component", "elicitation").exit_code == 0, "which is not about files"


@pytest.mark.parametrize("component", [(), ("--component", "elicitation")])
def test_a_broken_trail_is_exit_code_1_whatever_it_is_about(path: Path, component: tuple[str, ...]) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace(HOSTILE.encode(), HOSTILE[:-1].encode() + b"!"))
    result = _security(path, *component)
    assert result.exit_code == 1
    assert "the audit trail is not whole: broken (altered): entry 1" in result.stdout


def test_what_cannot_be_read_is_in_the_report(path: Path, tmp_path: Path) -> None:
    half = path.read_bytes()
    path.write_bytes(half[: len(half) // 2] + bytes(len(half) // 2))
    assert "unreadable behind entry 0" in _security(path).stdout
    assert _security(path).exit_code == 1
    missing = _security(tmp_path / "none.db", "--json")
    assert missing.exit_code == 1
    told = orjson.loads(missing.stdout)
    assert (told["verdict"], told["trail"]["whole"]) == ("unknown", None)
    assert {each["check"] for each in told["findings"] if each["severity"] == "unknown"} == {"trail", "files"}
    memory = CliRunner().invoke(command, ["security", "--state", "memory:", "--json"])
    assert "in memory" in orjson.loads(memory.stdout)["trail"]["verdict"]


def test_the_configuration_and_what_it_names_is_looked_at(path: Path, tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path)
    keys = tmp_path / "keys"
    keys.write_text("not a key\n")
    keys.chmod(0o600)
    config = tmp_path / "config.toml"
    config.write_text(
        f'[identity]\nmode = "enforce"\n[admin]\ntoken_file = "{tokens}"\n[listen]\nadmin = "0.0.0.0:1"\n'
    )
    told = orjson.loads(_security(path, "--config", config, "--json").stdout)
    posture = told["posture"]
    assert (posture["operators"], posture["viewers"], posture["identity"]) == (1, 1, "enforce")
    assert [each["check"] for each in told["findings"] if each["severity"] == "high"] == ["admin_reach"]
    bad = _security(path, "--set", f"signatures.keys_file={keys}", "--json")
    assert bad.exit_code == 1
    findings = orjson.loads(bad.stdout)["findings"]
    assert findings[0]["check"] == "configuration"
    assert "signatures.keys_file" in findings[0]["told"]
    assert "not a key" not in bad.stdout
    assert _security(path, "--set", "identity.mode=loud").exit_code == 2
    tokens.chmod(0o644)
    highs = {
        each["check"]
        for each in orjson.loads(_security(path, "--config", config, "--json").stdout)["findings"]
        if each["severity"] == "high"
    }
    assert highs == {"admin_reach", "configuration", "files"}


def test_no_secret_is_in_any_form(path: Path, tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path)
    secrets = [line.split()[1] for line in tokens.read_text().splitlines()]
    for form in ("md", "html", "json"):
        text = _security(path, "--format", form, "--set", f"admin.token_file={tokens}").stdout
        assert not any(secret in text for secret in secrets)
