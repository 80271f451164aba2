"""The Bridge's MCP servers, in front of the development Bridge: the legacy tools, and a wait that asks by itself."""

import itertools
import json
import urllib.request
from collections.abc import Iterator, Mapping

import pytest

from tests.support.peers import Room, Run, call
from tests.support.processes import children

SCHEMA = {"type": "object", "properties": {"build": {"type": "string"}}, "required": ["build"]}

pytestmark = pytest.mark.e2e


class Rest:
    """The Bridge as another agent sees it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.token = ""
        self.token = str(self.session("asker")["session_token"])

    def session(self, agent: str) -> Mapping[str, object]:
        return self.post("/session/create", agent_id=agent, ip_address="127.0.0.1", user_agent="test")

    def post(self, path: str, **body: object) -> Mapping[str, object]:
        return self._send(urllib.request.Request(self.url + path, json.dumps(body).encode()))

    def get(self, path: str) -> Mapping[str, object]:
        return self._send(urllib.request.Request(self.url + path))

    def ask(self, to_agent: str) -> str:
        body = {"from_agent": "asker", "to_agent": to_agent, "message": "Which build?", "schema": SCHEMA}
        return str(self.post("/elicitation/create", **body)["elicitation_id"])

    def _send(self, request: urllib.request.Request) -> Mapping[str, object]:
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as reply:
            found = json.load(reply)
        assert isinstance(found, dict)
        return found


@pytest.fixture(scope="module")
def bridge() -> Iterator[Rest]:
    """The development Bridge; it looks ten times a second, so that no test waits for it."""
    with children() as started:
        # The servers ask often, and all tests of this file take longer than the Bridge watches for that.
        limits = ["--set", "rate_limits=off", "--set", "abuse_rule=off"]
        child = started.run("bridge", "--listen", "127.0.0.1:0", "--poll-seconds", "0.1", *limits)
        yield Rest(str(child.hear(event="ready")["url"]))


def _result(run: Run) -> dict[str, object]:
    line = run.hear(kind="result")
    texts = line["text"]
    assert isinstance(texts, list)
    assert line["structured"] == {"result": texts[0]}
    found = json.loads(texts[0])
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("server", ["mcp-1.30", "mcp-2.3", "ts-1", "ts-2"])
def test_a_stored_event_comes_out_of_the_wait(room: Room, bridge: Rest, server: str) -> None:
    url = room.server(server, "--bridge", bridge.url, "--agent", f"store-of-{server}".replace(".", "_")).url
    event = {"event_type": "AGENT_HEARTBEAT", "event_data": {"of": server}, "agent_id": "bob"}
    stored = _result(room.client("mcp-1.30", url=url, calls=[call("lighthouse_store_event", event)]))
    assert stored["status"] == "stored"
    since = {"agent_id": "alice", "timeout_seconds": 5, "since_sequence": int(str(stored["sequence"])) - 1}
    found = _result(room.client("mcp-2.3", url=url, calls=[call("lighthouse_wait_for_messages", since)]))
    assert found["status"] == "new_events"
    assert [item["data"] for item in _items(found, "events")] == [{"of": server}]


def _items(found: Mapping[str, object], name: str) -> list[dict[str, object]]:
    items = found[name]
    assert isinstance(items, list)
    return items


@pytest.mark.parametrize("server", ["mcp-1.30", "mcp-2.3", "ts-1", "ts-2"])
def test_a_question_to_the_server_is_answered_through_its_tools(room: Room, bridge: Rest, server: str) -> None:
    agent = f"tools-of-{server}".replace(".", "_")
    url = room.server(server, "--bridge", bridge.url, "--agent", agent).url
    asked = bridge.ask(agent)
    answer = {"elicitation_id": asked, "response_type": "accept", "data": {"build": "b42"}}
    listed = _result(room.client("mcp-1.30", url=url, calls=[call("lighthouse_check_elicitations")]))
    assert asked in {item["id"] for item in _items(listed, "elicitations")}
    told = _result(room.client("mcp-1.30", url=url, calls=[call("lighthouse_respond_to_elicitation", answer)]))
    assert told == {"status": "success", "message": f"Elicitation {asked} accepted"}


@pytest.mark.parametrize("action", ["accept", "decline"])
@pytest.mark.parametrize(
    ("server", "client"),
    [
        *itertools.product(["mcp-1.30", "mcp-2.3", "ts-1"], ["mcp-1.22", "mcp-1.30", "mcp-2.3", "fastmcp-4", "ts-2"]),
        *itertools.product(["ts-2"], ["mcp-2.3", "fastmcp-4", "ts-2"]),
    ],
)
def test_a_wait_that_asks_brings_the_answer_to_the_bridge(
    *, room: Room, bridge: Rest, server: str, client: str, action: str
) -> None:
    url = room.server(server, "--bridge", bridge.url, "--asks", "--agent", f"asks-of-{server}".replace(".", "_")).url
    agent = f"{client}-{server}-{action}".replace(".", "_")
    newest = max((int(str(item["sequence"])) for item in _items(bridge.get("/event/query"), "events")), default=0)
    asked = bridge.ask(agent)
    given = {"agent_id": agent, "timeout_seconds": 5, "since_sequence": newest + 1}
    run = room.client(
        client, url=url, answer=action, content={"build": "b42"}, calls=[call("lighthouse_wait_for_messages", given)]
    )
    assert run.hear(kind="asked")["message"] == "Which build?"
    found = _result(run)
    assert [(item["id"], item["action"]) for item in _items(found, "asked")] == [(asked, action)]
    assert bridge.get(f"/elicitation/status/{asked}")["status"] in {"accepted", "declined"}


@pytest.mark.parametrize("server", ["mcp-1.30", "ts-1"])
def test_a_refused_session_is_never_opened_again(room: Room, bridge: Rest, server: str) -> None:
    url = room.server(server, "--bridge", bridge.url, "--agent", "evicted").url
    wait = call("lighthouse_wait_for_messages", {"agent_id": "alice", "timeout_seconds": 0})
    store = call("lighthouse_store_event", {"event_type": "x", "event_data": {}, "agent_id": "evicted"})
    run = room.client("mcp-1.30", url=url, interactive=True)
    run.tell(**wait)
    assert "error" not in _result(run)
    for _ in range(3):
        bridge.session("evicted")
    for count, (step, words) in enumerate(
        [(wait, "status 403"), (wait, "status 403"), (store, "status 403"), (wait, "establish session")], 2
    ):
        run.tell(**step)
        assert words in str(run.hear(kind="result", count=count)["text"])
