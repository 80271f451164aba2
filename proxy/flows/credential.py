"""The token an agent waits with, and what the Bridge thinks of it.

Questions kept here are handed out only on a token that the Bridge has accepted a short while ago. A Bridge that
restarts forgets all tokens; one that had been accepted is then renewed behind the agent's back by the one session of
our own that all share, only after a break of contact, so that a live session is never pushed out, and only where the
token was this agent's own: the Bridge lets everybody read in another's name, but a session acts in it.

Source: BRIDGE.md 2.1 (three sessions per agent; tokens die with the Bridge; wrong-identity reads pass).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from proxy.core.bridge_token import issued_to
from proxy.core.errors import BridgeFault, BridgeRefused
from proxy.core.ids import AgentId
from proxy.core.secret import Secret
from proxy.flows.agent_sessions import AgentSessions
from proxy.ports import Clock

TRUST_S: Final = 60.0
"""How long an accepted token is trusted without asking again. Source: ours."""

RENEW_S: Final = 60.0
"""Least seconds between two sessions opened for one token. Source: ours."""


TOKEN_REFUSED: Final = frozenset({401, 403})
"""What the Bridge answers to a token it does not accept. Source: BRIDGE.md 2.1."""


class BridgeCredential:
    """One agent's token at the Bridge."""

    __slots__ = (
        "_accepted_at",
        "_agent_id",
        "_clock",
        "_disturbed",
        "_fingerprint",
        "_is_agents_own",
        "_is_known",
        "_renewed_at",
        "_sessions",
        "_watchers",
        "secret",
    )

    def __init__(self, agent_id: AgentId, secret: Secret, sessions: AgentSessions, clock: Clock) -> None:
        self.secret = secret
        """What to send: the agent's own token, or the one that took its place."""
        self._fingerprint = secret.fingerprint()
        self._agent_id = agent_id
        self._is_agents_own = issued_to(secret) == agent_id
        self._sessions = sessions
        self._clock = clock
        self._accepted_at = float("-inf")
        self._is_known = False
        self._renewed_at = float("-inf")
        self._disturbed = False
        self._watchers: dict[object, Callable[[], None]] = {}

    @property
    def is_agents_own(self) -> bool:
        """Whether the token was made out to this agent; the Bridge lets everybody read in another's name."""
        return self._is_agents_own

    def stands_for(self, fingerprint: bytes) -> bool:
        """Whether this is the token with this fingerprint, or what took its place."""
        return self._fingerprint == fingerprint

    def accepted(self) -> None:
        """The Bridge has just served a call with it."""
        self._accepted_at = self._clock.now()
        self._is_known = True
        self._disturbed = False

    def disturbed(self) -> None:
        """Contact broke: the Bridge may be another process when it comes back."""
        self._disturbed = True
        for tell in tuple(self._watchers.values()):
            tell()

    def is_disturbed(self) -> bool:
        """Whether contact broke and has not come back."""
        return self._disturbed

    @contextmanager
    def watched(self, tell: Callable[[], None]) -> Iterator[None]:
        """Call this each time that contact breaks while the block runs."""
        key = object()
        self._watchers[key] = tell
        try:
            yield
        finally:
            del self._watchers[key]

    def doubted(self) -> None:
        """The Bridge has just refused a call with it: nothing kept here is handed out until it accepts one again."""
        self._accepted_at = float("-inf")

    def given_up(self) -> None:
        """The Bridge's refusal stands and was passed on."""
        self.doubted()
        self._is_known = False

    def is_known(self) -> bool:
        """Whether the Bridge has accepted it, and no refusal stands since."""
        return self._is_known

    def is_trusted(self) -> bool:
        """Whether the Bridge has accepted it within the last minute."""
        return self._clock.now() - self._accepted_at < TRUST_S

    async def renewed_after(self, refusal: BridgeRefused) -> bool:
        """Put our session in its place if the Bridge must have forgotten it; False when the refusal stands."""
        forgotten = refusal.bridge_status in TOKEN_REFUSED and self._disturbed and self._is_known
        if not forgotten or not self._is_agents_own:
            return False
        if self._sessions.known(self._agent_id) in {None, self.secret}:  # else another feed has opened one
            if self._clock.now() - self._renewed_at < RENEW_S:
                return False
            self._renewed_at = self._clock.now()
        self._sessions.forget(self._agent_id, self.secret)
        try:
            self.secret = await self._sessions.credential_for(self._agent_id)
        except BridgeFault:
            return False
        return True
