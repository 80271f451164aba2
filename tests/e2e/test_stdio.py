"""The stdio command between real peers: SDK clients and servers, crashes of each process, floods and long lines."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.peers import Room, Run, call, peer_room, server_command
from tests.support.processes import children, descendants, is_alive, until
from tests.support.stand import call as http
from tests.support.stand import open_session, store
from tests.support.stdio_child import SIDECAR, all_gone, script, started

pytestmark = pytest.mark.e2e

SCHEMA = {"type": "object", "properties": {"build": {"type": "string"}}, "required": ["build"]}
ON = ("--set", "flags.elicitation_enabled=true", "--set", "flags.elicitation_percentage=100")
WAIT, RESPOND = "lighthouse_wait_for_messages", "lighthouse_respond_to_elicitation"

CLIENTS = [
    ("mcp-1.22", "", "mcp-1.30"),
    ("mcp-1.30", "", "mcp-1.30"),
    ("mcp-1.30", "", "mcp-2.3"),
    ("mcp-2.3", "", "mcp-1.30"),
    ("mcp-2.3", "", "mcp-2.3"),
    ("mcp-2.3", "2026-07-28", "mcp-2.3"),
    ("fastmcp-3", "", "fastmcp-3"),
    ("fastmcp-4", "", "mcp-2.3"),
    ("ts-1", "", "mcp-1.30"),
    ("ts-2", "", "mcp-2.3"),
]
"""Client peers, their modes, and the servers that they launch through the sidecar."""


@pytest.fixture(scope="module", name="room")
def _room() -> Iterator[Room]:
    with peer_room() as opened:
        yield opened


@pytest.fixture(scope="module", name="bridge")
def _bridge() -> Iterator[str]:
    with children() as running:
        words = ["--listen", "127.0.0.1:0", "--poll-seconds", "0.1", "--set", "rate_limits=off"]
        yield str(running.run("bridge", *words).hear(event="ready")["url"])


class Asker:
    """Another agent, at the Bridge."""

    def __init__(self, bridge: str, name: str) -> None:
        self._bridge = bridge
        self._name = name
        self._token = open_session(bridge, name)

    def newest(self) -> int:
        """Where the log ends."""
        return store(self._bridge, self._name, {}, token=self._token)

    def ask(self, agent: str) -> str:
        body = {"from_agent": self._name, "to_agent": agent, "message": "Which build?", "schema": SCHEMA}
        reply = http("POST", f"{self._bridge}/elicitation/create", {**body, "timeout_seconds": 60}, token=self._token)
        return str(reply.json["elicitation_id"])

    def status(self, elicitation_id: str) -> object:
        return http("GET", f"{self._bridge}/elicitation/status/{elicitation_id}", token=self._token).json["status"]


def _sidecar(bridge: str, server: str, *words: str) -> list[str]:
    return [*SIDECAR, "--bridge", bridge, *words, "--", *server_command(server, "--stdio", "--bridge", bridge)]


def _told(run: Run, tag: str) -> Mapping[str, object]:
    line = run.hear(kind="result", tag=tag)
    texts = line["text"]
    assert isinstance(texts, list), line
    assert line["structured"] == {"result": texts[0]}
    found = json.loads(texts[0])
    assert isinstance(found, dict)
    return found


@pytest.mark.requirement("stdio.wait")
@pytest.mark.parametrize(("client", "mode", "server"), CLIENTS)
def test_a_question_reaches_an_sdk_client_and_its_answer_the_bridge(
    *, room: Room, bridge: str, client: str, mode: str, server: str
) -> None:
    agent = f"{client}-{mode}-{server}".replace(".", "_")
    asker = Asker(bridge, f"asker-of-{agent}")
    plan: dict[str, object] = {"stdio": _sidecar(bridge, server, *ON), "interactive": True}
    run = room.client(client, **plan, **({"mode": mode} if mode else {}))
    run.hear(kind="connected")
    since = asker.newest()
    run.call(WAIT, {"agent_id": agent, "timeout_seconds": 30, "since_sequence": since}, tag="wait")
    run.call("echo", {"text": "still there"}, tag="echo")
    assert run.hear(kind="result", tag="echo")["text"] == ["still there"]
    asked = asker.ask(agent)
    found = _told(run, "wait")
    events = found["events"]
    assert isinstance(events, list)
    assert [event["data"]["elicitation_id"] for event in events] == [asked]
    answer = {"elicitation_id": asked, "response_type": "accept", "data": {"build": "b42"}}
    run.call(RESPOND, answer, tag="answer")
    assert _told(run, "answer")["status"] == "success"
    assert asker.status(asked) == "accepted"
    run.end()
    assert run.outcome()[-1]["kind"] == "closed"


@pytest.mark.requirement("stdio.cancel")
@pytest.mark.parametrize(("client", "server"), [("mcp-2.3", "mcp-2.3"), ("ts-1", "mcp-1.30")])
def test_a_client_that_gives_a_wait_up_is_offered_the_question_again(
    room: Room, bridge: str, client: str, server: str
) -> None:
    agent = f"cancels-{client}".replace(".", "_")
    asker = Asker(bridge, f"asker-of-{agent}")
    run = room.client(client, stdio=_sidecar(bridge, server, *ON), interactive=True)
    since = asker.newest()
    arguments = {"agent_id": agent, "timeout_seconds": 30, "since_sequence": since}
    run.call(WAIT, arguments, tag="first", timeout_s=0.2)
    run.hear(kind="error", tag="first")
    asked = asker.ask(agent)
    run.call(WAIT, arguments, tag="second")
    assert asked in json.dumps(_told(run, "second"))
    run.end()
    run.outcome()


@pytest.mark.requirement("stdio.legacy")
@pytest.mark.parametrize("client", ["mcp-1.30", "mcp-2.3"])
def test_turned_off_it_is_not_there(room: Room, bridge: str, client: str) -> None:
    asker = Asker(bridge, f"off-{client}".replace(".", "_"))
    run = room.client(
        client, stdio=_sidecar(bridge, "mcp-1.30"), answer="accept", calls=[call("ask")], interactive=True
    )
    assert run.hear(kind="result", tool="ask")["text"] == ["accept:zed-name"]
    since = asker.newest()
    run.call(WAIT, {"agent_id": "off", "timeout_seconds": 5, "since_sequence": since - 1}, tag="wait")
    assert _told(run, "wait")["status"] == "new_events"
    run.end()
    run.outcome()


INITIALIZE = (
    b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
    b'"clientInfo":{"name":"raw","version":"1"}}}\n'
)


@pytest.mark.requirement("stdio.drain")
def test_a_stop_answers_the_waits_that_are_held(bridge: str) -> None:
    asker = Asker(bridge, "asker-of-drained")
    since = asker.newest()
    params = {"name": WAIT, "arguments": {"agent_id": "drained", "timeout_seconds": 300, "since_sequence": since}}
    wait = json.dumps({"jsonrpc": "2.0", "id": "w", "method": "tools/call", "params": params}).encode() + b"\n"
    with started("--bridge", bridge, *ON, "--", "cat") as child:
        child.write(INITIALIZE + wait)
        assert child.line() == INITIALIZE
        until(lambda: _parked(bridge) > 0, within_s=30, what="a poll at the Bridge")
        child.process.terminate()
        told = json.loads(child.line())
        assert told["id"] == "w"
        assert json.loads(told["result"]["content"][0]["text"])["status"] == "timeout"
        assert child.read(100) == b""
        assert child.code() in {0, 143}


def _parked(bridge: str) -> int:
    return int(str(http("GET", f"{bridge}/dev/counters").json["parked_waits"]))


@pytest.mark.requirement("stdio.end")
def test_the_end_of_input_drops_the_waits_that_are_held(bridge: str) -> None:
    beyond_the_log = {"agent_id": "dropped", "timeout_seconds": 300, "since_sequence": 1_000_000}
    params = {"name": WAIT, "arguments": beyond_the_log}
    wait = json.dumps({"jsonrpc": "2.0", "id": "w", "method": "tools/call", "params": params}).encode() + b"\n"
    with started("--bridge", bridge, *ON, "--", "cat") as child:
        child.write(INITIALIZE + wait)
        assert child.line() == INITIALIZE
        child.close_input()
        assert child.read(100) == b""
        assert child.code() == 0


SERVER = """
import os, subprocess, sys
helper = subprocess.Popen(["sleep", "1000"])
print(os.getpid(), helper.pid, flush=True)
import time
while True: time.sleep(1000)
"""
"""Minds neither the end of its input nor its helper."""


@pytest.mark.requirement("stdio.no_orphan")
def test_a_killed_sidecar_takes_the_server_and_its_helpers_along(tmp_path: Path) -> None:
    with started("--", *script(tmp_path, SERVER)) as child:
        pids = {int(pid) for pid in child.line().split()}
        family = child.family()
        assert pids <= family
        child.process.kill()
        assert child.code() == -signal.SIGKILL
        all_gone(family, within_s=1)


@pytest.mark.requirement("stdio.no_orphan")
@pytest.mark.parametrize("holds_input", [False, True])
def test_a_killed_parent_takes_all_along(tmp_path: Path, *, holds_input: bool) -> None:
    """Even where somebody else still holds the sidecar's input, so that it never ends."""
    read, write = os.pipe()
    launcher = (
        "import subprocess, sys\n"
        f"subprocess.Popen({[*SIDECAR, '--', *script(tmp_path, SERVER)]!r}, stdin={read}).wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", launcher], stdout=subprocess.PIPE, pass_fds=[read]) as parent:
        os.close(read)
        assert parent.stdout is not None
        pids = {int(pid) for pid in parent.stdout.readline().split()}
        family = descendants(parent.pid)
        assert pids < family
        until(lambda: _has_handlers(family), within_s=30, what="the house standing")
        if not holds_input:
            os.close(write)
            write = -1
        parent.kill()
        parent.wait(10)
        all_gone(pids, within_s=1)
        all_gone(family, within_s=5)  # the sidecar itself, whose interpreter takes its time to end
    if write >= 0:
        os.close(write)


