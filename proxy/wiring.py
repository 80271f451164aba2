"""Builds the whole house from a configuration, keeps it running, and takes it down in order.

The only file that names concrete classes together. It owns the outermost TaskGroup: every task of the sidecar is
born there and has ended when the house is left.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web
from yarl import URL

from proxy import __version__
from proxy.config.load import Loaded
from proxy.config.render import to_plain
from proxy.config.schema import Config
from proxy.config.shapes import Address
from proxy.config.tokens import Token, read_tokens
from proxy.core.breaker import Breaker, BreakerState
from proxy.core.flags import FlagSet
from proxy.core.pace import Pace
from proxy.core.questions import QuestionBook
from proxy.core.routing import Way
from proxy.core.sequences import SequenceMap
from proxy.downstream.admin_http import AdminParts, build_admin_app
from proxy.downstream.app import DataParts, build_data_app
from proxy.downstream.elicitation_http import ElicitationDoors
from proxy.downstream.relay import Relay
from proxy.downstream.relay_upstream import MAX_HEAD_FIELDS, MAX_HEAD_LINE_BYTES, open_relay_session
from proxy.downstream.wait_http import WaitDoor
from proxy.flows.feed_parts import FeedParts
from proxy.flows.feeds import Feeds
from proxy.flows.flags import FlagBoard
from proxy.flows.naming import AnswerNames
from proxy.flows.pause import Pause
from proxy.flows.respond import Answers
from proxy.observe.metrics import Metrics
from proxy.observe.recorder import OutcomeRecorder
from proxy.ports import Alarm, Bridge, Clock, FlagStore
from proxy.stores.memory import MemoryFlagStore
from proxy.stores.sqlite import SqliteFlagStore
from proxy.stores.writer import SqliteWriter
from proxy.upstream.bridge_http import HttpBridge
from proxy.upstream.session import open_bridge_session

DRAIN_S: Final = 0.4
"""How long calls may go on after a stop, in seconds.

Source: ARCHITECTURE.md 2.6, an exit takes less than 2 s; aiohttp waits this long twice, at each of the two ports.
"""

SWEEP_S: Final = 30.0
"""How often what is long over is forgotten. Source: ours."""


class LoopClock:
    """The Clock port on the running event loop."""

    __slots__ = ("_loop",)

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        """Monotonic seconds of the loop."""
        return self._loop.time()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def alarm(self, at: float, ring: Callable[[], None]) -> Alarm:
        """Call `ring` at monotonic time `at`."""
        return self._loop.call_at(at, ring)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Where the house listens, ports resolved."""

    data: Address
    admin: Address


async def keep_house(
    loaded: Loaded, *, ready: Callable[[Bound], None], stop: asyncio.Event, clock: Clock | None = None
) -> None:
    """Run one sidecar until `stop` is set; `ready` is told the bound addresses.

    `clock` is the event loop's unless somebody else keeps the time.

    Raises:
        ConfigError: the token file is not in order.
        StateUnavailable: the state store cannot be opened.
        OSError: an address cannot be bound.
    """
    try:
        async with AsyncExitStack() as stack:
            await _keep(loaded, stack, ready, stop, clock=clock or LoopClock())
    except ExceptionGroup as group:
        # A TaskGroup wraps even its own body's error; the start has exactly one.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


async def _keep(
    loaded: Loaded, stack: AsyncExitStack, ready: Callable[[Bound], None], stop: asyncio.Event, *, clock: Clock
) -> None:
    config = loaded.config
    tokens = await asyncio.to_thread(_tokens, config)
    store = await _open_store(config, stack)
    connect_s, url = config.bridge.connect_timeout_s, URL(config.bridge.url)
    relay_session = await stack.enter_async_context(open_relay_session(connect_timeout_s=connect_s))
    bridge_session = await stack.enter_async_context(open_bridge_session(connect_timeout_s=connect_s))
    house = _House(
        loaded,
        store=store,
        bridge=HttpBridge(bridge_session, url, request_timeout_s=config.bridge.request_timeout_s),
        relay=Relay(relay_session, url),
        clock=clock,
        group=await stack.enter_async_context(asyncio.TaskGroup()),
    )
    # Unwinds after both ports: a call that still comes in while they finish may begin a poll.
    stack.callback(house.feeds.close)
    await house.board.open(configured_flags(config))
    data = await _listen(house.data_app(), config.listen.data, stack)
    admin = await _listen(house.admin_app(tokens, stop), config.listen.admin, stack)
    house.start_sweeping(stack)
    ready(Bound(data=data, admin=admin))
    await stop.wait()
    house.feeds.drain()
    # The stack now unwinds: both ports finish what they serve, polls end, then sessions and state close.


