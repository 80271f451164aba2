"""A modern asker and agents of every kind before a Bridge that has no elicitation, with a sidecar on either side."""

import json
import signal
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.processes import Child, Children, until
from tests.support.stand import EVERYBODY, Reply, Stand, call, open_session, store, wait

pytestmark = [pytest.mark.e2e, pytest.mark.requirement("bus.end_to_end")]

COLOUR = {"type": "object", "properties": {"colour": {"type": "string", "default": "red"}}, "required": ["colour"]}
RED = {"colour": "red"}
WITHIN_S = 20

Item = Mapping[str, object]


class Pair:
    """One Bridge, alice's sidecar and bob's."""

    def __init__(
        self, processes: Children, folder: Path, *words: str, source: str = "bus", reprobe_s: float = 30
    ) -> None:
        self.here, self.there = (Stand(processes, _made(folder / name), "memory:") for name in ("alice", "bob"))
        self.processes = processes
        self.bridge_words = ("--no-elicitation", "--poll-seconds", "0.1", *words)
        self.start_bridge()
        for side in (self.here, self.there):
            side.bridge = self.bridge
            settings = (f"bridge.source={source}", f"breaker.incapable_s={reprobe_s:g}", "limits.questions=1000/s")
            side.start_sidecar(*(word for setting in settings for word in ("--set", setting)))
            side.set_flags(EVERYBODY)
        self.alice = open_session(self.here.data, "alice")
        self.bob = open_session(self.there.data, "bob")

    @property
    def bridge(self) -> str:
        return self.here.bridge

    def start_bridge(self) -> Child:
        return self.here.start_bridge(*self.bridge_words)

    def ask(self, *, timeout_s: int = 60) -> str:
        body = {"from_agent": "alice", "to_agent": "bob", "message": "Which colour?", "schema": COLOUR}
        url = f"{self.here.data}/elicitation/create"
        reply = call("POST", url, {**body, "timeout_seconds": timeout_s}, token=self.alice)
        assert reply.status == 200, reply
        return str(reply.json["elicitation_id"])

    def ask_until(self, is_so: Callable[[str], bool]) -> str:
        """Ask until the id is as wanted."""
        asked: list[str] = []

        def is_asked() -> bool:
            asked.append(self.ask())
            return is_so(asked[-1])

        until(is_asked, within_s=WITHIN_S, what=f"another id than {asked}")
        return asked[-1]

    def question(self, *, since: int = 1) -> Item:
        """The data of the question that bob's next waits bring."""
        for _ in range(WITHIN_S):
            for event in wait(self.there.data, "bob", self.bob, since=since, timeout_s=1).events:
                if event["event_type"] == "elicitation_request":
                    data = event["data"]
                    assert isinstance(data, dict)
                    return data
        raise AssertionError("bob saw no question")

    def answer_of(self, named: str, *, since: int = 1) -> Item:
        """The one answer that alice's waits bring."""
        found: list[Item] = []
        for _ in range(WITHIN_S):
            events = wait(self.here.data, "alice", self.alice, since=since, timeout_s=1).events
            found += [event for event in events if event["event_type"] == "elicitation_response"]
            if found:
                break
        [item] = found
        data = item["data"]
        assert isinstance(data, dict)
        assert (item["source_agent"], data["elicitation_id"]) == ("bob", named)
        return data

    def store_answer(self, named: str, kind: str = "accept", *, content: object = None) -> Reply:
        """Bob answers with a legacy event through his sidecar."""
        data = {"elicitation_id": named, "response_type": kind, "content": RED if content is None else content}
        body = {"event_type": "custom", "agent_id": "bob", "data": data}
        return call("POST", f"{self.there.data}/event/store", body, token=self.bob)

    def status(self, named: str) -> object:
        return call("GET", f"{self.here.data}/elicitation/status/{named}", token=self.alice).json["status"]

    def answers_in_log(self) -> int:
        """Events of the log that answer a question."""
        token = open_session(self.bridge, "auditor")
        events = call("GET", f"{self.bridge}/event/query?limit=1000", token=token).events
        return sum("in_reply_to" in json.dumps(event["data"]) for event in events)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.fixture(name="pair")
def _pair(processes: Children, tmp_path: Path) -> Pair:
    return Pair(processes, tmp_path)


STATUS = {"accept": "accepted", "decline": "declined", "cancel": "cancelled"}


@pytest.mark.parametrize("kind", STATUS)
@pytest.mark.parametrize("source", ["bus", "auto"])
def test_a_question_is_answered_through_both_sidecars(
    processes: Children, tmp_path: Path, source: str, kind: str
) -> None:
    pair = Pair(processes, tmp_path, source=source)
    with ThreadPoolExecutor(1) as pool:
        parked: Future[Item] = pool.submit(pair.question)
        named = pair.ask()
        asked = parked.result(WITHIN_S)
    assert (asked["elicitation_id"], asked["message"], asked["schema"]) == (named, "Which colour?", COLOUR)
    assert pair.store_answer(named, kind).status == 200
    answered = pair.answer_of(named)
    assert (answered["response_type"], answered["data"]) == (kind, RED if kind == "accept" else None)
    assert pair.status(named) == STATUS[kind]


