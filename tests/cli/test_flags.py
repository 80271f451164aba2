"""The flags commands against a running house."""

import asyncio
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from proxy.cli.flags import command
from tests.support.house import VIEWER, House, house, objects, write_tokens

NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return write_tokens(tmp_path)


async def _flags(made: House, *words: str, tokens: Path | None = None) -> Result:
    """One flags command, in a thread, because it waits for the house."""
    where = ["--admin", str(made.bound.admin), *(["--token-file", str(tokens)] if tokens else [])]
    return await asyncio.to_thread(CliRunner().invoke, command, [*words, *where])


@pytest.mark.requirement("cli.json")
async def test_get_prints_every_flag_and_the_version(tokens: Path) -> None:
    async with house(NOBODY, {"admin.token_file": str(tokens)}) as made:
        result = await _flags(made, "get", tokens=tokens)
        assert result.exit_code == 0, result.stderr
        lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
        assert lines["elicitation_enabled"] == "false"
        assert lines["elicitation_percentage"] == "0.0"
        assert lines["elicitation_whitelist"] == "[]"
        assert lines["version"] == "1"
        as_json = await _flags(made, "get", "--json", tokens=tokens)
        assert orjson.loads(as_json.stdout) == (await made.admin("GET", "/feature_flags")).json


async def test_get_needs_no_token_where_none_is_configured() -> None:
    async with house(NOBODY) as made:
        assert (await _flags(made, "get")).exit_code == 0


@pytest.mark.requirement("cli.flags")
async def test_set_changes_what_it_names_and_keeps_the_reason(tokens: Path) -> None:
    async with house(NOBODY, {"admin.token_file": str(tokens)}) as made:
        words = ["elicitation_percentage=25", "elicitation_enabled=true", "elicitation_whitelist=alice, bob"]
        result = await _flags(made, "set", *words, "--reason", "week 5", "--json", tokens=tokens)
        assert result.exit_code == 0, result.stderr
        changed = orjson.loads(result.stdout)
        assert changed["elicitation_percentage"] == 25
        assert changed["elicitation_enabled"] is True
        assert changed["elicitation_whitelist"] == ["alice", "bob"]
        assert changed["version"] == 2
        (change,) = objects((await made.admin("GET", "/feature_flags/history")).json["history"])
        assert change["reason"] == "week 5"
        assert "operator" in str(change["author"])
        shown = await _flags(made, "set", 'elicitation_whitelist=["carol"]', "reason=by hand", tokens=tokens)
        assert 'elicitation_whitelist    ["carol"]' in shown.stdout
        history = objects((await made.admin("GET", "/feature_flags/history")).json["history"])
        assert history[0]["reason"] == "by hand"


@pytest.mark.requirement("cli.flags")
async def test_history_is_told_newest_first(tokens: Path) -> None:
    async with house(NOBODY, {"admin.token_file": str(tokens)}) as made:
        assert (await _flags(made, "history", tokens=tokens)).stdout == ""
        await made.flags(elicitation_percentage=5, reason="week 4")
        await made.flags(elicitation_percentage=25)
        result = await _flags(made, "history", tokens=tokens)
        newest, oldest = result.stdout.splitlines()
        assert newest.split()[0] == "3"
        assert "elicitation_percentage: 5.0 -> 25.0" in newest
        assert oldest.endswith("week 4")
        one = await _flags(made, "history", "--limit", "1", "--json", tokens=tokens)
        assert [change["version"] for change in orjson.loads(one.stdout)["history"]] == [3]


@pytest.mark.requirement("cli.exit_codes")
@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["set"], "Missing argument"),
        (["set", "elicitation_percentage"], "expected FLAG=VALUE, got 'elicitation_percentage'"),
        (["set", "elicitation_percentage=101"], "expected a number from 0 to 100"),
        (["set", "elicitation_percentage=many"], "elicitation_percentage"),
        (["set", "elicitation_enabled=yes"], "expected true or false"),
        (["set", "elicitation_percentge=5"], "did you mean elicitation_percentage?"),
        (["set", "elicitation_percentage=5", "--reason", "x" * 501], "reason"),
        (["history", "--limit", "0"], "--limit"),
        (["get", "--admin", "nowhere"], "listen.admin"),
        (["get", "--config", "/nonexistent.toml"], "/nonexistent.toml"),
        (["get", "--token-file", "/nonexistent"], "admin.token_file"),
    ],
)
def test_a_mistake_in_the_call_is_a_usage_error_and_asks_nobody(words: list[str], text: str) -> None:
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 2, result.output
    assert text in result.stderr
    assert result.stdout == ""


@pytest.mark.requirement("cli.exit_codes")
async def test_a_refusal_is_told_in_the_sidecars_words(tokens: Path, tmp_path: Path) -> None:
    viewer = tmp_path / "viewer"
    viewer.write_text(f"viewer {VIEWER}\n", "utf-8")
    viewer.chmod(0o600)
    async with house(NOBODY, {"admin.token_file": str(tokens)}) as made:
        for words, token_file, text in (
            (["get"], None, "/feature_flags: 401"),
            (["set", "elicitation_percentage=5"], viewer, "/feature_flags: 403"),
        ):
            result = await _flags(made, *words, tokens=token_file)
            assert result.exit_code == 1
            assert text in result.stderr
            assert result.stdout == ""
            assert VIEWER not in result.output


async def test_the_admin_port_and_token_are_taken_from_the_configuration(tokens: Path, tmp_path: Path) -> None:
    async with house(NOBODY, {"admin.token_file": str(tokens)}) as made:
        config = tmp_path / "sidecar.toml"
        config.write_text(f'[listen]\nadmin = "{made.bound.admin}"\n[admin]\ntoken_file = "{tokens}"\n', "utf-8")
        words = ["set", "elicitation_percentage=5", "--config", str(config), "--json"]
        result = await asyncio.to_thread(CliRunner().invoke, command, words)
        assert result.exit_code == 0, result.stderr
        assert orjson.loads(result.stdout)["elicitation_percentage"] == 5


@pytest.mark.requirement("cli.exit_codes")
def test_without_a_running_sidecar_it_says_so() -> None:
    result = CliRunner().invoke(command, ["get", "--admin", "127.0.0.1:1"])
    assert result.exit_code == 1
    assert "no sidecar answers at http://127.0.0.1:1" in result.stderr
    assert "--admin" in result.stderr
