"""A legacy agent: it waits for messages, answers questions or asks one, and knows nothing of elicitation cohorts.

It runs as a plain file (`python legacy_agent.py --base http://127.0.0.1:8766 --agent bob --role answer`) and uses
nothing but the standard library, because it stands for the programs that nobody is going to change. It knows the
Bridge's legacy calls: create a session, wait, store. Only whoever asks also knows the Bridge's call to ask.

Each thing that happens is one line of JSON on standard output, with the wall-clock second `at`.
"""

import argparse
import http.client
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

FIRST_RETRY_S = 0.1
LAST_RETRY_S = 2.0
"""A Bridge that is away is called again after 0.1 s, then less and less often. Source: ours."""

GRACE_S = 15.0
"""How much longer than its own time-out a call may take. Source: ours; the Bridge's MCP server adds 10 s."""

CATCH_UP_S = 1
"""Time-out of the waits that read what is already there before the first question. Source: ours."""

ANSWER_KEYS = ("data", "content", "response_data")
"""Where the content of an answer may stand in a message. Source: BRIDGE.md 2.3 and 2.5."""

TEXT_OF_FORMAT = {
    "email": "{agent}@example.org",
    "uri": "https://example.org/{agent}",
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
}


class RefusedError(Exception):
    """The Bridge understood the call and said no."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"{status} {words}")
        self.status = status
        self.words = words


class Agent:
    """One agent with its session and its cursor, the highest `sequence` it has seen."""

    def __init__(self, base: str, agent_id: str, wait_s: int) -> None:
        self.agent_id = agent_id
        self._base = base.rstrip("/")
        self._wait_s = wait_s
        self._token = ""
        self._cursor = 0
        # A proxy of the environment is for the world outside; the Bridge is next door.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def say(self, what: str, **more: object) -> None:
        """Tell one thing that happened."""
        told = {"at": time.time(), "agent": self.agent_id, "event": what, **more}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()

    def wait(self, wait_s: int) -> list[dict[str, object]]:
        """One legacy wait; what it brought, and the cursor moved behind it."""
        query = {"agent_id": self.agent_id, "since_sequence": self._cursor, "timeout_seconds": wait_s}
        reply = self.call("GET", "/event/wait?" + urllib.parse.urlencode(query), None, wait_s)
        events = reply.get("events")
        items = [item for item in events if isinstance(item, dict)] if isinstance(events, list) else []
        for item in items:
            sequence = item.get("sequence")
            if isinstance(sequence, int):
                self._cursor = max(self._cursor, sequence)
        return items

    def store(self, data: dict[str, object]) -> None:
        """Put one message into the Bridge's log."""
        self.call("POST", "/event/store", {"event_type": "custom", "agent_id": self.agent_id, "data": data})

    def call(self, method: str, path: str, body: object, wait_s: float = 30) -> dict[str, object]:
        """One call with the session's token, again and again while the Bridge is away, with a new session if need be.

        Raises:
            RefusedError: the Bridge said no.
        """
        retry_s = FIRST_RETRY_S
        while True:
            try:
                if not self._token:
                    self._open_session()
                return self._send(method, path, body, wait_s)
            except RefusedError as refused:
                if refused.status in {401, 403} and self._token:
                    self._token = ""
                    self.say("session_lost", status=refused.status)
                    continue
                if refused.status not in {502, 503, 504}:
                    raise
                why = str(refused)
            except (OSError, http.client.HTTPException) as error:
                why = str(error) or type(error).__name__
            self.say("retry", why=why, path=path.partition("?")[0])
            time.sleep(retry_s)
            retry_s = min(retry_s * 2, LAST_RETRY_S)

    def answer_questions(self) -> None:
        """Wait for questions for ever, and answer each once."""
        answered: set[object] = set()
        while True:
            self.say("waiting")
            for item in self.try_wait(self._wait_s):
                data = item.get("data")
                if not isinstance(data, dict) or not self._is_question(data):
                    continue
                known = data.get("elicitation_id", item.get("sequence"))
                if known in answered:
                    continue
                event_type, asker = item.get("event_type"), item.get("source_agent")
                self.say("question", message=data["message"], id=known, event_type=event_type, asker=asker)
                if self._answer(item, data):
                    answered.add(known)

    def try_wait(self, wait_s: int) -> list[dict[str, object]]:
        """A wait that outlives a refusal: nothing came, and the next one is a second later."""
        try:
            return self.wait(wait_s)
        except RefusedError as refused:
            self.say("refused", path="/event/wait", status=refused.status, words=refused.words)
            time.sleep(1)
            return []

    def ask(self, question: dict[str, object], answer_s: int) -> bool:
        """Put one question and wait for its answer; False when it was refused or none came in time (seconds)."""
        asked_at = time.time()
        body = {"from_agent": self.agent_id, "timeout_seconds": answer_s, **question}
        try:
            mine = self.call("POST", "/elicitation/create", body).get("elicitation_id")
        except RefusedError as refused:
            self.say("refused", path="/elicitation/create", status=refused.status, words=refused.words)
            return False
        self.say("asked", asked_at=asked_at, id=mine, message=question["message"], of=question["to_agent"])
        while (left_s := asked_at + answer_s - time.time()) > 0:
            for item in self.try_wait(min(self._wait_s, max(1, int(left_s)))):
                answer = self.read_answer(item, str(question["to_agent"]), mine)
                if answer is not None:
                    self.say("answer", asked_at=asked_at, id=mine, event_type=item.get("event_type"), **answer)
                    return True
        self.say("unanswered", asked_at=asked_at, id=mine)
        return False

    def read_answer(self, item: dict[str, object], asked: str, mine: object) -> dict[str, object] | None:
        """What the asked agent said, if this message is its answer to question `mine`.

        The Bridge's own note of an answer names neither question nor asker, so an agent without elicitation ids takes
        the next answer of whom it asked for its own; that is how the legacy world is.
        """
        data = item.get("data")
        if item.get("source_agent") != asked or not isinstance(data, dict):
            return None
        if data.get("elicitation_id", mine) != mine or data.get("to_agent", self.agent_id) != self.agent_id:
            return None
        content = next((data[key] for key in ANSWER_KEYS if isinstance(data.get(key), dict)), None)
        kind = str(data.get("response_type", "accept"))
        return None if content is None and kind == "accept" else {"kind": kind, "content": content}

    def catch_up(self) -> None:
        """Read what is already there, so that an old answer is not taken for a new one."""
        while self.try_wait(CATCH_UP_S):
            pass

    def _open_session(self) -> None:
        who = {"agent_id": self.agent_id, "ip_address": "127.0.0.1", "user_agent": "legacy-agent"}
        self._token = str(self._send("POST", "/session/create", who, 30).get("session_token"))
        self.say("session")

    def _send(self, method: str, path: str, body: object, wait_s: float) -> dict[str, object]:
        payload = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data=payload, method=method)  # noqa: S310  # see main()
        request.add_header("Content-Type", "application/json")
        request.add_header("User-Agent", "legacy-agent")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with self._opener.open(request, timeout=wait_s + GRACE_S) as reply:
                value: object = json.load(reply)
        except urllib.error.HTTPError as error:
            raise RefusedError(error.code, error.read(500).decode("utf-8", "replace")) from error
        except json.JSONDecodeError as error:
            raise RefusedError(200, f"not JSON: {error}") from error
        return value if isinstance(value, dict) else {}

    def _is_question(self, data: dict[str, object]) -> bool:
        if "message" not in data or not isinstance(data.get("schema"), dict):
            return False
        expires_at = data.get("expires_at")
        is_open = not isinstance(expires_at, int | float) or time.time() < expires_at
        return is_open and data.get("to_agent", self.agent_id) == self.agent_id

    def _answer(self, item: dict[str, object], data: dict[str, object]) -> bool:
        named = "elicitation_id" if "elicitation_id" in data else "in_reply_to"
        known = data.get("elicitation_id", item.get("sequence"))
        content = fill(data["schema"], self.agent_id)
        answer = {"to_agent": item.get("source_agent"), "response_type": "accept", "content": content}
        try:
            self.store({named: known, **answer})
        except RefusedError as refused:
            self.say("refused", path="/event/store", id=known, status=refused.status, words=refused.words)
            return False
        self.say("answered", id=known, content=content)
        return True


