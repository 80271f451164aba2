"""Real MCP clients that are asked by `elicit-sidecar stdio` itself, in front of real servers that it launches."""

import json
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.support.peers import Room, Run, peer_room, server_command
from tests.support.processes import children, until
from tests.support.stand import call as http
from tests.support.stand import open_session, store
from tests.support.stdio_child import SIDECAR, StdioChild, all_gone, started

pytestmark = pytest.mark.e2e

WAIT, RESPOND = "lighthouse_wait_for_messages", "lighthouse_respond_to_elicitation"
SCHEMA = {"type": "object", "properties": {"build": {"type": "string"}}, "required": ["build"]}
BUILD = {"build": "b42"}
FLAGS = ("--set", "flags.elicitation_enabled=true", "--set", "flags.elicitation_percentage=100")
ELICIT = (*FLAGS, "--set", "agent.delivery=elicit")

LEGACY = "legacy"
HANDSHAKE = [
    ("mcp-1.22", "", "mcp-1.30"),
    ("mcp-1.30", "", "mcp-1.30"),
    ("mcp-2.3", LEGACY, "mcp-2.3"),
    ("ts-1", "", "mcp-1.30"),
    ("ts-2", LEGACY, "mcp-2.3"),
]
"""Client peers, their modes, and the servers that they launch through the sidecar."""

ENVELOPE = [("mcp-2.3", "", "mcp-2.3"), ("fastmcp-4", "", "mcp-2.3"), ("ts-2", "", "mcp-2.3")]
"""The same of the newest revision."""

_NUMBERS = count()


@pytest.fixture(scope="module", name="room")
def _room() -> Iterator[Room]:
    with peer_room() as opened:
        yield opened


@pytest.fixture(scope="module", name="bridge")
def _bridge() -> Iterator[str]:
    with children() as running:
        words = ["--listen", "127.0.0.1:0", "--poll-seconds", "0.1", "--set", "rate_limits=off"]
        yield str(running.run("bridge", *words).hear(event="ready")["url"])


@dataclass(frozen=True)
class Asker:
    """Another agent, at the Bridge."""

    bridge: str
    name: str
    agent: str
    token: str

    def newest(self) -> int:
        """Where the log ends."""
        return store(self.bridge, self.name, {}, token=self.token)

    def ask(self, message: str = "Which build?") -> str:
        """Put a question to the agent; its id."""
        body = {"from_agent": self.name, "to_agent": self.agent, "message": message, "schema": SCHEMA}
        reply = http("POST", f"{self.bridge}/elicitation/create", {**body, "timeout_seconds": 60}, token=self.token)
        return str(reply.json["elicitation_id"])

    def status(self, elicitation_id: str) -> object:
        """How a question stands."""
        return http("GET", f"{self.bridge}/elicitation/status/{elicitation_id}", token=self.token).json["status"]


def _asker(bridge: str, agent: str) -> Asker:
    name = f"asker-of-{agent}"
    return Asker(bridge, name, agent, open_session(bridge, name))


@dataclass(frozen=True)
class Agent:
    """An MCP client that launched its server through the sidecar, and whoever asks it."""

    run: Run
    asker: Asker

    def wait(self, tag: str, *, timeout_s: int = 30) -> str:
        """A wait, and a question for it; the question's id."""
        arguments = {"agent_id": self.asker.agent, "timeout_seconds": timeout_s, "since_sequence": self.asker.newest()}
        asked = self.asker.ask()
        self.run.call(WAIT, arguments, tag=tag)
        return asked

    def told(self, tag: str) -> Mapping[str, object]:
        """What a tool told as JSON."""
        line = self.run.hear(kind="result", tag=tag)
        assert not line["is_error"], line
        texts = line["text"]
        assert isinstance(texts, list)
        found = json.loads(texts[0])
        assert isinstance(found, dict)
        return found

    def item(self, tag: str) -> tuple[object, Mapping[str, object]]:
        """Kind and data of the one thing that a wait told."""
        events = self.told(tag)["events"]
        assert isinstance(events, list)
        (event,) = events
        return event["event_type"], event["data"]