def test_an_unanswered_question_is_over_after_its_time(pair: Pair) -> None:
    named = pair.ask(timeout_s=1)
    assert pair.question()["elicitation_id"] == named
    while pair.status(named) == "pending":
        wait(pair.there.data, "bob", pair.bob, since=2, timeout_s=1)
    assert pair.status(named) == "expired"
    # Refused where the question is still remembered, an event like any other where it is not; an answer in no case.
    assert pair.store_answer(named).status in {200, 410}
    late = wait(pair.here.data, "alice", pair.alice, since=2, timeout_s=1).events
    assert {event["event_type"] for event in late} <= {"custom"}
    assert pair.status(named) == "expired"


def test_a_question_outlives_the_agent_that_hung_up(pair: Pair) -> None:
    where = urlsplit(pair.there.data)
    head = f"GET /event/wait?agent_id=bob&since_sequence=1&timeout_seconds=30 HTTP/1.1\r\nHost: {where.netloc}\r\n"
    with socket.create_connection((str(where.hostname), where.port or 0), timeout=10) as line:
        line.sendall(f"{head}Authorization: Bearer {pair.bob}\r\n\r\n".encode())
        pair.there.until_parked(1)
    pair.there.until_parked(0)
    named = pair.ask()
    assert pair.question()["elicitation_id"] == named
    assert pair.store_answer(named).status == 200
    assert pair.answer_of(named)["data"] == RED


def test_the_same_answer_again_has_no_effect_and_another_is_refused(pair: Pair) -> None:
    named = pair.ask()
    pair.question()
    assert pair.store_answer(named).status == 200
    assert pair.store_answer(named).status == 200
    assert pair.store_answer(named, content={"colour": "blue"}).status == 409
    assert pair.answers_in_log() == 1
    assert pair.answer_of(named)["data"] == RED
    assert wait(pair.here.data, "alice", pair.alice, since=3, timeout_s=1).events == []


@pytest.mark.parametrize("keeps_log", [False, True], ids=["log lost", "log kept"])
def test_an_offered_question_is_answered_after_the_bridge_was_killed(
    processes: Children, tmp_path: Path, *, keeps_log: bool
) -> None:
    pair = Pair(processes, tmp_path, *(["--state", str(tmp_path / "log.jsonl")] if keeps_log else []))
    cursor = max(store(pair.bridge, "carol", {"word": f"before {number}"}) for number in range(12))
    named = pair.ask()
    assert pair.question(since=cursor)["elicitation_id"] == named
    # A sidecar that has never read the log cannot know that it is another one.
    assert wait(pair.here.data, "alice", pair.alice, since=cursor, timeout_s=1).events == []
    assert pair.here.bridge_process is not None
    assert pair.here.bridge_process.end(signal.SIGKILL) == -signal.SIGKILL
    assert pair.store_answer(named).status == 502
    pair.start_bridge()
    pair.alice, pair.bob = open_session(pair.bridge, "alice"), open_session(pair.bridge, "bob")
    assert pair.store_answer(named).status == 200
    assert pair.answer_of(named, since=cursor)["data"] == RED
    assert pair.status(named) == "accepted"


def test_a_question_outlives_the_sidecar_that_was_to_deliver_it(pair: Pair) -> None:
    named = pair.ask()
    assert pair.question()["elicitation_id"] == named
    assert pair.there.sidecar_process is not None
    assert pair.there.sidecar_process.end(signal.SIGKILL) == -signal.SIGKILL
    pair.there.start_sidecar("--set", "bridge.source=bus")
    pair.there.set_flags(EVERYBODY)
    assert pair.question(since=2)["elicitation_id"] == named, "its cursor is behind the question already"
    assert pair.store_answer(named).status == 200
    assert pair.answer_of(named)["data"] == RED


@pytest.mark.requirement("bus.legacy_answer")
def test_an_agent_without_a_sidecar_is_asked_and_answers(pair: Pair) -> None:
    carl = pair.processes.agent(pair.bridge, "carl", "--role", "answer", "--wait", "20")
    carl.hear(event="session")
    words = ["--role", "ask", "--to", "carl", "--schema", json.dumps(COLOUR), "--wait", "5"]
    dora = pair.processes.agent(pair.here.data, "dora", *words)
    assert dora.code() == 0, dora.lines
    seen, heard = carl.hear(event="question"), dora.hear(event="answer")
    assert (seen["event_type"], seen["asker"]) == ("custom", "dora")
    assert (heard["event_type"], heard["kind"], heard["content"]) == ("elicitation_response", "accept", RED)
    assert heard["id"] == seen["id"]


@pytest.mark.requirement("bus.auto")
def test_a_bridge_that_is_replaced_by_one_with_elicitation_is_noticed(processes: Children, tmp_path: Path) -> None:
    pair = Pair(processes, tmp_path, "--state", str(tmp_path / "log.jsonl"), source="auto", reprobe_s=1)
    old = pair.ask()
    assert pair.question()["elicitation_id"] == old
    pair.here.switch(elicitation=True)
    new = pair.ask_until(lambda named: named.startswith("elicit_"))
    assert (pair.status(old), pair.status(new)) == ("pending", "pending")
    assert pair.store_answer(old).status == 200
    assert pair.answer_of(old)["data"] == RED
    assert pair.store_answer(new).status == 200
    assert (pair.status(old), pair.status(new)) == ("accepted", "accepted")
