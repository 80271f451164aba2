"""The facts that a report of security is made of: how a sidecar is set up, and what its audit trail tells."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

import orjson

from proxy.core.audit import Entry
from proxy.core.deeds import CallLetThrough, CallRefused
from proxy.core.identity import Mode
from proxy.core.key_ring import KeyState

DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A port of ours."""

    name: str
    address: str
    is_loopback: bool
    is_tls: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A certificate that is shown to peers."""

    by: str
    """The key of the configuration that names it."""
    not_after: float
    """Wall seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeWay:
    """The way to the Bridge."""

    url: str
    is_loopback: bool
    is_tls: bool
    has_own_authorities: bool
    shows_certificate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """A file or folder that others must not get at."""

    what: str
    path: str
    mode: int | None
    """None where it cannot be looked at."""
    allowed: int
    """The bits that its mode may have."""
    is_secret: bool = True
    """Whether reading it is the harm; else it is writing."""

    @property
    def is_open(self) -> bool:
        """Whether others may do with it what they must not."""
        return self.mode is not None and bool(self.mode & 0o777 & ~self.allowed)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFact:
    """A key by which an agent signs; never its secret."""

    key_id: str
    agent_id: str
    state: KeyState
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Posture:
    """How a sidecar is set up."""

    listeners: Sequence[Listener]
    bridge: BridgeWay
    identity: Mode
    signatures: Mode
    signs: bool
    """Whether calls to the Bridge are signed."""
    has_key_file: bool
    agent: str
    """The one this sidecar stands beside; may be empty."""
    limits: Sequence[tuple[str, str]]
    """Name and rate; an empty rate is none."""
    keys: Sequence[KeyFact] = ()
    certificates: Sequence[Shown] = ()
    files: Sequence[Guarded] = ()
    operators: int = 0
    viewers: int = 0
    state: str = ""
    """Where it is kept."""
    outlives: bool = True
    """Whether the state outlives the process."""
    problems: Sequence[str] = ()
    """What of the configuration is not in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailFacts:
    """What is known of the audit trail."""

    entries: Sequence[Entry] = ()
    verdict: str = ""
    """What a check said of it."""
    is_whole: bool | None = None
    """None where there is none to be read."""
    losses: int = 0
    """How often entries went with a state file."""

    @property
    def is_known(self) -> bool:
        """Whether what it does not tell of did not happen."""
        return self.is_whole is True


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityFacts:
    """Everything that a report of security is made of."""

    made_at: float
    """Wall seconds."""
    version: str
    posture: Posture
    trail: TrailFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """One entry about calls that were refused, or let through as the rule is only observed."""

    at_s: float
    subject: str
    why: str
    rule: str
    calls: int
    is_enforced: bool

    @property
    def day(self) -> date:
        """Of the entry, UTC; one beyond the calendar counts for its last day."""
        try:
            return datetime.fromtimestamp(self.at_s, UTC).date()
        except (OverflowError, ValueError, OSError):
            return date.max


def refused_in(entries: Iterable[Entry]) -> Iterator[Refused]:
    """What the trail tells of refused calls, as far as its entries are what they were."""
    for entry in entries:
        if entry.what not in {CallRefused.what, CallLetThrough.what} or not entry.is_true:
            continue
        match orjson.loads(entry.details):
            case {"why": str(why), "rule": str() | None as rule, "calls": int(calls)}:
                yield Refused(
                    at_s=entry.at_ms / 1000,
                    subject=entry.subject,
                    why=why,
                    rule=rule or "",
                    calls=calls,
                    is_enforced=entry.what == CallRefused.what,
                )
            case _:  # true, and of another release
                continue
