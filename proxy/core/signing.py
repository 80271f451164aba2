"""What of a call is signed, and how a signature is judged.

Covered are the method, the target URI, the agent and, where there is a body, its Content-Digest; all of it, in one
order, or the signature counts for nothing. Judging needs no clock and no chance of its own; that a nonce comes only
once is for its caller to see to, who is told how long it has to be remembered.

Reasons are given in the order in which they can be believed: first what can be read without a key, then the key, then
the signature, and only of what is truly signed whether it names its own agent and whether it is its time.

Source: RFC 9421 section 3; ARCHITECTURE.md 4 (signatures).
"""

import hmac
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, final

from proxy.core.content_digest import ContentDigest, parse_digest
from proxy.core.errors import InvalidInput
from proxy.core.hop import RawHeaders
from proxy.core.ids import AgentId
from proxy.core.key_ring import Key, KeyRing, KeyState
from proxy.core.signature_fields import (
    AGENT_FIELD,
    COVERED,
    COVERED_WITH_BODY,
    DIGEST_FIELD,
    INPUT_FIELD,
    LABEL,
    OUR_FIELDS,
    SIGNATURE_FIELD,
    Origin,
    SignatureInput,
    Terms,
    is_agent_field,
    is_method,
    is_target,
    our_params,
    parse_input,
    signature_base,
)

LIFE_S: Final = 300
"""Longest life of a signature, seconds. Source: ARCHITECTURE.md 4 (window)."""

SKEW_S: Final = 5
"""How far two clocks may be apart, seconds. Source: ours; hosts that keep time are within one."""

MAX_ORIGINS: Final = 8
"""Origins of one verifier. Source: ours; each costs one HMAC more for a signature that is none."""

_SIGNATURE_BYTES: Final = len(LABEL) + 2 + 44 + 1


class Refusal(StrEnum):
    """Why a signature does not count."""

    ABSENT = "absent"
    """There is none."""
    MALFORMED = "malformed"
    """Not our grammar: another algorithm, label or tag, a second signature, a repeated field or parameter."""
    MISSING_COMPONENT = "missing_component"
    """Something that must be covered is not."""
    UNKNOWN_KEY = "unknown_key"
    REVOKED_KEY = "revoked_key"
    BAD_SIGNATURE = "bad_signature"
    """Not made with this key over this call: forged, changed on the way, or signed for another server."""
    AGENT_MISMATCH = "agent_mismatch"
    """Truly signed, in the name of another agent than the key's."""
    NOT_YET = "not_yet"
    """Created later than now, by more than clocks may be apart."""
    EXPIRED = "expired"
    TOO_LONG_LIVED = "too_long_lived"
    """Meant to be good for longer than nonces are remembered."""
    DIGEST_MISMATCH = "digest_mismatch"
    """The body is not the one that was signed."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The rule of time; now is the verifier's wall clock, and the two clocks may be `skew_s` apart.

    A signature is good while `created - skew_s <= now < expires + skew_s`, and only where it was meant to be good
    for at most `life_s` seconds: `expires - created <= life_s`.
    """

    life_s: int = LIFE_S
    skew_s: int = SKEW_S

    def judge(self, terms: Terms, now: float) -> Refusal | None:
        """Why these terms are out of time at `now`; None where they are in it."""
        if terms.expires - terms.created > self.life_s:
            return Refusal.TOO_LONG_LIVED
        # Asked so that a clock that is no number refuses.
        if not now >= terms.created - self.skew_s:
            return Refusal.NOT_YET
        return None if now < self.good_until(terms) else Refusal.EXPIRED

    def good_until(self, terms: Terms) -> int:
        """The first second at which these terms are over, and their nonce may be forgotten."""
        return terms.expires + self.skew_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The head of one call, as it stands on the wire."""

    method: bytes
    target: bytes
    """The request target in origin form, undecoded."""
    headers: RawHeaders
    has_body: bool
    """Whether content follows, or may follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A signature that counts; its nonce is still to be claimed, and its body, if any, to be compared."""

    agent_id: AgentId
    key_id: str
    nonce: str
    created: int
    expires: int
    good_until: int
    """Wall time from which a replay would be refused as expired, so that the nonce may be forgotten."""
    digest: ContentDigest | None = None
    """What the body must be; None where nothing follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signed:
    """A signed call that is in order, before its key is looked up."""

    input: SignatureInput
    signature: bytes
    agent_field: bytes
    digest_field: bytes | None
    digest: ContentDigest | None


def unsigned(headers: RawHeaders) -> list[tuple[bytes, bytes]]:
    """These header fields without those that a signer sets."""
    return [pair for pair in headers if pair[0].lower() not in OUR_FIELDS]


def sign_call(
    key: Key, *, method: bytes, target: bytes, origin: Origin, terms: Terms, digest: bytes | None
) -> list[tuple[bytes, bytes]]:
    """The header fields that make a call a signed one; the call must have no others of these names.

    `target` is what stands on the wire to `origin`; `digest` the value of Content-Digest, None for a call without
    a body.

    Raises:
        InvalidInput: a method, target or digest that cannot be signed.
        ValueError: a key that is not active, or terms that are out of the grammar.
    """
    if key.state is not KeyState.ACTIVE or not terms.is_writable():
        raise ValueError("expected an active key, a nonce, and a time to live")
    if not is_method(method) or not is_target(target) or (digest is not None and parse_digest(digest) is None):
        raise InvalidInput("expected a method, a target in origin form and a Content-Digest that can be signed")
    params = our_params(COVERED if digest is None else COVERED_WITH_BODY, terms, key.key_id)
    uri = origin.text.encode("ascii") + target
    base = _base(method, uri, digest=digest, agent=key.agent_field, params=params)
    return [
        (AGENT_FIELD, key.agent_field),
        *(() if digest is None else ((DIGEST_FIELD, digest),)),
        (INPUT_FIELD, LABEL + b"=" + params),
        (SIGNATURE_FIELD, _write_signature(key.mac(base))),
    ]


