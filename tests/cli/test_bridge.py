"""The command of the development Bridge, as a process and without one."""

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli.bridge import command

START = [sys.executable, "-c", "from proxy.cli.bridge import command; command()"]


def test_help_says_that_it_is_for_development_only() -> None:
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0
    assert "FOR DEVELOPMENT ONLY" in result.output
    assert "lose_respond_reply" in result.output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--listen", "8765"], "expected HOST:PORT"),
        (["--listen", "127.0.0.1:x"], "expected HOST:PORT"),
        (["--listen", "127.0.0.1:70000"], "expected HOST:PORT"),
        (["--set", "slow=1"], "did you mean slow_ms"),
        (["--poll-seconds", "0"], "0.001"),
    ],
)
def test_a_wrong_option_is_a_usage_error(arguments: list[str], text: str) -> None:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2
    assert text in result.output


def test_a_port_in_use_is_a_clear_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = CliRunner().invoke(command, ["--listen", f"127.0.0.1:{taken.getsockname()[1]}"])
    assert result.exit_code == 1
    assert "the development Bridge cannot run" in result.output


def test_a_state_file_of_something_else_is_a_clear_failure(tmp_path: Path) -> None:
    state = tmp_path / "log.jsonl"
    state.write_text("hello\n")
    result = CliRunner().invoke(command, ["--listen", "127.0.0.1:0", "--state", str(state)])
    assert result.exit_code == 1
    assert "line 1 of the state file" in result.output


@pytest.mark.e2e
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_when_it_is_ready_and_stops_with_nought(number: signal.Signals) -> None:
    arguments = ["--listen", "127.0.0.1:0", "--no-elicitation", "--set", "slow_ms=5"]
    with subprocess.Popen([*START, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        ready = json.loads(process.stdout.readline())
        assert (ready["event"], ready["url"]) == ("ready", f"http://{ready['listen']}")
        with urllib.request.urlopen(f"{ready['url']}/dev/switches", timeout=5) as reply:
            switches = json.load(reply)
        assert (switches["elicitation"], switches["slow_ms"]) == (False, 5)
        process.send_signal(number)
        assert process.wait(5) == 0
        assert b"for demos, tests and benchmarks only" in process.stderr.read()
