"""What a check of security finds: findings with a rank, each with what to do about it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from proxy.reports.facts import SecurityFacts


class Severity(StrEnum):
    """How much a finding matters, the most first."""

    HIGH = "high"
    """Somebody can do now what they must not, or nobody could tell: the check has failed."""
    UNKNOWN = "unknown"
    """It could not be read, so nothing shows that it is in order: no check of it has passed."""
    MEDIUM = "medium"
    """A defence is missing that others stand behind."""
    LOW = "low"
    """Worth to know."""


class Verdict(StrEnum):
    """What a whole report comes to."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """What it reads could not be read."""


class Component(StrEnum):
    """What a check is about."""

    ELICITATION = "elicitation"
    """Who may ask, answer and wait, and how often."""
    ADMIN = "admin"
    """Who may look at the sidecar and change it."""
    TRANSPORT = "transport"
    """What can be read and changed on its way."""
    STATE = "state"
    """What is kept on this machine, and for whom it is open."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be."""

    severity: Severity
    told: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One question, and how it is answered."""

    name: str
    component: Component
    question: str
    """What holds where nothing is found."""
    find: Callable[[SecurityFacts], Iterator[Finding]]
    reads_trail: bool = False
    """Whether it looks at the entries of the audit trail, and knows nothing where they cannot be had."""


RANK = tuple(Severity)
"""The most severe first."""
