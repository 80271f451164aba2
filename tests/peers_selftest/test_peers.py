"""The peers speak with each other directly, each revision as it should be; the sidecar comes between them elsewhere."""

import json
from collections.abc import Iterator

import pytest

from tests.support.peers import CLIENTS, SERVERS, Room, Run, call, client_command, server_command

pytestmark = pytest.mark.e2e

JUNE, NOVEMBER, JULY = "2025-06-18", "2025-11-25", "2026-07-28"

LATEST = {
    **dict.fromkeys(("mcp-1.30", "fastmcp-3", "ts-1"), NOVEMBER),
    **dict.fromkeys(("mcp-2.3", "fastmcp-4", "ts-2", "modern"), JULY),
    "mcp-1.22": JUNE,
}
"""The newest revision that a peer speaks, as client and as server."""

MODERN = [name for name in CLIENTS if LATEST[name] == JULY]
TOOL_SERVERS = [name for name in SERVERS if name != "conformance"]
ASK_ONLY_MODERN = ("ts-2", "modern")
"""Servers without a way to a client of the handshake era over HTTP: the one opens no sessions, the other refuses it."""


def _pairs() -> Iterator[tuple[str, str, str, str]]:
    """Client, its mode, server and the revision they agree on."""
    for server in TOOL_SERVERS:
        for client in MODERN if server in ASK_ONLY_MODERN else CLIENTS:
            yield client, "", server, min(LATEST[client], LATEST[server])
        for client in MODERN:
            if server not in ASK_ONLY_MODERN:
                yield client, "legacy", server, min(NOVEMBER, LATEST[server])
            if LATEST[server] == JULY:
                yield client, JULY, server, JULY


def _begin(room: Room, client: str, mode: str, server: str, **plan: object) -> Run:
    modes = {"mode": mode} if mode else {}
    return room.client(client, url=room.server(server).url, **modes, **plan)


@pytest.mark.parametrize(("client", "mode", "server", "revision"), list(_pairs()))
def test_every_client_agrees_with_every_server_on_a_revision_and_is_asked(
    *, room: Room, client: str, mode: str, server: str, revision: str
) -> None:
    lines = _begin(room, client, mode, server, answer="accept", calls=[call("ask")]).outcome()
    kinds = {line["kind"]: line for line in lines}
    assert kinds["connected"]["revision"] == revision, lines
    assert kinds["asked"]["message"] == "Your name?"
    assert kinds["result"]["text"] == ["accept:zed-name"]
    assert kinds["closed"]


@pytest.mark.parametrize("client", MODERN)
@pytest.mark.parametrize("server", ["mcp-1.30", "fastmcp-3", "ts-1"])
def test_a_client_pinned_to_the_newest_revision_fails_with_an_older_server(
    room: Room, client: str, server: str
) -> None:
    lines = _begin(room, client, JULY, server, answer="accept", calls=[call("ask")]).outcome()
    assert not [line for line in lines if line["kind"] in {"result", "asked"}]
    assert [line for line in lines if line["kind"] in {"failed", "error"}]


@pytest.mark.parametrize("client", ["mcp-1.22", "mcp-1.30", "fastmcp-3", "ts-1"])
def test_a_server_without_sessions_asks_no_client_of_the_handshake_era(room: Room, client: str) -> None:
    lines = _begin(room, client, "", "ts-2", answer="accept", calls=[call("ask")]).outcome()
    assert not [line for line in lines if line["kind"] == "asked"]
    assert [line["is_error"] for line in lines if line["kind"] == "result"] == [True]


@pytest.mark.parametrize("client", ["mcp-1.22", "mcp-1.30", "ts-1"])
@pytest.mark.parametrize("server", [("ts-2", "--strict"), ("modern",)], ids=["ts-2", "modern"])
def test_a_strict_server_refuses_clients_of_the_handshake_era(room: Room, client: str, server: tuple[str, ...]) -> None:
    url = room.server(*server).url
    lines = room.client(client, url=url, answer="accept", calls=[call("ask")]).outcome()
    assert [line["kind"] for line in lines] == ["failed"]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("server", ["mcp-1.30", "mcp-2.3", "ts-1"])
@pytest.mark.parametrize("answer", ["decline", "cancel"])
def test_every_client_can_say_no(room: Room, client: str, server: str, answer: str) -> None:
    run = _begin(room, client, "", server, answer=answer, calls=[call("ask")])
    assert run.hear(kind="result")["text"] == [f"{answer}:"]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("server", ["mcp-1.30", "mcp-2.3"])
