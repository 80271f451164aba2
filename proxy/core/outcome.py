"""The one record every served call leaves behind, from which metrics, log lines and reports are made.

Nothing else increments a counter, so dashboards, rollback and reports can never disagree.
"""

from dataclasses import dataclass
from enum import StrEnum

from proxy.core.cohort import Cohort
from proxy.core.errors import (
    AnswerConflict,
    AnswerForbidden,
    AnswerUndelivered,
    ElicitationExpired,
    Fault,
    RateLimited,
    SidecarError,
)
from proxy.core.routing import Reason, Route


class Door(StrEnum):
    """Which door a call came through."""

    WAIT = "http_wait"
    STORE = "http_store"
    CREATE = "http_create"
    RESPOND = "http_respond"
    RELAY = "http_relay"
    MCP = "mcp_http"
    MCP_STDIO = "mcp_stdio"
    ADMIN = "http_admin"


class Result(StrEnum):
    """How a call ended, from the caller's view."""

    DELIVERED = "delivered"
    """A wait ended with at least one item."""
    TIMED_OUT = "timed_out"
    """A wait ended with the legacy time-out reply."""
    RELAYED = "relayed"
    """The Bridge's own reply was passed on."""
    ANSWERED = "answered"
    """An answer was taken, or recognised as the same one again."""
    SERVED = "served"
    """An operator got what was asked for."""
    REFUSED = "refused"
    """We refused the call: the caller's mistake."""
    FAILED = "failed"
    """The Bridge or the sidecar failed."""
    GONE = "gone"
    """The caller left before the end."""


class ElicitationOutcome(StrEnum):
    """What happened to an elicitation, as `elicitations_total{outcome}` counts it."""

    SEEN = "seen"
    OFFERED = "offered"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    FORBIDDEN = "forbidden"
    INVALID = "invalid"
    EXPIRED = "expired"
    UNDELIVERED = "undelivered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One fact about one served call; `seconds` from its first byte to its end."""

    door: Door
    result: Result
    seconds: float
    status: int = 0
    """HTTP status sent, 0 when the caller was gone."""
    agent_id: str = ""
    route: Route | None = None
    """Only for waits, as are `reason` and `cohort`."""
    reason: Reason | None = None
    cohort: Cohort | None = None
    fell_back: Reason | None = None
    """Why the elicitation way was left, if it was."""
    error_code: str = ""
    fault: Fault | None = None
    items: int = 0
    """Items delivered by a wait."""
    delivery_seconds: tuple[float, ...] = ()
    """Per item: from its creation, or the begin of the wait if that came later, to its delivery."""
    elicitations: tuple[ElicitationOutcome, ...] = ()
    empty_wakes_saved: int = 0
    """Replies of the Bridge with nothing for this agent, which a legacy agent would have been woken for."""
    agent_kind: str = ""
    """Product name in the caller's User-Agent, from a closed list."""
    method: str = ""
    path: str = ""
    bytes_up: int = 0
    bytes_down: int = 0


def counted_as(error: SidecarError) -> ElicitationOutcome:
    """As what an answer that was not taken counts."""
    match error:
        case AnswerForbidden():
            return ElicitationOutcome.FORBIDDEN
        case AnswerConflict():
            return ElicitationOutcome.CONFLICT
        case ElicitationExpired():
            return ElicitationOutcome.EXPIRED
        case AnswerUndelivered() | RateLimited():
            return ElicitationOutcome.UNDELIVERED
        case _:
            return ElicitationOutcome.INVALID
