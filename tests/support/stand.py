"""A development Bridge and a sidecar before it, as processes, and the calls that tests put to them."""

import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlencode

from proxy.core.cohort import bucket_of
from tests.support.processes import START_S, Child, Children, Wrap, until

EVERYBODY = {"elicitation_enabled": True, "elicitation_percentage": 100}
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Reply:
    """One HTTP answer."""

    status: int
    content_type: str
    body: bytes

    @property
    def json(self) -> Mapping[str, object]:
        """The body as an object."""
        value = json.loads(self.body)
        assert isinstance(value, dict)
        return value

    @property
    def events(self) -> list[Mapping[str, object]]:
        """The messages of a wait's reply."""
        events = self.json["events"]
        assert isinstance(events, list)
        return events


def call(
    method: str,
    url: str,
    body: object = None,
    *,
    token: str = "",
    timeout_s: float = START_S,
    raw: bytes | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Reply:
    """One HTTP call on a connection of its own."""
    payload = raw if raw is not None else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=payload, method=method)
    request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    for name, value in headers.items():
        request.add_header(name, value)
    try:
        with OPENER.open(request, timeout=timeout_s) as reply:
            return Reply(reply.status, reply.headers.get_content_type(), reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return Reply(error.code, error.headers.get_content_type(), error.read())


def open_session(base: str, agent_id: str) -> str:
    """A token at the Bridge, directly or through the sidecar."""
    body = {"agent_id": agent_id, "ip_address": "127.0.0.1", "user_agent": "test"}
    token = call("POST", f"{base}/session/create", body).json["session_token"]
    assert isinstance(token, str)
    return token


def store(base: str, agent_id: str, data: Mapping[str, object], *, token: str = "") -> int:
    """Store one message; its sequence."""
    body = {"event_type": "custom", "agent_id": agent_id, "data": data}
    reply = call("POST", f"{base}/event/store", body, token=token or open_session(base, agent_id))
    sequence = reply.json["sequence"]
    assert isinstance(sequence, int)
    return sequence


def wait(base: str, agent_id: str, token: str, *, since: int, timeout_s: int) -> Reply:
    """One legacy wait; it may take ten seconds longer than it asks for before the test gives up."""
    query = urlencode({"agent_id": agent_id, "since_sequence": since, "timeout_seconds": timeout_s})
    return call("GET", f"{base}/event/wait?{query}", token=token, timeout_s=timeout_s + 10)


def agent_in(percentage: float, *, name: str, inside: bool) -> str:
    """An agent id whose bucket is below a percentage, or not. Source: ARCHITECTURE.md 2.1."""
    ids = (f"{name}-{number}" for number in range(10_000))
    return next(known for known in ids if (bucket_of("", known) < percentage * 1000) is inside)


@dataclass
class Stand:
    """Bridge and sidecar of one test."""

    children: Children
    folder: Path
    state: str
    bridge: str = ""
    data: str = ""
    admin: str = ""
    bridge_process: Child | None = None
    sidecar_process: Child | None = None
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    """The operator's."""

    def start_bridge(self, *words: str, listen: str = "127.0.0.1:0") -> Child:
        """Start the Bridge, or start it again on the port that it had."""
        listen = self.bridge.removeprefix("http://") or listen
        self.bridge_process = self.children.run("bridge", "--listen", listen, "--set", "rate_limits=off", *words)
        self.bridge = str(self.bridge_process.hear(event="ready")["url"])
        return self.bridge_process

    def start_sidecar(self, *words: str, bridge: str = "", wrap: Wrap = list) -> Child:
        """Start the sidecar, with an operator's token and state that outlives it."""
        self.launch_sidecar(*words, bridge=bridge, wrap=wrap)
        return self.hear_sidecar()

    def launch_sidecar(self, *words: str, bridge: str = "", wrap: Wrap = list) -> Child:
        """The same, without waiting until it is ready, which it may never be."""
        tokens = self.folder / "tokens"
        tokens.touch(mode=0o600)
        tokens.write_text(f"operator {self.token}\n")
        where = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--bridge", bridge or self.bridge]
        keys = ["--state", self.state, "--set", f"admin.token_file={tokens}"]
        self.sidecar_process = self.children.run("run", *where, *keys, *words, wrap=wrap)
        return self.sidecar_process

    def hear_sidecar(self) -> Child:
        """Wait until a sidecar that was launched is ready."""
        assert self.sidecar_process is not None
        ready = self.sidecar_process.hear(event="ready")
        self.data, self.admin = f"http://{ready['data']}", f"http://{ready['admin']}"
        return self.sidecar_process

    def set_flags(self, flags: Mapping[str, object]) -> Mapping[str, object]:
        """Change flags through the admin port."""
        reply = call("POST", f"{self.admin}/feature_flags", flags, token=self.token)
        assert reply.status == 200, reply.body
        return reply.json

    def flags(self) -> Mapping[str, object]:
        """The flags as the admin port shows them."""
        return call("GET", f"{self.admin}/feature_flags", token=self.token).json

    def switch(self, **switches: object) -> None:
        """Set switches of the development Bridge."""
        assert call("POST", f"{self.bridge}/dev/switches", switches).status == 200

    def until_parked(self, count: int) -> None:
        """Wait until so many waits are parked in the sidecar."""
        self._until(self._parked, count, what=f"{count} waits being parked")

    def until_polled(self, count: int) -> None:
        """Wait until so many long polls are parked at the Bridge: it has accepted the tokens of so many agents."""
        self._until(self._polls, count, what=f"{count} long polls at the Bridge")

    def _until(self, look: Callable[[], int], count: int, *, what: str) -> None:
        seen: set[int] = set()

        def is_so() -> bool:
            found = look()
            seen.add(found)
            return found == count

        try:
            until(is_so, within_s=START_S, what=what)
        except AssertionError as error:
            words = self.sidecar_process.errors[-2000:] if self.sidecar_process else ""
            raise AssertionError(f"{error}; seen were {sorted(seen)}; the sidecar said {words}") from error

    def _polls(self) -> int:
        return int(str(call("GET", f"{self.bridge}/dev/counters").json["parked_waits"]))

    def _parked(self) -> int:
        text = call("GET", f"{self.admin}/metrics", token=self.token).body.decode()
        lines = (line.split() for line in text.splitlines() if line.startswith("elicit_sidecar_parked_waits "))
        return int(next((float(value) for _, value in lines), -1))
