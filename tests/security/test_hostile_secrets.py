"""Secrets are planted wherever somebody might write them down, and looked for in everything that is written."""

import base64
import io
import logging
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.config.tokens import Role, Token
from proxy.core.secret import Secret
from proxy.observe.logs import configure
from tests.support.asking import ask_bob
from tests.support.house import OPERATOR, VIEWER, Heard, Stand, fields, stand, until
from tests.support.mcp_stand import PLAIN, WAIT, message, tool
from tests.support.raw_http import connect

pytestmark = pytest.mark.requirement("secrets.nowhere")

WRONG = "wrong-token-somebody-guessed-0042"
BODY = "a-password-within-a-body-0043"
QUERY = "a-key-within-a-query-0044"
ANSWER = "the-content-of-an-answer-0045"
TEXT = "the-text-of-a-question-0046"

LOOKED_AT = (
    "/health",
    "/livez",
    "/readyz",
    "/metrics",
    "/feature_flags",
    "/feature_flags/history",
    "/elicitation/metrics",
    "/agents",
    "/agents/bob",
    "/exchanges",
    "/config_dump",
    "/openapi.json",
    "/audit",
    f"/nowhere?token={QUERY}",
)


@pytest.fixture(name="log")
def _log() -> Iterator[io.StringIO]:
    """Every line from debug on, of the product and of its libraries."""
    root, ours = logging.getLogger(), logging.getLogger("proxy")
    handlers, levels = list(root.handlers), (root.level, ours.level)
    stream = io.StringIO()
    configure("debug", "json", stream)
    root.setLevel(logging.DEBUG)
    yield stream
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def _forms(secret: str) -> set[str]:
    """A secret as it is, and as it may have been written down."""
    raw = secret.encode()
    plain = {secret, urllib.parse.quote(secret, safe=""), raw.hex(), base64.b64encode(raw).decode().rstrip("=")}
    return plain | {repr(secret)[1:-1]}


def _bytes_of(folder: Path) -> str:
    """The state file and what belongs to it."""
    return "".join(path.read_bytes().decode("latin-1") for path in sorted(folder.glob("state.db*")))


class Writings:
    """Everything that was written, by the place it was found at."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def keep(self, place: str, heard: Heard) -> None:
        """Keep a reply of the sidecar's own, head and body."""
        self.found.append((place, f"{dict(heard.headers)}{heard.body.decode('utf-8', 'replace')}"))

    def hits(self, secrets: dict[str, str]) -> list[tuple[str, str]]:
        """Which secret was found where."""
        return [
            (name, place)
            for place, text in self.found
            for name, secret in secrets.items()
            if any(form in text for form in _forms(secret))
        ]


