"""Who speaks, and in whose name."""

import pytest

from proxy.core.identity import NO_CLAIMS, Claims, Foul, Identity, Impersonation, Witness, bind, find_impersonation
from proxy.core.ids import AgentId

ALICE, BOB = AgentId("alice"), AgentId("bob")
SIGNED = Identity(ALICE, Witness.SIGNATURE)

pytestmark = pytest.mark.requirement("identity.binding")


@pytest.mark.parametrize(
    ("signed", "token", "configured", "bound"),
    [
        (ALICE, "bob", BOB, Identity(ALICE, Witness.SIGNATURE)),
        (None, "bob", ALICE, Identity(BOB, Witness.TOKEN)),
        (None, None, ALICE, Identity(ALICE, Witness.CONFIGURED)),
        (None, "", ALICE, Identity(ALICE, Witness.CONFIGURED)),
        (None, None, None, None),
    ],
)
def test_the_strongest_witness_counts(
    signed: AgentId | None, token: str | None, configured: AgentId | None, bound: Identity | None
) -> None:
    assert bind(signed=signed, token=token, configured=configured) == bound


@pytest.mark.parametrize(
    ("identity", "token", "claims", "found"),
    [
        (SIGNED, None, Claims(("alice", "alice")), None),
        (SIGNED, "alice", NO_CLAIMS, None),
        (SIGNED, "bob", Claims(("alice",)), Impersonation(Foul.TOKEN, "bob")),
        (SIGNED, None, Claims(("alice", "bob")), Impersonation(Foul.CLAIM, "bob")),
        (SIGNED, None, Claims(is_readable=False), Impersonation(Foul.UNREADABLE, "")),
        (None, None, Claims(("bob",)), Impersonation(Foul.UNBOUND, "bob")),
        (None, None, NO_CLAIMS, None),
        (Identity(BOB, Witness.TOKEN), "bob", Claims(("bob",)), None),
        (Identity(BOB, Witness.CONFIGURED), None, Claims(("alice",)), Impersonation(Foul.CLAIM, "alice")),
    ],
)
def test_whoever_is_named_besides_the_one_that_is_vouched_for_is_impersonated(
    identity: Identity | None, token: str | None, claims: Claims, found: Impersonation | None
) -> None:
    assert find_impersonation(identity, token=token, claims=claims) == found


def test_a_token_that_nobody_has_proven_names_its_agent_and_proves_nothing() -> None:
    found = bind(signed=None, token="bob", configured=ALICE, unproven=b"mark")
    assert found == Identity(BOB, Witness.TOKEN, b"mark")
    assert not found.is_proven
    signed = bind(signed=ALICE, token="bob", configured=None, unproven=b"mark")
    assert signed is not None
    assert signed.is_proven
