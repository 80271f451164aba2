"""The same signatures judged by another implementation: what we sign it takes, what it signs we take."""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from http_message_signatures import HTTPMessageSigner, HTTPMessageVerifier, HTTPSignatureKeyResolver, InvalidSignature
from http_message_signatures.algorithms import HMAC_SHA256
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.core.content_digest import DigestAlgorithm, write_digest
from proxy.core.ids import AgentId
from proxy.core.key_ring import Key, KeyRing, new_key
from proxy.core.signature_fields import COVERED, COVERED_WITH_BODY, TAG, Terms, parse_origin
from proxy.core.signing import Call, Refusal, Verdict, Verifier, sign_call

pytestmark = pytest.mark.requirement("signatures.oracle")

ORIGIN = parse_origin("https://bridge.example:8443")

agent_ids = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12).map(AgentId)
methods = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"M-SEARCH"])
targets = st.from_regex(
    rb"/[A-Za-z0-9._~!$&'()*+,;=:@/-]{0,20}(\?([A-Za-z0-9=&/?]|%[0-9A-F]{2}){0,20})?", fullmatch=True
)
nonces = st.from_regex(r"[A-Za-z0-9+/=_-]{16,64}", fullmatch=True)
bodies = st.binary(max_size=40)


@dataclass
class Message:
    """A request as the other implementation takes it."""

    method: str
    url: str
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict)


class Keys(HTTPSignatureKeyResolver):
    """One key under one id."""

    def __init__(self, key: Key) -> None:
        assert key.secret is not None
        self._known = {key.key_id: b64decode(key.secret.reveal())}

    def resolve_public_key(self, key_id: str) -> bytes:
        return self._known[key_id]

    def resolve_private_key(self, key_id: str) -> bytes:
        return self._known[key_id]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One call to sign."""

    key: Key
    method: bytes
    target: bytes
    body: bytes
    nonce: str
    algorithm: DigestAlgorithm

    @property
    def names(self) -> tuple[str, ...]:
        return COVERED_WITH_BODY if self.body else COVERED

    @property
    def digest(self) -> bytes | None:
        return write_digest(self.body, self.algorithm) if self.body else None

    def message(self) -> Message:
        return Message(self.method.decode(), ORIGIN.text + self.target.decode())

    def verifier(self) -> Verifier:
        return Verifier(KeyRing([self.key]), origins=[ORIGIN])


cases = st.builds(
    Case,
    key=st.builds(
        lambda name, entropy: new_key(name, entropy=entropy, created_at=1),
        agent_ids,
        st.binary(min_size=40, max_size=40),
    ),
    method=methods,
    target=targets,
    body=bodies,
    nonce=nonces,
    algorithm=st.sampled_from(DigestAlgorithm),
)


def theirs(case: Case, message: Message) -> Mapping[str, object] | None:
    """What the other implementation says was signed; None where it refuses."""
    verifier = HTTPMessageVerifier(signature_algorithm=HMAC_SHA256, key_resolver=Keys(case.key))
    try:
        (result,) = verifier.verify(message, expect_tag=TAG, require_components=case.names, body=case.body)
    except InvalidSignature:
        return None
    return result.parameters


@given(cases)
def test_what_we_sign_the_other_implementation_takes_and_a_changed_body_it_does_not(case: Case) -> None:
    message = case.message()
    terms = Terms.at(_now().timestamp(), case.nonce, life_s=300)
    fields = sign_call(case.key, method=case.method, target=case.target, origin=ORIGIN, terms=terms, digest=case.digest)
    message.headers.update((name.decode(), value.decode()) for name, value in fields)
    assert theirs(case, message) == {
        "created": terms.created,
        "expires": terms.expires,
        "nonce": case.nonce,
        "keyid": case.key.key_id,
        "alg": "hmac-sha256",
        "tag": TAG,
    }
    message.method = "PATCH"
    assert theirs(case, message) is None


@given(cases, st.integers(1, 300))
def test_what_the_other_implementation_signs_we_take_and_not_for_another_method(case: Case, life_s: int) -> None:
    message, now = case.message(), _now()
    message.headers["X-Agent-Id"] = case.key.agent_field.decode()
    if case.digest is not None:
        message.headers["Content-Digest"] = case.digest.decode()
    signer = HTTPMessageSigner(signature_algorithm=HMAC_SHA256, key_resolver=Keys(case.key))
    signer.sign(
        message,
        key_id=case.key.key_id,
        created=now,
        expires=now + timedelta(seconds=life_s),
        nonce=case.nonce,
        label="sig1",
        tag=TAG,
        covered_component_ids=case.names,
        use_existing_digest=case.digest is not None,
    )
    headers = [(name.encode(), value.encode()) for name, value in message.headers.items()]
    call = Call(method=case.method, target=case.target, headers=headers, has_body=bool(case.body))
    verdict = case.verifier().verify_whole(call, case.body, now.timestamp())
    assert isinstance(verdict, Verdict)
    assert (verdict.agent_id, verdict.nonce) == (case.key.agent_id, case.nonce)
    assert verdict.expires - verdict.created == life_s
    other = Call(method=b"PATCH", target=case.target, headers=headers, has_body=bool(case.body))
    assert case.verifier().verify_whole(other, case.body, now.timestamp()) is Refusal.BAD_SIGNATURE


def _now() -> datetime:
    # The other implementation has a clock of its own.
    return datetime.now(UTC).replace(microsecond=0)