def fill(schema: object, agent_id: str) -> object:
    """An answer that fits a flat schema."""
    if not isinstance(schema, dict):
        return {}
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return {}
    return {name: fill_one(wanted, agent_id) for name, wanted in properties.items() if isinstance(wanted, dict)}


def fill_one(wanted: dict[str, object], agent_id: str) -> object:
    """A value for one field: its default, its first choice, its least number, or some text."""
    if "default" in wanted:
        return wanted["default"]
    choices = wanted.get("enum")
    if isinstance(choices, list) and choices:
        return choices[0]
    kind = wanted.get("type", "string")
    if kind == "boolean":
        return True
    if kind in {"integer", "number"}:
        return wanted.get("minimum", 1)
    if kind == "array":
        items = wanted.get("items")
        return [fill_one(items, agent_id)] if isinstance(items, dict) else []
    text = TEXT_OF_FORMAT.get(str(wanted.get("format")), "answered by {agent}").format(agent=agent_id)
    least, most = wanted.get("minLength", 0), wanted.get("maxLength", 1000)
    return text.ljust(least if isinstance(least, int) else 0, ".")[: most if isinstance(most, int) else None]


def read_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="A legacy agent that answers questions or asks them.")
    parser.add_argument("--base", required=True, help="the Bridge, or what stands in its place: http://HOST:PORT")
    parser.add_argument("--agent", required=True, help="who this agent is")
    parser.add_argument("--role", required=True, choices=("answer", "ask"))
    parser.add_argument("--wait", type=int, default=60, help="time-out of one wait, seconds (default: 60)")
    parser.add_argument("--to", default="bob", help="whom to ask (default: bob)")
    parser.add_argument("--message", default="May we go on?", help="what to ask")
    parser.add_argument("--schema", default='{"type":"object","properties":{"go_on":{"type":"boolean"}}}')
    parser.add_argument("--count", type=int, default=1, help="how often to ask; 0 means for ever (default: 1)")
    parser.add_argument("--every", type=float, default=0.0, help="pause between two questions, seconds (default: 0)")
    parser.add_argument("--answer-within", type=int, default=30, help="time for an answer, seconds (default: 30)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run one agent; 0 when every question was answered, 1 when one was not."""
    given = read_arguments(arguments)
    if not str(given.base).startswith(("http://", "https://")):
        sys.stderr.write(f"expected --base http://HOST:PORT, got {given.base!r}\n")
        return 2
    agent = Agent(given.base, given.agent, given.wait)
    try:
        return answer_for_ever(agent) if given.role == "answer" else ask_all(agent, given)
    except KeyboardInterrupt:
        return 130


def answer_for_ever(agent: Agent) -> int:
    """The role of whoever is asked."""
    agent.answer_questions()
    return 0


def ask_all(agent: Agent, given: argparse.Namespace) -> int:
    """The role of whoever asks."""
    agent.catch_up()
    asked = 0
    while given.count == 0 or asked < given.count:
        if asked:
            time.sleep(given.every)
        asked += 1
        message = given.message if given.count == 1 else f"{given.message} ({asked})"
        question: dict[str, object] = {"to_agent": given.to, "message": message, "schema": json.loads(given.schema)}
        if not agent.ask(question, given.answer_within) and given.count:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
