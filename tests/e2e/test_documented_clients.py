"""The client set-ups that the documentation shows work as they stand there."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.peers import Room, directory_of, peer_room, server_command
from tests.support.processes import PROGRAM
from tests.support.stand import EVERYBODY, Stand, open_session
from tests.support.stand import call as http

pytestmark = pytest.mark.e2e

DOCS = Path(__file__).parents[2] / "docs"
AGENTS = re.compile(r"<!-- run with (?P<peer>[\w.-]+) -->\n```python\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
SETTINGS = re.compile(r"In a `\.mcp\.json`:\n\n```json\n(?P<json>.*?)^```$", re.DOTALL | re.MULTILINE)
SCHEMA = {"type": "object", "properties": {"ship": {"type": "boolean"}}, "required": ["ship"]}
AGENT_S = 60
"""Longest run of a documented agent on a busy machine, seconds."""


@pytest.fixture(name="room")
def _room() -> Iterator[Room]:
    with peer_room() as opened:
        yield opened


def _ask(stand: Stand) -> tuple[str, str]:
    token = open_session(stand.bridge, "alice")
    body = {"from_agent": "alice", "to_agent": "bob", "message": "Ship it today?", "schema": SCHEMA}
    reply = http("POST", f"{stand.bridge}/elicitation/create", body, token=token)
    return str(reply.json["elicitation_id"]), token


def _status(stand: Stand, asked: str, token: str) -> object:
    return http("GET", f"{stand.bridge}/elicitation/status/{asked}", token=token).json["status"]


@pytest.mark.requirement("docs.clients")
@pytest.mark.parametrize(
    "found", list(AGENTS.finditer((DOCS / "mcp-eras.md").read_text("utf-8"))), ids=lambda m: m["peer"]
)
def test_an_agent_that_is_asked_in_its_code_answers(room: Room, stand: Stand, found: re.Match[str]) -> None:
    stand.start_bridge()
    origin = room.server("mcp-2.3", "--bridge", stand.bridge).url.removesuffix("/mcp")
    stand.start_sidecar("--set", f"bridge.mcp_url={origin}", "--set", "agent.delivery=elicit")
    stand.set_flags(EVERYBODY)
    asked, token = _ask(stand)
    python = directory_of(found["peer"]) / "bin" / "python"
    code = found["code"].replace("http://127.0.0.1:8766", stand.data)
    said = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=AGENT_S, check=True)
    items = [item for item in json.loads(said.stdout)["events"] if item["event_type"] == "elicitation_answered"]
    assert [(item["data"]["elicitation_id"], item["data"]["data"]) for item in items] == [(asked, {"ship": True})]
    assert _status(stand, asked, token) == "accepted"


@pytest.mark.requirement("docs.clients")
def test_a_client_launches_its_server_through_the_sidecar_by_its_settings(
    room: Room, stand: Stand, tmp_path: Path
) -> None:
    stand.start_bridge()
    found = SETTINGS.search((DOCS / "mcp-stdio.md").read_text("utf-8"))
    assert found is not None
    entry = json.loads(found["json"])["mcpServers"]["bridge"]
    config = tmp_path / "config.toml"
    config.write_text(
        f'[bridge]\nurl = "{stand.bridge}"\n[state]\nurl = "memory:"\n'
        "[flags]\nelicitation_enabled = true\nelicitation_percentage = 100\n"
    )
    words = [*PROGRAM, *entry["args"][: entry["args"].index("--") + 1]]
    words = [str(config) if word.endswith("config.toml") else word for word in words]
    assert entry["command"] == "elicit-sidecar"
    launched = [*words, *server_command("mcp-1.30", "--stdio", "--bridge", stand.bridge)]
    asked, token = _ask(stand)
    run = room.client("mcp-1.30", stdio=launched, interactive=True)
    run.call("lighthouse_wait_for_messages", {"agent_id": "bob", "timeout_seconds": 20}, tag="wait")
    texts = run.hear(kind="result", tag="wait")["text"]
    assert isinstance(texts, list)
    events = json.loads(texts[0])["events"]
    assert asked in [item["data"].get("elicitation_id") for item in events]
    given = {"elicitation_id": asked, "response_type": "accept", "data": {"ship": True}}
    run.call("lighthouse_respond_to_elicitation", given, tag="respond")
    assert not run.hear(kind="result", tag="respond")["is_error"]
    run.end()
    assert run.hear(kind="closed")
    assert _status(stand, asked, token) == "accepted"
