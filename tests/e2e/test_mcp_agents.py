"""MCP agents on real SDKs, through the sidecar's processes, in front of real MCP servers and the development Bridge."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pytest

from tests.support.peers import Room, Run, call, peer_room
from tests.support.processes import children
from tests.support.stand import Stand, open_session, store, wait
from tests.support.stand import call as http

pytestmark = pytest.mark.e2e

SCHEMA = {"type": "object", "properties": {"build": {"type": "string"}}, "required": ["build"]}

LEGACY = "legacy"
CLIENTS = [
    ("mcp-1.22", ""),
    ("mcp-1.30", ""),
    ("mcp-2.3", LEGACY),
    ("mcp-2.3", ""),
    ("fastmcp-3", ""),
    ("fastmcp-4", ""),
    ("ts-1", ""),
    ("ts-2", LEGACY),
    ("ts-2", ""),
]
"""Client peers and their modes; those without speak the newest revision that they and the server know."""

SERVERS = ["mcp-1.30", "mcp-2.3"]

WAIT, RESPOND, SEND = "lighthouse_wait_for_messages", "lighthouse_respond_to_elicitation", "lighthouse_store_event"


@pytest.fixture(scope="module", name="room")
def _room() -> Iterator[Room]:
    with peer_room() as opened:
        yield opened


@pytest.fixture(scope="module", name="stands")
def _stands(room: Room, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Stand]]:
    """One Bridge; before each MCP server a sidecar of its own."""
    with children() as started:
        stands = {name: Stand(started, tmp_path_factory.mktemp("sidecar"), "memory:") for name in SERVERS}
        first = stands[SERVERS[0]]
        first.start_bridge("--poll-seconds", "0.1")
        for name, stand in stands.items():
            stand.bridge = first.bridge
            origin = room.server(name, "--bridge", stand.bridge).url.removesuffix("/mcp")
            # A client of the other era is to meet the server itself here: what is relayed is compared byte for byte.
            stand.start_sidecar("--set", f"bridge.mcp_url={origin}", "--set", "bridge.mcp_eras=relay")
        yield stands


@dataclass(frozen=True)
class Agent:
    """An MCP client beside a sidecar, and an asker at the Bridge."""

    run: Run
    stand: Stand
    name: str
    asker: str
    token: str

    def ask(self, message: str) -> str:
        """Put a question to the agent, directly at the Bridge; its id."""
        body = {"from_agent": self.asker, "to_agent": self.name, "message": message, "schema": SCHEMA}
        reply = http("POST", f"{self.stand.bridge}/elicitation/create", body, token=self.token)
        return str(reply.json["elicitation_id"])

    def begin_wait(self, tag: str) -> int:
        """A wait for what is not yet there; where the log ends now."""
        since = store(self.stand.bridge, self.asker, {}, token=self.token)
        self.run.call(WAIT, {"agent_id": self.name, "timeout_seconds": 30, "since_sequence": since}, tag=tag)
        return since

    def told(self, tag: str) -> Mapping[str, object]:
        """The JSON in the result of a legacy tool, which is said twice."""
        line = self.run.hear(kind="result", tag=tag)
        (text,) = _list(line["text"])
        assert line["structured"] == {"result": text}
        assert not line["is_error"], line
        found = json.loads(str(text))
        assert isinstance(found, dict)
        return found

    def answered(self, elicitation_id: str, since: int) -> Mapping[str, object]:
        """What the asker hears of its question, by its own legacy wait through the sidecar."""
        reply = wait(self.stand.data, self.asker, self.token, since=since, timeout_s=20)
        items = [item for item in reply.events if item["event_type"] == "elicitation_response"]
        (data,) = [data for item in items if (data := _dict(item["data"]))["elicitation_id"] == elicitation_id]
        return data


def _list(value: object) -> Sequence[object]:
    assert isinstance(value, list)
    return value


def _dict(value: object) -> Mapping[str, object]:
    assert isinstance(value, dict)
    return value


def _agent(room: Room, stand: Stand, client: str, mode: str, **plan: object) -> Agent:
    modes = {"mode": mode} if mode else {}
    run = room.client(client, url=f"{stand.data}/mcp", interactive=True, **modes, **plan)
    run.hear(kind="connected")
    name = run.name.replace("#", "-")
    asker = f"asker-of-{name}"
    return Agent(run, stand, name, asker, open_session(stand.bridge, asker))


@pytest.mark.requirement("mcp.agents.wait")
@pytest.mark.requirement("mcp.agents.answer")
@pytest.mark.parametrize(("client", "mode"), CLIENTS)
@pytest.mark.parametrize("server", SERVERS)
def test_a_wait_brings_a_question_and_either_tool_brings_the_answer_back(
    *, room: Room, stands: Mapping[str, Stand], server: str, client: str, mode: str
) -> None:
    stand = stands[server]
    stand.set_flags({"elicitation_enabled": True, "elicitation_percentage": 100})
    agent = _agent(room, stand, client, mode)
    for number, tool in enumerate((RESPOND, SEND)):
        since = agent.begin_wait(f"wait {number}")
        stand.until_parked(1)
        asked = agent.ask(f"Which build, {number}?")
        found = agent.told(f"wait {number}")
        (item,) = [_dict(item) for item in _list(found["events"])]
        assert (found["status"], item["event_type"], item["source_agent"]) == (
            "new_events",
            "elicitation_request",
            agent.asker,
        )
        question = _dict(item["data"])
        assert (question["elicitation_id"], question["message"]) == (asked, f"Which build, {number}?")
        content = {"build": f"b{number}"}
        if tool == RESPOND:
            given: Mapping[str, object] = {"elicitation_id": asked, "response_type": "accept", "data": content}
        else:
            data = {"elicitation_id": asked, **content}
            given = {"event_type": "custom", "event_data": data, "agent_id": agent.name}
        agent.run.call(tool, given, tag=tool)
        assert agent.told(tool)["status"] == {RESPOND: "success", SEND: "stored"}[tool]
        answer = agent.answered(asked, since)
        assert (answer["response_type"], answer["data"]) == ("accept", content)
    agent.run.end()
    assert agent.run.hear(kind="closed")


@pytest.mark.requirement("mcp.agents.off")
@pytest.mark.parametrize(("client", "mode"), CLIENTS)
@pytest.mark.parametrize("server", SERVERS)
def test_at_no_percent_the_same_calls_are_the_servers(
    *, room: Room, stands: Mapping[str, Stand], server: str, client: str, mode: str
) -> None:
    stand = stands[server]
    stand.set_flags({"elicitation_enabled": True, "elicitation_percentage": 0})
    agent = _agent(room, stand, client, mode)
    agent.begin_wait("wait")
    asked = agent.ask("Which build?")
    # The Bridge's own note of the question, as everybody reads it in the log.
    (item,) = [_dict(item) for item in _list(agent.told("wait")["events"])]
    assert (item["event_type"], _dict(item["data"])["to_agent"]) == ("custom", agent.name)
    given = {"elicitation_id": asked, "response_type": "accept", "data": {"build": "b42"}}
    agent.run.call(RESPOND, given, tag="respond")
    assert "mcp_server not authorized to respond" in str(agent.told("respond")["error"])
    data = {"elicitation_id": asked, "build": "b42"}
    agent.run.call(SEND, {"event_type": "custom", "event_data": data, "agent_id": agent.name}, tag="send")
    stored = agent.told("send")
    assert (stored["status"], _dict(stored["event_id"])["node_id"]) == ("stored", "lighthouse-01")
    status = http("GET", f"{stand.bridge}/elicitation/status/{asked}", token=agent.token).json["status"]
    assert status == "pending"
    agent.run.end()
    assert agent.run.hear(kind="closed")


@pytest.mark.requirement("mcp.agents.others")
@pytest.mark.parametrize("percentage", [0, 100])
@pytest.mark.parametrize(("client", "mode"), CLIENTS)
@pytest.mark.parametrize("server", SERVERS)
def test_other_tools_the_servers_own_questions_and_progress_are_untouched(
    *, room: Room, stands: Mapping[str, Stand], server: str, client: str, mode: str, percentage: int
) -> None:
    stand = stands[server]
    stand.set_flags({"elicitation_enabled": True, "elicitation_percentage": percentage})
    calls = [
        call("echo", {"text": "héllo"}, tag="echo"),
        call("ask", tag="ask"),
        call("slow", {"seconds": 0.2, "steps": 2}, progress=True, tag="slow"),
        {"do": "list", "tag": "list"},
    ]
    plan = {"answer": "accept", "calls": calls, "mode": mode or None}
    direct, through = (
        room.client(client, url=url, **plan).outcome()
        for url in (room.server(server, "--bridge", stand.bridge).url, f"{stand.data}/mcp")
    )
    assert [line["text"] for line in through if line["kind"] == "result"] == [
        ["héllo"],
        ["accept:zed-name"],
        ["took 0.2 s"],
    ]
    assert _timeless(through) == _timeless(direct)


def _timeless(lines: Sequence[Mapping[str, object]]) -> list[Mapping[str, object]]:
    return [{key: value for key, value in line.items() if key not in {"seconds", "run"}} for line in lines]
