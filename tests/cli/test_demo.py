"""The command of the demo, without starting anything."""

import re
import shlex
import socket
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli.demo import command

ROOT = Path(__file__).parents[2]
ANYWHERE = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--bridge-listen", "127.0.0.1:0")


def test_help_shows_the_options_and_not_how_children_are_started() -> None:
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0
    assert "--state-dir" in result.output
    assert "child" not in result.output


@pytest.mark.parametrize("words", [("--listen", "8766"), ("--admin", "127.0.0.1:x"), ("--bridge-listen", "::1:8765")])
def test_a_wrong_address_is_a_usage_error(words: tuple[str, str]) -> None:
    result = CliRunner().invoke(command, list(words))
    assert result.exit_code == 2
    assert "expected HOST:PORT" in result.output


def test_a_bad_configuration_is_told_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("[listen]\ndata = 8766\n")
    result = CliRunner().invoke(command, ["--config", str(file)])
    assert result.exit_code == 2
    assert "listen.data" in result.output


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}", "http://localhost:{}"])
def test_the_bridge_listens_where_the_configuration_expects_it(tmp_path: Path, url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file = tmp_path / "sidecar.toml"
        file.write_text(
            f'[bridge]\nurl = "{url.format(port)}"\n[listen]\ndata = "127.0.0.1:0"\nadmin = "127.0.0.1:0"\n'
        )
        result = CliRunner().invoke(command, ["--config", str(file)])
    assert result.exit_code == 1
    assert f"the Bridge: cannot listen on {url.format(port).removeprefix('http://')}" in result.output


@pytest.mark.requirement("cli.demo_port")
def test_what_is_said_of_a_port_that_is_taken_can_be_typed_as_it_stands(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file = tmp_path / "sidecar.toml"
        file.write_text(f'[listen]\ndata = "127.0.0.1:{port}"\nadmin = "127.0.0.1:0"\n')
        said = CliRunner().invoke(command, ["--config", str(file)]).output
    hint = re.search(r'`(make run ARGS="[^"]+")`', said)
    assert hint is not None, said
    dry = ["make", "--dry-run", "--no-print-directory", *shlex.split(hint[1])[1:]]
    done = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("--state-dir .run --listen 127.0.0.1:0")


def test_a_state_folder_that_cannot_be_made_is_a_clear_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(command, [*ANYWHERE, "--state-dir", str(tmp_path / "file" / "state")])
    assert result.exit_code == 1
    assert "cannot make --state-dir" in result.output
