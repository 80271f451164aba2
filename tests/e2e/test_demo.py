"""`elicit-sidecar demo` from its first word to its last child."""

import json
import os
import signal
import socket
import stat
from pathlib import Path

import pytest

from tests.support.processes import Child, Children, descendants, is_alive, until
from tests.support.stand import call

pytestmark = pytest.mark.e2e

ANYWHERE = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--bridge-listen", "127.0.0.1:0")
SERVING = "serving; stop with Ctrl-C"
ALICE_ASKS = '   alice asks bob: "Deploy build 41 to production?"'
STORY_S = 60.0


def test_once_as_json_gives_the_numbers_of_both_cohorts_and_leaves_nothing(processes: Children, tmp_path: Path) -> None:
    demo = processes.run("demo", "--once", "--json", *ANYWHERE, env={"TMPDIR": str(tmp_path)})
    assert demo.code(STORY_S) == 0, demo.errors
    [line] = demo.lines
    told = json.loads(line)
    assert told["legacy"]["arrived_as"] == "custom"
    assert told["elicitation"]["arrived_as"] == "elicitation_request"
    assert told["legacy"]["content"] == told["elicitation"]["content"] == {"approved": True, "window": "now"}
    assert 0 < told["elicitation"]["seen_ms"] <= told["elicitation"]["answer_ms"]
    assert told["ratio"]["answer"] > 0
    assert demo.errors == ""
    assert list(tmp_path.iterdir()) == [], "the temporary folder is gone"


def _amid_the_story(processes: Children, folder: Path) -> tuple[Child, set[int]]:
    """A demo whose children all run, and their process ids."""
    demo = processes.run("demo", "--state-dir", str(folder), *ANYWHERE)
    demo.hear_text(ALICE_ASKS, STORY_S)
    running = descendants(demo.pid)
    assert len(running) >= 4, "Bridge, sidecar, bob and alice"
    return demo, running


def test_it_serves_on_after_the_story_until_it_is_asked_to_end(processes: Children, tmp_path: Path) -> None:
    demo = processes.run("demo", "--state-dir", str(tmp_path / "state"), *ANYWHERE)
    demo.hear_text(SERVING, STORY_S)
    assert demo.lines[-1] == SERVING
    lines = {words[0]: words[1] for words in (line.split(maxsplit=1) for line in demo.lines) if len(words) == 2}
    assert call("GET", lines["metrics"]).status == 200
    token_file = tmp_path / "state" / "tokens"
    assert stat.S_IMODE(token_file.stat().st_mode) == 0o600
    assert token_file.read_text().split()[1] not in "\n".join(demo.lines), "the token itself is never shown"
    assert os.waitstatus_to_exitcode(os.system(f"{lines['flags']} > {tmp_path / 'flags.json'}")) == 0  # noqa: S605  # it is what a reader pastes into a shell
    assert json.loads((tmp_path / "flags.json").read_text())["elicitation_percentage"] == 50
    running = descendants(demo.pid)
    assert len(running) >= 4
    assert demo.end(signal.SIGINT, 20) == 0
    assert not any(map(is_alive, running))


def test_killed_it_leaves_no_child_behind(processes: Children, tmp_path: Path) -> None:
    demo, running = _amid_the_story(processes, tmp_path / "state")
    demo.end(signal.SIGKILL)
    until(lambda: not any(map(is_alive, running)), within_s=20, what="the end of the children")


def test_a_child_that_dies_ends_the_demo_with_its_last_words(processes: Children, tmp_path: Path) -> None:
    demo, running = _amid_the_story(processes, tmp_path / "state")
    sidecar = next(pid for pid in running if b"admin.token_file" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(sidecar, signal.SIGKILL)
    assert demo.code(30) == 1
    assert "the demo failed: sidecar ended early with code -9" in demo.errors
    assert not any(map(is_alive, running))


@pytest.mark.parametrize("option", ["--listen", "--admin", "--bridge-listen"])
def test_a_busy_port_is_named_with_what_to_do(processes: Children, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        demo = processes.run("demo", "--once", *ANYWHERE, option, address)
        assert demo.code() == 1
    assert f"cannot listen on {address}" in demo.errors
    assert f"with {option} 127.0.0.1:0" in demo.errors
