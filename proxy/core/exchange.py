"""The life of one wait in the elicitation cohort as a machine: one event in, one action out.

It begins on the elicitation way. When that way fails, or the flags send the agent back, the same wait goes on the
legacy way with the time that is left; it never begins anew and never lasts longer than the agent asked for.
"""

from dataclasses import dataclass
from typing import assert_never

from proxy.core.errors import BridgeUnavailable, ElicitationUnavailable, SidecarError
from proxy.core.ids import ElicitationId
from proxy.core.routing import Reason, Route


@dataclass(frozen=True, slots=True)
class Opened:
    """The wait begins."""


@dataclass(frozen=True, slots=True)
class Stirred:
    """Something may have arrived in the inbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the look into the inbox found: items of the reply, and the ids of the questions among them."""

    items: tuple[bytes, ...] = ()
    elicitation_ids: tuple[ElicitationId, ...] = ()
    tells: bool = False
    """A question is among them, in whatever form."""
    upto: int = 0
    """Up to this number the agent has everything when it has these."""
    created_at: tuple[float, ...] = ()
    """Wall-clock times at which the items came into being, where known."""


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The time the agent gave is over."""


@dataclass(frozen=True, slots=True)
class WayFailed:
    """The elicitation way cannot serve: fallback, incapable or breaker_open."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Rerouted:
    """The flags now send this agent the legacy way, for this reason."""

    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeSaid:
    """The Bridge refused this wait itself (a dead token, say); its words belong to the agent."""

    status: int
    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class BridgeAway:
    """The Bridge could not be reached, or broke off."""


@dataclass(frozen=True, slots=True)
class Draining:
    """The sidecar stops: answer now."""


Event = Opened | Stirred | Found | DeadlinePassed | WayFailed | Rerouted | BridgeSaid | BridgeAway | Draining


@dataclass(frozen=True, slots=True)
class Look:
    """Look into the inbox and report what was found."""


@dataclass(frozen=True, slots=True)
class Park:
    """Wait for the next event, until `until` (monotonic seconds) at the latest."""

    until: float


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer with these items."""

    found: Found


@dataclass(frozen=True, slots=True)
class ReplyTimeout:
    """Answer with the legacy time-out reply."""


@dataclass(frozen=True, slots=True)
class PassOn:
    """Answer with the Bridge's own words."""

    said: BridgeSaid


@dataclass(frozen=True, slots=True)
class Fail:
    """Answer with an error."""

    error: SidecarError


Action = Look | Park | Reply | ReplyTimeout | PassOn | Fail


@dataclass(slots=True, kw_only=True)
class Exchange:
    """State of one wait."""

    route: Route
    reason: Reason
    deadline: float
    """Monotonic seconds."""
    may_fall_back: bool
    """The flag `legacy_fallback` when the wait began."""
    is_in_place: bool = False
    """It stands for a call that would have been relayed, and so ends with the Bridge, as that would have.

    Any other wait outlives a restart of the Bridge.
    """
    fell_back: Reason | None = None
    """Why the elicitation way was left, if a failure caused it."""

    def step(self, event: Event) -> Action:
        """The next action; every event may come at any time, as peers and operators please."""
        match event:
            case Opened() | Stirred():
                return Look()
            case Found():
                return Reply(event) if event.items else Park(self.deadline)
            case DeadlinePassed() | Draining():
                return ReplyTimeout()
            case BridgeSaid():
                return PassOn(event)
            case WayFailed() | BridgeAway():
                return self._lose(event)
            case Rerouted(reason):
                self.route, self.reason = Route.LEGACY, reason
                return Look()
            case _:
                assert_never(event)

    def _lose(self, event: WayFailed | BridgeAway) -> Action:
        if isinstance(event, WayFailed):
            return self._leave(event.reason)
        return Fail(_no_bridge()) if self.is_in_place else Look()

    def _leave(self, reason: Reason) -> Action:
        if self.route is not Route.ELICITATION:
            return Look()
        if not self.may_fall_back:
            return Fail(
                ElicitationUnavailable(
                    f"the elicitation way cannot serve ({reason.value}) and legacy_fallback is off; retry later"
                )
            )
        self.route, self.reason, self.fell_back = Route.LEGACY, reason, reason
        return Look()


def _no_bridge() -> BridgeUnavailable:
    return BridgeUnavailable(
        "expected a reply from the Bridge, it cannot be reached or broke off; check that it runs and that bridge.url "
        "names it"
    )
