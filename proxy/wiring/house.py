"""The rooms of one running sidecar, connected."""

import asyncio
import dataclasses
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, suppress
from functools import partial
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
from proxy.core.errors import StateUnavailable
from proxy.core.flags import FlagSet
from proxy.core.journal import Change
from proxy.core.limits import QUESTIONS
from proxy.core.pace import Pace
from proxy.core.routing import Way
from proxy.core.sends import DualSends
from proxy.core.signing import Verifier
from proxy.downstream.admin_http import AdminParts, build_admin_app
from proxy.downstream.app import DataParts, build_data_app
from proxy.downstream.bus_http import BusDoors
from proxy.downstream.doorman import Doorman
from proxy.downstream.elicitation_http import ElicitationDoors
from proxy.downstream.sse_endpoint import SseDoors
from proxy.downstream.wait_http import WaitDoor
from proxy.flows.agent_sessions import AgentSessions
from proxy.flows.bus_questions import BusQuestions
from proxy.flows.errands import Errands
from proxy.flows.feed_parts import FeedParts, as_it_is
from proxy.flows.feeds import Feeds
from proxy.flows.flags import FlagBoard
from proxy.flows.journal_keeper import JournalKeeper
from proxy.flows.pause import Pause
from proxy.flows.respond import Answers
from proxy.flows.send_replies import SendReplies
from proxy.flows.sends import SendRule, Sends
from proxy.flows.sends_under_way import SendsUnderWay
from proxy.flows.tool_call import ToolCalls
from proxy.observe.descriptor_meter import DescriptorMeter
from proxy.observe.journal_meter import JournalMeter
from proxy.observe.metrics import Metrics
from proxy.observe.recorder import OutcomeRecorder
from proxy.upstream.parked_questions import Watch
from proxy.wiring.audit import bind_gauges, key_watch, open_audit, security_facts_of
from proxy.wiring.books import Books
from proxy.wiring.descriptors import descriptor_limit
from proxy.wiring.ingress import open_ingress
from proxy.wiring.mcp_rooms import McpInside, McpRooms
from proxy.wiring.outside import Outside
from proxy.wiring.trust import open_gate, origins

