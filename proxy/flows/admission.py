"""May this call in: who makes it, whether it is signed as it has to be and for the first time, and within its limits.

In this order, and each rule by its own mode: `enforce` refuses, `observe` counts what `enforce` would refuse, `off`
does not look. What cannot be judged (a store of nonces or limits that fails) is refused where it is enforced.

Source: ARCHITECTURE.md 4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from proxy.core.errors import ImpersonationRefused, RateLimited, ReplayRefused, SignatureRefused, StateUnavailable
from proxy.core.identity import NO_CLAIMS, Claims, Foul, Identity, Impersonation, Mode, bind, find_impersonation
from proxy.core.ids import AgentId
from proxy.core.limit_fields import error_members, limit_fields, refusal_text, retry_after_s
from proxy.core.limits import Decision, LimitName
from proxy.core.nonces import NonceClaim
from proxy.core.rate import Rate
from proxy.core.signing import Call, Refusal, Verdict, Verifier
from proxy.core.suspicion import Breach, Suspicion
from proxy.ports import Clock, LimitStore, NonceStore, Recorder

NOBODY: Final = AgentId("-")
"""Under this name the calls of all whom nobody vouches for share one allowance. Source: ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionRules:
    """What is asked of a call."""

    identity: Mode = "off"
    signatures: Mode = "off"
    configured: AgentId | None = None
    """The agent that this sidecar stands beside."""
    limits: Mapping[LimitName, Rate] = field(default_factory=dict)
    """Those that are in force."""

    @property
    def looks_at_calls(self) -> bool:
        """Whether identity or signature is looked at."""
        return self.identity != "off" or self.signatures != "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """What a call shows at the door, besides its signature."""

    token: str | None = None
    """The agent that its Bridge token names."""
    claims: Claims = NO_CLAIMS


class Admission:
    """Judges the calls of one listener."""

    __slots__ = ("_clock", "_limits", "_nonces", "_recorder", "_verifier", "rules")

    def __init__(
        self,
        rules: AdmissionRules,
        *,
        nonces: NonceStore,
        limits: LimitStore,
        clock: Clock,
        recorder: Recorder,
    ) -> None:
        self.rules = rules
        self._verifier: Verifier | None = None
        self._nonces = nonces
        self._limits = limits
        self._clock = clock
        self._recorder = recorder

    def take_keys(self, verifier: Verifier) -> None:
        """Judge by these keys from now on."""
        self._verifier = verifier

    def vouched_for(self, token: str | None) -> Identity | None:
        """Who calls, as far as it can be told without a signature."""
        return bind(signed=None, token=token, configured=self.rules.configured)

    def judge_signature(self, call: Call) -> Verdict | None:
        """The verdict over a signed call; None where it does not count.

        Raises:
            SignatureRefused: it does not count, and signatures are enforced.
            StateUnavailable: it cannot be judged yet.
        """
        if self.rules.signatures == "off":
            return None
        if self._verifier is None:
            raise StateUnavailable("the keys are not there yet; retry in a moment")
        verdict = self._verifier.verify(call, self._clock.wall())
        if isinstance(verdict, Verdict):
            return verdict
        self.refuse_signature(verdict)
        return None

    def refuse_signature(self, why: Refusal, agent_id: str = "") -> None:
        """Count a call that is not signed as it has to be.

        Raises:
            SignatureRefused: where signatures are enforced.
        """
        is_enforced = self.rules.signatures == "enforce"
        self._suspect(Breach.SIGNATURE, why.value, agent_id, is_enforced=is_enforced)
        if is_enforced:
            raise SignatureRefused(
                f"expected a call signed by a key that is known here (RFC 9421, hmac-sha256), got: {why.value}; "
                "see the page on signatures for what has to be covered",
                reason=why.value,
            )

    async def admit(self, entrant: Entrant, verdict: Verdict | None) -> Identity | None:
        """Who makes this call; None where nothing vouches for anybody.

        Raises:
            ImpersonationRefused, ReplayRefused, SignatureRefused: enforced, and not kept to.
            StateUnavailable: nonces cannot be kept now, and signatures are enforced.
        """
        signed = None if verdict is None else verdict.agent_id
        identity = bind(signed=signed, token=entrant.token, configured=self.rules.configured)
        if self.rules.identity != "off":
            found = find_impersonation(identity, token=entrant.token, claims=entrant.claims)
            if found is not None:
                self.refuse_impersonation(found, identity)
        if verdict is not None:
            await self._claim(verdict)
        return identity

    def refuse_impersonation(self, found: Impersonation, identity: Identity | None) -> None:
        """Count a call that speaks as somebody else.

        Raises:
            ImpersonationRefused: where identities are enforced.
        """
        is_enforced = self.rules.identity == "enforce"
        own = "" if identity is None else identity.agent_id
        self._suspect(
            Breach.IMPERSONATION, found.foul.value, own or found.claimed, claimed=found.claimed, is_enforced=is_enforced
        )
        if is_enforced:
            raise ImpersonationRefused(_told(found, identity), reason=found.foul.value)

    async def _claim(self, verdict: Verdict) -> None:
        """Let this signature count, if it never has.

        Raises:
            ReplayRefused, StateUnavailable: where signatures are enforced.
        """
        is_enforced = self.rules.signatures == "enforce"
        try:
            claim = await self._nonces.claim(
                verdict.key_id, verdict.nonce, expires=verdict.good_until, now=self._clock.wall()
            )
        except StateUnavailable:
            if is_enforced:
                raise
            return
        if claim is NonceClaim.CLAIMED:
            return
        self._suspect(Breach.REPLAY, claim.value, verdict.agent_id, is_enforced=is_enforced)
        if is_enforced:
            raise ReplayRefused(
                f"expected a signature that was not used before, got one that cannot count: {claim.value}; "
                "sign the call anew, with another nonce",
                reason=claim.value,
            )

    async def take(self, names: Sequence[LimitName], identity: Identity | None, *, cost: int = 1) -> None:
        """Take one call from what these limits grant to an agent, those that are in force.

        Raises:
            RateLimited: one of them does not grant it.
            StateUnavailable: what was granted cannot be told.
        """
        agent_id = NOBODY if identity is None else identity.agent_id
        decisions = [await self._take_one(name, agent_id, cost) for name in names if name in self.rules.limits]
        if all(decision.allowed for decision in decisions):
            return
        raise RateLimited(
            refusal_text(decisions),
            retry_after_s=retry_after_s(decisions),
            fields=limit_fields(decisions, {}, wall=self._clock.wall()),
            **error_members(decisions),
        )

    async def _take_one(self, name: LimitName, agent_id: AgentId, cost: int) -> Decision:
        decision = await self._limits.take(name, agent_id, self.rules.limits[name], now=self._clock.now(), cost=cost)
        self._recorder.limited(name, is_allowed=decision.allowed)
        if not decision.allowed:
            self._suspect(Breach.LIMIT, name, agent_id, is_enforced=True)
        return decision

    def _suspect(self, breach: Breach, rule: str, agent_id: str, *, is_enforced: bool, claimed: str = "") -> None:
        self._recorder.suspect(
            Suspicion(breach=breach, rule=rule, agent_id=agent_id, claimed=claimed, is_enforced=is_enforced)
        )


def _told(found: Impersonation, identity: Identity | None) -> str:
    match found.foul:
        case Foul.UNBOUND:
            return (
                f"the call names {found.claimed}, and nothing vouches for any agent: sign it, bring a session token of "
                "the Bridge, or set agent.id"
            )
        case Foul.UNREADABLE:
            return "expected a call that says in one way who makes it, got one that two readers may take differently"
        case Foul.TOKEN | Foul.CLAIM:
            own = "" if identity is None else f"{identity.agent_id} (by {identity.witness.value})"
            return f"expected a call of {own} in its own name, got the name of {found.claimed}; use your own"
