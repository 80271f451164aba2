"""The stdio command as a process: what passes, how it ends, what it says."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.cli import stdio
from proxy.cli.main import main
from tests.support.processes import until
from tests.support.stdio_child import SIDECAR, all_gone, script, started

pytestmark = pytest.mark.e2e

ODD = b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"n":1.0,"n":90071992547409931}}\r\n\xff\x00not json\n\n\r\n'


@pytest.mark.requirement("stdio.untouched")
def test_bytes_pass_as_they_come_and_output_carries_nothing_else() -> None:
    with started("--", "cat") as child:
        child.write(ODD + b"no end")
        assert child.read(len(ODD)) == ODD
        child.close_input()
        assert child.read(100) == b"no end"
        assert child.code() == 0


@pytest.mark.requirement("stdio.untouched")
def test_standard_error_of_the_server_is_passed_on() -> None:
    with started("--", "sh", "-c", "echo mine >&2; cat") as child:
        child.hear_error("mine")
        assert "mine" in child.errors
        child.close_input()
        assert child.code() == 0


@pytest.mark.requirement("stdio.exit_code")
@pytest.mark.parametrize(
    ("words", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -SEGV $$", 139), ("cat; exit 5", 5)]
)
def test_the_exit_code_is_the_servers(words: str, code: int) -> None:
    done = subprocess.run(
        [*SIDECAR, "--", "sh", "-c", words], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=30
    )
    assert (done.returncode, done.stdout) == (code, b"")
    assert b"Traceback" not in done.stderr


@pytest.mark.requirement("stdio.exit_code")
def test_a_server_that_dies_at_once_is_told_while_the_client_is_still_there() -> None:
    with started("--", "sh", "-c", "echo last words; exit 9") as child:
        assert child.read(100) == b"last words\n"
        assert child.code() == 9


@pytest.mark.requirement("stdio.exit_code")
@pytest.mark.parametrize(("command", "code", "text"), [("/nonexistent", 127, "No such file"), ("/etc", 126, "denied")])
def test_a_command_that_cannot_be_run_is_told_as_a_shell_does(command: str, code: int, text: str) -> None:
    done = subprocess.run([*SIDECAR, "--", command], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (code, b"")
    assert text in done.stderr.decode()


@pytest.mark.requirement("stdio.exit_code")
@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--state", "memory:"], "COMMAND"),
        (["--bridge", "ftp://x", "--", "cat"], "bridge.url"),
        (["--admin", "8767", "--", "cat"], "listen.admin"),
        (["--set", "wait.mcp_hold_s=0", "--", "cat"], "wait.mcp_hold_s"),
        (["--config", "/nonexistent.toml", "--", "cat"], "/nonexistent.toml"),
        (["--unknown", "--", "cat"], "--unknown"),
    ],
)
def test_a_wrong_setting_is_a_usage_error_and_starts_nothing(words: list[str], text: str) -> None:
    result = CliRunner().invoke(main, ["stdio", *words])
    assert result.exit_code == 2
    assert text in result.stderr
    assert result.stdout == ""


@pytest.mark.requirement("stdio.exit_code")
def test_what_keeps_the_house_from_standing_ends_the_server_too(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("operator 0123456789abcdef-secret\n", "utf-8")
    tokens.chmod(0o644)
    for words, code, text in [
        (["--state", "sqlite:///dev/null/state.db"], 1, "state.url"),
        (["--set", f"admin.token_file={tokens}", "--admin", "127.0.0.1:0"], 2, "chmod 600"),
    ]:
        with started(*words, "--", "sleep", "1000") as child:
            until(lambda child=child: child.process.poll() is not None or child.family(), within_s=30, what="a start")  # type: ignore[misc]  # mypy infers no default
            family = child.family()
            assert child.code() == code
            child.hear_error(text)
            all_gone(family, within_s=5)


@pytest.mark.requirement("stdio.end")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_server_by_the_same_signal(number: signal.Signals, tmp_path: Path) -> None:
    server = script(
        tmp_path,
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(44))\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(100)\n",
    )
    with started("--", *server) as child:
        assert child.line() == b"ready\n"
        child.process.send_signal(number)
        assert child.code() == 44


@pytest.mark.requirement("stdio.end")
def test_a_server_that_ends_with_its_input_has_the_time_to() -> None:
    with started("--", "sh", "-c", "cat > /dev/null; echo done; exit 6") as child:
        child.close_input()
        assert child.read(100) == b"done\n"
        assert child.code() == 6


@pytest.mark.requirement("stdio.end")
def test_a_server_that_ignores_every_request_to_end_is_killed() -> None:
    with started("--", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1000; done") as child:
        assert child.line() == b"ready\n"
        family = child.family()
        child.close_input()
        assert child.code() == 137
        all_gone(family, within_s=1)


@pytest.mark.requirement("stdio.end")
def test_the_end_of_the_servers_output_is_the_end_of_ours_and_not_of_the_server() -> None:
    with started("--", "sh", "-c", "echo one; exec 1>&-; cat >&2; exit 4") as child:
        assert child.read(100) == b"one\n"
        child.write(b"still heard\n")
        child.hear_error("still heard")
        child.close_input()
        assert child.code() == 4


@pytest.mark.requirement("stdio.end")
def test_a_client_that_reads_no_more_is_the_end() -> None:
    with started("--", "sh", "-c", "read x; yes; exit 8") as child:
        assert child.process.stdout is not None
        child.process.stdout.close()
        child.write(b"go\n")
        assert child.code() in {8, 141, 143}


@pytest.mark.requirement("stdio.end")
def test_what_the_server_leaves_in_its_group_ends_with_it() -> None:
    with started("--", "sh", "-c", "sleep 1000 & echo $!; exit 0") as child:
        helper = int(child.line())
        assert child.code() == 0
        all_gone({helper}, within_s=1)


@pytest.mark.requirement("stdio.admin")
def test_the_operators_port_is_opened_only_when_asked_for(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text("operator 0123456789abcdef-secret\n", "utf-8")
    with started("--admin", "127.0.0.1:0", "--set", f"admin.token_file={tokens}", "--", "cat") as child:
        child.hear_error('"ready"')
        (line,) = [json.loads(line) for line in child.errors if '"ready"' in line]
        request = urllib.request.Request(f"http://{line['admin']}/health")
        request.add_header("Authorization", "Bearer 0123456789abcdef-secret")
        with urllib.request.urlopen(request, timeout=5) as reply:
            assert json.load(reply)["status"] == "healthy"
        request = urllib.request.Request(f"http://{line['admin']}/shutdown", data=b"", method="POST")
        request.add_header("Authorization", "Bearer 0123456789abcdef-secret")
        with urllib.request.urlopen(request, timeout=5) as reply:
            assert reply.status == 202
        assert child.code() in {0, 143}  # cat ends with its input, if it is not asked before
    with started("--", "cat") as child:
        child.hear_error('"ready"')
        assert "admin" not in json.loads(next(line for line in child.errors if '"ready"' in line))


@pytest.mark.requirement("stdio.no_leak")
def test_ten_starts_and_ends_leave_no_process() -> None:
    mark = f"agent.id=probe-{uuid.uuid4().hex}"  # tells these processes from those of tests beside this one
    for _ in range(10):
        words = [*SIDECAR, "--set", mark, "--", "cat"]
        done = subprocess.run(words, input=b"x\n", capture_output=True, check=False, timeout=30)
        assert (done.returncode, done.stdout) == (0, b"x\n")
    assert _running(mark) == []


def _running(mark: str) -> list[bytes]:
    """Command lines of processes that run now and have this mark."""
    lines = (Path(f"/proc/{entry}/cmdline") for entry in os.listdir("/proc") if entry.isdecimal())  # noqa: PTH208  # names
    found = []
    for line in lines:
        try:
            text = line.read_bytes()
        except OSError:  # it ended while we looked
            continue
        if mark.encode() in text:
            found.append(text)
    return found


def test_help_says_when_flags_are_read() -> None:
    result = CliRunner().invoke(main, ["stdio", "--help"])
    assert result.exit_code == 0
    for text in ("--config", "--bridge", "--state", "--admin", "--set", "COMMAND", "not seen before the next start"):
        assert text in result.output


@pytest.mark.requirement("stdio.no_orphan")
def test_a_frozen_program_watches_over_its_loader_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    handles = list(stdio._parents())
    try:
        assert [_pid_of(handle) for handle in handles] == [os.getppid(), stdio._parent_of(os.getppid())]
    finally:
        for handle in handles:
            os.close(handle)


def _pid_of(handle: int) -> int:
    text = Path(f"/proc/self/fdinfo/{handle}").read_text("utf-8")
    return int(text.partition("Pid:")[2].split()[0])