async def _live(made: Stand, wrote: Writings) -> dict[str, str]:
    """A busy minute: good calls and bad ones of agents, operators and strangers; the agents' tokens."""
    asked = await ask_bob(made, message=TEXT)
    alice, bob = asked.alice, asked.bob
    house = made.house

    async def call(method: str, target: str, **more: object) -> None:
        heard = await house.call(method, target, **more)  # type: ignore[arg-type]  # passed through
        if heard.status >= 400 and heard.headers.get("Content-Type") == "application/problem+json":
            wrote.keep(f"{method} {target} {heard.status}", heard)

    await call("GET", "/event/wait?agent_id=bob&timeout_seconds=0&since_sequence=100", token=bob)
    respond = {"elicitation_id": asked.named, "responding_agent": "bob", "response_type": "accept"}
    odd = {"Cookie": f"session={BODY}", "X-Api-Key": BODY, "Proxy-Authorization": f"Basic {BODY}"}
    for who, content in ((bob, {"colour": 7, "x": ANSWER}), (bob, {"colour": ANSWER}), (bob, {"colour": "other"})):
        await call("POST", "/elicitation/respond", token=who, body={**respond, "data": content}, headers=odd)
    await call("POST", "/elicitation/respond", token=alice, body={**respond, "responding_agent": "alice", "data": {}})
    await call("POST", "/elicitation/respond", token=WRONG, body={**respond, "data": {"colour": ANSWER}})
    await call("POST", "/elicitation/create", token=alice, raw=f'{{"password":"{BODY}",'.encode())
    schema = {"type": "object", "properties": {BODY: {"$ref": f"http://{BODY}/"}}}
    ask = {"from_agent": "alice", "to_agent": "bob", "message": TEXT, "timeout_seconds": 9}
    await call("POST", "/elicitation/create", token=alice, body={**ask, "schema": schema})
    await call("POST", "/event/store", token=bob, body={"agent_id": "bob", "data": {"password": BODY}})
    await call("GET", f"/event/wait?agent_id=bob&timeout_seconds=x&token={QUERY}", token=WRONG)
    await call("GET", f"/event/wait?agent_id=bob&timeout_seconds=0&api_key={QUERY}#x", token=bob)
    await call("GET", f"/event/query?access_token={QUERY}", token=WRONG, headers={"Host": "evil.example"})
    for body in (
        tool(WAIT, {"agent_id": "bob", "timeout_seconds": 0, "session_token": bob}),
        b"[" + message("x") + b"]",
    ):
        await call("POST", "/mcp", token=bob, raw=body, headers=PLAIN)
    for token in ("", WRONG, VIEWER, OPERATOR):
        for target in LOOKED_AT:
            wrote.keep(f"GET {target}", await house.admin("GET", target, token=token))
        patch = {"reason": BODY if token != OPERATOR else "week 5", "elicitation_percentage": 99 if token else "x"}
        wrote.keep("POST /feature_flags", await house.admin("POST", "/feature_flags", body=patch, token=token))
        wrote.keep("POST /agent", await house.admin("POST", "/agent/force_elicitation", body={BODY: 1}, token=VIEWER))
    for port in (house.port, house.bound.admin.port):
        async with connect(port) as wire:
            await wire.send(
                f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {OPERATOR}\r\nX: {bob}\0\r\n\r\n".encode()
            )
            wrote.found.append(("no HTTP", repr(await wire.reply())))
    return {"alice's token": alice, "bob's token": bob}


async def test_no_secret_is_in_any_line_dump_error_metric_or_state_file(tmp_path: Path, log: io.StringIO) -> None:
    state, wrote = tmp_path / "state.db", Writings()
    async with stand(tmp_path, {"state.url": f"sqlite://{state}"}) as made:
        tokens = await _live(made, wrote)
        await made.bridge.client.close()  # and now nothing of it works any more
        for target in ("/event/wait?agent_id=bob&timeout_seconds=0", f"/status?token={QUERY}"):
            wrote.keep(target, await made.house.call("GET", target, token=tokens["bob's token"]))
        for target in ("/health", "/metrics", "/elicitation/metrics"):
            wrote.keep(target, await made.house.admin("GET", target))
        await until(lambda: len(made.house.lines) > 15)
        lines = [str(fields(line)) for line in made.house.lines]
    credentials = {**tokens, "operator": OPERATOR, "viewer": VIEWER, "wrong": WRONG, "query": QUERY}
    files = _bytes_of(tmp_path)
    wrote.found += [("log", log.getvalue()), ("outcomes", "".join(lines))]
    assert len(log.getvalue().splitlines()) > 50
    assert wrote.hits(credentials) == []
    # What a caller sent comes back to this caller alone, so that the texts are looked for where others read.
    public = Writings()
    public.found = [(place, text) for place, text in wrote.found if place in {"log", "outcomes", *LOOKED_AT}]
    contents = {"body": BODY, "answer": ANSWER, "question": TEXT}
    assert public.hits(contents) == []
    kept = Writings()
    kept.found = [("state file", files)]
    assert kept.hits({**credentials, "answer": ANSWER}) == []


def test_a_planted_secret_would_be_found_in_every_form() -> None:
    for form in _forms("a/secret with blanks"):
        wrote = Writings()
        wrote.found.append(("somewhere", f"before {form} after"))
        assert wrote.hits({"it": "a/secret with blanks"}) == [("it", "somewhere")]


def test_no_repr_shows_a_secret() -> None:
    secret = Secret(OPERATOR)
    shown = f"{secret!r} {secret} {Token(Role.OPERATOR, secret)} {[secret]} {vars(Token) and secret!s}"
    assert OPERATOR not in shown
    assert secret.fingerprint().hex() not in shown
