"""A plain legacy agent before MCP servers that ask by themselves, in both eras, through the sidecar's process."""

import json
import secrets
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.support.peer_process import Line
from tests.support.peers import Room, peer_room
from tests.support.peers import call as step
from tests.support.processes import children, until
from tests.support.stand import EVERYBODY, Reply, Stand, call, open_session, store, wait

pytestmark = [pytest.mark.e2e, pytest.mark.requirement("mcp.source.servers")]

SERVERS = ["mcp-1.30", "mcp-2.3"]
"""One of the handshake era and one of the envelope era."""

WAIT, RESPOND = "lighthouse_wait_for_messages", "lighthouse_respond_to_elicitation"

SCHEMA = {"type": "object", "properties": {"build": {"type": "string"}}, "required": ["build"]}


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
            _start(room, stand, name)
        yield stands


def _start(room: Room, stand: Stand, server: str, *words: str) -> None:
    origin = room.server(server, "--bridge", stand.bridge, "--asks").url.removesuffix("/mcp")
    stand.start_sidecar("--set", f"bridge.mcp_url={origin}", "--set", "bridge.source=mcp", *words)
    stand.set_flags(EVERYBODY)


@dataclass(slots=True)
class Agent:
    """A legacy agent beside the sidecar, and somebody who asks it at the Bridge behind the server."""

    stand: Stand
    name: str
    asker: str
    token: str
    asker_token: str
    since: int
    pool: ThreadPoolExecutor

    def ask(self, timeout_s: int = 60) -> str:
        """A question at the Bridge; its id there, which the agent never learns."""
        body = {
            "from_agent": self.asker,
            "to_agent": self.name,
            "message": "Which build?",
            "schema": SCHEMA,
            "timeout_seconds": timeout_s,
        }
        reply = call("POST", f"{self.stand.bridge}/elicitation/create", body, token=self.asker_token)
        return str(reply.json["elicitation_id"])

    def status(self, asked: str) -> object:
        """How it stands at the Bridge."""
        return call("GET", f"{self.stand.bridge}/elicitation/status/{asked}", token=self.asker_token).json["status"]

    def waits(self, timeout_s: int = 20) -> Reply:
        """One wait through the sidecar."""
        return wait(self.stand.data, self.name, self.token, since=self.since, timeout_s=timeout_s)

    def begins(self, timeout_s: int = 20) -> "Future[Reply]":
        """A wait that goes on beside the test."""
        return self.pool.submit(self.waits, timeout_s)

    def questioned(self) -> str:
        """The id of the question that the next wait brings."""
        return _question(self.waits())

    def answers(self, elicitation_id: str, response_type: str = "accept", **content: object) -> Reply:
        """Answer by the legacy send."""
        data: dict[str, object] = {"elicitation_id": elicitation_id, "response_type": response_type}
        if response_type == "accept":
            data["content"] = content or {"build": "b42"}
        body = {"event_type": "custom", "agent_id": self.name, "data": data}
        return call("POST", f"{self.stand.data}/event/store", body, token=self.token)

    def tell(self, **data: object) -> int:
        """A message into the log of the Bridge behind the server."""
        return store(self.stand.bridge, self.asker, data, token=self.asker_token)


def _question(reply: Reply) -> str:
    (item,) = (found for found in reply.events if found["event_type"] == "elicitation_request")
    data = item["data"]
    assert isinstance(data, dict)
    assert (data["message"], data["schema"]["required"]) == ("Which build?", ["build"])
    assert item["source_agent"] == "lighthouse-bridge"
    return str(data["elicitation_id"])


def _told(line: Line) -> Mapping[str, object]:
    """The JSON in the result of a legacy tool."""
    assert isinstance(line["text"], list), line
    found = json.loads(line["text"][0])
    assert isinstance(found, dict)
    return found


def _asked_in(told: Mapping[str, object]) -> object:
    """The id of the one question in the reply of a wait."""
    assert isinstance(told["events"], list)
    (item,) = told["events"]
    return item["data"]["elicitation_id"]


def _messages(reply: Reply) -> list[object]:
    return [item["data"] for item in reply.events if item["event_type"] == "custom"]


@pytest.fixture(params=SERVERS, name="server")
def _server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def _agent(stand: Stand) -> Iterator[Agent]:
    """An agent that nobody has asked anything."""
    name = f"bob-{secrets.token_hex(8)}"
    asker = f"asker-of-{name}"
    token = open_session(stand.bridge, asker)
    since = store(stand.bridge, asker, {}, token=token)
    with ThreadPoolExecutor(2) as pool:
        yield Agent(stand, name, asker, open_session(stand.data, name), token, since, pool)


@pytest.fixture
def agent(stands: Mapping[str, Stand], server: str) -> Iterator[Agent]:
    """One at the sidecar that is shared."""
    with _agent(stands[server]) as made:
        yield made


@pytest.mark.parametrize(("response_type", "status"), [("accept", "accepted"), ("decline", "declined")])
def test_the_question_comes_out_of_the_wait_and_the_answer_goes_to_the_server(
    agent: Agent, response_type: str, status: str
) -> None:
    waiting = agent.begins()
    agent.stand.until_parked(1)
    asked = agent.ask()
    question = _question(waiting.result())
    assert question != asked
    assert agent.status(asked) == "pending"
    reply = agent.answers(question, response_type)
    assert (reply.status, reply.json["status"]) == (200, "stored")
    message = agent.tell(after=response_type)
    found = agent.waits()
    assert {"after": response_type} in _messages(found)
    assert max(int(str(item["sequence"])) for item in found.events) >= message
    assert agent.status(asked) == status