def configured_flags(config: Config) -> FlagSet:
    """The flag set that a fresh state begins with."""
    flags = config.flags
    return FlagSet(
        elicitation_enabled=flags.elicitation_enabled,
        elicitation_percentage=flags.elicitation_percentage,
        elicitation_whitelist=flags.elicitation_whitelist,
        elicitation_denylist=flags.elicitation_denylist,
        ab_testing_enabled=flags.ab_testing_enabled,
        legacy_fallback=flags.legacy_fallback,
        legacy_support=flags.legacy_support,
        deprecation_warnings=flags.deprecation_warnings,
    )


def _tokens(config: Config) -> tuple[Token, ...]:
    return read_tokens(Path(config.admin.token_file)) if config.admin.token_file else ()


async def _open_store(config: Config, stack: AsyncExitStack) -> FlagStore:
    path = config.state.sqlite_path
    if path is None:
        return MemoryFlagStore()
    writer = await asyncio.to_thread(SqliteWriter, path)
    stack.push_async_callback(asyncio.to_thread, writer.close)
    return SqliteFlagStore(writer)


async def _listen(app: web.Application, address: Address, stack: AsyncExitStack) -> Address:
    runner = web.AppRunner(
        app,
        handler_cancellation=True,
        auto_decompress=False,
        access_log=None,
        shutdown_timeout=DRAIN_S,
        max_line_size=MAX_HEAD_LINE_BYTES,
        max_field_size=MAX_HEAD_LINE_BYTES,
        max_headers=MAX_HEAD_FIELDS,
    )
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, address.host, address.port, backlog=1024)
    await site.start()
    return Address(address.host, site.port)


