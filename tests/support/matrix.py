"""The columns of the matrix: for each kind of Bridge the processes that make it up, and who asks there."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.doubling import Doubling, doubling
from tests.support.matrix_agents import QUESTION, SCHEMA
from tests.support.peers import Room, Server, peer_room
from tests.support.processes import Children, children
from tests.support.stand import EVERYBODY, Stand, call, open_session, store, wait

POLL_S: Final = "0.05"
"""How often the development Bridge looks for a parked wait, seconds."""

REDELIVER_S: Final = "0.5"
"""When a question that an agent left with is offered again, seconds."""

LOOK_S: Final = 20
"""Longest wait of an asker for its answer, seconds."""

_NOTE: Final = "elicitation_"
_WORD_OF_NOTE: Final = {"accepted": "accept", "declined": "decline", "cancelled": "cancel"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a column is made of."""

    source: str
    """`bridge.source` of the sidecar."""
    server: str
    """The peer behind `bridge.mcp_url`."""
    server_words: Sequence[str] = ()
    bridge_words: Sequence[str] = ()
    """Of the development Bridge; columns with the same words share one."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """More keys of the sidecar's configuration."""


@dataclass(slots=True)
class Column:
    """The running processes of one column."""

    stand: Stand
    kind: Kind
    server: Server
    doubling: Doubling
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def asks_itself(self) -> bool:
        """Whether the MCP server puts questions to its client."""
        return self.kind.source == "mcp"

    def asker_of(self, agent: str) -> "Asker":
        """Somebody who asks this agent, where questions are asked in this column."""
        base = self.stand.data if self.kind.source == "bus" else self.stand.bridge
        hears_at = self.stand.bridge if self.asks_itself else self.stand.data
        name = f"asker-{next(self.numbers)}-{agent}"
        return Asker(
            agent=agent,
            name=name,
            base=base,
            hears_at=hears_at,
            log=self.stand.bridge,
            token=open_session(self.stand.bridge, name),
            responds_before=_responds(self.stand.bridge),
        )


@dataclass(slots=True, kw_only=True)
class Asker:
    """Another agent, which asks one question and listens for what comes of it."""

    agent: str
    name: str
    base: str
    hears_at: str
    log: str
    token: str
    responds_before: int
    began: int = 0
    since: int = 0
    end: int = 0
    """Where the log began and ended for it, and how far it has read."""

    def mark(self) -> int:
        """Store something, so that the log's end is known."""
        found = store(self.log, self.name, {"mark": self.name}, token=self.token)
        self.began = self.began or found
        self.since = self.since or found
        return found

    def ask(self) -> str:
        """Put the question; its id."""
        body = {
            "from_agent": self.name,
            "to_agent": self.agent,
            "message": QUESTION,
            "schema": SCHEMA,
            "timeout_seconds": 300,
        }
        reply = call("POST", f"{self.base}/elicitation/create", body, token=self.token)
        assert reply.status == 200, reply.body
        return str(reply.json["elicitation_id"])

    def is_open(self, elicitation_id: str) -> bool:
        """Whether nobody has answered yet, nor in the agent's name."""
        return call("GET", f"{self.base}/elicitation/status/{elicitation_id}", token=self.token).json["status"] == (
            "pending"
        )

    def hear(self, elicitation_id: str) -> list[tuple[str, object]]:
        """All that it hears of its question: waits for the first answer, then reads on to a mark after it."""
        found: list[tuple[str, object]] = []
        while not found:
            found = self._read(elicitation_id)
        self.end = store(self.log, self.name.replace("asker", "bell", 1), {"bell": self.name})
        while self.since < self.end:
            found += self._read(elicitation_id)
        return found

    def answers_sent(self, elicitation_id: str) -> int:
        """How many answers the Bridge was given, good ones and others: by its own call, or as events of its log."""
        since, events = self.began, 0
        while since < self.end:
            items = wait(self.log, self.name, self.token, since=since, timeout_s=LOOK_S).events
            since = max(int(str(item["sequence"])) for item in items)
            events += sum(item["source_agent"] == self.agent and _names(item, elicitation_id) for item in items)
        return _responds(self.log) - self.responds_before + events

    def _read(self, elicitation_id: str) -> list[tuple[str, object]]:
        reply = wait(self.hears_at, self.name, self.token, since=self.since, timeout_s=LOOK_S)
        assert reply.status == 200, reply.body
        assert reply.events, f"{self.name} heard nothing more of its question"
        self.since = max(int(str(item["sequence"])) for item in reply.events)
        return [heard for item in reply.events if (heard := self._answer_in(item, elicitation_id)) is not None]

    def _answer_in(self, item: Mapping[str, object], elicitation_id: str) -> tuple[str, object] | None:
        data = item["data"]
        assert isinstance(data, dict)
        if item["event_type"] == "elicitation_response" and data["elicitation_id"] == elicitation_id:
            return str(data["response_type"]), data.get("data")
        # The Bridge's own note has no id; this agent is asked by nobody else.
        note = str(data.get("elicitation_type", "")).removeprefix(_NOTE)
        if note in _WORD_OF_NOTE and data["responding_agent"] == self.agent:
            return _WORD_OF_NOTE[note], data["response_data"]
        return None


def _responds(bridge: str) -> int:
    requests = call("GET", f"{bridge}/dev/counters").json["requests"]
    assert isinstance(requests, dict)
    return int(requests.get("POST /elicitation/respond", 0))


def _names(item: Mapping[str, object], elicitation_id: str) -> bool:
    data = item["data"]
    return isinstance(data, dict) and data.get("elicitation_id") == elicitation_id


@dataclass(slots=True)
class House:
    """Starts the columns when they are first needed."""

    room: Room
    kinds: Mapping[str, Kind]
    asked_agents: Sequence[str]
    """Agents whose questions are put to their MCP client."""
    started: Children
    stack: ExitStack
    folder: Callable[[str], Path]
    columns: dict[str, Column] = field(default_factory=dict)
    bridges: dict[Sequence[str], str] = field(default_factory=dict)

    def column(self, name: str) -> Column:
        """The processes of a column."""
        if name not in self.columns:
            self.columns[name] = self._start(name, self.kinds[name])
        return self.columns[name]

    def _start(self, name: str, kind: Kind) -> Column:
        stand = Stand(self.started, self.folder(name), "memory:")
        known = self.bridges.get(kind.bridge_words)
        if known is None:
            stand.start_bridge("--poll-seconds", POLL_S, *kind.bridge_words)
            self.bridges[kind.bridge_words] = stand.bridge
        else:
            stand.bridge = known
        server = self.room.server(kind.server, "--bridge", stand.bridge, *kind.server_words)
        keys = {
            "bridge.source": kind.source,
            "bridge.mcp_url": server.url.removesuffix("/mcp"),
            "agent.elicit_agents": ",".join(self.asked_agents),
            "wait.redeliver_s": REDELIVER_S,
            **kind.keys,
        }
        stand.start_sidecar(*(word for key, value in keys.items() for word in ("--set", f"{key}={value}")))
        stand.set_flags(EVERYBODY)
        return Column(stand, kind, server, self.stack.enter_context(doubling(stand.data)))


@contextmanager
def house(kinds: Mapping[str, Kind], asked_agents: Sequence[str], folder: Callable[[str], Path]) -> Iterator[House]:
    """The columns for as long as the block lasts."""
    with ExitStack() as stack:
        started = stack.enter_context(children())
        room = stack.enter_context(peer_room())
        yield House(room, kinds, asked_agents, started, stack, folder)
