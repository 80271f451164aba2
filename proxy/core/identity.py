"""Who speaks: what vouches for a call's agent, and whom else the call names as itself.

The strongest witness counts: a verified signature, else the Bridge token that the call brings, else the agent that
this sidecar stands beside. Whoever is named otherwise, in the query, the body or the arguments of a tool, is claimed
to be somebody else, which is impersonation. A token is only read here: the Bridge judges whether it is genuine, and
nothing is handed out before it has.

Source: ARCHITECTURE.md 4 (identity); BRIDGE.md 2.1 (a token names its agent; the Bridge lets it name another).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from proxy.core.ids import AgentId

Mode = Literal["off", "observe", "enforce"]
"""Whether a rule is not looked at, counted only, or kept."""


class Witness(StrEnum):
    """What vouches for an agent, the strongest first."""

    SIGNATURE = "signature"
    TOKEN = "token"  # noqa: S105  # the name of a witness
    CONFIGURED = "configured"
    CLAIM = "claim"
    """Nobody but the call itself; it counts for nothing but whose allowance is spent."""


class Foul(StrEnum):
    """In which way a call speaks as somebody else."""

    CLAIM = "claim"
    """It names another agent than the one that is vouched for."""
    TOKEN = "token"  # noqa: S105  # the name of a foul
    """It is signed by one agent and brings the token of another."""
    UNBOUND = "unbound"
    """It names an agent, and nothing vouches for any."""
    UNREADABLE = "unreadable"
    """It must name its agent, and cannot be read."""
    SESSION = "session"
    """It speaks in an MCP session that another has opened."""
    ANSWER = "answer"
    """It answers a question that was put to another."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The agent that a call is of, and what vouches for it."""

    agent_id: AgentId
    witness: Witness
    unproven: bytes = b""
    """Fingerprint of what it calls with, while nobody knows whether that is genuine."""

    @property
    def is_proven(self) -> bool:
        """Whether it is not only named, but known to be genuine."""
        return not self.unproven


@dataclass(frozen=True, slots=True)
class Claims:
    """The agents that a call names as itself; `is_readable` is False where that cannot be told."""

    named: tuple[str, ...] = ()
    is_readable: bool = True


NO_CLAIMS = Claims()


@dataclass(frozen=True, slots=True)
class Impersonation:
    """One call that speaks as somebody else."""

    foul: Foul
    claimed: str
    """Whom it names; empty where that cannot be told."""


def bind(
    *, signed: AgentId | None, token: str | None, configured: AgentId | None, unproven: bytes = b""
) -> Identity | None:
    """The agent that a call is of; None where nothing vouches for any. `unproven` is of the token."""
    if signed is not None:
        return Identity(signed, Witness.SIGNATURE)
    if token:
        return Identity(AgentId(token), Witness.TOKEN, unproven)
    return None if configured is None else Identity(configured, Witness.CONFIGURED)


def find_impersonation(identity: Identity | None, *, token: str | None, claims: Claims) -> Impersonation | None:
    """In which way a call of this identity speaks as somebody else, if it does."""
    if identity is not None and token and token != identity.agent_id:
        return Impersonation(Foul.TOKEN, token)
    if not claims.is_readable:
        return Impersonation(Foul.UNREADABLE, "")
    foreign = _first_other(claims.named, None if identity is None else identity.agent_id)
    if foreign is None:
        return None
    return Impersonation(Foul.UNBOUND if identity is None else Foul.CLAIM, foreign)


def _first_other(named: Iterable[str], own: str | None) -> str | None:
    return next((name for name in named if name != own), None)
