from collections.abc import Iterator, Sequence
from itertools import count

import pytest

from proxy.core.call_signer import CALL_LIFE_S, CallSigner, Outgoing
from proxy.core.ids import AgentId
from proxy.core.key_ring import KeyRing, new_key
from proxy.core.signature_fields import parse_origin
from proxy.core.signing import Call, Refusal, Verdict, Verifier

pytestmark = pytest.mark.requirement("signatures.outgoing")
NOW = 1_800_000_000.5
ORIGIN = parse_origin("http://bridge.example:8765")
ALICE = new_key(AgentId("alice"), entropy=bytes(range(40)), created_at=1_700_000_000)
BOB = new_key(AgentId("bob"), entropy=bytes(range(40, 80)), created_at=1_700_000_000)


def _chance() -> Iterator[bytes]:
    for number in count():
        yield number.to_bytes(16, "big")


def _signer(ring: KeyRing | None = None, configured: str = "") -> CallSigner:
    chances = _chance()
    return CallSigner(
        lambda: KeyRing([ALICE, BOB]) if ring is None else ring,
        wall=lambda: NOW,
        chance=lambda size: next(chances)[:size],
        configured=AgentId(configured) if configured else None,
    )


def _call(**changes: object) -> Outgoing:
    given: dict[str, object] = {"method": b"GET", "target": b"/x?y=1", "origin": ORIGIN, "path": "/x", **changes}
    return Outgoing(**given)  # type: ignore[arg-type]  # a table of tests


def _judged(call: Outgoing, fields: Sequence[tuple[bytes, bytes]], *, now: float = NOW) -> Verdict | Refusal:
    verifier = Verifier(KeyRing([ALICE, BOB]), origins=[ORIGIN])
    wire = Call(method=call.method, target=call.target, headers=fields, has_body=call.body is not None)
    return verifier.verify_whole(wire, call.body or b"", now)


@pytest.mark.parametrize("body", [None, b"", b'{"a": 1}'])
def test_a_signed_call_counts_for_the_agent_of_the_sidecar(body: bytes | None) -> None:
    call = _call(method=b"POST", body=body, credential="Bearer s:bob:1:2")
    verdict = _judged(call, _signer(configured="alice").fields(call))
    assert isinstance(verdict, Verdict)
    assert (verdict.agent_id, verdict.created, verdict.expires) == ("alice", int(NOW), int(NOW) + CALL_LIFE_S)


@pytest.mark.parametrize(
    ("changes", "agent"),
    [
        ({"credential": "Bearer s:bob:1:2"}, "bob"),
        ({"credential": "Bearer s:bob:1:2", "path": "/event/store", "body": b'{"agent_id": "alice"}'}, "bob"),
        ({"path": "/session/create", "body": b'{"agent_id": "alice"}'}, "alice"),
        ({"path": "/session/create", "body": b'{"agent_id": "bob"}', "credential": "Basic x"}, "bob"),
    ],
)
def test_without_an_agent_of_its_own_it_signs_for_the_one_the_call_is_of(
    changes: dict[str, object], agent: str
) -> None:
    call = _call(**changes)
    verdict = _judged(call, _signer().fields(call))
    assert isinstance(verdict, Verdict)
    assert verdict.agent_id == agent


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"credential": "Bearer opaque"},
        {"credential": "Bearer s:carol:1:2"},
        {"credential": "Bearer s:" + "x" * 301 + ":1"},
        {"path": "/session/create", "body": b'{"agent_id": 1}'},
        {"path": "/session/create", "body": b""},
        {"target": b"*", "credential": "Bearer s:bob:1:2"},
        {"target": b"/\xff", "credential": "Bearer s:bob:1:2"},
    ],
)
def test_what_cannot_be_signed_stays_unsigned(changes: dict[str, object]) -> None:
    assert _signer().fields(_call(**changes)) == []


def test_keys_that_sign_no_more_sign_no_more() -> None:
    ring = KeyRing([ALICE]).retired(ALICE.key_id)
    assert _signer(ring, configured="alice").fields(_call()) == []


def test_no_two_calls_have_the_same_nonce() -> None:
    signer, call = _signer(configured="alice"), _call()
    first, second = (_judged(call, signer.fields(call)) for _ in range(2))
    assert isinstance(first, Verdict)
    assert isinstance(second, Verdict)
    assert first.nonce != second.nonce


def test_it_signs_for_nobody_but_the_agent_it_stands_beside() -> None:
    assert _signer(configured="alice").key_for(AgentId("alice")) is ALICE
    assert _signer(configured="alice").key_for(AgentId("bob")) is None
    assert _signer().key_for(AgentId("bob")) is BOB
