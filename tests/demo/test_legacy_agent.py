"""The legacy agent's script: what it takes for a question or an answer, and how it bears a bad Bridge."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from proxy.demo import legacy_agent
from proxy.demo.legacy_agent import Agent, RefusedError, fill

Step = tuple[str, int, object]
"""Path, status and body of the next answer."""


class _Scripted(BaseHTTPRequestHandler):
    """Answers one call after the other as the script says, and keeps what was sent."""

    protocol_version = "HTTP/1.1"
    script: ClassVar[list[Step]]
    got: ClassVar[list[tuple[str, object]]]

    def do_POST(self) -> None:
        path, status, body = self.script.pop(0)
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.got.append((self.path, json.loads(sent) if sent else None))
        assert self.path.partition("?")[0] == path
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST  # noqa: N815  # the name is the library's

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the library's
        """Keep quiet."""


@contextmanager
def _bridge(*steps: Step) -> Iterator[tuple[str, list[tuple[str, object]]]]:
    class Handler(_Scripted):
        script: ClassVar[list[Step]] = list(steps)
        got: ClassVar[list[tuple[str, object]]] = []

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", Handler.got
        finally:
            server.shutdown()
            thread.join(5)
    assert Handler.script == [], "the whole script was played"


SESSION: Step = ("/session/create", 200, {"session_token": "t" * 20})
NOTHING = {"events": [], "count": 0, "waited_seconds": 1, "status": "timeout"}


def _events(*items: object) -> dict[str, object]:
    return {"events": list(items), "count": len(items), "waited_seconds": 0.1, "status": "new_events"}


def _said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]


def test_a_wait_moves_the_cursor_behind_what_it_brought() -> None:
    wait = ("/event/wait", 200, _events({"sequence": 7}, {"sequence": 3}, "no item"))
    with _bridge(SESSION, wait, ("/event/wait", 200, {"events": None})) as (base, got):
        agent = Agent(base, "bob", 5)
        assert agent.wait(5) == [{"sequence": 7}, {"sequence": 3}]
        assert agent.wait(5) == []
    assert got[2][0] == "/event/wait?agent_id=bob&since_sequence=7&timeout_seconds=5"


@pytest.mark.parametrize("status", [401, 403])
def test_a_lost_session_is_made_anew(capsys: pytest.CaptureFixture[str], status: int) -> None:
    lost = ("/event/wait", status, {"detail": "Authentication token is not valid or has expired"})
    with _bridge(SESSION, lost, SESSION, ("/event/wait", 200, NOTHING)) as (base, _):
        assert Agent(base, "bob", 5).wait(1) == []
    assert _said(capsys) == ["session", "session_lost", "session"]


def test_a_bridge_that_is_away_is_called_again(capsys: pytest.CaptureFixture[str]) -> None:
    with _bridge(SESSION, ("/event/wait", 502, {}), ("/event/wait", 200, NOTHING)) as (base, _):
        assert Agent(base, "bob", 5).wait(1) == []
    assert _said(capsys) == ["session", "retry"]


@pytest.mark.parametrize("answer", [(500, {"detail": "no"}), (200, b"not JSON")])
def test_a_refusal_is_told_as_it_is(answer: tuple[int, object]) -> None:
    with _bridge(SESSION, ("/event/store", *answer)) as (base, _), pytest.raises(RefusedError):
        Agent(base, "bob", 5).store({"n": 1})


QUESTION = {"message": "Go on?", "schema": {"type": "object", "properties": {"go_on": {"type": "boolean"}}}}


def _play(agent: Agent) -> None:
    with pytest.raises(RefusedError, match="410"):
        agent.answer_questions()


def test_each_question_is_answered_once_and_only_by_whom_it_is_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Agent, "try_wait", Agent.wait)  # so that a refusal ends the loop
    ours = {"sequence": 1, "source_agent": "alice", "data": QUESTION | {"elicitation_id": "e1"}}
    raw = {"sequence": 2, "source_agent": "alice", "data": QUESTION | {"to_agent": "bob"}}
    others = {"sequence": 3, "source_agent": "alice", "data": QUESTION | {"to_agent": "carol"}}
    old = {"sequence": 4, "source_agent": "alice", "data": QUESTION | {"expires_at": 1.0}}
    wrong = {"sequence": 5, "source_agent": "alice", "data": {"message": "hi", "schema": 1}}
    stored: Step = ("/event/store", 200, {"sequence": 9})
    first: Step = ("/event/wait", 200, _events(ours, raw, ours, others, old, wrong, {"sequence": 6, "data": "text"}))
    script: tuple[Step, ...] = (SESSION, first, stored, stored, ("/event/wait", 410, {}))
    with _bridge(*script) as (base, got):
        _play(Agent(base, "bob", 5))
    told = {"to_agent": "alice", "response_type": "accept", "content": {"go_on": True}}
    sent = [body["data"] for path, body in got if path == "/event/store" and isinstance(body, dict)]
    assert sent == [{"elicitation_id": "e1", **told}, {"in_reply_to": 2, **told}]
    assert _said(capsys).count("answered") == 2


def test_a_refused_answer_is_given_again_when_the_question_comes_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Agent, "try_wait", Agent.wait)
    wait: Step = ("/event/wait", 200, _events({"sequence": 1, "source_agent": "alice", "data": QUESTION}))
    refused: Step = ("/event/store", 500, {})
    stored: Step = ("/event/store", 200, {})
    with _bridge(SESSION, wait, refused, wait, stored, ("/event/wait", 410, {})) as (base, _):
        _play(Agent(base, "bob", 5))
    assert [what for what in _said(capsys) if what in {"refused", "answered"}] == ["refused", "answered"]


ASK = ("--agent", "alice", "--role", "ask", "--to", "bob")
CREATED: Step = ("/elicitation/create", 200, {"elicitation_id": "e1"})


@pytest.mark.parametrize(
    "data",
    [
        {"elicitation_id": "e1", "response_type": "accept", "data": {"go_on": True}},
        {"in_reply_to": 4, "to_agent": "alice", "response_type": "accept", "content": {"go_on": True}},
        {"elicitation_type": "elicitation_accepted", "response_type": "accept", "response_data": {"go_on": True}},
    ],
    ids=["elicitation", "message", "note of the Bridge"],
)
def test_an_answer_is_recognised_however_it_comes(data: object, capsys: pytest.CaptureFixture[str]) -> None:
    noise = (
        {"sequence": 4, "source_agent": "alice", "data": data},
        {"sequence": 5, "source_agent": "bob", "data": "text"},
        {"sequence": 6, "source_agent": "bob", "data": {"elicitation_id": "e0", "data": {"go_on": False}}},
        {"sequence": 7, "source_agent": "bob", "data": {"to_agent": "carol", "content": {"go_on": False}}},
        {"sequence": 8, "source_agent": "bob", "data": {"n": 1}},
    )
    answer = {"sequence": 9, "source_agent": "bob", "event_type": "custom", "data": data}
    caught_up = ("/event/wait", 200, NOTHING)
    with _bridge(SESSION, caught_up, CREATED, ("/event/wait", 200, _events(*noise, answer))) as (base, _):
        assert legacy_agent.main(["--base", base, *ASK]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["event"], told["kind"], told["content"]) == ("answer", "accept", {"go_on": True})


def test_a_decline_is_an_answer_without_content(capsys: pytest.CaptureFixture[str]) -> None:
    answer = {"sequence": 9, "source_agent": "bob", "data": {"elicitation_id": "e1", "response_type": "decline"}}
    with _bridge(SESSION, ("/event/wait", 200, NOTHING), CREATED, ("/event/wait", 200, _events(answer))) as (base, _):
        assert legacy_agent.main(["--base", base, *ASK]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["kind"], told["content"]) == ("decline", None)


def test_no_answer_in_time_and_a_refused_question_are_failures(capsys: pytest.CaptureFixture[str]) -> None:
    with _bridge(SESSION, ("/event/wait", 200, NOTHING), CREATED) as (base, _):
        assert legacy_agent.main(["--base", base, *ASK, "--answer-within", "0"]) == 1
    assert _said(capsys)[-1] == "unanswered"
    refused = ("/elicitation/create", 404, {"detail": "Not Found"})
    with _bridge(SESSION, ("/event/wait", 200, NOTHING), refused) as (base, _):
        assert legacy_agent.main(["--base", base, *ASK]) == 1
    assert _said(capsys)[-1] == "refused"


def test_whoever_gets_no_session_asks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    refused: Step = ("/session/create", 422, {"detail": []})
    with _bridge(refused, refused) as (base, _):
        assert legacy_agent.main(["--base", base, *ASK]) == 1
    assert _said(capsys) == ["refused", "refused"]


def test_a_base_that_is_no_url_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert legacy_agent.main(["--base", "file:///etc/passwd", *ASK]) == 2
    assert "expected --base http://HOST:PORT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        ({"type": "boolean"}, True),
        ({"type": "integer"}, 1),
        ({"type": "number", "minimum": 2.5}, 2.5),
        ({"type": "string"}, "answered by bob"),
        ({"type": "string", "maxLength": 4}, "answ"),
        ({"type": "string", "minLength": 17}, "answered by bob.."),
        ({"type": "string", "format": "email"}, "bob@example.org"),
        ({"type": "string", "enum": ["now", "tonight"]}, "now"),
        ({"type": "string", "default": "later", "enum": ["now"]}, "later"),
        ({"type": "array", "items": {"type": "string", "enum": ["a", "b"]}}, ["a"]),
        ({"type": "array"}, []),
    ],
)
def test_a_field_is_filled_with_something_that_fits(wanted: dict[str, object], value: object) -> None:
    assert fill({"type": "object", "properties": {"field": wanted, "odd": 1}}, "bob") == {"field": value}


@pytest.mark.parametrize("schema", [{}, {"type": "object", "properties": 1}, "text"])
def test_a_schema_without_fields_is_answered_with_an_empty_object(schema: object) -> None:
    assert fill(schema, "bob") == {}
