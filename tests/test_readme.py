"""What the README tells people to type works, in the order in which it stands there."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCK = re.compile(
    r"(?P<mark><!-- not run: [^\n]+ -->\n)?```(?:bash|sh|shell|console)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)
START = "make run"
LAST_LINE = "serving; stop with Ctrl-C"
START_S, STOP_S, BLOCK_S = 60, 10, 30
PORTS = ("8765", "8766", "8767")
"""The ports of the README: Bridge, agents, operators. The test takes free ones in their place."""

pytestmark = pytest.mark.e2e


def _blocks() -> list[str]:
    return [match["code"] for match in BLOCK.finditer(README) if not match["mark"]]


@pytest.fixture
def ports() -> Mapping[str, str]:
    """A free port for each one of the README."""
    found = {}
    for port in PORTS:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            found[port] = str(taken.getsockname()[1])
    return found


@dataclass(slots=True)
class _Demo:
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def read_until_serving(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if self.lines[-1] == LAST_LINE:
                return


@contextmanager
def _running(folder: Path, env: Mapping[str, str]) -> Iterator[_Demo]:
    """`make run` as somebody types it, ended as Ctrl-C ends it: the whole foreground group gets the signal."""
    with subprocess.Popen(
        START.split(),
        cwd=folder,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        alarm = threading.Timer(START_S, os.killpg, (process.pid, signal.SIGKILL))
        alarm.start()
        demo = _Demo(process)
        try:
            demo.read_until_serving()
            alarm.cancel()
            yield demo
        finally:
            alarm.cancel()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
            try:
                process.communicate(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise


def _run(code: str, folder: Path, env: Mapping[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BLOCK_S,
        check=False,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A place like the tree, with a state folder of its own."""
    for name in ("Makefile", "config.example.toml", "pyproject.toml", "uv.lock", "tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    # The environment of this test run; with a stamp of now, so that nothing is ever installed into it from here.
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.prefix) / "bin")
    (tmp_path / ".venv" / ".ready-run").touch()
    return tmp_path


def test_the_blocks_that_are_not_run_say_why() -> None:
    marked = [match["code"].strip() for match in BLOCK.finditer(README) if match["mark"]]
    assert marked == ["make test"]
    assert _blocks()[0].strip() == START


def test_what_the_readme_says_can_be_typed(folder: Path, ports: Mapping[str, str]) -> None:
    if shutil.which("curl") is None or shutil.which("make") is None:
        pytest.skip("the README's commands need curl and make")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    env = {
        **kept,
        "ELICIT_SIDECAR_BRIDGE_URL": f"http://127.0.0.1:{ports['8765']}",
        "ELICIT_SIDECAR_LISTEN_DATA": f"127.0.0.1:{ports['8766']}",
        "ELICIT_SIDECAR_LISTEN_ADMIN": f"127.0.0.1:{ports['8767']}",
    }
    said = {}
    with _running(folder, env) as demo:
        assert demo.lines[-1:] == [LAST_LINE], "\n".join(demo.lines)
        for block in _blocks()[1:]:
            said[block] = _run(re.sub(r"\b876[567]\b", lambda port: ports[port[0]], block), folder, env)
    for port in ports.values():
        with socket.create_server(("127.0.0.1", int(port))):
            pass  # nobody was left behind who holds it
    curl, flags, _, rollback = said.values()
    asked, wrong, right, answered = curl.splitlines()[1:]
    assert '"event_type":"elicitation_request"' in asked
    assert '"code":"answer_invalid"' in wrong
    assert '"status":"stored"' in right
    assert '"event_type":"elicitation_response"' in answered
    assert '"data":{"ship":true}' in answered
    assert "try a quarter" in flags
    assert re.search(r"elicitation_enabled\s*[=:]?\s*false", rollback, re.IGNORECASE)
