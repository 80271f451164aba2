"""Which way one call goes, and the named rule that decided it.

The rules stand in one fixed order and the first that holds wins; its name, the reason, travels with the call
into every outcome, log line and metric.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from proxy.core.cohort import Cohort, bucket_of, cohort_of
from proxy.core.flags import FlagSet


class Route(StrEnum):
    """The way one call goes."""

    ELICITATION = "elicitation"
    LEGACY = "legacy"
    REMOVED = "removed"


class Reason(StrEnum):
    """The rule that decided a route. Source: ARCHITECTURE.md 2.1."""

    REMOVED = "removed"
    FORCED = "forced"
    DISABLED = "disabled"
    WHITELIST = "whitelist"
    DENIED = "denied"
    SPLIT = "split"
    INCAPABLE = "incapable"
    BREAKER_OPEN = "breaker_open"
    FALLBACK = "fallback"


class Way(StrEnum):
    """Whether the elicitation way can serve now."""

    OPEN = "open"
    INCAPABLE = "incapable"
    BREAKER_OPEN = "breaker_open"


class Owner(StrEnum):
    """Which door answers an HTTP request on the data port."""

    WAIT = "wait"
    STORE = "store"
    CREATE = "create"
    RESPOND = "respond"
    RELAY = "relay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Route and reason of one wait; `cohort` is where the agent belongs, even when its call falls back."""

    route: Route
    reason: Reason
    cohort: Cohort
    bucket: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What is known of one agent before the flags are asked: its bucket, its groups, an operator's override."""

    agent_id: str
    bucket: int
    groups: frozenset[str] = frozenset()
    forced: Cohort | None = None

    def is_listed(self, names: Collection[str]) -> bool:
        """Whether the agent, or a group it is in, is one of `names`."""
        return any(name in names for name in (self.agent_id, *self.groups))


def membership(
    agent_id: str, *, salt: str, groups: Mapping[str, frozenset[str]], forced: Cohort | None = None
) -> Membership:
    """Look an agent up: `groups` maps a group's name to its members."""
    mine = frozenset(name for name, members in groups.items() if agent_id in members)
    return Membership(agent_id=agent_id, bucket=bucket_of(salt, agent_id), groups=mine, forced=forced)


def assign(flags: FlagSet, member: Membership) -> tuple[Cohort, Reason]:
    """The agent's cohort and the rule that put it there, whatever state the Bridge is in."""
    if member.forced is not None:
        return member.forced, Reason.FORCED
    if not flags.elicitation_enabled:
        return Cohort.LEGACY, Reason.DISABLED
    if member.is_listed(flags.elicitation_whitelist):
        return Cohort.ELICITATION, Reason.WHITELIST
    if member.is_listed(flags.elicitation_denylist):
        return Cohort.LEGACY, Reason.DENIED
    return cohort_of(member.bucket, flags.threshold), Reason.SPLIT


def decide(flags: FlagSet, member: Membership, way: Way) -> Decision:
    """The route of one legacy wait, first rule that holds. Source: ARCHITECTURE.md 2.1."""
    cohort, reason = assign(flags, member)
    route = Route(cohort.value)
    if not flags.legacy_support:
        route, reason = Route.REMOVED, Reason.REMOVED
    elif cohort is Cohort.ELICITATION and way is not Way.OPEN and flags.legacy_fallback:
        route, reason = Route.LEGACY, Reason(way.value)
    return Decision(route=route, reason=reason, cohort=cohort, bucket=member.bucket)


def owner_of(method: str, path: str, wait_paths: Collection[str]) -> Owner:
    """Which door answers: `path` is the raw path without its query; anything unknown is relayed."""
    if method == "GET" and path in wait_paths:
        return Owner.WAIT
    if method != "POST":
        return Owner.RELAY
    match path:
        case "/event/store":
            return Owner.STORE
        case "/elicitation/create":
            return Owner.CREATE
        case "/elicitation/respond":
            return Owner.RESPOND
        case _:
            return Owner.RELAY
