"""One day of an agent, again and again: each time the sidecar is killed at another commit of its journal.

The day: messages are read, a question is asked and answered, its asker reads the answer, the Bridge begins a new log,
and more messages are read. Whoever meets a dead sidecar starts it again and repeats the call, as agents do.
"""

import signal
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.support.processes import Child, Children, children
from tests.support.stand import Reply, call, open_session, store

pytestmark = pytest.mark.e2e

DYING = Path(__file__).parents[1] / "support" / "dying_sidecar.py"
MOST = 60
"""More commits than a day has."""


@dataclass
class Day:
    """One day before one Bridge; `told` is what each agent has read, by text or elicitation."""

    processes: Children
    bridge: str
    state: Path
    ports: str = "127.0.0.1:0"
    base: str = ""
    sidecar: Child | None = None
    deaths: int = 0
    cursors: dict[str, int] = field(default_factory=dict)
    told: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    def start(self, *dying: str) -> None:
        """Start the sidecar; with words, one that will die."""
        words = ["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--bridge", self.bridge]
        words += ["--state", f"sqlite://{self.state}", "--set", "flags.elicitation_enabled=true"]
        words += ["--set", "flags.elicitation_percentage=100"]
        if dying:
            self.sidecar = self.processes.script(DYING, *dying, *words)
        else:
            self.sidecar = self.processes.run(*words)
        self.base = f"http://{self.sidecar.hear(event='ready')['data']}"

    def through(self, attempt: Callable[[], Reply]) -> Reply:
        """A call that is repeated, over the death of the sidecar, until somebody answers it."""
        for _ in range(3):
            try:
                return attempt()
            except (urllib.error.URLError, HTTPException, OSError):
                assert self.sidecar is not None
                assert self.sidecar.code(10) == -9, self.sidecar.errors
                self.deaths += 1
                self.start()
        raise AssertionError("the sidecar dies again and again")

    def read(self, agent: str, wanted: str) -> None:
        """Wait until an agent has been told of something."""
        for _ in range(20):
            if any(text == wanted for _, text in self.told.get(agent, ())):
                return
            self._wait(agent)
        raise AssertionError(f"{agent} was never told of {wanted}, only of {self.told.get(agent)}")

    def _wait(self, agent: str) -> None:
        since = self.cursors.get(agent, 0)
        token = open_session(self.bridge, agent)
        path = f"/event/wait?agent_id={agent}&since_sequence={since}&timeout_seconds=2"
        reply = self.through(lambda: call("GET", self.base + path, token=token, timeout_s=15))
        assert reply.status == 200, reply.body
        for item in reply.events:
            data, number = item["data"], int(str(item["sequence"]))
            assert isinstance(data, dict)
            text = str(data.get("text") or data.get("in_reply_to") or data.get("elicitation_id") or item["event_type"])
            self.told.setdefault(agent, []).append((number, text))
            if item["event_type"] != "elicitation_request":
                assert number > since, "below the cursor"
                self.cursors[agent] = max(self.cursors.get(agent, 0), number)

    def live(self, bridge: Child) -> Child:
        """The whole day; the Bridge that runs at its end."""
        store(self.bridge, "carol", {"text": "one"})
        self.read("bob", "one")
        asked = self.through(
            lambda: call("POST", f"{self.base}/elicitation/create", QUESTION, token=self._token("alice"))
        )
        question = str(asked.json["elicitation_id"])
        self.read("bob", question)
        self._answer(question)
        self._answer(question)
        self.read("alice", question)
        store(self.bridge, "carol", {"text": "two"})
        self.read("bob", "two")
        bridge.end(signal.SIGKILL)
        bridge = self.processes.run(
            "bridge", "--listen", self.bridge.removeprefix("http://"), "--set", "rate_limits=off"
        )
        bridge.hear(event="ready")
        store(self.bridge, "carol", {"text": "three"})
        self.read("bob", "three")
        return bridge

    def _token(self, agent: str) -> str:
        return open_session(self.bridge, agent)

    def _answer(self, question: str) -> None:
        """The answer, which is a success however often it is given."""
        body = {
            "elicitation_id": question,
            "responding_agent": "bob",
            "response_type": "accept",
            "data": {"colour": "red"},
        }
        reply = self.through(lambda: call("POST", f"{self.base}/elicitation/respond", body, token=self._token("bob")))
        assert reply.status == 200, reply.body

    def judge(self) -> None:
        """No message under two numbers, none twice above its reader's cursor, every one read."""
        for agent, told in self.told.items():
            messages = [(number, text) for number, text in told if text in {"one", "two", "three"}]
            assert len({number for number, _ in messages}) == len({text for _, text in messages}), (agent, messages)
        assert {"one", "two", "three"} <= {text for _, text in self.told["bob"]}


QUESTION = {
    "from_agent": "alice",
    "to_agent": "bob",
    "message": "Which colour?",
    "schema": {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]},
    "timeout_seconds": 600,
}


def _live(folder: Path, number: int, when: str) -> int:
    """One day with a death at one commit; how often the sidecar died."""
    with children() as processes:
        bridge = processes.run("bridge", "--listen", "127.0.0.1:0", "--set", "rate_limits=off")
        day = Day(processes, str(bridge.hear(event="ready")["url"]), folder / f"{number}-{when}.db")
        day.start(str(number), when)
        day.live(bridge)
        day.judge()
        return day.deaths


@pytest.mark.requirement("restart.every_write")
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_day_goes_on_over_a_death_at_each_commit_of_the_journal_in_turn(tmp_path: Path, when: str) -> None:
    for number in range(1, MOST):
        if not _live(tmp_path, number, when):
            assert number > 5, "the day has more commits than that"
            return
    raise AssertionError("the day has no end")
