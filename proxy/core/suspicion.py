"""One sign that somebody does what is not theirs to do, from which counters, log lines and the audit are made."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Breach(StrEnum):
    """Which rule it is against."""

    IMPERSONATION = "impersonation"
    SIGNATURE = "signature"
    REPLAY = "replay"
    LIMIT = "limit"
    FOREIGN_ANSWER = "foreign_answer"
    """An answer to another agent's question."""
    HOST = "host"
    """A page that reaches us through a foreign name."""


OBSERVABLE: Final = (Breach.IMPERSONATION, Breach.SIGNATURE, Breach.REPLAY, Breach.LIMIT)
"""Those whose rule has a mode, or may get one; the others are always refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspicion:
    """One call that a rule refuses, or would refuse where it is only observed."""

    breach: Breach
    rule: str
    """In which way, from a closed set: a foul, a refusal of a signature, what became of a nonce, a limit."""
    agent_id: str
    """Who is vouched for, or else who is named; empty where nobody is."""
    claimed: str = ""
    """Who was named instead, where that is what is wrong."""
    is_enforced: bool
    """Whether the call was refused; else it was let through."""
