"""Who may come in: by which witness, signed once, and within whose allowance."""

import itertools
from collections.abc import Mapping

import pytest

from proxy.core.content_digest import write_digest
from proxy.core.errors import (
    BodyNotSigned,
    ImpersonationRefused,
    RateLimited,
    ReplayRefused,
    SidecarError,
    SignatureRefused,
    StateUnavailable,
)
from proxy.core.hop import RawHeaders
from proxy.core.identity import Claims, Identity, Mode, Witness
from proxy.core.ids import AgentId
from proxy.core.key_ring import Key, KeyRing
from proxy.core.limits import ANSWERS, CALLS, QUESTIONS, LimitName
from proxy.core.nonces import NonceBounds, NonceClaim
from proxy.core.rate import Rate
from proxy.core.signature_fields import Terms, parse_origin
from proxy.core.signing import Call, Refusal, Verifier, sign_call
from proxy.core.suspicion import Breach
from proxy.flows.admission import NOBODY, Admission, AdmissionRules, Entrant
from proxy.stores.memory_limits import MemoryLimitStore
from proxy.stores.memory_nonces import MemoryNonceStore
from tests.support.admissions import admission_of
from tests.support.fake_recorder import FakeRecorder
from tests.support.manual_clock import ManualClock
from tests.support.signing import key_of

ALICE, BOB = AgentId("alice"), AgentId("bob")
KEYS: Mapping[str, Key] = {"alice": key_of("alice"), "bob": key_of("bob")}
ORIGIN = parse_origin("http://127.0.0.1:8766")
TEN: Mapping[LimitName, Rate] = {QUESTIONS: Rate(count=10, period_s=60, burst=3)}
_NUMBERS = itertools.count(1)


class Stand:
    """One judge, and what it told."""

    def __init__(self, rules: AdmissionRules, **ports: object) -> None:
        self.clock, self.recorder = ManualClock(), FakeRecorder()
        self.admission: Admission = admission_of(self.clock, self.recorder, rules, **ports)  # type: ignore[arg-type]
        self.admission.take_keys(Verifier(KeyRing(tuple(KEYS.values())), origins=[ORIGIN]))

    def signed(self, agent: str = "alice", *, body: bytes = b"", nonce: str = "", ago_s: float = 0.0) -> Call:
        """A call as it comes in."""
        terms = Terms.at(self.clock.wall() - ago_s, nonce or f"nonce-of-a-test-{next(_NUMBERS):08}", life_s=300)
        headers: RawHeaders = sign_call(
            KEYS[agent],
            method=b"GET",
            target=b"/x",
            origin=ORIGIN,
            terms=terms,
            digest=write_digest(body) if body else None,
        )
        return Call(method=b"GET", target=b"/x", headers=headers, has_body=bool(body))

    async def enter(self, call: Call | None = None, **shown: object) -> Identity | None:
        """Bring one call in."""
        verdict = None if call is None else self.admission.judge_signature(call)
        return await self.admission.admit(Entrant(**shown), verdict)  # type: ignore[arg-type]

    @property
    def told(self) -> list[tuple[str, str, str, bool]]:
        """Every suspicion: rule, who, whom it named, and whether it was enforced."""
        return [(each.rule, each.agent_id, each.claimed, each.is_enforced) for each in self.recorder.suspicions]


def claims(*named: str) -> Claims:
    return Claims(named)


UNSIGNED = Call(method=b"GET", target=b"/x", headers=[], has_body=False)


