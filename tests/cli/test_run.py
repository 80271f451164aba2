"""The run command as a process: ready line, exit codes, the end."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli.run import command

pytestmark = pytest.mark.e2e

START = [sys.executable, "-m", "proxy", "run"]
FREE = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--bridge", "http://127.0.0.1:1"]


def _environment(tmp_path: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ELICIT_SIDECAR_")}
    return {**kept, "XDG_STATE_HOME": str(tmp_path / "state"), **more}


@contextmanager
def _running(
    tmp_path: Path, *words: str, env: Mapping[str, str] | None = None
) -> Iterator[tuple["subprocess.Popen[bytes]", dict[str, str]]]:
    """A sidecar that has said it is ready, and what it said; it is ended with the block."""
    with subprocess.Popen(
        [*START, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment(tmp_path, **(env or {}))
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield process, json.loads(line or b"{}")
        finally:
            process.terminate()


def _ended(process: "subprocess.Popen[bytes]") -> tuple[int, str]:
    assert process.stderr is not None
    return process.wait(5), process.stderr.read().decode()


def _fails(tmp_path: Path, *words: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [*START, *words], capture_output=True, text=True, check=False, timeout=30, env=_environment(tmp_path)
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.requirement("cli.ready_line")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_when_it_is_ready_and_ends_with_nought(tmp_path: Path, number: signal.Signals) -> None:
    with _running(tmp_path, *FREE) as (process, ready):
        assert ready["event"] == "ready"
        assert set(ready) == {"event", "data", "admin"}
        with urllib.request.urlopen(f"http://{ready['admin']}/health", timeout=5) as reply:
            assert json.load(reply)["service"] == "elicit-sidecar"
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://{ready['data']}/health", timeout=5)
        with refused.value:
            assert refused.value.code == 502
        process.send_signal(number)
        code, said = _ended(process)
    assert code == 0
    assert "Traceback" not in said


@pytest.mark.requirement("cli.defaults")
def test_without_a_file_it_says_what_it_assumes(tmp_path: Path) -> None:
    with _running(tmp_path, *FREE) as (process, _):
        process.terminate()
        _, said = _ended(process)
    assert "no --config: assuming the Bridge at http://127.0.0.1:1" in said
    assert "elicitation off at 0 percent" in said
    assert f"state in sqlite://{tmp_path}/state/elicit-sidecar/state.db" in said
    assert (tmp_path / "state" / "elicit-sidecar" / "state.db").exists()


def test_a_file_is_obeyed_and_nothing_is_assumed(tmp_path: Path) -> None:
    config = tmp_path / "sidecar.toml"
    config.write_text(
        '[listen]\ndata = "127.0.0.1:0"\nadmin = "127.0.0.1:0"\n[state]\nurl = "memory:"\n'
        "[flags]\nelicitation_enabled = true\nelicitation_percentage = 5\n",
        "utf-8",
    )
    words = ["--config", str(config), "--set", "flags.elicitation_percentage=12.5", "--state", "memory:"]
    with _running(tmp_path, *words) as (process, ready):
        with urllib.request.urlopen(f"http://{ready['admin']}/feature_flags", timeout=5) as reply:
            flags = json.load(reply)
        assert (flags["elicitation_enabled"], flags["elicitation_percentage"]) == (True, 12.5)
        process.terminate()
        _, said = _ended(process)
    assert "assuming" not in said
    assert not (tmp_path / "state").exists()


def test_the_environment_may_say_where_state_is_kept(tmp_path: Path) -> None:
    with _running(tmp_path, *FREE, env={"ELICIT_SIDECAR_STATE_URL": "memory:"}) as (process, _):
        process.terminate()
        _, said = _ended(process)
    assert "state in memory:" in said
    assert not (tmp_path / "state").exists()


@pytest.mark.requirement("cli.exit_codes")
def test_a_port_in_use_is_a_clear_failure(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = [*FREE, "--state", "memory:", "--admin", f"127.0.0.1:{taken.getsockname()[1]}"]
        code, out, said = _fails(tmp_path, *words)
    assert code == 1
    assert out == ""
    assert "cannot start" in said
    assert "in use" in said
    assert "Traceback" not in said


@pytest.mark.requirement("cli.exit_codes")
def test_a_state_that_cannot_be_opened_is_a_clear_failure(tmp_path: Path) -> None:
    code, out, said = _fails(tmp_path, *FREE, "--state", "sqlite:///dev/null/state.db")
    assert (code, out) == (1, "")
    assert "state.url" in said
    assert "Traceback" not in said


@pytest.mark.requirement("cli.exit_codes")
def test_a_token_file_that_others_may_read_is_a_configuration_error(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("operator 0123456789abcdef-secret\n", "utf-8")
    tokens.chmod(0o644)
    code, out, said = _fails(tmp_path, *FREE, "--state", "memory:", "--set", f"admin.token_file={tokens}")
    assert (code, out) == (2, "")
    assert "chmod 600" in said
    assert "secret" not in said


@pytest.mark.requirement("cli.exit_codes")
@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--listen", "8766"], "listen.data"),
        (["--admin", "127.0.0.1:99999"], "listen.admin"),
        (["--bridge", "ftp://x"], "bridge.url"),
        (["--state", "mysql://x"], "state.url"),
        (["--set", "flags.elicitation_percentge=5"], "did you mean flags.elicitation_percentage"),
        (["--set", "nonsense"], "--set"),
        (["--config", "/nonexistent.toml"], "/nonexistent.toml"),
        (["--unknown"], "--unknown"),
        (["extra"], "extra"),
    ],
)
def test_a_wrong_setting_is_a_configuration_error(tmp_path: Path, words: list[str], text: str) -> None:
    result = CliRunner(env={"XDG_STATE_HOME": str(tmp_path)}).invoke(command, words)
    assert result.exit_code == 2
    assert text in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("home", ["", "relative/path"])
def test_a_state_home_that_is_no_absolute_path_counts_as_none(tmp_path: Path, home: str) -> None:
    with _running(tmp_path, *FREE, env={"XDG_STATE_HOME": home, "HOME": str(tmp_path)}) as (process, _):
        process.terminate()
        _ended(process)
    assert (tmp_path / ".local" / "state" / "elicit-sidecar" / "state.db").exists()


def test_help_names_the_options() -> None:
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0
    for option in ("--config", "--listen", "--admin", "--bridge", "--state", "--set"):
        assert option in result.output
