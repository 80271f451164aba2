"""Real MCP clients that are asked by the sidecar itself, in front of a development Bridge and real MCP servers."""

import json
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.support.peers import Room, Run, peer_room
from tests.support.processes import children, until
from tests.support.stand import EVERYBODY, Stand, call, open_session, store, wait

pytestmark = pytest.mark.e2e

WAIT = "lighthouse_wait_for_messages"
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
"""Client peers and their modes; those without speak the newest revision."""

MODERN = [("mcp-2.3", ""), ("fastmcp-4", ""), ("ts-2", "")]
"""Those of them that speak the envelope."""

_NUMBERS = count()


@pytest.fixture(scope="module", name="room")
def _room() -> Iterator[Room]:
    with peer_room() as opened:
        yield opened


def _started(room: Room, stand: Stand, *words: str) -> Stand:
    stand.start_bridge("--poll-seconds", "0.1")
    origin = room.server("mcp-2.3", "--bridge", stand.bridge).url.removesuffix("/mcp")
    stand.start_sidecar("--set", f"bridge.mcp_url={origin}", *words)
    stand.set_flags(EVERYBODY)
    return stand


@pytest.fixture(scope="module", name="stand")
def _stand(room: Room, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with children() as started:
        stand = Stand(started, tmp_path_factory.mktemp("sidecar"), "memory:")
        yield _started(room, stand, "--set", "agent.delivery=elicit")


@dataclass(frozen=True)
class Agent:
    """An MCP client beside the sidecar, and an asker at the Bridge."""

    run: Run
    stand: Stand
    name: str
    asker: str
    token: str

    def ask(self, message: str) -> str:
        """Put a question to the agent; its id."""
        body = {"from_agent": self.asker, "to_agent": self.name, "message": message, "schema": SCHEMA}
        return str(
            call("POST", f"{self.stand.bridge}/elicitation/create", body, token=self.token).json["elicitation_id"]
        )

    def begin_wait(self, tag: str, *, timeout_s: int = 30) -> int:
        """A wait for what is not yet there; where the log ends now."""
        since = store(self.stand.bridge, self.asker, {}, token=self.token)
        self.run.call(WAIT, {"agent_id": self.name, "timeout_seconds": timeout_s, "since_sequence": since}, tag=tag)
        return since

    def items(self, tag: str) -> list[tuple[object, Mapping[str, object]]]:
        """Kind and data of what a wait told."""
        line = self.run.hear(kind="result", tag=tag)
        assert not line["is_error"], line
        texts = line["text"]
        assert isinstance(texts, list)
        (text,) = texts
        return [(item["event_type"], item["data"]) for item in json.loads(text)["events"]]

    def status(self, elicitation_id: str) -> object:
        """How a question stands at the Bridge."""
        url = f"{self.stand.bridge}/elicitation/status/{elicitation_id}"
        return call("GET", url, token=self.token).json["status"]

    def answered(self, elicitation_id: str, since: int) -> Mapping[str, object]:
        """What the asker hears of its question, by its own wait through the sidecar."""
        events = wait(self.stand.data, self.asker, self.token, since=since, timeout_s=20).events
        datas = [item["data"] for item in events if item["event_type"] == "elicitation_response"]
        (data,) = [data for data in datas if isinstance(data, dict) and data["elicitation_id"] == elicitation_id]
        return data


def _agent(room: Room, stand: Stand, client: str, mode: str, **plan: object) -> Agent:
    modes = {"mode": mode} if mode else {}
    run = room.client(client, url=f"{stand.data}/mcp", interactive=True, **modes, **plan)
    run.hear(kind="connected")
    name = f"{run.name.replace('#', '-')}-{next(_NUMBERS)}"
    asker = f"asker-of-{name}"
    return Agent(run, stand, name, asker, open_session(stand.bridge, asker))


@pytest.mark.requirement("mcp.elicit.clients")
@pytest.mark.parametrize(("client", "mode"), CLIENTS)
def test_a_client_with_elicitation_is_asked_and_its_answer_reaches_the_asker(
    *, room: Room, stand: Stand, client: str, mode: str
) -> None:
    agent = _agent(room, stand, client, mode, answer="accept", content={"build": "b42"})
    for number, answer in enumerate(("accept", "decline", "cancel")):
        agent.run.tell(do="answer", answer=answer, content={"build": "b42"} if answer == "accept" else None)
        since = agent.begin_wait(f"wait {number}")
        stand.until_parked(1)
        asked = agent.ask(f"Which build, {number}?")
        ((kind, data),) = agent.items(f"wait {number}")
        assert (kind, data["elicitation_id"], data["response_type"]) == ("elicitation_answered", asked, answer)
        assert data.get("data") == ({"build": "b42"} if answer == "accept" else None)
        assert agent.status(asked) == ("accepted" if answer == "accept" else "declined")
        if answer != "cancel":  # which the Bridge notes as a decline, with nothing to tell whose
            assert agent.answered(asked, since)["response_type"] == answer
        assert agent.run.said(kind="asked")[number]["message"] == f"Which build, {number}?"
    agent.run.end()
    assert agent.run.hear(kind="closed")


@pytest.mark.requirement("mcp.elicit.clients")
@pytest.mark.parametrize(("client", "mode"), CLIENTS)
def test_an_answer_that_does_not_fit_leaves_the_question_to_the_agent(
    *, room: Room, stand: Stand, client: str, mode: str
) -> None:
    agent = _agent(room, stand, client, mode, answer="accept", content={"other": "x"})
    agent.begin_wait("wait")
    stand.until_parked(1)
    asked = agent.ask("Which build?")
    ((kind, data),) = agent.items("wait")
    assert (kind, data["elicitation_id"]) == ("elicitation_request", asked)
    assert data["error"]
    assert agent.status(asked) == "pending"
    agent.run.end()
    assert agent.run.hear(kind="closed")


@pytest.mark.requirement("mcp.elicit.clients")
@pytest.mark.parametrize(("client", "mode"), CLIENTS)
def test_a_callback_that_fails_leaves_the_question_open(*, room: Room, stand: Stand, client: str, mode: str) -> None:
    agent = _agent(room, stand, client, mode, answer="no such action")
    agent.begin_wait("wait")
    stand.until_parked(1)
    asked = agent.ask("Which build?")
    agent.run.hear(kind="asked")
    if (client, mode) in MODERN:  # nothing of it ever comes back to us
        assert agent.run.hear(tag="wait")
    else:
        # Most tell it as a mistake in the question, some as one of theirs.
        ((kind, data),) = agent.items("wait")
        assert (kind, data["elicitation_id"]) == ("elicitation_request", asked)
    assert agent.status(asked) == "pending"
    agent.run.end()


@pytest.mark.requirement("mcp.elicit.clients")
@pytest.mark.parametrize(("client", "mode"), CLIENTS)
def test_a_client_without_elicitation_reads_the_question_in_the_result(
    *, room: Room, stand: Stand, client: str, mode: str
) -> None:
    agent = _agent(room, stand, client, mode)
    agent.begin_wait("wait")
    stand.until_parked(1)
    asked = agent.ask("Which build?")
    ((kind, data),) = agent.items("wait")
    assert (kind, data["elicitation_id"], "error" in data) == ("elicitation_request", asked, False)
    agent.run.end()
    assert agent.run.hear(kind="closed")


@pytest.mark.requirement("mcp.elicit.handshake")
@pytest.mark.parametrize(("client", "mode"), [pair for pair in CLIENTS if pair not in MODERN])
def test_an_answer_after_the_end_of_a_wait_counts_or_leaves_the_question_open(
    *, room: Room, stand: Stand, client: str, mode: str
) -> None:
    agent = _agent(room, stand, client, mode, answer="accept", content={"build": "b42"}, answer_after_s=2)
    agent.begin_wait("wait", timeout_s=1)
    stand.until_parked(1)
    asked = agent.ask("Which build?")
    agent.run.hear(kind="asked")
    # The first python SDK reads nothing more before its callback has answered.
    ((kind, data),) = agent.items("wait")
    assert (kind, data["elicitation_id"]) == ("elicitation_request", asked)
    if client in {"mcp-1.22", "mcp-1.30", "fastmcp-3"}:
        until(lambda: agent.status(asked) == "accepted", within_s=10, what="the late answer")
    else:  # told that its answer is no longer waited for, the others give none
        assert agent.status(asked) == "pending"
    agent.run.end()


@pytest.mark.requirement("mcp.elicit.restart")
@pytest.mark.parametrize("client", ["mcp-2.3", "fastmcp-4", "ts-2"])
def test_a_kill_between_the_question_and_its_answer_loses_neither(room: Room, client: str, tmp_path: Path) -> None:
    with children() as started:
        stand = Stand(started, tmp_path, f"sqlite://{tmp_path}/state.db")
        _started(room, stand, "--set", "agent.delivery=elicit")
        agent = _agent(room, stand, client, "", answer="accept", content={"build": "b42"}, answer_after_s=6)
        agent.begin_wait("wait")
        stand.until_parked(1)
        asked = agent.ask("Which build?")
        agent.run.hear(kind="asked")
        assert stand.sidecar_process is not None
        stand.sidecar_process.end(signal.SIGKILL)
        origin = room.server("mcp-2.3", "--bridge", stand.bridge).url.removesuffix("/mcp")
        listen = ("--listen", stand.data.removeprefix("http://"))
        stand.start_sidecar("--set", f"bridge.mcp_url={origin}", "--set", "agent.delivery=elicit", *listen)
        ((kind, data),) = agent.items("wait")
        assert (kind, data["elicitation_id"], data["data"]) == ("elicitation_answered", asked, {"build": "b42"})
        assert agent.status(asked) == "accepted"
        agent.run.end()
