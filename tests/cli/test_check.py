import tomllib
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from proxy.cli.check import command
from tests.support.certificates import DAY, Authority, now

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def _check(*words: str | Path, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words], env=env)


def test_a_good_file_prints_the_effective_configuration(file: Path) -> None:
    file.write_text('[bridge]\nurl = "http://bridge.example/"\n', "utf-8")
    result = _check(file)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert 'url = "http://bridge.example"  # file:2' in result.stdout.splitlines()
    assert tomllib.loads(result.stdout)["listen"]["data"] == "127.0.0.1:8766"


def test_the_example_is_a_good_file_and_its_output_means_the_same(file: Path) -> None:
    printed = _check(EXAMPLE).stdout
    file.write_text(printed, "utf-8")
    assert tomllib.loads(_check(file).stdout) == tomllib.loads(printed) == tomllib.loads(EXAMPLE.read_text("utf-8"))


def test_environment_and_settings_stand_over_the_file(file: Path) -> None:
    file.write_text("[flags]\nelicitation_percentage = 5\n[bridge]\npoll_burst = 5\n", "utf-8")
    env = {"ELICIT_SIDECAR_FLAGS_ELICITATION_PERCENTAGE": "25", "ELICIT_SIDECAR_BRIDGE_POLL_BURST": "25"}
    result = _check(file, "--set", "bridge.poll_burst=50", "--set", "flags.salt=a=b", env=env)
    lines = result.stdout.splitlines()
    assert "elicitation_percentage = 25.0  # environment ELICIT_SIDECAR_FLAGS_ELICITATION_PERCENTAGE" in lines
    assert "poll_burst = 50  # command line" in lines
    assert 'salt = "a=b"  # command line' in lines


def test_every_problem_is_one_line_on_standard_error(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    file.write_text("[flags]\nelicitation_percentage = 101\nelicitation_enabld = true\n", "utf-8")
    result = _check("config.toml", "--set", "log.level=loud")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "config.toml:2: flags.elicitation_percentage: expected a number from 0 to 100, got 101",
        (
            "config.toml:3: flags.elicitation_enabld: expected a known key, got an unknown one; "
            "did you mean flags.elicitation_enabled?"
        ),
        "command line: log.level: expected debug, info, warning or error, got 'loud'",
    ]


def test_json_holds_configuration_and_origins(file: Path) -> None:
    file.write_text('[groups]\ncanary = ["alice"]\n', "utf-8")
    result = _check(file, "--json")
    printed = orjson.loads(result.stdout)
    assert result.exit_code == 0
    assert printed["config"]["groups"] == {"canary": ["alice"]}
    assert printed["config"]["limits"]["questions"] == "10/min+3"
    assert printed["origins"]["groups.canary"] == "file:2"
    assert printed["origins"]["log.level"] == "default"


def test_json_holds_every_problem(file: Path) -> None:
    file.write_text("[log]\nlevel = 1\n[lag]\n", "utf-8")
    result = _check(file, "--json")
    printed = orjson.loads(result.stdout)
    assert result.exit_code == 2
    assert list(printed) == ["problems"]
    assert [(problem["key"], problem["line"]) for problem in printed["problems"]] == [("log.level", 2), ("lag", 3)]
    assert printed["problems"][0]["expected"] == "debug, info, warning or error"


@pytest.mark.parametrize("words", [[], ["a.toml", "b.toml"], ["--wrong", "a.toml"]])
def test_wrong_use_ends_with_code_2(words: list[str]) -> None:
    assert _check(*words).exit_code == 2


def test_a_missing_file_ends_with_code_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = _check("none.toml")
    assert result.exit_code == 2
    assert result.stderr == "none.toml: expected a readable file, got No such file or directory\n"


def test_a_setting_without_equal_sign_ends_with_code_2(file: Path) -> None:
    file.touch()
    result = _check(file, "--set", "geheim")
    assert result.exit_code == 2
    assert result.stderr == "command line: --set: expected KEY=VALUE, got a word without key or '='\n"


def test_the_token_file_is_checked_too(file: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text("operator geheim-geheim-geheim\n", "utf-8")
    file.write_text(f'[admin]\ntoken_file = "{tokens}"\n', "utf-8")
    good = _check(file)
    assert good.exit_code == 0
    assert "geheim" not in good.output
    tokens.chmod(0o644)
    bad = _check(file)
    assert bad.exit_code == 2
    assert "admin.token_file: expected file mode 0600, got 0644" in bad.stderr
    assert "geheim" not in bad.output


@pytest.mark.requirement("tls.expiry")
def test_an_expired_certificate_is_a_warning_and_a_missing_one_an_error(file: Path, tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    pair = ours.pair("port", ours.issue(since=now() - 9 * DAY, until=now() - DAY))
    file.write_text(f'[listen]\ntls_cert_file = "{pair.cert}"\ntls_key_file = "{pair.key}"\n', "utf-8")
    good = _check(file)
    assert good.exit_code == 0
    assert good.stderr.startswith("warning: listen.tls_cert_file: the certificate expired on ")
    assert tomllib.loads(good.stdout)["listen"]["tls_cert_file"] == str(pair.cert)
    (warning,) = orjson.loads(_check(file, "--json").stdout)["warnings"]
    assert f"warning: {warning}\n" == good.stderr
    pair.key.unlink()
    bad = _check(file)
    assert bad.exit_code == 2
    assert bad.stderr == f"{pair.key}: listen.tls_key_file: expected a readable file, got No such file or directory\n"


def test_no_password_is_printed(file: Path) -> None:
    file.write_text('[state]\nurl = "redis://me:geheim@cache.example/0"\n', "utf-8")
    for words in ([file], [file, "--json"]):
        result = _check(*words)
        assert result.exit_code == 2
        assert "geheim" not in result.output
        assert "***" in result.output