class _House:
    """The rooms of one running sidecar, connected."""

    def __init__(  # one keyword for each part that the house does not make itself
        self,
        loaded: Loaded,
        *,
        store: FlagStore,
        bridge: Bridge,
        relay: Relay,
        clock: Clock,
        group: asyncio.TaskGroup,
    ) -> None:
        config = loaded.config
        self._loaded = loaded
        self._relay = relay
        self._group = group
        self._clock = clock
        self._metrics = Metrics(version=__version__)
        self._recorder = OutcomeRecorder(self._metrics, self._clock)
        self._breaker = Breaker(
            failures=config.breaker.failures,
            cooldown_s=config.breaker.cooldown_s,
            incapable_s=config.breaker.incapable_s,
        )
        groups = {name: frozenset(members) for name, members in config.groups.items()}
        self.board = FlagBoard(store, self._clock, salt=config.flags.salt, groups=groups)
        self._book, sequences = QuestionBook(redeliver_s=config.wait.redeliver_s), SequenceMap()
        parts = FeedParts(
            bridge=bridge,
            book=self._book,
            breaker=self._breaker,
            sequences=sequences,
            names=AnswerNames(self._book, sequences, bridge, self._clock),
            clock=self._clock,
            recorder=self._recorder,
            spawn=self._spawn,
            new_pace=self._new_pace,
            hold_s=config.bridge.hold_s,
        )
        self.feeds = Feeds(parts, self.board, max_parked=config.wait.max_parked)
        self._bind_gauges()

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> "asyncio.Task[None]":
        return self._group.create_task(work, name=name)

    def _new_pace(self) -> Pace:
        bridge = self._loaded.config.bridge
        return Pace(
            per_minute=bridge.poll_budget_per_min,
            burst=bridge.poll_burst,
            fast_s=bridge.poll_fast_ms / 1000,
            idle_s=bridge.poll_idle_ms / 1000,
        )

    def _bind_gauges(self) -> None:
        self._metrics.bind(
            {
                "elicitations_pending": self._book.open_count,
                "parked_waits": lambda: self.feeds.parked,
                "rollout_percentage": self._percentage,
                "flags_version": lambda: self.board.flags.version,
            }
        )
        self._metrics.bind_labelled("breaker_state", self._breaker_states)

    def _percentage(self) -> float:
        flags = self.board.flags
        return flags.elicitation_percentage if flags.elicitation_enabled else 0.0

    def _breaker_states(self) -> dict[str, float]:
        state = self._breaker.state(self._clock.now())
        return {known.value: float(known is state) for known in BreakerState}

    def _way(self) -> Way:
        return self._breaker.way(self._clock.now())

    def start_sweeping(self, stack: AsyncExitStack) -> None:
        """Forget questions that are long over, every half minute until the stack unwinds."""
        sweeper = self._group.create_task(self._sweep(), name="sweeper")
        stack.callback(sweeper.cancel)

    async def _sweep(self) -> None:
        pause = Pause(self._clock)
        while True:
            await pause.sleep(SWEEP_S)
            self._book.prune(now=self._clock.now(), wall=self._clock.wall())

    def data_app(self) -> web.Application:
        """The application of the data port."""
        config = self._loaded.config
        waits = WaitDoor(
            relay=self._relay,
            feeds=self.feeds,
            board=self.board,
            breaker=self._breaker,
            recorder=self._recorder,
            clock=self._clock,
            default_timeout_s=int(config.wait.default_timeout_s),
            guide_url=config.legacy.guide_url,
        )
        doors = ElicitationDoors(
            relay=self._relay,
            feeds=self.feeds,
            answers=Answers(self.feeds),
            board=self.board,
            recorder=self._recorder,
            clock=self._clock,
        )
        return build_data_app(
            DataParts(
                waits=waits,
                elicitations=doors,
                relay=self._relay,
                recorder=self._recorder,
                clock=self._clock,
                wait_paths=frozenset(config.wait.paths),
                allowed_hosts=self._allowed_hosts(config.listen.data),
            )
        )

    def admin_app(self, tokens: tuple[Token, ...], stop: asyncio.Event) -> web.Application:
        """The application of the admin port; `stop` is what its shutdown door sets."""
        config = self._loaded.config
        return build_admin_app(
            AdminParts(
                board=self.board,
                recorder=self._recorder,
                clock=self._clock,
                tokens=tokens,
                allowed_hosts=self._allowed_hosts(config.listen.admin),
                version=__version__,
                health=self._health,
                ready=self._ready,
                metrics=self._metrics,
                elicitation_metrics=self._recorder.snapshot,
                agents=self._recorder.agents,
                exchanges=self._book,
                way=self._way,
                clear_caches=self._clear_caches,
                request_shutdown=stop.set,
                config_dump=lambda: to_plain(config),
            )
        )

    def _allowed_hosts(self, address: Address) -> frozenset[str]:
        return frozenset({*self._loaded.config.listen.allowed_hosts, address.host})

    def _health(self) -> dict[str, object]:
        way = self._way()
        reasons = [] if way is Way.OPEN else [f"elicitation way: {way.value}"]
        if self.feeds.draining:
            reasons.append("draining")
        return {
            "status": "degraded" if reasons else "healthy",
            "service": "elicit-sidecar",
            "version": __version__,
            "reasons": reasons,
            "bridge": self._loaded.config.bridge.url,
            "parked_waits": self.feeds.parked,
            "flags_version": self.board.flags.version,
        }

    def _ready(self) -> dict[str, object]:
        draining = self.feeds.draining
        return {"ready": not draining, "reasons": ["draining"] if draining else []}

    def _clear_caches(self) -> dict[str, int]:
        """Forget what can be learned again; never a question, an answer or a cursor."""
        cleared = {"breaker": int(self._way() is not Way.OPEN), "feeds": self.feeds.forget_idle()}
        self._breaker.succeeded()
        return cleared