def _agent(room: Room, bridge: str, peers: tuple[str, str, str], *words: str, **plan: object) -> Agent:
    client, mode, server = peers
    command = [*SIDECAR, "--bridge", bridge, *words, "--", *server_command(server, "--stdio", "--bridge", bridge)]
    run = room.client(client, stdio=command, interactive=True, **({"mode": mode} if mode else {}), **plan)
    run.hear(kind="connected")
    name = f"{client}-{mode}-{next(_NUMBERS)}".replace(".", "_")
    return Agent(run, _asker(bridge, name))


@pytest.mark.requirement("stdio.elicit.clients")
@pytest.mark.parametrize("peers", [*HANDSHAKE, *ENVELOPE])
def test_a_client_is_asked_and_each_kind_of_answer_ends_as_it_should(
    room: Room, bridge: str, peers: tuple[str, str, str]
) -> None:
    agent = _agent(room, bridge, peers, *ELICIT, answer="accept", content=BUILD)
    for answer, status in (("accept", "accepted"), ("decline", "declined"), ("cancel", "declined")):
        agent.run.tell(do="answer", answer=answer, content=BUILD if answer == "accept" else None)
        asked = agent.wait(answer)
        kind, data = agent.item(answer)
        assert (kind, data["elicitation_id"], data["response_type"]) == ("elicitation_answered", asked, answer)
        assert data.get("data") == (BUILD if answer == "accept" else None)
        assert agent.asker.status(asked) == status
    _is_left_to_the_agent(agent, {"other": "x"})
    _fails(agent, is_envelope=peers in ENVELOPE)
    agent.run.end()
    assert agent.run.hear(kind="closed")


def _is_left_to_the_agent(agent: Agent, content: object) -> None:
    """An answer that does not fit, after which the agent answers by the tool."""
    agent.run.tell(do="answer", answer="accept", content=content)
    asked = agent.wait("unfit")
    kind, data = agent.item("unfit")
    assert (kind, data["elicitation_id"]) == ("elicitation_request", asked)
    assert data["error"]
    agent.run.call(RESPOND, {"elicitation_id": asked, "response_type": "accept", "data": BUILD}, tag="respond")
    assert agent.told("respond")["status"] == "success"
    assert agent.asker.status(asked) == "accepted"


def _fails(agent: Agent, *, is_envelope: bool) -> None:
    """A callback that breaks."""
    agent.run.tell(do="answer", answer="no such action")
    asked = agent.wait("fails")
    if is_envelope:  # nothing of it ever comes back to us
        assert agent.run.hear(tag="fails")
    else:
        kind, data = agent.item("fails")
        assert (kind, data["elicitation_id"]) == ("elicitation_request", asked)
    assert agent.asker.status(asked) == "pending"


@pytest.mark.requirement("stdio.elicit.clients")
@pytest.mark.parametrize("peers", [*HANDSHAKE, *ENVELOPE])
def test_an_answer_that_takes_longer_than_the_wait_counts_or_leaves_the_question_open(
    room: Room, bridge: str, peers: tuple[str, str, str]
) -> None:
    agent = _agent(room, bridge, peers, *ELICIT, answer="accept", content=BUILD, answer_after_s=2)
    asked = agent.wait("wait", timeout_s=1)
    kind, data = agent.item("wait")
    assert data["elicitation_id"] == asked
    if peers in ENVELOPE:  # the time between two rounds is the client's own
        assert (kind, agent.asker.status(asked)) == ("elicitation_answered", "accepted")
    elif peers[0] in {"mcp-1.22", "mcp-1.30"}:
        assert kind == "elicitation_request"
        until(lambda: agent.asker.status(asked) == "accepted", within_s=10, what="the late answer")
    else:  # told that its answer is no longer waited for, the others give none
        assert (kind, agent.asker.status(asked)) == ("elicitation_request", "pending")
    agent.run.end()
    assert agent.run.hear(kind="closed")


