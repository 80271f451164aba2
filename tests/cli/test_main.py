"""The command line as a whole: every command is found, and imported only when it is used."""

import subprocess
import sys
from pathlib import Path

import click
import orjson
import pytest
from click.testing import CliRunner

from proxy import __version__
from proxy.cli.main import COMMANDS, main

_LOOK = """
import sys
from proxy.cli.main import main
try:
    main({words!r})
except SystemExit as end:
    code = end.code
print(code, sorted({{name.partition(".")[0] for name in sys.modules}} & {{"aiohttp", "uvloop", "structlog", "rich"}}))
"""


@pytest.mark.requirement("cli.lazy")
@pytest.mark.parametrize(
    "words", [["--help"], ["version"], ["run", "--help"], ["flags", "--help"], ["flags", "get", "-h"]]
)
def test_what_needs_no_server_imports_none(words: list[str]) -> None:
    source = _LOOK.format(words=words)
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.requirement("cli.lazy")
def test_importing_the_command_line_imports_no_command() -> None:
    source = "import sys, proxy.cli.main; print(sorted(name for name in sys.modules if name.startswith('proxy')))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "['proxy', 'proxy.cli', 'proxy.cli.main']"


def test_help_lists_every_command_with_its_line() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for name, line in COMMANDS.items():
        assert f"{name} " in result.output
        assert line in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_listed_has_help(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["rum"])
    assert result.exit_code == 2
    assert "rum" in result.stderr


def test_the_version_is_told_at_the_top_too() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == f"elicit-sidecar, version {__version__}\n"


def test_a_module_without_a_command_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.cli.version.command", object())
    with pytest.raises(TypeError, match=r"proxy\.cli\.version"):
        CliRunner().invoke(main, ["version"], catch_exceptions=False)


@pytest.mark.e2e
def test_python_runs_the_package(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "proxy", "version", "--json"]
    done = subprocess.run(words, capture_output=True, check=True, timeout=30, cwd=tmp_path)
    assert orjson.loads(done.stdout)["version"] == __version__


def test_all_commands_are_listed_for_completion() -> None:
    assert main.list_commands(click.Context(main)) == list(COMMANDS)