@pytest.mark.requirement("admission.modes")
class TestIdentity:
    async def test_the_strongest_witness_is_who_calls(self) -> None:
        stand = Stand(AdmissionRules(identity="enforce", signatures="enforce", configured=BOB))
        assert await stand.enter(stand.signed(), claims=claims("alice")) == Identity(ALICE, Witness.SIGNATURE)
        stand = Stand(AdmissionRules(identity="enforce", configured=BOB))
        found = await stand.enter(token="alice", fingerprint=b"x")
        assert found == Identity(ALICE, Witness.TOKEN, b"x")
        assert await stand.enter(claims=claims("bob")) == Identity(BOB, Witness.CONFIGURED)
        assert not stand.told

    @pytest.mark.parametrize(
        ("shown", "told"),
        [
            ({"claims": claims("bob")}, ("claim", "alice", "bob", True)),
            ({"claims": claims("alice", "bob")}, ("claim", "alice", "bob", True)),
            ({"claims": Claims(is_readable=False)}, ("unreadable", "alice", "", True)),
            ({"token": "bob", "fingerprint": b"x"}, ("token", "alice", "bob", True)),
            ({"token": "bob", "claims": claims("bob")}, ("token", "alice", "bob", True)),
        ],
    )
    async def test_whoever_signs_speaks_for_nobody_else(
        self, shown: dict[str, object], told: tuple[str, str, str, bool]
    ) -> None:
        stand = Stand(AdmissionRules(identity="enforce", signatures="enforce"))
        with pytest.raises(ImpersonationRefused) as caught:
            await stand.enter(stand.signed(), **shown)
        assert caught.value.extra == {"reason": told[0]}
        assert stand.told == [told]

    async def test_a_name_for_which_nobody_vouches_is_refused(self) -> None:
        stand = Stand(AdmissionRules(identity="enforce"))
        with pytest.raises(ImpersonationRefused, match="nothing vouches"):
            await stand.enter(claims=claims("alice"))
        assert stand.told == [("unbound", "alice", "alice", True)]
        assert await stand.enter() is None

    async def test_observing_counts_what_enforcing_refuses_and_off_does_not_look(self) -> None:
        stand = Stand(AdmissionRules(identity="observe", configured=ALICE))
        assert await stand.enter(claims=claims("bob")) == Identity(ALICE, Witness.CONFIGURED)
        assert stand.told == [("claim", "alice", "bob", False)]
        stand = Stand(AdmissionRules(configured=ALICE))
        await stand.enter(claims=claims("bob"))
        stand.admission.judge_owner(Identity(ALICE, Witness.CONFIGURED), "bob")
        assert not stand.told

    @pytest.mark.parametrize("caller", [Identity(BOB, Witness.SIGNATURE), None])
    async def test_what_belongs_to_one_agent_is_nobody_elses(self, caller: Identity | None) -> None:
        stand = Stand(AdmissionRules(identity="enforce"))
        stand.admission.judge_owner(Identity(ALICE, Witness.TOKEN), "alice")
        with pytest.raises(ImpersonationRefused, match="session"):
            stand.admission.judge_owner(caller, "alice")
        assert [told[0] for told in stand.told] == ["session"]

    async def test_a_replayed_call_of_another_is_told_as_what_is_worse(self) -> None:
        stand = Stand(AdmissionRules(identity="enforce", signatures="enforce"))
        call = stand.signed()
        await stand.enter(call)
        with pytest.raises(ImpersonationRefused):
            await stand.enter(call, claims=claims("bob"))


@pytest.mark.requirement("admission.modes")
class TestSignatures:
    @pytest.mark.parametrize(("mode", "expected"), [("off", []), ("observe", [False]), ("enforce", [True])])
    async def test_a_call_without_a_signature(self, mode: Mode, expected: list[bool]) -> None:
        stand = Stand(AdmissionRules(signatures=mode))
        if mode == "enforce":
            with pytest.raises(SignatureRefused, match="absent"):
                await stand.enter(UNSIGNED)
        else:
            assert await stand.enter(UNSIGNED) is None
        assert stand.told == [("absent", "", "", is_enforced) for is_enforced in expected]

    async def test_off_an_expired_signature_vouches_for_nobody_and_is_not_looked_at(self) -> None:
        stand = Stand(AdmissionRules(identity="observe"))
        assert await stand.enter(stand.signed(ago_s=900)) is None
        assert not stand.told

    async def test_an_expired_one_is_refused_and_vouches_for_nobody_where_it_is_only_counted(self) -> None:
        stand = Stand(AdmissionRules(signatures="enforce"))
        with pytest.raises(SignatureRefused) as caught:
            await stand.enter(stand.signed(ago_s=305))
        assert caught.value.extra == {"reason": "expired"}
        stand = Stand(AdmissionRules(signatures="observe", configured=BOB))
        assert await stand.enter(stand.signed(ago_s=305)) == Identity(BOB, Witness.CONFIGURED)

    async def test_a_body_that_was_not_signed_has_a_name_of_its_own(self) -> None:
        stand = Stand(AdmissionRules(signatures="enforce"))
        with pytest.raises(BodyNotSigned):
            stand.admission.refuse_signature(Refusal.DIGEST_MISMATCH, ALICE)
        assert stand.told == [("digest_mismatch", "alice", "", True)]

    async def test_before_the_keys_are_there_nobody_can_be_judged(self) -> None:
        admission = admission_of(ManualClock(), FakeRecorder(), AdmissionRules(signatures="observe"))
        with pytest.raises(StateUnavailable):
            admission.judge_signature(UNSIGNED)

    async def test_a_signature_counts_once(self) -> None:
        stand = Stand(AdmissionRules(signatures="enforce"))
        call = stand.signed()
        await stand.enter(call)
        with pytest.raises(ReplayRefused) as caught:
            await stand.enter(call)
        assert caught.value.extra == {"reason": str(NonceClaim.REPLAYED)}
        assert stand.told == [(str(NonceClaim.REPLAYED), "alice", "", True)]
        assert stand.recorder.suspicions[0].breach is Breach.REPLAY

    async def test_a_nonce_of_one_key_says_nothing_of_the_same_of_another(self) -> None:
        stand = Stand(AdmissionRules(signatures="enforce"))
        await stand.enter(stand.signed(nonce="the-same-nonce-0000"))
        await stand.enter(stand.signed("bob", nonce="the-same-nonce-0000"))

    async def test_a_replay_is_let_through_and_counted_where_it_is_observed(self) -> None:
        stand = Stand(AdmissionRules(signatures="observe"))
        call = stand.signed()
        assert await stand.enter(call) == await stand.enter(call) == Identity(ALICE, Witness.SIGNATURE)
        assert stand.told == [(str(NonceClaim.REPLAYED), "alice", "", False)]

    async def test_a_full_store_of_nonces_refuses_what_is_new(self) -> None:
        bounds = NonceBounds(total=2, per_key=2)
        stand = Stand(AdmissionRules(signatures="enforce"), nonces=MemoryNonceStore(bounds))
        calls = [stand.signed(), stand.signed()]
        for call in calls:
            await stand.enter(call)
        with pytest.raises(ReplayRefused):
            await stand.enter(stand.signed())
        with pytest.raises(ReplayRefused):
            await stand.enter(calls[0])

    async def test_a_store_of_nonces_that_fails_lets_nobody_in_where_it_is_enforced(self) -> None:
        class Failing:
            async def claim(self, keyid: str, nonce: str, *, expires: float, now: float) -> NonceClaim:
                del keyid, nonce, expires, now
                raise StateUnavailable("the disk is full")

        stand = Stand(AdmissionRules(signatures="enforce"), nonces=Failing())
        with pytest.raises(StateUnavailable):
            await stand.enter(stand.signed())
        stand = Stand(AdmissionRules(signatures="observe"), nonces=Failing())
        assert await stand.enter(stand.signed()) == Identity(ALICE, Witness.SIGNATURE)


