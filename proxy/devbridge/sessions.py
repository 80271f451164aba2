"""Bridge sessions: tokens, at most three per agent, one hour of inactivity, and the abuse rule.

Anyone may open one for any agent id, as on the real Bridge. Times are seconds since the epoch and come in as arguments.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Final

MAX_PER_AGENT: Final = 3
"""A fourth revokes the oldest. Source: BRIDGE.md 2.1."""

IDLE_S: Final = 3600.0
"""Seconds without a call after which a token is dead. Source: BRIDGE.md 2.1."""

ABUSE_PER_MINUTE: Final = 100
"""Requests a minute, on average over the session's life. Source: BRIDGE.md 2.1."""

ABUSE_GRACE_S: Final = 60.0
"""Age in seconds below which the abuse rule does not judge. Source: BRIDGE.md 2.1."""

MAX_SESSIONS: Final = 100_000
"""Source: ours; ten times the largest fleet a benchmark plays, so that memory has a bound."""

AGENT_WITHOUT_COLON: Final = "mcp_server"
"""Who a token without a colon belongs to. Source: BRIDGE.md 3."""


@dataclass(slots=True, kw_only=True)
class BridgeSession:
    """One open session; it counts its calls, so it is not frozen."""

    session_id: str
    token: str
    agent_id: str
    ip_address: str
    user_agent: str
    created_at: float
    last_seen: float
    calls: int = 0


def agent_of(token: str) -> str:
    """The agent a token names in its second part, whoever it was made for.

    Source: BRIDGE.md 2.1, an agent id with a colon gets a token that is never valid.
    """
    parts = token.split(":")
    return parts[1] if len(parts) > 1 else AGENT_WITHOUT_COLON


class SessionBook:
    """All open sessions of one process; they die with it."""

    __slots__ = ("_by_agent", "_by_token", "_secret")

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._by_token: dict[str, BridgeSession] = {}
        self._by_agent: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return len(self._by_token)

    def open(self, agent_id: str, ip_address: str, user_agent: str, now: float) -> BridgeSession:
        """A new session; the agent's oldest goes when there are three already."""
        tokens = self._by_agent.get(agent_id, [])
        if len(tokens) >= MAX_PER_AGENT:
            self._revoke(tokens[0])
        if len(self._by_token) >= MAX_SESSIONS:
            self._revoke(next(iter(self._by_token)))
        session_id = secrets.token_hex(16)
        said = f"{session_id}:{agent_id}:{now}"
        seal = hmac.new(self._secret, said.encode(), hashlib.sha256).hexdigest()
        session = BridgeSession(
            session_id=session_id,
            token=f"{said}:{seal}",
            agent_id=agent_id,
            ip_address=ip_address,
            user_agent=user_agent,
            created_at=now,
            last_seen=now,
        )
        self._by_token[session.token] = session
        self._by_agent.setdefault(agent_id, []).append(session.token)
        return session

    def validate(
        self,
        token: str,
        agent_id: str,
        now: float,
        *,
        abuse_rule: bool = True,
        ip_address: str = "",
        user_agent: str = "",
    ) -> bool:
        """Whether a token is this agent's and may be used now; counts the call, also a refused one.

        An empty address or user agent, given now or at the opening, is not compared.
        """
        session = self._by_token.get(token)
        if session is None or session.agent_id != agent_id:
            return False
        if now - session.last_seen > IDLE_S:
            self._revoke(token)
            return False
        if _differ(session.ip_address, ip_address) or _differ(session.user_agent, user_agent):
            return False
        session.last_seen = now
        session.calls += 1
        return not (abuse_rule and _is_abused(session, now))

    def _revoke(self, token: str) -> None:
        session = self._by_token.pop(token)
        left = self._by_agent[session.agent_id]
        left.remove(token)
        if not left:
            del self._by_agent[session.agent_id]


def _differ(kept: str, given: str) -> bool:
    return bool(kept and given) and kept != given


def _is_abused(session: BridgeSession, now: float) -> bool:
    age_s = now - session.created_at
    return age_s > ABUSE_GRACE_S and session.calls / (age_s / 60) > ABUSE_PER_MINUTE
