"""Real MCP clients and servers for the tests, each in an environment of its own that is made when it is first needed.

    with peer_room() as room:
        url = room.server("mcp-1.30").url
        run = room.client("mcp-2.3", url=url, answer="accept", calls=[call("ask")])
        assert run.hear(kind="result")["text"] == ["accept:zed-name"]

All clients of one SDK run in one process, whatever room they are of, as its start costs more than all that they do; a
room takes its clients and its servers along when it ends. `hear` blocks: in a test on
the event loop use `await run.heard(...)`, else a sidecar in the same loop could not answer. tests/peers/peer_client.py
tells what a plan holds and what lines come back. Where an environment cannot be made the test is skipped, with the
reason; with REQUIRE_ALL=1 that is a failure.
"""

import asyncio
import atexit
import itertools
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.support.peer_process import START_S, Line, PeerProcess
from tools import peers

SCRIPTS: Final = Path(__file__).parents[1] / "peers"

CLIENTS: Final = {
    "mcp-1.22": ("mcp-1.22", "client_v1.py"),
    "mcp-1.30": ("mcp-1.30", "client_v1.py"),
    "mcp-2.3": ("mcp-2.3", "client_v2.py"),
    "fastmcp-3": ("fastmcp-3", "client_fastmcp.py"),
    "fastmcp-4": ("fastmcp-4", "client_fastmcp.py"),
    "ts-1": (peers.NODE, "client_ts_v1.mjs"),
    "ts-2": (peers.NODE, "client_ts_v2.mjs"),
}
"""Client peers by name: environment and script."""

SERVERS: Final = {
    "mcp-1.22": ("mcp-1.22", "server_v1.py"),
    "mcp-1.30": ("mcp-1.30", "server_v1.py"),
    "mcp-2.3": ("mcp-2.3", "server_v2.py"),
    "fastmcp-3": ("fastmcp-3", "server_fastmcp.py"),
    "fastmcp-4": ("fastmcp-4", "server_fastmcp.py"),
    "ts-1": (peers.NODE, "server_ts_v1.mjs"),
    "ts-2": (peers.NODE, "server_ts_v2.mjs"),
    "modern": ("mcp-2.3", "server_modern.py"),
    "conformance": ("mcp-2.3", "conformance_server.py"),
}
"""Server peers by name: environment and script."""

DIALOGUE_S: Final = 30.0
"""Longest wait for a line of a peer that runs already, seconds."""


@cache
def _made(environment: str) -> Path | str:
    """The directory of an environment, or why there is none; asked for once, as a failure takes long."""
    try:
        return peers.make(environment)
    except peers.PeerError as error:
        return str(error)


def directory_of(environment: str) -> Path:
    """The directory of an environment, made if need be; skips the test where that cannot be."""
    found = _made(environment)
    if isinstance(found, str):
        pytest.skip(f"the peer environment {environment} cannot be made: {found}")
    return found


def node_program() -> Path:
    """The Node that the suite and the clients for Node run on."""
    directory_of(peers.NODE)
    return peers.node()


def command(environment: str, script: str) -> list[str]:
    """The command line of a peer, without its own words."""
    directory = directory_of(environment)
    if environment == peers.NODE:
        # The script is reached by a link beside node_modules, and must be taken to stand there.
        links = ["--preserve-symlinks", "--preserve-symlinks-main"]
        return [str(node_program()), *links, str(directory / "scripts" / script)]
    return [str(directory / "bin" / "python"), str(SCRIPTS / script)]


def client_command(name: str) -> list[str]:
    """The command line of a client peer; one word more, a plan in JSON, makes it run alone."""
    return command(*CLIENTS[name])


def server_command(name: str, *words: str) -> list[str]:
    """The command line of a server peer, for whoever launches it on standard input and output."""
    return [*command(*SERVERS[name]), *words]