def _has_handlers(pids: set[int]) -> bool:
    """Whether a sidecar among these catches SIGHUP, which it does as soon as it serves. Source: proc(5), SigCgt."""
    for pid in pids:
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        if caught >> (signal.SIGHUP - 1) & 1:
            return True
    return False


@pytest.mark.requirement("stdio.no_orphan")
def test_a_killed_server_is_told_by_the_exit_code_and_its_helpers_end(tmp_path: Path) -> None:
    with started("--", *script(tmp_path, SERVER)) as child:
        server, helper = (int(pid) for pid in child.line().split())
        os.kill(server, signal.SIGKILL)
        assert child.code() == 137
        all_gone({server, helper}, within_s=1)
    assert not is_alive(server)


FLOOD = """
import os, sys, threading
def spout():
    block = (b'{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"' + b"y" * 1000 + b'"}}\\n') * 50
    for _ in range(200):
        os.write(1, block)
thread = threading.Thread(target=spout)
thread.start()
thread.join()
seen = 0
while chunk := os.read(0, 1 << 20):
    seen += len(chunk)
os.write(1, b"%d\\n" % seen)
"""
"""Writes ten megabytes before it reads a byte, then counts what it reads."""


@pytest.mark.requirement("stdio.flow")
def test_floods_both_ways_end_with_every_byte_there(tmp_path: Path) -> None:
    line = (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":{"d":"'
        + b"z" * 2_000
        + b'"}}}\n'
    )
    with started("--", *script(tmp_path, FLOOD)) as child:

        def say() -> None:
            for _ in range(50):
                child.write(line * 100)
            child.close_input()

        talker = threading.Thread(target=say)
        talker.start()
        seen = child.read(1 << 30)
        talker.join(30)
        assert not talker.is_alive()
        body, _, last = seen.rstrip(b"\n").rpartition(b"\n")
        assert int(last) == 5_000 * len(line)
        assert body.count(b"\n") + 1 == 10_000
        assert child.code() == 0


@pytest.mark.requirement("stdio.untouched")
def test_a_line_of_a_megabyte_passes_both_ways() -> None:
    line = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"' + b"m" * 1_000_000 + b'"}}\n'
    with started("--", "cat") as child:
        talker = threading.Thread(target=child.write, args=(line,))
        talker.start()
        assert child.read(len(line)) == line
        talker.join(10)


@pytest.mark.requirement("stdio.too_long")
def test_a_line_of_65_mebibytes_is_refused_to_its_sender_and_the_next_one_passes() -> None:
    with started("--", "cat") as child:

        def say() -> None:
            child.write(b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":"')
            for _ in range(65):
                child.write(b"m" * (1 << 20))
            child.write(b'"},"id":"big"}\n')
            child.write(b'{"next":1}\n')

        talker = threading.Thread(target=say)
        talker.start()
        lines = sorted([child.line(), child.line()])
        talker.join(30)
        told = json.loads(lines[0])
        assert (told["id"], told["error"]["code"]) == ("big", 1413)
        assert "at most 64 MiB" in told["error"]["message"]
        assert lines[1] == b'{"next":1}\n'
        child.hear_error("too long")