def test_a_cancel_reaches_the_server_as_one(agent: Agent) -> None:
    asked = agent.ask()
    question = agent.questioned()
    assert agent.answers(question, "cancel").status == 200
    agent.tell(over=1)
    agent.waits()
    # The Bridge behind the server lets only the asker cancel, so that the server declines there.
    assert agent.status(asked) == "declined"


def test_the_same_answer_again_is_the_same_success_and_another_one_is_refused(agent: Agent) -> None:
    asked = agent.ask()
    question = agent.questioned()
    first, second = agent.answers(question), agent.answers(question)
    assert (first.status, second.status) == (200, 200)
    assert agent.answers(question, "decline").status == 409
    assert agent.answers(question, build="b43").status == 409
    agent.tell(over=1)
    agent.waits()
    assert agent.status(asked) == "accepted"


def test_an_answer_that_does_not_fit_leaves_the_question_open(agent: Agent) -> None:
    asked = agent.ask()
    question = agent.questioned()
    assert agent.answers(question, build=7).status == 422
    assert agent.answers(question).status == 200
    agent.tell(over=1)
    agent.waits()
    assert agent.status(asked) == "accepted"


def test_an_answer_of_somebody_else_is_refused(agent: Agent) -> None:
    asked = agent.ask()
    question = agent.questioned()
    body = {"elicitation_id": question, "responding_agent": agent.asker, "response_type": "decline"}
    reply = call("POST", f"{agent.stand.data}/elicitation/respond", body, token=agent.asker_token)
    assert reply.status == 403
    body["responding_agent"] = agent.name
    assert call("POST", f"{agent.stand.data}/elicitation/respond", body, token=agent.asker_token).status == 403
    assert agent.status(asked) == "pending"
    assert agent.answers(question).status == 200


def test_an_agent_that_leaves_is_asked_again_and_its_answer_counts(agent: Agent) -> None:
    port = int(agent.stand.data.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as leaving:
        target = f"/event/wait?agent_id={agent.name}&since_sequence={agent.since}&timeout_seconds=30"
        head = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {agent.token}\r\n\r\n"
        leaving.sendall(head.encode())
        agent.stand.until_parked(1)
    agent.stand.until_parked(0)
    asked = agent.ask()
    question = agent.questioned()
    assert agent.answers(question).status == 200
    agent.tell(over=1)
    agent.waits()
    assert agent.status(asked) == "accepted"


def test_a_wait_is_over_in_time_while_a_question_is_open_and_the_next_one_takes_part(agent: Agent) -> None:
    asked = agent.ask()
    question = agent.questioned()
    empty = agent.waits(1)
    assert (empty.json["status"], empty.events) == ("timeout", [])
    waiting = agent.begins()
    agent.stand.until_parked(1)
    assert agent.answers(question).status == 200
    agent.tell(news=1)
    assert {"news": 1} in _messages(waiting.result())
    assert agent.status(asked) == "accepted"


@pytest.mark.parametrize("client", ["mcp-1.30", "mcp-2.3"])
def test_an_mcp_client_that_cannot_be_asked_gets_the_question_as_the_result_of_its_wait(
    agent: Agent, room: Room, client: str
) -> None:
    asked = agent.ask()
    run = room.client(client, url=f"{agent.stand.data}/mcp", interactive=True)
    run.call(WAIT, {"agent_id": agent.name, "timeout_seconds": 20, "since_sequence": agent.since}, tag="wait")
    question = _asked_in(_told(run.hear(kind="result", tag="wait")))
    given = {"elicitation_id": question, "response_type": "accept", "data": {"build": "b42"}}
    run.call(RESPOND, given, tag="respond")
    assert _told(run.hear(kind="result", tag="respond"))["status"] == "success"
    message = agent.tell(after="respond")
    run.call(WAIT, {"agent_id": agent.name, "timeout_seconds": 20, "since_sequence": message - 1}, tag="next")
    assert "events" in _told(run.hear(kind="result", tag="next"))
    assert agent.status(asked) == "accepted"
    run.end()


@pytest.mark.parametrize("client", ["mcp-1.30", "mcp-2.3"])
def test_a_call_of_another_tool_tells_the_server_what_its_own_client_can_and_no_more(
    stands: Mapping[str, Stand], room: Room, server: str, client: str
) -> None:
    direct = room.server(server, "--bridge", stands[server].bridge, "--asks").url
    said = []
    for url in (direct, f"{stands[server].data}/mcp"):
        lines = room.client(client, url=url, calls=[step("ask")]).outcome()
        (line,) = (line for line in lines if line["kind"] in {"result", "error"})
        said.append({name: line.get(name) for name in ("kind", "text", "is_error", "code", "message")})
    if (server, client) == ("mcp-1.30", "mcp-2.3"):  # one speaks directly as an older client, the other is bridged
        said = [{"is_error": each["is_error"]} for each in said]
    assert said[0] == said[1]
    assert said[0].get("kind") == "error" or said[0]["is_error"]


def test_out_of_time_the_server_hears_a_cancel_and_a_late_answer_is_refused(
    room: Room, stands: Mapping[str, Stand], server: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with children() as started:
        stand = Stand(started, tmp_path_factory.mktemp("sidecar"), "memory:", bridge=stands[server].bridge)
        _start(room, stand, server, "--set", "bridge.park_s=1")
        with _agent(stand) as agent:
            asked = agent.ask()
            question = agent.questioned()
            # A cancel goes on to the Bridge behind the server as a decline.
            until(lambda: agent.status(asked) == "declined", within_s=20, what="a cancel at the server")
            late = agent.answers(question)
            assert late.status in {409, 410}, late
            assert agent.status(asked) == "declined"
        process = stand.sidecar_process
        assert process is not None
        assert process.end() == 0
