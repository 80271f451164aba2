"""The one listener to outcomes: each becomes metrics, a log line and a sample of its cohort.

Nothing else increments a counter or writes about a served call.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

from proxy.core.agent_kind import AgentKind
from proxy.core.cohort import Cohort
from proxy.core.errors import AnswerForbidden, Fault, HostRefused, Unauthenticated
from proxy.core.limits import LimitName
from proxy.core.outcome import Door, ElicitationOutcome, Outcome
from proxy.core.suspicion import Breach, Suspicion
from proxy.observe.agents import AgentList
from proxy.observe.catalogue import CATALOGUE, NONE, OTHER
from proxy.observe.lines import write_outcome, write_suspicion
from proxy.observe.logs import logger
from proxy.observe.metrics import Metrics
from proxy.observe.tally import CohortTally, latencies
from proxy.ports import Clock

WAIT_DOORS: Final = frozenset({Door.WAIT})
"""Doors all of whose calls are waits."""

MCP_DOORS: Final = frozenset({Door.MCP, Door.MCP_STDIO})
"""Doors some of whose calls are waits: those that a route was decided for."""

_LOG: Final = logger("proxy.observe.recorder")

_KNOWN: Final = {metric.name: metric.labels for metric in CATALOGUE}
_CODES: Final = frozenset(_KNOWN["errors_total"]["code"])
_FALLBACKS: Final = frozenset(_KNOWN["fallbacks_total"]["reason"])
_KINDS: Final = frozenset(AgentKind)

_BREACHES: Final = {AnswerForbidden.code: Breach.FOREIGN_ANSWER, HostRefused.code: Breach.HOST}
"""Errors of calls of agents that watchers hear of, besides what is said with `suspect`."""

_SUSPICIOUS: Final = frozenset({ElicitationOutcome.CONFLICT, ElicitationOutcome.FORBIDDEN, ElicitationOutcome.INVALID})
_WORRYING: Final = _SUSPICIOUS | {ElicitationOutcome.UNDELIVERED}


def _is_wait(outcome: Outcome) -> bool:
    return outcome.door in WAIT_DOORS or (outcome.door in MCP_DOORS and outcome.route is not None)


def _breach_of(outcome: Outcome) -> Breach | None:
    """What watchers hear of a call that ended so; of the admin port they hear elsewhere, with the caller's address."""
    if outcome.door is Door.ADMIN:
        return None
    is_foreign = ElicitationOutcome.FORBIDDEN in outcome.elicitations
    return Breach.FOREIGN_ANSWER if is_foreign else _BREACHES.get(outcome.error_code)


def _within(value: str, known: frozenset[str]) -> str:
    return value if value in known else OTHER


