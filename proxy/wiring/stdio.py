"""Build and run the house of one MCP client on standard input and output, without a port unless one is asked for."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from structlog.stdlib import BoundLogger

from proxy.config.load import Loaded
from proxy.config.shapes import Address
from proxy.core.ids import AgentId
from proxy.downstream.connection import OPERATORS_BOUNDS
from proxy.downstream.mcp_pipe import Ends, Pipe
from proxy.downstream.mcp_stdio import StdioDoor, StdioParts
from proxy.flows.errands import Errands
from proxy.observe.logs import logger
from proxy.ports import Clock
from proxy.upstream.bridge_stdio import Launched, Patience, StdioBridge
from proxy.upstream.pipes import PipeSink, PipeSource
from proxy.wiring.announce import say_started, say_stopped
from proxy.wiring.audit import note_started
from proxy.wiring.clock import LoopClock
from proxy.wiring.house import House
from proxy.wiring.keep import configured_flags, listen, read_admin_tokens, watch_state
from proxy.wiring.mcp_rooms import tool_names
from proxy.wiring.outside import open_outside

CLOSED: Final = Patience(close_s=2.0, term_s=2.0)
"""When the client's input has ended. Source: PROTOCOL.md 3.3; the times are those of the python SDK."""

ORPHANED: Final = Patience(close_s=0.0, term_s=0.5)
"""When the process that started us is dead. Source: ours; nobody is left to wait for a slow end."""

LEFT_OVER: Final = Patience(close_s=0.0, term_s=2.0)
"""What a server that has ended leaves in its group. Source: ours, as for the server itself."""

SPARE_S: Final = 0.5
"""How long after the kill an output that does not end, or that nobody takes, is given up. Source: ours."""

ANSWERS_S: Final = 2.0
"""How long answers that were given may still be on their way to the Bridge. Source: ours, as for the server's end."""


STOPPED_BY: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that end us, and the server by the same one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """The client's side, as descriptors that are ours to close, and the processes whose death ends us."""

    stdin: int
    stdout: int
    parents: Sequence[int] = ()
    """Handles of processes (pidfd)."""


class StdioLog:
    """Says on standard error what reached nobody."""

    __slots__ = ("_log",)

    def __init__(self, log: BoundLogger) -> None:
        self._log = log

    def lost(self, what: str, size_bytes: int) -> None:
        """A line was not passed on."""
        self._log.warning("not passed on", why=what, size_bytes=size_bytes)


class StdioHouse(House):
    """The rooms of a sidecar with one client at its standard input and output."""

    def stdio_door(self, ends: Ends) -> StdioDoor:
        """The door of the one client."""
        config, inside = self._loaded.config, self._mcp.inside
        pipe = Pipe(ends, inside.spawn, StdioLog(logger("proxy.downstream.mcp_stdio")))
        parts = StdioParts(
            calls=inside.calls,
            asking=self._mcp.asking(Errands(pipe.begin)),
            tools=self._mcp.tools,
            names=tool_names(config),
            admission=inside.admission,
            recorder=inside.recorder,
            clock=inside.clock,
            agent_id=AgentId(config.agent.id) if config.agent.id else None,
            default_timeout_s=int(config.wait.default_timeout_s),
            hold_cap_s=config.wait.mcp_hold_s,
            guide_url=config.legacy.guide_url,
        )
        return StdioDoor(pipe, parts)


class _Life:
    """How the one client and its server come to their end; every way out leads through the end of the server."""

    __slots__ = ("_clock", "_door", "_down", "_house", "_server")

    def __init__(self, house: StdioHouse, door: StdioDoor, server: StdioBridge, clock: Clock) -> None:
        self._house = house
        self._door = door
        self._server = server
        self._clock = clock
        self._down = asyncio.Event()
        """Set when nothing more goes to the client."""

    async def upward(self) -> None:
        """Carry what the client says; its end is the beginning of ours."""
        await self._door.upward()
        self._leave(CLOSED)

    async def downward(self, client: PipeSink) -> None:
        """Carry what the server says and what is still to be said here; then the client sees the end."""
        await self._door.downward()
        self._drop()
        await self._door.settle(ANSWERS_S)
        client.close()
        self._down.set()

    async def client_gone(self) -> None:
        """The client reads no more, which the server learns as it would from the client itself."""
        await self._door.client_gone.wait()
        self._server.output.stop()
        self._leave(CLOSED)

    def orphaned(self) -> None:
        """Whoever started us is dead."""
        self._leave(ORPHANED)
        self._give_up_after(ORPHANED)

    def told(self, number: signal.Signals) -> None:
        """We were asked to end: so is the server, and who waits gets an answer."""
        patience = Patience(close_s=0.0, term_s=2.0, number=number)
        self._house.drain()
        self._server.end(patience)
        self._give_up_after(patience)

    async def shut_down(self, asked: asyncio.Event) -> None:
        """The same when an operator asks at the admin port."""
        await asked.wait()
        self.told(signal.SIGTERM)

    async def until_over(self) -> int:
        """Wait for the server's end and for its last words; its exit code."""
        code = await self._server.exited()
        self._leave(LEFT_OVER)
        self._clock.alarm(self._clock.now() + LEFT_OVER.term_s + SPARE_S, self._server.output.stop)
        await self._down.wait()
        return code

    def _leave(self, patience: Patience) -> None:
        self._drop()
        self._server.end(patience)

    def _drop(self) -> None:
        if not self._house.feeds.draining:  # else all that is held is being answered
            self._door.drop()

    def _give_up_after(self, patience: Patience) -> None:
        at = self._clock.now() + patience.close_s + patience.term_s + SPARE_S
        self._clock.alarm(at, self._down.set)