@pytest.mark.requirement("stdio.elicit.clients")
@pytest.mark.parametrize(
    ("peers", "words", "plan"),
    [
        (("mcp-1.30", "", "mcp-1.30"), ELICIT, {}),
        (("mcp-2.3", "", "mcp-2.3"), ELICIT, {}),
        (("ts-1", "", "mcp-1.30"), ELICIT, {}),
        (("mcp-1.30", "", "mcp-1.30"), FLAGS, {"answer": "accept", "content": BUILD}),
        (("mcp-2.3", "", "mcp-2.3"), FLAGS, {"answer": "accept", "content": BUILD}),
    ],
)
def test_who_cannot_or_must_not_be_asked_reads_the_question_in_the_result(
    *, room: Room, bridge: str, peers: tuple[str, str, str], words: tuple[str, ...], plan: dict[str, object]
) -> None:
    agent = _agent(room, bridge, peers, *words, **plan)
    asked = agent.wait("wait")
    kind, data = agent.item("wait")
    assert (kind, data["elicitation_id"], "error" in data) == ("elicitation_request", asked, False)
    assert agent.run.said(kind="asked") == []
    agent.run.end()
    assert agent.run.hear(kind="closed")


@pytest.mark.requirement("stdio.elicit.clients")
@pytest.mark.parametrize("peers", [("mcp-1.30", "", "mcp-1.30"), ("ts-2", LEGACY, "mcp-2.3")])
def test_the_servers_own_question_and_ours_do_not_meet(room: Room, bridge: str, peers: tuple[str, str, str]) -> None:
    agent = _agent(room, bridge, peers, *ELICIT, answer="accept")
    agent.run.call("ask", tag="ask")
    asked = agent.wait("wait")
    assert agent.run.hear(kind="result", tag="ask")["text"] == ["accept:zed-name"]
    kind, data = agent.item("wait")
    assert (kind, data["elicitation_id"], data["data"]) == ("elicitation_answered", asked, {"build": "zed-build"})
    agent.run.end()
    assert agent.run.hear(kind="closed")


@pytest.mark.requirement("stdio.tool_notes")
@pytest.mark.parametrize("peers", [("mcp-1.30", "", "mcp-1.30"), ("mcp-2.3", "", "mcp-2.3")])
def test_the_list_of_tools_says_that_the_wait_is_deprecated_when_it_is(
    room: Room, bridge: str, peers: tuple[str, str, str]
) -> None:
    found = []
    for switch in ("false", "true"):
        agent = _agent(room, bridge, peers, "--set", f"flags.deprecation_warnings={switch}")
        agent.run.tell(do="list", tag="list")
        tools = agent.run.hear(kind="tools", tag="list")["tools"]
        assert isinstance(tools, list)
        found.append(tools)
        agent.run.end()
        assert agent.run.hear(kind="closed")
    plain, noted = found
    (wait,) = (tool for tool in noted if tool["name"] == WAIT)
    description, _, note = wait["description"].partition("\n\nDeprecated: ")
    assert "https://elicit-sidecar.dev/migration" in note
    wait["description"] = description
    assert noted == plain


def _say(child: StdioChild, request_id: int, agent: str, since: int, **more: object) -> Mapping[str, object]:
    """A wait of the newest revision, in raw lines; its result."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
    }
    arguments = {"agent_id": agent, "timeout_seconds": 30, "since_sequence": since}
    params = {"name": WAIT, "arguments": arguments, "_meta": meta, **more}
    message = {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}
    child.write(json.dumps(message).encode() + b"\n")
    told = json.loads(child.line())
    assert told["id"] == request_id, told
    result = told["result"]
    assert isinstance(result, dict)
    return result


@pytest.mark.requirement("stdio.elicit.restart")
def test_a_kill_between_a_question_and_its_answer_loses_neither(bridge: str, tmp_path: Path) -> None:
    asker = _asker(bridge, "killed")
    words = ("--bridge", bridge, *ELICIT, "--state", f"sqlite://{tmp_path}/state.db", "--", "cat")
    since, asked = asker.newest(), asker.ask()
    with started(*words) as child:
        wanted = _say(child, 1, "killed", since)
        assert wanted["resultType"] == "input_required"
        family = child.family()
        child.process.kill()
        assert child.code() == -signal.SIGKILL
        all_gone(family, within_s=1)
    answer = {f"esc:{asked}": {"action": "accept", "content": BUILD}}
    with started(*words) as child:
        result = _say(child, 2, "killed", since, requestState=wanted["requestState"], inputResponses=answer)
        assert result["resultType"] == "complete"
        content = result["content"]
        assert isinstance(content, list)
        (event,) = json.loads(content[0]["text"])["events"]
        assert (event["event_type"], event["data"]["data"]) == ("elicitation_answered", BUILD)
        assert asker.status(asked) == "accepted"
        child.close_input()
        assert child.code() == 0