class OutcomeRecorder:
    """Implements the Recorder port; not thread safe, as it lives on the event loop."""

    __slots__ = (
        "_clock",
        "_defects",
        "_elicitations",
        "_errors",
        "_impersonations",
        "_lost",
        "_metrics",
        "_started",
        "_tallies",
        "_watchers",
        "agents",
    )

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self.agents = AgentList(clock)
        self._metrics = metrics
        self._clock = clock
        self._started = clock.now()
        self._tallies = {cohort: CohortTally() for cohort in Cohort}
        self._elicitations: Counter[ElicitationOutcome] = Counter()
        self._errors: Counter[str] = Counter()
        self._watchers: list[Callable[[Suspicion], None]] = []
        self._impersonations = 0
        self._lost = 0
        self._defects = 0
        metrics.bind_labelled("cohort_agents", self.agents.per_cohort)

    def record(self, outcome: Outcome) -> None:
        """Take note of one served call."""
        self._metrics.count("calls_total", outcome.door, outcome.result)
        self.agents.note(outcome)
        if _is_wait(outcome):
            self._count_wait(outcome)
        elif outcome.door is Door.RELAY:
            self._metrics.observe("relay_seconds", outcome.seconds)
            status_class = f"{outcome.status // 100}xx" if 100 <= outcome.status < 600 else NONE
            self._metrics.count("relayed_total", status_class)
        if outcome.error_code:
            code = _within(outcome.error_code, _CODES)
            self._errors[code] += 1
            self._metrics.count("errors_total", code, outcome.fault or Fault.OURS)
        self._count_elicitations(outcome)
        breach = _breach_of(outcome)
        if breach is not None:
            self._tell(Suspicion(breach=breach, rule="", agent_id=outcome.agent_id, is_enforced=True))
        write_outcome(_LOG, outcome)

    def _count_wait(self, outcome: Outcome) -> None:
        metrics = self._metrics
        metrics.count("waits_total", outcome.route or NONE, outcome.reason or NONE, outcome.door)
        metrics.observe("wait_seconds", outcome.seconds)
        metrics.count("legacy_calls_total", _within(outcome.agent_kind or AgentKind.NONE, _KINDS))
        if outcome.fell_back is not None:
            metrics.count("fallbacks_total", _within(outcome.fell_back, _FALLBACKS))
        if outcome.empty_wakes_saved:
            metrics.count("empty_wakes_saved_total", amount=outcome.empty_wakes_saved)
        if outcome.cohort is not None:
            self._tallies[outcome.cohort].wait(outcome)
            for seconds in latencies(outcome):
                metrics.observe("delivery_seconds", seconds, outcome.cohort)

    def _count_elicitations(self, outcome: Outcome) -> None:
        for happened in outcome.elicitations:
            self._count_elicitation(happened)
        # A refusal that names no elicitation (an unknown one, say) is still somebody speaking as another.
        if outcome.error_code == AnswerForbidden.code and ElicitationOutcome.FORBIDDEN not in outcome.elicitations:
            self._count_impersonation()

    def _count_impersonation(self) -> None:
        self._impersonations += 1
        self._metrics.count("impersonations_total")

    def _count_elicitation(self, happened: ElicitationOutcome) -> None:
        self._elicitations[happened] += 1
        self._metrics.count("elicitations_total", happened)
        if happened is ElicitationOutcome.FORBIDDEN:
            self._count_impersonation()

    def elicitation(self, outcome: ElicitationOutcome, agent_id: str) -> None:
        """Take note of something that happened to an elicitation outside of a served call."""
        self._count_elicitation(outcome)
        if outcome is ElicitationOutcome.FORBIDDEN:
            self._tell(Suspicion(breach=Breach.FOREIGN_ANSWER, rule="", agent_id=agent_id, is_enforced=True))
        if outcome in _WORRYING:
            _LOG.warning("elicitation", outcome=outcome.value, agent_id=agent_id)
        else:
            _LOG.info("elicitation", outcome=outcome.value, agent_id=agent_id)

    def suspect(self, suspicion: Suspicion) -> None:
        """Take note of a call that a rule of security refuses, or would refuse."""
        match suspicion.breach:
            case Breach.IMPERSONATION:
                self._count_impersonation()
            case Breach.SIGNATURE:
                self._metrics.count("signature_failures_total", suspicion.rule)
            case Breach.REPLAY:
                self._metrics.count("replays_total")
            case Breach.LIMIT | Breach.FOREIGN_ANSWER | Breach.HOST:
                pass  # counted by `limited`, and by the outcomes of their calls
        if not suspicion.is_enforced:
            self._metrics.count("breaches_let_through_total", suspicion.breach)
        write_suspicion(_LOG, suspicion)
        self._tell(suspicion)

    def _tell(self, suspicion: Suspicion) -> None:
        for watcher in self._watchers:
            watcher(suspicion)

    def watch(self, watcher: Callable[[Suspicion], None]) -> None:
        """Tell this one of every suspicion, and of foreign answers and names, which are told of by their calls."""
        self._watchers.append(watcher)

    def limited(self, limit: LimitName, *, is_allowed: bool) -> None:
        """Take note of what a rate limit said to a call."""
        self._metrics.count("rate_limit_decisions_total", "allowed" if is_allowed else "refused", limit)

    def lost_messages(self, agent_id: str, count: int) -> None:
        """Report messages that a restarted Bridge can no longer deliver to this agent, at most so many."""
        self._lost += count
        self._metrics.count("messages_lost_total", amount=count)
        cohort = self.agents.cohort_of(agent_id)
        if cohort is not None:
            self._tallies[cohort].lost(count)
        _LOG.warning("messages lost", agent_id=agent_id, at_most=count)

    def defect(self, where: str, error: BaseException) -> None:
        """Report a mistake of our own, with its traceback."""
        self._defects += 1
        self._metrics.count("defects_total")
        _LOG.error("defect", where=where, exc_info=error)

    def snapshot(self) -> dict[str, object]:
        """What `GET /elicitation/metrics` shows: counts since the start, quantiles over the recent window."""
        happened = self._elicitations
        return {
            "uptime_seconds": self._clock.now() - self._started,
            "active_waits": self._metrics.read("parked_waits"),
            "pending_elicitations": self._metrics.read("elicitations_pending"),
            "cohorts": {cohort.value: tally.snapshot() for cohort, tally in self._tallies.items()},
            "agents": self.agents.per_cohort(),
            "elicitations": {outcome.value: happened[outcome] for outcome in ElicitationOutcome},
            "errors": dict(self._errors),
            "messages_lost": self._lost,
            "defects": self._defects,
            "security": {
                "impersonations": self._impersonations,
                "answer_conflicts": happened[ElicitationOutcome.CONFLICT],
                "invalid_answers": happened[ElicitationOutcome.INVALID],
                "hosts_refused": self._errors[HostRefused.code],
                "unauthenticated": self._errors[Unauthenticated.code],
            },
        }