SWEEP_S: Final = 30.0
"""How often what is long over is forgotten. Source: ours."""


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
        self.audit = open_audit(outside.kept.audit, outside.machine, self.board, self._recorder)
        outside.signing.keys.give(key_watch(self.audit))
        self.journal = JournalKeeper(outside.kept.journal, self._clock, self._snapshot, JournalMeter(self._metrics))
        self._books = books = Books(self._clock, self.journal.write, redeliver_s=config.wait.redeliver_s)
        errands = Errands(self._spawn)
        parts = FeedParts(
            bridge=outside.bridge,
            book=books.questions,
            breaker=self._breaker,
            sequences=books.sequences,
            names=books.names,
            clock=self._clock,
            recorder=self._recorder,
            spawn=self._spawn,
            errands=errands,
            sessions=AgentSessions(outside.bridge, errands.begin),
            new_pace=self._new_pace,
            hold_s=config.bridge.hold_s,
            inbox=books.inbox,
            judge=outside.bus.judge if outside.bus is not None else as_it_is,
            synced=self.journal.synced,
            sent=books.sent,
            told=books.told,
            under_way=SendsUnderWay(DualSends(config.dual.sends)),
        )
        wait = config.wait
        self.feeds = Feeds(
            parts, self.board, max_parked=wait.max_parked, max_parked_per_agent=wait.max_parked_per_agent
        )
        if outside.asking is not None:
            outside.asking.tell(
                Watch(
                    announced=self.feeds.question_seen,
                    withdrawn=books.questions.withdraw,
                    defect=self._recorder.defect,
                )
            )
        self._replies = SendReplies(self.feeds, outside.sends)
        self._answers = Answers(self.feeds, self._replies.tell)
        outside.signing.seal.watch(self._recorder.suspect)
        self._gate = open_gate(config, outside, self._recorder, is_known=self.feeds.is_accepted)
        self.doorman = Doorman(descriptor_limit(), DescriptorMeter(self._metrics))
        self._waits = self._wait_door()
        self.board.watch(self._waits.reconsider)
        self._mcp = McpRooms(config, outside.mcp, self._mcp_inside())
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
            wait=replace(
                self.config.wait,
                redeliver_s=config.wait.redeliver_s,
                max_parked=config.wait.max_parked,
                max_parked_per_agent=config.wait.max_parked_per_agent,
            ),
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
        self._books.questions.redeliver_s = config.wait.redeliver_s
        self.feeds.max_parked = config.wait.max_parked
        self.feeds.max_parked_per_agent = config.wait.max_parked_per_agent
        self.board.regroup(_members(config))

    async def open(self, configured: FlagSet, stack: AsyncExitStack) -> None:
        """Go on where an earlier process was, before anybody is served; the stack writes the last changes.

        Raises:
            StateUnavailable: the stored flags cannot be read.
        """
        kept = self._outside.kept
        await self.board.open(
            dataclasses.replace(configured, elicitation_enabled=False) if kept.flags_are_lost else configured
        )
        self._books.restore(kept.recovered)
        if kept.trouble:
            self.journal.fall_behind(kept.trouble)
        kept.watch(self.journal.fall_behind)
        self.start(self.journal.run(), "journal", stack)
        stack.push_async_callback(self.journal.close)
        self.start(self.audit.run(), "audit", stack)
        stack.push_async_callback(self.audit.close)
        # Unwinds after the ports: a call that still comes in while they finish may begin a poll.
        stack.push_async_callback(self.close)

    def _snapshot(self) -> Iterator[Change]:
        yield from self._books.snapshot()

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
                "elicitations_pending": lambda: self._books.questions.open_count(self._clock.wall()),
                "parked_waits": lambda: self.feeds.parked,
                "rollout_percentage": self._percentage,
                "flags_version": lambda: self.board.flags.version,
                "journal_waiting": lambda: self.journal.waiting,
                "journal_trouble": lambda: float(bool(self.journal.trouble)),
                "state_set_aside": lambda: float(bool(self._outside.kept.set_aside)),
                "bridge_clock_ahead_seconds": self._clock.ahead_of_machine,
                "inbox_bytes": lambda: self._books.inbox.size_bytes,
                "inbox_dropped": lambda: self._books.inbox.dropped,
            }
        )
        bind_gauges(self.audit, self._metrics)
        self._metrics.bind_labelled("breaker_state", self._breaker_states)
        self._metrics.bind_labelled("tls_certificate_expiry_seconds", self._outside.tls.expiry)

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
        """Forget questions that are long over and calls that expired, every half minute while the house stands."""
        pause = Pause(self._clock)
        while True:
            await pause.sleep(SWEEP_S)
            self._books.prune()
            with suppress(StateUnavailable):  # of which the journal tells; the next round does it
                await self._outside.mcp.exchanges.sweep(now=self._clock.wall())

    def data_app(self) -> web.Application:
        """The application of the data port."""
        config, bus = self._loaded.config, self._outside.bus
        elicitations = ElicitationDoors(
            relay=self._outside.relay,
            feeds=self.feeds,
            answers=self._answers,
            sends=self._sends(),
            replies=self._replies,
            board=self.board,
            admission=self._gate.admission,
            recorder=self._recorder,
            clock=self._clock,
        )
        sse = SseDoors(
            relay=self._outside.mcp.relay,
            upstream=config.bridge.mcp_url or config.bridge.url,
            path=config.bridge.sse_path,
            recorder=self._recorder,
            clock=self._clock,
            admission=self._gate.admission,
        )
        parts = DataParts(
            waits=self._waits,
            elicitations=elicitations,
            gate=self._gate,
            bus=BusDoors(questions=BusQuestions(bus, self.feeds, self._answers), behind=elicitations) if bus else None,
            mcp=self._mcp.door(),
            relay=self._outside.relay,
            recorder=self._recorder,
            clock=self._clock,
            wait_paths=frozenset(config.wait.paths),
            mcp_path=config.bridge.mcp_path,
            allowed_hosts=self._allowed_hosts(config.listen.data),
            sse=sse,
            ingress=open_ingress(config, self._outside, self._gate, sse, recorder=self._recorder),
        )
        return build_data_app(parts)

    def called_at(self, bound: Address) -> None:
        """Agents call us at this address, for which signatures are made."""
        found = origins(self.config, bound)
        self._outside.signing.keys.give(lambda ring: self._gate.admission.take_keys(Verifier(ring, origins=found)))

    def _sends(self) -> Sends:
        dual, outside = self._loaded.config.dual, self._outside
        rule = SendRule(mode=DualSends(dual.sends), life_s=dual.life_s)
        grants = partial(self._gate.admission.grants, QUESTIONS)
        return Sends(self.feeds, self.board, rule, bridge=outside.sends, bus=outside.bus, grants=grants)

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

    def _mcp_inside(self) -> McpInside:
        parts = self.feeds.parts
        return McpInside(
            calls=ToolCalls(self.feeds, self._answers, self.board, parts.sessions),
            board=self.board,
            recorder=self._recorder,
            errands=parts.errands,
            clock=self._clock,
            spawn=self._spawn,
            admission=self._gate.admission,
        )

    async def close(self) -> None:
        """End all polls and all calls at the server, and what goes on for callers that have gone."""
        self._mcp.close()
        if self._outside.asking is not None:
            await self._outside.asking.close()
        self.feeds.close()

    def drain(self) -> None:
        """Answer every wait that is held here or at the Bridge; later ones are answered at once."""
        self.feeds.drain()
        self._waits.drain()
        self._mcp.drain()

    def give_up_after(self, seconds: float) -> None:
        """Tell whoever waits for the Bridge to take an answer that it has not, unless it has by then."""
        self._clock.alarm(self._clock.now() + seconds, self.feeds.parts.errands.close)

    def admin_app(self, tokens: tuple[Token, ...], stop: asyncio.Event) -> web.Application:
        """The application of the admin port; `stop` is what its shutdown door sets."""
        config = self._loaded.config
        return build_admin_app(
            AdminParts(
                board=self.board,
                recorder=self._recorder,
                clock=self._clock,
                audit=self.audit,
                security_facts=security_facts_of(self.audit, lambda: self.config, self._outside.machine),
                tokens=tokens,
                allowed_hosts=self._allowed_hosts(config.listen.admin),
                version=__version__,
                health=self._health,
                ready=self._ready,
                metrics=self._metrics,
                elicitation_metrics=self._recorder.snapshot,
                agents=self._recorder.agents,
                exchanges=self._books.questions,
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
        reasons += [*self._worries(), *(worry for contact in self._outside.contacts if (worry := contact.worry()))]
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
        return {"ready": not self.feeds.draining, "reasons": self._worries()}

    def _worries(self) -> list[str]:
        """Why not all is well; only a drain turns callers away."""
        in_memory = [f"state is in memory only: {self.journal.trouble}"] if self.journal.trouble else []
        draining = ["draining"] if self.feeds.draining else []
        short = ["short of file descriptors: new connections are turned away"] if self.doorman.is_refusing else []
        return [*draining, *short, *in_memory, *self.audit.reasons(), *self._outside.reasons()]

    def _clear_caches(self) -> dict[str, int]:
        """Forget what can be learned again; never a question, an answer or a cursor."""
        cleared = {"breaker": int(self._way() is not Way.OPEN), "feeds": self.feeds.forget_idle()}
        self._breaker.succeeded()
        return cleared


def _members(config: Config) -> dict[str, frozenset[str]]:
    return {name: frozenset(members) for name, members in config.groups.items()}
