"""The rooms of one running sidecar, connected."""

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from msgspec.structs import replace

from proxy import __version__
from proxy.config.load import Loaded
from proxy.config.render import to_plain
from proxy.config.schema import Config
from proxy.config.shapes import Address
from proxy.config.tokens import Token
from proxy.core.breaker import Breaker, BreakerState
from proxy.core.pace import Pace
from proxy.core.questions import QuestionBook
from proxy.core.routing import Way
from proxy.core.sequences import SequenceMap
from proxy.downstream.admin_http import AdminParts, build_admin_app
from proxy.downstream.app import DataParts, build_data_app
from proxy.downstream.elicitation_http import ElicitationDoors
from proxy.downstream.mcp_http import McpDoor
from proxy.downstream.relay import Relay
from proxy.downstream.wait_http import WaitDoor
from proxy.flows.agent_sessions import AgentSessions
from proxy.flows.errands import Errands
from proxy.flows.feed_parts import FeedParts
from proxy.flows.feeds import Feeds
from proxy.flows.flags import FlagBoard
from proxy.flows.mcp_clients import McpClients
from proxy.flows.naming import AnswerNames
from proxy.flows.pause import Pause
from proxy.flows.respond import Answers
from proxy.flows.tool_call import ToolCalls
from proxy.mcp.inbound import ToolNames
from proxy.observe.metrics import Metrics
from proxy.observe.recorder import OutcomeRecorder
from proxy.ports import Bridge, Clock, FlagStore, McpServer

SWEEP_S: Final = 30.0
"""How often what is long over is forgotten. Source: ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What the house stands on and reaches for."""

    store: FlagStore
    bridge: Bridge
    relay: Relay
    mcp_relay: Relay
    """To the MCP server, which may be elsewhere."""
    mcp_server: McpServer
    clock: Clock
    group: asyncio.TaskGroup


class House:
    """The rooms of one running sidecar, connected."""

    def __init__(self, loaded: Loaded, outside: Outside) -> None:
        config = loaded.config
        self._loaded = loaded
        self._outside = outside
        self._clock = outside.clock
        self._metrics = Metrics(version=__version__)
        self._recorder = OutcomeRecorder(self._metrics, self._clock)
        self._breaker = Breaker(
            failures=config.breaker.failures,
            cooldown_s=config.breaker.cooldown_s,
            incapable_s=config.breaker.incapable_s,
        )
        self.board = FlagBoard(outside.store, self._clock, salt=config.flags.salt, groups=_members(config))
        self._book, sequences = QuestionBook(redeliver_s=config.wait.redeliver_s), SequenceMap()
        errands = Errands(self._spawn)
        parts = FeedParts(
            bridge=outside.bridge,
            book=self._book,
            breaker=self._breaker,
            sequences=sequences,
            names=AnswerNames(self._book, sequences, self._clock),
            clock=self._clock,
            recorder=self._recorder,
            spawn=self._spawn,
            errands=errands,
            sessions=AgentSessions(outside.bridge, errands.begin),
            new_pace=self._new_pace,
            hold_s=config.bridge.hold_s,
        )
        self.feeds = Feeds(parts, self.board, max_parked=config.wait.max_parked)
        self._answers = Answers(self.feeds)
        self._waits = self._wait_door()
        self._bind_gauges()

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._loaded.config

    def take_up(self, loaded: Loaded) -> None:
        """Apply the keys of another configuration that need no restart; see `proxy.config.changes`."""
        config = loaded.config
        live = replace(
            self.config,
            groups=config.groups,
            breaker=config.breaker,
            log=config.log,
            wait=replace(self.config.wait, redeliver_s=config.wait.redeliver_s, max_parked=config.wait.max_parked),
            bridge=replace(
                self.config.bridge,
                poll_fast_ms=config.bridge.poll_fast_ms,
                poll_idle_ms=config.bridge.poll_idle_ms,
                poll_budget_per_min=config.bridge.poll_budget_per_min,
                poll_burst=config.bridge.poll_burst,
            ),
        )
        self._loaded = Loaded(config=live, origins=loaded.origins)
        self._breaker.failures = config.breaker.failures
        self._breaker.cooldown_s = config.breaker.cooldown_s
        self._breaker.incapable_s = config.breaker.incapable_s
        self._book.redeliver_s = config.wait.redeliver_s
        self.feeds.max_parked = config.wait.max_parked
        self.board.regroup(_members(config))

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> "asyncio.Task[None]":
        return self._outside.group.create_task(work, name=name)

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
                "elicitations_pending": lambda: self._book.open_count(self._clock.wall()),
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

    def start(self, work: Coroutine[object, object, None], name: str, stack: AsyncExitStack) -> None:
        """Run a task until the stack unwinds."""
        stack.callback(self._spawn(work, name).cancel)

    async def sweep(self) -> None:
        """Forget questions that are long over, every half minute, for as long as the house stands."""
        pause = Pause(self._clock)
        while True:
            await pause.sleep(SWEEP_S)
            self._book.prune(now=self._clock.now(), wall=self._clock.wall())

    def data_app(self) -> web.Application:
        """The application of the data port."""
        config = self._loaded.config
        parts = DataParts(
            waits=self._waits,
            elicitations=ElicitationDoors(
                relay=self._outside.relay,
                feeds=self.feeds,
                answers=self._answers,
                board=self.board,
                recorder=self._recorder,
                clock=self._clock,
            ),
            mcp=self._mcp_door(),
            relay=self._outside.relay,
            recorder=self._recorder,
            clock=self._clock,
            wait_paths=frozenset(config.wait.paths),
            mcp_path=config.bridge.mcp_path,
            allowed_hosts=self._allowed_hosts(config.listen.data),
        )
        return build_data_app(parts)

    def _wait_door(self) -> WaitDoor:
        config = self._loaded.config
        return WaitDoor(
            relay=self._outside.relay,
            feeds=self.feeds,
            board=self.board,
            breaker=self._breaker,
            recorder=self._recorder,
            clock=self._clock,
            default_timeout_s=int(config.wait.default_timeout_s),
            guide_url=config.legacy.guide_url,
        )

    def _mcp_door(self) -> McpDoor:
        config = self._loaded.config
        wait = config.wait
        return McpDoor(
            relay=self._outside.mcp_relay,
            calls=ToolCalls(self.feeds, self._answers, self.board, self.feeds.parts.sessions),
            clients=McpClients(),
            server=self._outside.mcp_server,
            names=ToolNames(
                wait=frozenset(wait.tools), respond=frozenset(wait.respond_tools), send=frozenset(wait.send_tools)
            ),
            recorder=self._recorder,
            clock=self._clock,
            spawn=self._spawn,
            default_timeout_s=int(wait.default_timeout_s),
            hold_cap_s=wait.mcp_hold_s,
            guide_url=config.legacy.guide_url,
            is_bridge=config.bridge.mcp_url in {"", config.bridge.url},
        )

    def drain(self) -> None:
        """Answer every wait that is held here or at the Bridge; later ones are answered at once."""
        self.feeds.drain()
        self._waits.drain()

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
                config_dump=lambda: to_plain(self.config),
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


def _members(config: Config) -> dict[str, frozenset[str]]:
    return {name: frozenset(members) for name, members in config.groups.items()}
