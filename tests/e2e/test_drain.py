"""How the sidecar ends when it is asked to and something around it hangs: what its callers hear, and what is kept."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import yarl

from tests.support.callers import callers
from tests.support.disk_faults import locked
from tests.support.hole import hole
from tests.support.processes import Child, until
from tests.support.stand import EVERYBODY, Reply, Stand, call, open_session, store, wait
from tests.support.waits import Crowd

pytestmark = [pytest.mark.e2e, pytest.mark.requirement("drain.hanging")]

END_S = 5.0
"""Generous: an idle machine takes below the 2 s that are promised, a busy one must not fail."""

TIMED_OUT = {"events": [], "count": 0, "waited_seconds": 60, "status": "timeout"}

ENVELOPE = {
    "MCP-Protocol-Version": "2026-07-28",
    "Mcp-Method": "tools/call",
    "Accept": "application/json, text/event-stream",
}


@contextmanager
def _in_time() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < END_S


@contextmanager
def _stopped(process: Child) -> Iterator[None]:
    """A process that takes connections and answers nothing, until the block ends."""
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


def _is_time_out(reply: Reply | None) -> bool:
    return reply is not None and (reply.status, reply.json) == (200, TIMED_OUT)


def _ask(stand: Stand, asker: str, asked: str) -> str:
    """A question through the sidecar; its id."""
    body = {
        "from_agent": asker,
        "to_agent": asked,
        "message": "Which colour?",
        "schema": {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]},
        "timeout_seconds": 600,
    }
    token = open_session(stand.bridge, asker)
    return str(call("POST", f"{stand.data}/elicitation/create", body, token=token).json["elicitation_id"])


def _answer(stand: Stand, question: str, token: str, colour: str = "red") -> Reply:
    body = {
        "elicitation_id": question,
        "responding_agent": "bob",
        "response_type": "accept",
        "data": {"colour": colour},
    }
    return call("POST", f"{stand.data}/elicitation/respond", body, token=token)


def test_a_locked_state_file_with_changes_before_it_holds_up_no_exit_and_loses_no_reply(stand: Stand) -> None:
    stand.start_bridge()
    sidecar = stand.start_sidecar()
    stand.set_flags(EVERYBODY)
    store(stand.bridge, "carol", {"text": "one"})
    bob = open_session(stand.bridge, "bob")
    with Crowd(stand, 3) as crowd:
        parked = crowd.park(since=1000, timeout_s=60)
        stand.until_parked(3)
        with locked(stand.folder / "state.db"):
            # It is delivered although its number cannot be written down: the state is in memory, which is said.
            assert wait(stand.data, "bob", bob, since=0, timeout_s=20).events
            with _in_time():
                assert sidecar.end(signal.SIGTERM) == 0
        assert all(_is_time_out(future.result(10).reply) for future in parked)
    assert sidecar.errors.count("journal in trouble") == 1
    assert "Traceback" not in sidecar.errors
    stand.start_sidecar()
    assert wait(stand.data, "bob", open_session(stand.bridge, "bob"), since=0, timeout_s=20).events


def test_a_bridge_that_hangs_leaves_waits_with_their_time_out_and_an_answer_with_the_truth(stand: Stand) -> None:
    bridge = stand.start_bridge()
    sidecar = stand.start_sidecar()
    stand.set_flags(EVERYBODY | {"elicitation_denylist": ["crowd-0", "crowd-1"]})
    question, bob = _ask(stand, "alice", "bob"), open_session(stand.bridge, "bob")
    assert wait(stand.data, "bob", bob, since=0, timeout_s=20).events
    with Crowd(stand, 4) as crowd, callers() as begin:
        parked = crowd.park(since=1000, timeout_s=60)
        stand.until_parked(2)
        stand.until_polled(4)
        with _stopped(bridge):
            answering = begin(lambda: _answer(stand, question, bob))
            until(lambda: _is_claimed(stand, question), within_s=END_S, what="the claim")
            with _in_time():
                assert sidecar.end(signal.SIGTERM) == 0
            assert all(_is_time_out(future.result(10).reply) for future in parked)
            refused = answering.result(10)
            assert refused is not None
            assert (refused.status, refused.json["code"]) == (502, "answer_undelivered")
            assert "not known" in str(refused.json["detail"])
    stand.start_sidecar()
    assert _answer(stand, question, bob, "blue").status == 409
    assert _answer(stand, question, bob).status == 200
    given = call("GET", f"{stand.bridge}/elicitation/status/{question}", token=bob).json
    assert given["status"] == "accepted"


def _is_claimed(stand: Stand, question: str) -> bool:
    return call("GET", f"{stand.admin}/exchanges/{question}", token=stand.token).json["state"] == "claimed"


@pytest.mark.parametrize("source", ["auto", "mcp"])
def test_an_mcp_server_that_hangs_holds_up_no_exit_and_a_parked_wait_ends_as_a_time_out(
    stand: Stand, source: str
) -> None:
    stand.start_bridge()
    with hole() as server, callers() as begin:
        sidecar = stand.start_sidecar("--set", f"bridge.mcp_url={server}", "--set", f"bridge.source={source}")
        stand.set_flags(EVERYBODY)
        asked = {"agent_id": "bob", "since_sequence": 1000, "timeout_seconds": 50}
        waiting = begin(lambda: _call_tool(stand, "wait_for_messages", asked))
        begin(lambda: _call_tool(stand, "other", {}))
        stand.until_parked(1)
        with _in_time():
            assert sidecar.end(signal.SIGTERM) == 0
        reply = waiting.result(10)
    assert reply is not None
    assert rb"\"status\": \"timeout\"" in reply.body
    assert "Traceback" not in sidecar.errors


def _call_tool(stand: Stand, name: str, arguments: dict[str, object]) -> Reply:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "client", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": name, "arguments": arguments, "_meta": meta}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return call("POST", f"{stand.data}/mcp", body, token="any", headers={**ENVELOPE, "Mcp-Name": name})


@pytest.mark.requirement("drain.second_signal")
def test_the_same_signal_again_ends_it_at_once_and_loses_nothing_that_was_acknowledged(stand: Stand) -> None:
    bridge = stand.start_bridge()
    sidecar = stand.start_sidecar()
    stand.set_flags(EVERYBODY)
    question, bob = _ask(stand, "alice", "bob"), open_session(stand.bridge, "bob")
    with callers() as begin, _stopped(bridge):
        # Calls that hang at the Bridge keep it from ending before the second signal comes.
        for _ in range(4):
            begin(lambda: call("POST", f"{stand.data}/event/store", {}, token=bob))
        until(lambda: _connections(stand.data) > 3, within_s=END_S, what="the calls")
        os.kill(sidecar.pid, signal.SIGTERM)
        until(lambda: not _listens(stand.data), within_s=END_S, what="the drain")
        with _in_time():
            assert _insist(sidecar) == -signal.SIGTERM
    stand.start_sidecar()
    assert stand.flags()["elicitation_percentage"] == 100
    # Offered at once, from the journal: the first thing that the agent hears.
    found = wait(stand.data, "bob", bob, since=0, timeout_s=20).events
    assert question in str(found)


def _insist(sidecar: Child) -> int:
    """Ask again until it has ended; its exit code."""
    ended: list[int] = []

    def is_over() -> bool:
        code = sidecar.poll()
        if code is None:
            os.kill(sidecar.pid, signal.SIGTERM)
        else:
            ended.append(code)
        return code is not None

    until(is_over, within_s=END_S, what="the end")
    return ended[0]


def _listens(base: str) -> bool:
    url = yarl.URL(base)
    with socket.socket() as probe:
        return probe.connect_ex((url.host or "", url.port or 0)) == 0


def _connections(base: str) -> int:
    """Connections to a port that are open. Source: proc(5), /proc/net/tcp, state 01."""
    port = f":{yarl.URL(base).port or 0:04X}"
    with open("/proc/net/tcp", encoding="ascii") as table:  # noqa: PTH123  # read line by line
        rows = [line.split() for line in table]
    return sum(row[1].endswith(port) and row[3] == "01" for row in rows)