def call(tool: str, arguments: Mapping[str, object] | None = None, **more: object) -> dict[str, object]:
    """The step that calls a tool; `more` may be tag, timeout_s and progress."""
    return {"do": "call", "tool": tool, "arguments": dict(arguments or {}), **more}


@dataclass(frozen=True, slots=True)
class Run:
    """One client in a host, at work on its plan."""

    host: PeerProcess
    name: str

    def tell(self, **step: object) -> None:
        """Hand it one more step."""
        self.host.tell({"run": self.name, **step})

    def call(self, tool: str, arguments: Mapping[str, object] | None = None, **more: object) -> None:
        """Begin one more call; `more` may be tag, timeout_s and progress."""
        self.tell(**call(tool, arguments, **more))

    def end(self) -> None:
        """No more steps: what still runs is given up, then the client closes as its SDK does."""
        self.tell(end=True)

    def drop(self) -> None:
        """Leave in the middle of everything."""
        self.tell(drop=True)

    def leave(self) -> None:
        """The same, if it has not come to its end."""
        if not self.host.has_ended and not self.said(over=True):
            self.drop()

    def said(self, **wanted: object) -> list[Line]:
        """The lines so far whose fields are as wanted."""
        return self.host.said(run=self.name, **wanted)

    def hear(self, within_s: float = DIALOGUE_S, *, count: int = 1, **wanted: object) -> Line:
        """Wait for the line, or the `count`-th one, whose fields are as wanted."""
        return self.host.hear(within_s, count=count, run=self.name, **wanted)

    async def heard(self, within_s: float = DIALOGUE_S, *, count: int = 1, **wanted: object) -> Line:
        """The same without holding up the event loop."""
        return await asyncio.to_thread(self.hear, within_s, count=count, **wanted)

    def outcome(self, within_s: float = DIALOGUE_S) -> list[Line]:
        """Wait for its end, by closing or by failing; all its lines."""
        self.host.hear(within_s, run=self.name, over=True)
        return self.said()


@dataclass(frozen=True, slots=True)
class Server:
    """One running server peer."""

    process: PeerProcess
    url: str


@dataclass(slots=True)
class Hosts:
    """The processes that client peers run in, by name of the client."""

    running: dict[str, PeerProcess] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)
    """What makes the names of runs differ."""

    def of(self, name: str) -> PeerProcess:
        """The process for this client; one that has ended is started again."""
        if name not in self.running or self.running[name].has_ended:
            self.running[name] = PeerProcess(client_command(name))
        return self.running[name]

    def close(self) -> None:
        """End them all."""
        for host in self.running.values():
            host.close()


@cache
def _hosts() -> Hosts:
    """The one collection of hosts in this process."""
    opened = Hosts()
    atexit.register(opened.close)
    return opened


@dataclass(slots=True)
class Room:
    """Where peers run; it ends them all."""

    stack: ExitStack
    servers: dict[tuple[str, ...], Server] = field(default_factory=dict)

    def client(self, name: str, **plan: object) -> Run:
        """Begin a client by its plan; the first of a name starts the process that hosts them."""
        hosts = _hosts()
        run = Run(hosts.of(name), f"{name}#{next(hosts.numbers)}")
        run.tell(plan=plan)
        self.stack.callback(run.leave)
        return run

    def server(self, name: str, *words: str) -> Server:
        """A server peer, started if none runs with the same words."""
        key = (name, *words)
        if key not in self.servers:
            process = self.start(server_command(name, "--port", "0", "--leash", *words))
            ready = process.hear(START_S, kind="ready")
            self.servers[key] = Server(process, str(ready["url"]))
        return self.servers[key]

    def start(self, words: list[str]) -> PeerProcess:
        """Start any peer; it ends with the room."""
        process = PeerProcess(words)
        self.stack.callback(process.close)
        return process


@contextmanager
def peer_room() -> Iterator[Room]:
    """A room for as long as the block lasts."""
    with ExitStack() as stack:
        yield Room(stack)