async def keep_pipe(
    loaded: Loaded,
    launched: Launched,
    streams: Streams,
    *,
    admin: Address | None = None,
    ready: Callable[[Address | None], None] = lambda _: None,
    clock: Clock | None = None,
) -> int:
    """Run one sidecar between a client and the server it launched; the exit code that tells how the server ended.

    `ready` is told where the operators' port is, if `admin` asked for one. SIGTERM, SIGINT and SIGHUP end both.

    Raises:
        ConfigError: the token file, a certificate or its key is not in order.
        StateUnavailable: the state store cannot be opened.
        OSError: the address cannot be bound.
    """
    codes: list[int] = []
    try:
        async with AsyncExitStack() as stack:
            codes.append(await _keep(loaded, stack, launched, streams, admin=admin, ready=ready, clock=clock))
    except ExceptionGroup as group:
        # A TaskGroup wraps even its own body's error; the start has exactly one.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
    say_stopped()
    return codes[0]


async def _keep(
    loaded: Loaded,
    stack: AsyncExitStack,
    launched: Launched,
    streams: Streams,
    *,
    admin: Address | None,
    ready: Callable[[Address | None], None],
    clock: Clock | None,
) -> int:
    clock = clock or LoopClock()
    server = StdioBridge(launched, clock)
    stack.push_async_callback(server.close)
    tokens = await asyncio.to_thread(read_admin_tokens, loaded.config) if admin else ()
    outside = await open_outside(loaded.config, clock, stack)
    tls = await outside.tls.admin() if admin else None
    house = StdioHouse(loaded, outside)
    await house.open(configured_flags(loaded.config), stack)
    shutdown = asyncio.Event()
    app = house.admin_app(tokens, shutdown)
    bound = await listen(app, admin, stack, bounds=OPERATORS_BOUNDS, tls=tls) if admin else None
    house.start(outside.tls.keep_fresh(), "certificates", stack)
    house.start(house.sweep(), "sweeper", stack)
    watch_state(house, outside, clock, stack)
    life = _begin_life(house, server, streams, clock, stack=stack, shutdown=shutdown)
    stack.enter_context(_listening(life, streams.parents))
    note_started(house.audit)
    say_started(loaded.config, {"admin": bound}, flags_version=house.board.flags.version)
    ready(bound)
    return await life.until_over()


def _begin_life(
    house: StdioHouse,
    server: StdioBridge,
    streams: Streams,
    clock: Clock,
    *,
    stack: AsyncExitStack,
    shutdown: asyncio.Event,
) -> _Life:
    """Begin to carry lines both ways; the stack ends it."""
    client = PipeSink(streams.stdout, "to the client")
    stack.callback(client.close)
    source = PipeSource(streams.stdin, "from the client")
    stack.callback(source.stop)
    ends = Ends(from_client=source, to_client=client, from_server=server.output, to_server=server.input)
    door = house.stdio_door(ends)
    stack.callback(door.give_up)
    life = _Life(house, door, server, clock)
    house.start(life.upward(), "lines of the client", stack)
    house.start(life.downward(client), "lines of the server", stack)
    house.start(life.client_gone(), "watch of the client", stack)
    house.start(life.shut_down(shutdown), "watch of the operators", stack)
    return life


@contextmanager
def _listening(life: _Life, parents: Sequence[int]) -> Iterator[None]:
    """Hear signals and the death of the processes above us for as long as the block lasts."""
    loop = asyncio.get_running_loop()

    def died(parent: int) -> None:
        loop.remove_reader(parent)
        life.orphaned()

    for number in STOPPED_BY:
        loop.add_signal_handler(number, life.told, number)
    for parent in parents:
        loop.add_reader(parent, died, parent)
    try:
        yield
    finally:
        for number in STOPPED_BY:
            loop.remove_signal_handler(number)
        for parent in parents:
            loop.remove_reader(parent)
            os.close(parent)
