"""May this call in: who makes it, whether it is signed as it has to be and for the first time, and within its limits.

In this order, and each rule by its own mode: `enforce` refuses, `observe` counts what `enforce` would refuse, `off`
does not look. What cannot be judged (a store of nonces or limits that fails) is refused where it is enforced.

A token that the Bridge has not accepted yet may be made up, and so may a name that only the call itself says. What
such callers spend is counted apart, by what they call with, so that nobody can use up the allowance of another; they
are granted nothing once the agent itself would be granted nothing.

Source: ARCHITECTURE.md 4.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from proxy.core.errors import (
    BodyNotSigned,
    ImpersonationRefused,
    RateLimited,
    ReplayRefused,
    SignatureRefused,
    StateUnavailable,
)
from proxy.core.identity import (
    NO_CLAIMS,
    Claims,
    Foul,
    Identity,
    Impersonation,
    Mode,
    Witness,
    bind,
    find_impersonation,
)
from proxy.core.ids import MAX_AGENT_ID_CHARS, AgentId
from proxy.core.limit_fields import error_members, limit_fields, refusal_text, retry_after_s
from proxy.core.limits import ANSWERS, Decision, LimitName
from proxy.core.nonces import NonceClaim
from proxy.core.proven_tokens import ProvenTokens
from proxy.core.rate import Rate
from proxy.core.signing import Call, Refusal, Verdict, Verifier
from proxy.core.suspicion import Breach, Suspicion
from proxy.ports import Clock, LimitStore, NonceStore, Recorder

NOBODY: Final = Identity(AgentId("-"), Witness.CLAIM, b"-")
"""Whose allowance the calls share that name nobody. Source: ours."""

Known = Callable[[AgentId, bytes], bool]
"""Whether a token of an agent, by its fingerprint, is known to be genuine."""


def _none_is_known(_agent_id: AgentId, _fingerprint: bytes) -> bool:
    return False


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
    fingerprint: bytes = b""
    """Of that token."""
    claims: Claims = NO_CLAIMS


class Admission:
    """Judges the calls of one listener."""

    __slots__ = (
        "_clock",
        "_is_known",
        "_limits",
        "_nonces",
        "_of_strangers",
        "_proven",
        "_recorder",
        "_verifier",
        "rules",
    )

    def __init__(
        self,
        rules: AdmissionRules,
        *,
        nonces: NonceStore,
        limits: LimitStore,
        of_strangers: LimitStore,
        clock: Clock,
        recorder: Recorder,
        is_known: Known = _none_is_known,
    ) -> None:
        """`of_strangers` counts what is spent in names that nobody has proven; `is_known` proves tokens elsewhere."""
        self.rules = rules
        self._of_strangers = of_strangers
        self._is_known = is_known
        self._proven = ProvenTokens()
        self._verifier: Verifier | None = None
        self._nonces = nonces
        self._limits = limits
        self._clock = clock
        self._recorder = recorder

    def take_keys(self, verifier: Verifier) -> None:
        """Judge by these keys from now on."""
        self._verifier = verifier

    def bound(self, entrant: Entrant, verdict: Verdict | None = None) -> Identity | None:
        """Who calls; None where nothing vouches for anybody."""
        return bind(
            signed=None if verdict is None else verdict.agent_id,
            token=entrant.token,
            configured=self.rules.configured,
            unproven=b"" if self._is_proven(entrant) else entrant.fingerprint,
        )

    def _is_proven(self, entrant: Entrant) -> bool:
        if not entrant.token:
            return False
        agent_id = AgentId(entrant.token)
        return self._proven.is_proven(agent_id, entrant.fingerprint) or self._is_known(agent_id, entrant.fingerprint)

    def spender(self, identity: Identity | None, claims: Claims) -> Identity:
        """Whose allowance a call spends: that of whoever is vouched for, else of the first that it names."""
        if identity is not None:
            return identity
        return Identity(AgentId(claims.named[0]), Witness.CLAIM, b"-") if claims.named else NOBODY

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
            refused = BodyNotSigned if why is Refusal.DIGEST_MISMATCH else SignatureRefused
            raise refused(
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
        identity = self.bound(entrant, verdict)
        self.judge_claims(identity, entrant.claims, token=entrant.token)
        if verdict is not None:
            await self._claim(verdict)
        return identity

    def judge_claims(self, identity: Identity | None, claims: Claims, *, token: str | None = None) -> None:
        """Hold what a call says of its agent against who makes it.

        Raises:
            ImpersonationRefused: it speaks as somebody else, and identities are enforced.
        """
        if self.rules.identity == "off":
            return
        found = find_impersonation(identity, token=token, claims=claims)
        if found is not None:
            self.refuse_impersonation(found, identity)

    def judge_owner(self, identity: Identity | None, owner: str) -> None:
        """Hold what belongs to one agent, as its MCP session does, against who comes with it.

        Raises:
            ImpersonationRefused: it is another's, and identities are enforced.
        """
        is_owners = identity is not None and identity.agent_id == owner
        if self.rules.identity != "off" and not is_owners:
            self.refuse_impersonation(Impersonation(Foul.SESSION, owner), identity)

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

    async def take(self, names: Sequence[LimitName], spender: Identity, *, cost: int = 1) -> list[Decision]:
        """Take one call from what these limits grant, those that are in force; what they say, in order.

        Raises:
            RateLimited: one of them does not grant it; those behind it are not asked.
            StateUnavailable: what was granted cannot be told.
        """
        decisions: list[Decision] = []
        for name in names:
            if name not in self.rules.limits:
                continue
            decisions.append(await self._take_one(name, spender, cost))
            if not decisions[-1].allowed:
                self._suspect(Breach.LIMIT, name, spender.agent_id, is_enforced=True)
                raise RateLimited(
                    refusal_text(decisions),
                    retry_after_s=retry_after_s(decisions),
                    fields=limit_fields(decisions, {}, wall=self._clock.wall()),
                    **error_members(decisions),
                )
        return decisions

    async def take_answer_of(self, agent_id: AgentId) -> None:
        """The same for an answer that its agent gives in the middle of a call which was let in.

        Raises:
            RateLimited, StateUnavailable: the same.
        """
        await self.take([ANSWERS], Identity(agent_id, Witness.CLAIM))

    async def grants(self, name: LimitName, spender: Identity) -> bool:
        """Take what is not asked for by a call of its own, where it is granted; it is done without where it is not.

        Raises:
            StateUnavailable: what was granted cannot be told.
        """
        return name not in self.rules.limits or (await self._take_one(name, spender, 1)).allowed

    async def used_up(self, name: LimitName, spender: Identity, cost: int) -> None:
        """So much more was spent than was taken: take it as far as there is anything left.

        Raises:
            StateUnavailable: what was granted cannot be told.
        """
        if name in self.rules.limits and cost > 0:
            left = (await self._take_of(name, spender, 0)).remaining
            await self._take_of(name, spender, min(cost, left))

    async def _take_one(self, name: LimitName, spender: Identity, cost: int) -> Decision:
        decision = await self._take_of(name, spender, cost)
        self._recorder.limited(name, is_allowed=decision.allowed)
        return decision

    async def _take_of(self, name: LimitName, spender: Identity, cost: int) -> Decision:
        rate, now = self.rules.limits[name], self._clock.now()
        if len(spender.agent_id) > MAX_AGENT_ID_CHARS:  # nobody's name, and not to be kept
            spender = NOBODY
        if spender.is_proven or self._proven.is_proven(spender.agent_id, spender.unproven):
            return await self._limits.take(name, spender.agent_id, rate, now=now, cost=cost)
        decision = (await self._limits.take(name, spender.agent_id, rate, now=now, cost=0)).asked_for(cost)
        if decision.allowed:
            decision = await self._of_strangers.take(name, _as_stranger(spender), rate, now=now, cost=cost)
        return decision

    async def was_accepted(self, spender: Identity) -> None:
        """The Bridge has accepted the token of a call: its agent has spent what was spent with it.

        Raises:
            StateUnavailable: what was granted cannot be told.
        """
        agent_id, now = spender.agent_id, self._clock.now()
        if self._proven.is_proven(agent_id, spender.unproven):
            return
        self._proven.prove(agent_id, spender.unproven)
        for name, rate in self.rules.limits.items():
            apart = await self._of_strangers.take(name, _as_stranger(spender), rate, now=now, cost=0)
            left = (await self._limits.take(name, agent_id, rate, now=now, cost=0)).remaining
            await self._limits.take(name, agent_id, rate, now=now, cost=min(apart.limit - apart.remaining, left))

    def _suspect(self, breach: Breach, rule: str, agent_id: str, *, is_enforced: bool, claimed: str = "") -> None:
        self._recorder.suspect(
            Suspicion(breach=breach, rule=rule, agent_id=agent_id, claimed=claimed, is_enforced=is_enforced)
        )


def _as_stranger(spender: Identity) -> AgentId:
    """Under which name is counted what is spent with one credential that nobody has proven."""
    return AgentId(f"{spender.agent_id} {spender.unproven.hex()}")


def _told(found: Impersonation, identity: Identity | None) -> str:
    match found.foul:
        case Foul.ANSWER:
            return "expected an answer to a question that was put to the caller, got one to another's"
        case Foul.SESSION:
            return f"expected a session of the caller's own, got that of {found.claimed}; open one"
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
