"""The metric catalogue: every metric we expose, as data.

Names follow Prometheus: base units, `_total` on counters, one prefix. A label takes its values from a closed list,
so the number of series is bounded whatever peers send; the id of an agent is never a label.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from proxy.core import errors
from proxy.core.agent_kind import AgentKind
from proxy.core.breaker import BreakerState
from proxy.core.cohort import Cohort
from proxy.core.errors import Fault, SidecarError
from proxy.core.outcome import Door, ElicitationOutcome, Result
from proxy.core.routing import Reason, Route
from proxy.core.signing import Refusal as SignatureRefusal
from proxy.core.suspicion import OBSERVABLE

PREFIX: Final = "elicit_sidecar_"
"""Prefix of every metric of ours. Source: ARCHITECTURE.md 3.6."""

NONE: Final = "none"
"""Label value where a call ended before the label was decided."""

OTHER: Final = "other"
"""Label value for what is not in the closed list."""

LIMITS: Final = ("questions", "answers", "waits", "calls", "bytes")
"""The limits there are. Source: `[limits]` of the configuration."""

STATUS_CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx", NONE)

_LONG_S: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
_DELIVERY_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_RELAY_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0)


_WRITE_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Kind(StrEnum):
    """What a metric does over time."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric: what it is called, what it means, which values its labels may take."""

    name: str
    """As it is exposed, without the prefix."""
    kind: Kind
    help: str
    unit: str = ""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Label to its closed list; empty for the free text of `build_info`, which we alone set."""
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, in its unit."""

    @property
    def full_name(self) -> str:
        """The name with our prefix."""
        return PREFIX + self.name


def _error_codes() -> tuple[str, ...]:
    known = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SidecarError)}
    return (*sorted(known), OTHER)


def _counter(name: str, text: str, **labels: tuple[str, ...]) -> Metric:
    return Metric(name=name, kind=Kind.COUNTER, help=text, labels=MappingProxyType(labels))


def _gauge(name: str, text: str, *, unit: str = "", **labels: tuple[str, ...]) -> Metric:
    return Metric(name=name, kind=Kind.GAUGE, help=text, unit=unit, labels=MappingProxyType(labels))


def _seconds(name: str, text: str, buckets: tuple[float, ...], **labels: tuple[str, ...]) -> Metric:
    shown = MappingProxyType(labels)
    return Metric(name=name, kind=Kind.HISTOGRAM, help=text, unit="seconds", labels=shown, buckets=buckets)


COHORTS: Final = tuple(Cohort)

CATALOGUE: Final = (
    Metric(
        name="build_info",
        kind=Kind.INFO,
        help="Version of the sidecar and of the Python it runs on.",
        labels=MappingProxyType({"version": (), "python": ()}),
    ),
    _counter(
        "calls_total", "Calls served, by door and end; each leaves one outcome.", door=tuple(Door), result=tuple(Result)
    ),
    _counter(
        "waits_total",
        "Legacy waits served, by the way they went and the rule that decided it.",
        route=(*Route, NONE),
        reason=(*Reason, NONE),
        door=tuple(Door),
    ),
    _seconds("wait_seconds", "How long waits were held, from first byte to reply.", _LONG_S),
    _seconds(
        "delivery_seconds",
        "From the creation of an item, or the begin of the wait if that came later, to its delivery.",
        _DELIVERY_S,
        cohort=COHORTS,
    ),
    _counter("elicitations_total", "What happened to elicitations.", outcome=tuple(ElicitationOutcome)),
    _gauge("elicitations_pending", "Elicitations that wait for an answer now."),
    _gauge(
        "bridge_clock_ahead_seconds",
        "How far the dates that count here, which are the Bridge's, are ahead of this machine's clock.",
        unit="seconds",
    ),
    _gauge(
        "tls_certificate_expiry_seconds",
        "Until the certificate of a port expires, less than 0 when it has; infinite for a port without TLS.",
        unit="seconds",
        listener=("data", "admin"),
    ),
    _gauge("parked_waits", "Waits that are held open now."),
    _counter("connections_refused_total", "Connections turned away because the process was short of descriptors."),
    _counter(
        "legacy_calls_total", "Calls of the legacy wait, by the caller's HTTP library.", agent_kind=tuple(AgentKind)
    ),
    _seconds("relay_seconds", "Duration of relayed calls, from first byte to last.", _RELAY_S),
    _counter("relayed_total", "Relayed calls, by class of the status that was sent.", status_class=STATUS_CLASSES),
    _counter(
        "fallbacks_total",
        "Waits that left the elicitation way for the legacy way, by reason.",
        reason=(Reason.INCAPABLE, Reason.BREAKER_OPEN, Reason.FALLBACK, OTHER),
    ),
    _gauge("rollout_percentage", "Share of agents in the elicitation cohort by the flags.", unit="percent"),
    _gauge("flags_version", "Version of the flag set in force."),
    _gauge("cohort_agents", "Distinct agents whose last wait, within 24 hours, was in the cohort.", cohort=COHORTS),
    _gauge("breaker_state", "1 for the state the breaker of the elicitation way is in.", state=tuple(BreakerState)),
    _counter("empty_wakes_saved_total", "Empty Bridge replies for which an agent was not woken."),
    _counter(
        "messages_lost_total",
        "Upper bound of the messages that were heard of here and that a restarted Bridge can no longer deliver: all "
        "numbers an agent had not read count, also those of its own messages and of what the Bridge shows to nobody.",
    ),
    _counter("journal_writes_total", "Changes that became durable in the journal."),
    _seconds("journal_write_seconds", "Duration of one commit of the journal, with the wait for the disk.", _WRITE_S),
    _gauge("journal_waiting", "Changes that wait to become durable."),
    _gauge("journal_trouble", "1 while the state store does not take what is written: the state is in memory only."),
    _gauge("audit_trouble", "1 while the state store does not take the entries of the audit trail."),
    _gauge("audit_waiting", "Entries of the audit trail that wait to become durable."),
    _counter("journal_troubles_total", "How often the state store has begun to refuse what is written."),
    _gauge("state_set_aside", "1 when the state was found damaged at the start and a fresh one was begun."),
    _gauge("inbox_bytes", "Copies of messages on their way to agents.", unit="bytes"),
    _gauge("inbox_dropped", "Copies that went, since the start, because as many are kept as may be."),
    _counter(
        "errors_total",
        "Calls that ended in an error, by its code and whose mistake it was.",
        code=_error_codes(),
        fault=tuple(Fault),
    ),
    _counter("defects_total", "Mistakes of the sidecar itself; each has a traceback in the log."),
    _counter(
        "impersonations_total", "Calls that spoke as another agent, answers to another agent's question included."
    ),
    _counter(
        "signature_failures_total", "Calls whose signature did not count, by reason.", reason=tuple(SignatureRefusal)
    ),
    _counter("replays_total", "Signed calls that came a second time, or whose nonce could not be kept."),
    _counter(
        "rate_limit_decisions_total",
        "What rate limits said to calls.",
        decision=("allowed", "refused"),
        limit=LIMITS,
    ),
    _counter(
        "breaches_let_through_total",
        "Calls that were let through although a rule that is only observed would refuse them.",
        breach=OBSERVABLE,
    ),
)
"""Every metric of ours, in the order of the exposition; those of process, memory and platform come on top."""