def test_a_client_without_a_callback_is_not_asked(room: Room, client: str, server: str) -> None:
    lines = _begin(room, client, "", server, calls=[call("ask")]).outcome()
    assert not [line for line in lines if line["kind"] == "asked"]
    assert [line for line in lines if line["kind"] == "error" or line.get("is_error")]


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_reports_a_time_out_and_goes_on(room: Room, client: str) -> None:
    slow = call("slow", {"seconds": 20}, timeout_s=0.3)
    run = _begin(room, client, "", "mcp-2.3", answer="accept", calls=[slow, call("echo", {"text": "still here"})])
    lines = run.outcome()
    assert [line["kind"] for line in lines if line["kind"] in {"error", "result"}] == ["error", "result"]
    assert lines[-2]["text"] == ["still here"]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("server", ["mcp-2.3", "ts-1", "ts-2"])
def test_every_client_hears_progress_when_it_asks_for_it(room: Room, client: str, server: str) -> None:
    slow = call("slow", {"seconds": 0.2, "steps": 2}, progress=True)
    lines = _begin(room, client, "", server, calls=[slow]).outcome()
    heard = [line["params"] for line in lines if line.get("method") == "notifications/progress"]
    assert [params["progress"] for params in heard if isinstance(params, dict)] == [1, 2]


@pytest.mark.parametrize("client", CLIENTS)
def test_calls_of_one_client_run_side_by_side_and_can_be_given_up(room: Room, client: str) -> None:
    run = _begin(room, client, "", "mcp-2.3", answer="accept", interactive=True)
    run.hear(kind="connected")
    run.call("slow", {"seconds": 20}, tag="long")
    run.call("echo", {"text": "meanwhile"}, tag="short")
    assert run.hear(kind="result", tag="short")["text"] == ["meanwhile"]
    run.tell(do="cancel", of="long")
    assert run.hear(kind="error", tag="long")
    run.tell(do="answer", answer="decline")
    run.call("ask", tag="asked")
    assert run.hear(kind="result", tag="asked")["text"] == ["decline:"]
    run.end()
    assert run.hear(kind="closed")


@pytest.mark.parametrize("client", MODERN)
@pytest.mark.parametrize("name", ["mcp-2.3", "ts-2"])
def test_a_client_that_leaves_cancels_its_call_in_the_newest_revision(room: Room, client: str, name: str) -> None:
    server = room.server(name, "--agent", f"left-by-{client}")
    run = room.client(client, url=server.url, interactive=True)
    run.hear(kind="connected")
    run.call("slow", {"seconds": 20, "steps": 200}, tag="long", progress=True)
    run.hear(kind="heard")
    run.drop()
    assert server.process.hear(kind="cancelled")
    assert run.hear(kind="dropped")


@pytest.mark.parametrize(
    ("client", "server"),
    [
        *((client, server) for client in CLIENTS for server in ("mcp-1.30", "ts-1", "ts-2")),
        *((client, "mcp-2.3") for client in MODERN),
    ],
)
def test_every_client_launches_a_server_on_its_own_pipes(room: Room, client: str, server: str) -> None:
    plan = {"answer": "accept", "calls": [call("ask")]}
    lines = room.client(client, stdio=server_command(server, "--stdio"), **plan).outcome()
    assert [line["revision"] for line in lines if line["kind"] == "connected"] == [min(LATEST[client], LATEST[server])]
    assert [line["text"] for line in lines if line["kind"] == "result"] == [["accept:zed-name"]]


@pytest.mark.parametrize("client", ["mcp-1.30", "mcp-2.3", "ts-1"])
def test_a_client_runs_alone_with_its_plan_on_the_command_line(room: Room, client: str) -> None:
    plan = {"url": room.server("mcp-2.3").url, "answer": "cancel", "calls": [call("ask"), {"do": "list"}]}
    alone = room.start([*client_command(client), json.dumps(plan)])
    assert alone.hear(kind="result")["text"] == ["cancel:"]
    tools = alone.hear(kind="tools")["tools"]
    assert isinstance(tools, list)
    assert {tool["name"] for tool in tools} >= {"ask", "slow", "lighthouse_wait_for_messages"}
    assert alone.hear(kind="closed")
    assert alone.finish() == 0
