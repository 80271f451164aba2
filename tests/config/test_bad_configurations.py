import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli.check import command
from proxy.config.load import load_config
from proxy.config.problems import ConfigError

TABLE = Path(__file__).with_name("bad_configurations.toml")


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    file: str
    says: list[str]


CASES = [Case(**case) for case in tomllib.loads(TABLE.read_text("utf-8"))["case"]]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_configuration_gives_its_messages(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.toml").write_text(case.file, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(Path("config.toml"), env={}, overrides={})
    messages = [str(problem) for problem in caught.value.problems]
    assert len(messages) == len(case.says)
    for message, expected in zip(messages, case.says, strict=True):
        # What follows "an error:" are the parser's own words, which differ between Python releases.
        assert message == expected or (expected.endswith("an error: ") and message.startswith(expected))
    for problem in caught.value.problems:
        assert f"config.toml:{problem.line}" in problem.source


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_configuration_ends_check_with_code_2(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(case.file, "utf-8")
    result = CliRunner().invoke(command, [str(file)])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == len(case.says)


def test_no_two_bad_configurations_give_the_same_message() -> None:
    messages = [message for case in CASES for message in case.says]
    assert len(CASES) >= 40
    assert len({tuple(case.says) for case in CASES}) == len(CASES)
    assert not any("geheim" in message for message in messages)
