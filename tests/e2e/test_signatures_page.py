"""What the page on signatures tells people to type sets up what it says."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.processes import Child, Children, until

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "signatures.md").read_text("utf-8")
SET_UP, ROTATE, TAKE_UP = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
PORTS = ("8765", "8766", "8767", "8768", "8769")
FILES = ("ingress.keys", "alice.keys")
PYTHON = f'elicit-sidecar() {{ {shlex.quote(sys.executable)} -m proxy "$@"; }}\n'

pytestmark = [pytest.mark.e2e, pytest.mark.requirement("signatures.keys_live")]


def _commands(code: str) -> list[str]:
    return code.replace("\\\n", "").splitlines()


def _bash(code: str, folder: Path) -> None:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", PYTHON + code],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _status(port: str, path: str = "/status") -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as reply:
            status: int = reply.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def _placed(command: str, ports: Mapping[str, str], folder: Path) -> list[str]:
    for port, free in ports.items():
        command = re.sub(rf":{port}\b", f":{free}", command)
    for name in FILES:
        command = command.replace(name, str(folder / name))
    return shlex.split(command.removesuffix("&"))[1:]


def test_five_commands_set_it_up_and_keys_are_rotated_while_it_runs(processes: Children, tmp_path: Path) -> None:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    ports = {port: str(each.getsockname()[1]) for port, each in zip(PORTS, taken, strict=True)}
    for each in taken:
        each.close()
    commands = _commands(SET_UP)
    assert len(commands) == 5
    _bash("\n".join(command for command in commands if not command.endswith("&")), tmp_path)
    started: list[Child] = []
    for command in commands:
        if command.endswith("&"):
            started.append(processes.run(*_placed(command, ports, tmp_path)))
            until(lambda: bool(started[-1].lines), within_s=30, what=f"ready: {command}")
    _, ingress, _ = started
    assert (_status(ports["8768"]), _status(ports["8766"])) == (401, 200)

    _bash(ROTATE, tmp_path)
    until(lambda: "key file read again" in ingress.errors, within_s=20, what="the ingress reads its keys")
    _bash(TAKE_UP, tmp_path)
    until(lambda: "key file read again" in started[2].errors, within_s=20, what="the sidecar reads its keys")
    assert _status(ports["8766"]) == 200
    old = next(line.split()[1] for line in (tmp_path / "ingress.keys").read_text().splitlines() if "retiring" in line)
    _bash(f"elicit-sidecar keys revoke {old} --keys ingress.keys", tmp_path)
    until(lambda: ingress.errors.count("key file read again") == 2, within_s=20, what="the old key is revoked")
    assert _status(ports["8766"]) == 200


def test_a_hangup_reads_the_keys_and_a_file_that_others_can_read_is_told_of_by_readiness(
    processes: Children, tmp_path: Path
) -> None:
    _bash("umask 077; elicit-sidecar keys new alice --keys alice.keys", tmp_path)
    keys = tmp_path / "alice.keys"
    words = ("run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--state", "memory:")
    sidecar = processes.run(*words, "--set", f"signatures.keys_file={keys}")
    admin = str(sidecar.hear(event="ready")["admin"]).rpartition(":")[2]
    keys.chmod(0o644)  # which no watch of the content tells
    os.kill(sidecar.pid, signal.SIGHUP)
    until(lambda: "key file refused" in sidecar.errors, within_s=20, what="the file is refused")
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz", timeout=10) as reply:
        assert b"the old keys stay" in reply.read()
    assert sidecar.end() == 0
