"""Agents of the matrix: a plain HTTP one by raw calls, and MCP clients on real SDKs; each notes in words what it sees.

empty       its wait ended without anything
told        its wait brought the question, to be answered by a call of its own
asked       it was asked in the middle of its wait
answered X  its wait ended, and told that X was its answer
taken       its own call with an answer was accepted
refused     its own call with an answer was not
gave up     it did not want to wait any longer
left        it hung up
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Final, Protocol
from urllib.parse import urlencode, urlsplit

from tests.support.peers import Room, Run
from tests.support.stand import call, open_session

WAIT: Final = "lighthouse_wait_for_messages"
RESPOND: Final = "lighthouse_respond_to_elicitation"

SCHEMA: Final = {"type": "object", "properties": {"build": {"type": "string"}}, "required": ["build"]}
QUESTION: Final = "Which build?"

CONTENT: Final = {"build": "b42"}
OTHER_CONTENT: Final = {"build": "b43"}

SPARE_S: Final = 20
"""How much longer than its wait an agent waits before the test gives up, seconds."""


INVALID_PARAMS: Final = -32602
"""How a request state is refused. Source: PROTOCOL.md 2.5."""

_WORD_OF_STATUS: Final = {200: "taken", 409: "refused", 410: "too late"}
_WORD_OF_CODE: Final = {"answer_conflict": "refused", "elicitation_expired": "too late"}


class Agent(Protocol):
    """One agent; `saw` is what it and those who came after it under the same name have seen."""

    name: str
    saw: list[str]
    told: str
    """The id of the question that it was told of last."""

    def wait(self, since: int, timeout_s: int) -> None:
        """Begin a wait."""
        ...

    def hear(self) -> None:
        """Wait for the end of the wait."""
        ...

    def respond(self, elicitation_id: str, action: str, content: Mapping[str, object]) -> None:
        """Answer by a call of its own."""
        ...

    def leave(self) -> None:
        """Hang up, in the middle of the wait."""
        ...

    def close(self) -> None:
        """Be over."""
        ...


def take_words(agent: Agent, events: Sequence[Mapping[str, object]]) -> list[str]:
    """What items of a wait's reply say about the agent's own question; other messages say nothing."""
    words = []
    for item in events:
        data = item["data"]
        assert isinstance(data, dict)
        if item["event_type"] == "elicitation_request":
            assert (data["message"], data["schema"]) == (QUESTION, SCHEMA)
            agent.told = str(data["elicitation_id"])
            words.append("told")
        elif item["event_type"] == "elicitation_answered":
            words.append(f"answered {data['response_type']}")
    return words


@dataclass(slots=True)
class HttpAgent:
    """An agent that knows nothing of MCP."""

    base: str
    name: str
    saw: list[str] = field(default_factory=list)
    told: str = ""
    token: str = ""
    connection: HTTPConnection | None = None

    def wait(self, since: int, timeout_s: int) -> None:
        """Begin a wait on a connection of its own."""
        self.token = self.token or open_session(self.base, self.name)
        self.connection = HTTPConnection(urlsplit(self.base).netloc, timeout=timeout_s + SPARE_S)
        query = urlencode({"agent_id": self.name, "since_sequence": since, "timeout_seconds": timeout_s})
        self.connection.request("GET", f"/event/wait?{query}", headers={"Authorization": f"Bearer {self.token}"})

    def hear(self) -> None:
        """Read the reply."""
        assert self.connection is not None
        with self.connection.getresponse() as reply:
            body = reply.read()
            assert reply.status == 200, body
        self.connection.close()
        found = json.loads(body)
        assert found["status"] == ("new_events" if found["events"] else "timeout"), found
        self.saw.extend(take_words(self, found["events"]) if found["events"] else ["empty"])

    def respond(self, elicitation_id: str, action: str, content: Mapping[str, object]) -> None:
        """Store an event that names the question."""
        data: dict[str, object] = {"elicitation_id": elicitation_id, "response_type": action}
        if action == "accept":
            data["content"] = dict(content)
        body = {"agent_id": self.name, "event_type": "AGENT_HEARTBEAT", "data": data}
        reply = call("POST", f"{self.base}/event/store", body, token=self.token)
        self.saw.append(_WORD_OF_STATUS[reply.status])

    def leave(self) -> None:
        """Close the connection that the wait is on."""
        assert self.connection is not None
        self.connection.close()
        self.saw.append("left")

    def close(self) -> None:
        """Nothing of it is left."""
        if self.connection is not None:
            self.connection.close()


@dataclass(slots=True)
class McpAgent:
    """An MCP client on a real SDK."""

    run: Run
    name: str
    revision: str
    saw: list[str] = field(default_factory=list)
    told: str = ""
    calls: int = 0

    def wait(self, since: int, timeout_s: int) -> None:
        """Call the wait tool."""
        self.calls += 1
        self.run.call(
            WAIT, {"agent_id": self.name, "timeout_seconds": timeout_s, "since_sequence": since}, tag=self._tag
        )

    @property
    def _tag(self) -> str:
        return f"call {self.calls}"

    def hear(self) -> None:
        """Hear the result."""
        found = self._told()
        events, asked = found["events"], found.get("asked", [])
        assert isinstance(events, list), found
        assert isinstance(asked, list), found
        words = [*(f"answered {one['action']}" for one in asked), *take_words(self, events)]
        self.saw.extend(words or ([] if events else ["empty"]))

    def hear_asked(self) -> str:
        """Hear that it is asked; by what message."""
        message = str(self.run.hear(kind="asked")["message"])
        self.saw.append("asked")
        return message

    def hear_failure(self) -> None:
        """Hear that the call failed: by its own time-out, or by a refusal."""
        line = self.run.hear(kind="error", tag=self._tag)
        self.saw.append("too late" if line["code"] == INVALID_PARAMS else "gave up")

    def respond(self, elicitation_id: str, action: str, content: Mapping[str, object]) -> None:
        """Call the tool that answers."""
        self.calls += 1
        given: dict[str, object] = {"elicitation_id": elicitation_id, "response_type": action}
        if action == "accept":
            given["data"] = dict(content)
        self.run.call(RESPOND, given, tag=self._tag)
        line = self.run.hear(kind="result", tag=self._tag)
        words = [word for code, word in _WORD_OF_CODE.items() if code in str(line["text"])]
        self.saw.extend(words if line["is_error"] else ["taken"])

    def leave(self) -> None:
        """Let the SDK go in the middle of everything."""
        self.run.drop()
        self.run.hear(kind="dropped")
        self.saw.append("left")

    def close(self) -> None:
        """Let it go, whatever it waits for."""
        if not self.run.said(over=True):
            self.run.drop()
            self.run.hear(over=True)

    def _told(self) -> Mapping[str, object]:
        line = self.run.hear(kind="result", tag=self._tag)
        assert not line["is_error"], line
        texts = line["text"]
        assert isinstance(texts, list)
        found = json.loads(texts[0])
        assert isinstance(found, dict)
        return found


def mcp_agent(room: Room, client: str, *, name: str, plan: Mapping[str, object], mode: str = "") -> McpAgent:
    """An MCP client; `plan` as in tests/peers/peer_client.py."""
    modes = {"mode": mode} if mode else {}
    run = room.client(client, interactive=True, **modes, **plan)
    return McpAgent(run, name, str(run.hear(kind="connected")["revision"]))