async def spent(stand: Stand, spender: Identity, name: LimitName = QUESTIONS, *, most: int = 40) -> int:
    """How many calls are granted until one is refused."""
    for count in range(most):
        try:
            await stand.admission.take([name], spender)
        except RateLimited:
            return count
    return most


@pytest.mark.requirement("admission.limits")
class TestLimits:
    async def test_thirteen_at_once_then_a_refusal_that_says_when_to_come_again(self) -> None:
        stand = Stand(AdmissionRules(limits=TEN))
        assert await spent(stand, Identity(ALICE, Witness.SIGNATURE)) == 13
        with pytest.raises(RateLimited) as caught:
            await stand.admission.take([QUESTIONS], Identity(ALICE, Witness.SIGNATURE))
        error = caught.value
        assert (error.status, error.retry_after_s, error.extra) == (429, 6.0, {"violated-policies": ["questions"]})
        assert error.fields["Retry-After"] == "6"
        assert error.fields["RateLimit"] == '"questions";r=0;t=6'
        assert error.fields["RateLimit-Policy"] == '"questions";q=13;w=78'
        assert stand.told == [("questions", "alice", "", True)] * 2
        assert stand.recorder.limits == [(QUESTIONS, True)] * 13 + [(QUESTIONS, False)] * 2
        await stand.clock.advance(6)
        assert await spent(stand, Identity(ALICE, Witness.SIGNATURE)) == 1
        assert await spent(stand, Identity(BOB, Witness.SIGNATURE)) == 13

    async def test_what_is_refused_by_one_limit_takes_nothing_of_those_behind_it(self) -> None:
        stand = Stand(AdmissionRules(limits={**TEN, CALLS: Rate(count=1, period_s=60, burst=0)}))
        alice = Identity(ALICE, Witness.SIGNATURE)
        assert [decision.name for decision in await stand.admission.take([CALLS, ANSWERS, QUESTIONS], alice)] == [
            CALLS,
            QUESTIONS,
        ]
        for _ in range(5):
            with pytest.raises(RateLimited):
                await stand.admission.take([CALLS, QUESTIONS], alice)
        assert await spent(stand, alice) == 12

    async def test_what_was_not_asked_for_is_granted_or_done_without(self) -> None:
        stand = Stand(AdmissionRules(limits=TEN))
        alice = Identity(ALICE, Witness.SIGNATURE)
        assert [await stand.admission.grants(QUESTIONS, alice) for _ in range(14)] == [True] * 13 + [False]
        assert await spent(stand, alice) == 0
        assert await stand.admission.grants(ANSWERS, alice)
        assert [suspicion.rule for suspicion in stand.recorder.suspicions] == ["questions"]

    async def test_answers_in_the_middle_of_a_call_come_out_of_the_same_allowance(self) -> None:
        stand = Stand(AdmissionRules(limits={ANSWERS: Rate(count=20, period_s=60, burst=3)}))
        for _ in range(20):
            await stand.admission.take_answer_of(ALICE)
        assert await spent(stand, Identity(ALICE, Witness.SIGNATURE), ANSWERS) == 3
        with pytest.raises(RateLimited):
            await stand.admission.take_answer_of(ALICE)

    async def test_a_made_up_token_spends_nothing_of_the_agent_that_it_names(self) -> None:
        stand = Stand(AdmissionRules(limits=TEN))
        forged = Identity(ALICE, Witness.TOKEN, b"x")
        assert await spent(stand, forged) == 13
        assert await spent(stand, Identity(ALICE, Witness.SIGNATURE)) == 13

    async def test_whoever_names_an_agent_is_granted_no_more_than_the_agent_itself(self) -> None:
        stand = Stand(AdmissionRules(limits=TEN))
        assert await spent(stand, Identity(ALICE, Witness.SIGNATURE)) == 13
        assert await spent(stand, Identity(ALICE, Witness.CLAIM, b"x")) == 0

    async def test_once_the_bridge_has_taken_a_token_its_agent_has_spent_what_it_did_before(self) -> None:
        stand = Stand(AdmissionRules(limits=TEN))
        shown = Entrant(token="alice", fingerprint=b"genuine")
        spender = stand.admission.spender(stand.admission.bound(shown), Claims())
        await stand.admission.take([QUESTIONS], spender)
        await stand.admission.was_accepted(spender)
        proven = stand.admission.bound(shown)
        assert proven == Identity(ALICE, Witness.TOKEN)
        assert await spent(stand, proven) == 12
        other = stand.admission.bound(Entrant(token="alice", fingerprint=b"forged"))
        assert other == Identity(ALICE, Witness.TOKEN, b"forged")

    async def test_calls_under_way_when_a_token_is_taken_are_spent_by_its_agent_as_well(self) -> None:
        stand = Stand(AdmissionRules(limits=TEN))
        spender = Identity(ALICE, Witness.TOKEN, b"genuine")
        for _ in range(8):
            await stand.admission.take([QUESTIONS], spender)
        for _ in range(8):
            await stand.admission.was_accepted(spender)
        await stand.admission.take([QUESTIONS], spender)
        assert await spent(stand, Identity(ALICE, Witness.TOKEN)) == 4
        assert await spent(stand, spender) == 0

    async def test_a_token_that_is_known_elsewhere_is_genuine(self) -> None:
        stand = Stand(AdmissionRules(limits=TEN), is_known=lambda agent, mark: (agent, mark) == ("alice", b"known"))
        assert stand.admission.bound(Entrant(token="alice", fingerprint=b"known")) == Identity(ALICE, Witness.TOKEN)

    async def test_whoever_is_not_vouched_for_spends_in_the_name_that_it_says(self) -> None:
        stand = Stand(AdmissionRules(limits=TEN))
        assert stand.admission.spender(None, claims("alice", "bob")).agent_id == "alice"
        assert stand.admission.spender(None, Claims()) is NOBODY
        assert await spent(stand, Identity(AgentId("x" * 301), Witness.CLAIM)) == 13
        assert await spent(stand, NOBODY) == 0

    @pytest.mark.requirement("admission.flood")
    @pytest.mark.parametrize(("is_proven", "names", "kept"), [(True, 5_000, 999), (False, 100_000, 50_000)])
    async def test_a_hundred_thousand_new_names_give_a_victim_nothing_back_and_take_no_room(
        self, *, is_proven: bool, names: int, kept: int
    ) -> None:
        limits = MemoryLimitStore(1_000)
        stand = Stand(AdmissionRules(limits=TEN), limits=limits)
        victim = Identity(ALICE, Witness.SIGNATURE)
        assert await spent(stand, victim) == 13
        refused = 0
        for number in range(names):
            stand.recorder.limits.clear()
            stand.recorder.suspicions.clear()
            name = Identity(AgentId(f"n{number}"), Witness.TOKEN, b"" if is_proven else b"x")
            try:
                await stand.admission.take([QUESTIONS], name)
            except SidecarError:
                refused += 1
        assert await spent(stand, victim) == 0
        assert refused == names - kept
        await stand.clock.advance(6)
        assert await spent(stand, victim) == 1

    @pytest.mark.requirement("admission.flood")
    async def test_made_up_names_keep_nobody_out_who_is_known(self) -> None:
        stand = Stand(AdmissionRules(limits=TEN), limits=MemoryLimitStore(10))
        for number in range(1_000):
            await stand.admission.take([QUESTIONS], Identity(AgentId(f"n{number}"), Witness.TOKEN, b"x"))
        assert await spent(stand, Identity(ALICE, Witness.SIGNATURE)) == 13