@final
class Verifier:
    """Judges signed calls by a ring of keys, for a server that is called by certain origins.

    Raises:
        ValueError: no origin, or more than 8.
    """

    __slots__ = ("_origins", "_ring", "_window")

    def __init__(self, ring: KeyRing, *, origins: Sequence[Origin], window: Window | None = None) -> None:
        if not 0 < len(origins) <= MAX_ORIGINS:
            raise ValueError(f"expected 1 to {MAX_ORIGINS} origins, got {len(origins)}")
        self._ring = ring
        self._origins = tuple(origin.text.encode("ascii") for origin in origins)
        self._window = Window() if window is None else window

    def verify(self, call: Call, now: float) -> Verdict | Refusal:
        """Judge the head of a call at wall time `now`.

        Where the verdict has a digest the body is still to be compared with it, before anything comes of the call.
        """
        signed = _read(call)
        if isinstance(signed, Refusal):
            return signed
        key = find_usable(self._ring, signed.input.key_id)
        if isinstance(key, Refusal):
            return key
        if not self._is_signed_by(key, call, signed):
            return Refusal.BAD_SIGNATURE
        if signed.agent_field != key.agent_field:
            return Refusal.AGENT_MISMATCH
        if signed.digest is not None and not call.has_body and not signed.digest.matches(b""):
            return Refusal.DIGEST_MISMATCH
        return judge_terms(key, signed.input.terms, self._window, now=now, digest=signed.digest)

    def verify_whole(self, call: Call, body: bytes, now: float) -> Verdict | Refusal:
        """Judge a call with all of its body."""
        verdict = self.verify(call, now)
        if isinstance(verdict, Refusal):
            return verdict
        is_meant = not body if verdict.digest is None else verdict.digest.matches(body)
        return verdict if is_meant else Refusal.DIGEST_MISMATCH

    def _is_signed_by(self, key: Key, call: Call, signed: _Signed) -> bool:
        # Texts are compared, not bytes, so that no second spelling of the same signature is one. All origins are
        # tried, so that the time says nothing about which one it was.
        found = []
        for origin in self._origins:
            uri = origin + call.target
            base = _base(
                call.method,
                uri,
                digest=signed.digest_field,
                agent=signed.agent_field,
                params=signed.input.params,
            )
            found.append(hmac.compare_digest(_write_signature(key.mac(base)), signed.signature))
        return any(found)


def find_usable(ring: KeyRing, key_id: str) -> Key | Refusal:
    """The key that a signature names, or why no signature by it counts."""
    key = ring.find(key_id)
    if key is None:
        return Refusal.UNKNOWN_KEY
    return key if key.is_usable else Refusal.REVOKED_KEY


def judge_terms(
    key: Key, terms: Terms, window: Window, *, now: float, digest: ContentDigest | None = None
) -> Verdict | Refusal:
    """The verdict on what a key truly signed, or why it is not its time."""
    refusal = window.judge(terms, now)
    if refusal is not None:
        return refusal
    return Verdict(
        agent_id=key.agent_id,
        key_id=key.key_id,
        nonce=terms.nonce,
        created=terms.created,
        expires=terms.expires,
        good_until=window.good_until(terms),
        digest=digest,
    )


def _base(method: bytes, uri: bytes, *, digest: bytes | None, agent: bytes, params: bytes) -> bytes:
    of_body = () if digest is None else (("content-digest", digest),)
    return signature_base((("@method", method), ("@target-uri", uri), *of_body, ("x-agent-id", agent)), params)


def _write_signature(mac: bytes) -> bytes:
    return b"%b=:%b:" % (LABEL, b64encode(mac))


def _read(call: Call) -> _Signed | Refusal:
    found: dict[bytes, bytes] = {}
    is_repeated = False
    for name, value in call.headers:
        lower = name.lower()
        if lower in OUR_FIELDS:
            is_repeated = is_repeated or lower in found
            found[lower] = value.strip(b" \t")
    if b"signature-input" not in found and b"signature" not in found:
        return Refusal.ABSENT
    given = parse_input(found.get(b"signature-input", b""))
    signature = found.get(b"signature", b"")
    if given is None or is_repeated or len(signature) != _SIGNATURE_BYTES:
        return Refusal.MALFORMED
    if not is_method(call.method) or not is_target(call.target):
        return Refusal.MALFORMED
    return _read_covered(given, signature, found, has_body=call.has_body)


def _read_covered(
    given: SignatureInput, signature: bytes, found: Mapping[bytes, bytes], *, has_body: bool
) -> _Signed | Refusal:
    agent, written = found.get(b"x-agent-id"), found.get(b"content-digest")
    needed = COVERED_WITH_BODY if has_body or written is not None else COVERED
    if not set(needed) <= set(given.names) or agent is None:
        return Refusal.MISSING_COMPONENT
    if given.names not in {COVERED, COVERED_WITH_BODY} or not is_agent_field(agent):
        return Refusal.MALFORMED
    if given.names == COVERED:
        return _Signed(input=given, signature=signature, agent_field=agent, digest_field=None, digest=None)
    if written is None:
        return Refusal.MISSING_COMPONENT
    digest = parse_digest(written)
    if digest is None:
        return Refusal.MALFORMED
    return _Signed(input=given, signature=signature, agent_field=agent, digest_field=written, digest=digest)
