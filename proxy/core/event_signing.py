"""Signatures inside the events of a log, for a Bridge that carries elicitations as events and knows of no signatures.

The member `signature` of an event's data says how it was signed, and its `value` is the HMAC over the canonical JSON
of the whole data with this member in it, `value` left out. So all of the data is covered, the terms included, and a
Bridge may write the JSON anew without harm. It begins with a brace, as no signed call does: neither can pass for the
other, and the tag says so too.

An event is read as often as a log is: its window is that of a question's life, and its nonce is the event's for good.

Source: RFC 8785 (canonical form); the rest is ours (ARCHITECTURE.md 2.2 and 4).
"""

import hmac
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from proxy.core.bounds import Bounds
from proxy.core.canonical_json import canonical, parse_strict
from proxy.core.errors import InvalidInput
from proxy.core.ids import AgentId
from proxy.core.key_ring import Key, KeyRing, KeyState
from proxy.core.signature_fields import ALGORITHM, KEY_ID, Terms
from proxy.core.signing import SKEW_S, Refusal, Verdict, Window, find_usable, judge_terms

MEMBER: Final = "signature"
"""Member of an event's data that holds its signature."""

EVENT_TAG: Final = "elicit-sidecar-event"
"""Keeps signed events apart from signed calls."""

EVENT_WINDOW: Final = Window(life_s=86_400, skew_s=SKEW_S)
"""Source: ours; the longest life of a question, which is how far back a log is read."""

EVENT_BOUNDS: Final = Bounds(size_bytes=65_536, depth=32, nodes=10_000, members=1_000, items=10_000)
"""How big the data of a signed event may be. Source: ours; the size is that of the largest event we read."""

_NAMES: Final = frozenset({"alg", "created", "expires", "keyid", "nonce", "tag", "value"})


@dataclass(frozen=True, slots=True)
class SignedEvent:
    """An event whose signature counts, and its data as it was signed."""

    verdict: Verdict
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """A signature member that is in order."""

    key_id: str
    terms: Terms
    value: str
    covered: bytes


def sign_event(data: Mapping[str, object], *, key: Key, terms: Terms) -> dict[str, object]:
    """The data of an event with its signature.

    Raises:
        InvalidInput: data that has a signature already, or that has no canonical form.
        ValueError: a key that is not active, or terms that are out of the grammar.
    """
    if key.state is not KeyState.ACTIVE or not terms.is_writable():
        raise ValueError("expected an active key, a nonce, and a time to live")
    if MEMBER in data:
        raise InvalidInput("expected data without a signature, got a signed event")
    said: dict[str, object] = {
        "alg": ALGORITHM,
        "created": terms.created,
        "expires": terms.expires,
        "keyid": key.key_id,
        "nonce": terms.nonce,
        "tag": EVENT_TAG,
    }
    value = _value(key, canonical({**data, MEMBER: said}))
    return {**data, MEMBER: {**said, "value": value}}


def verify_event(
    data: bytes, *, ring: KeyRing, speaker: AgentId, now: float, window: Window = EVENT_WINDOW
) -> SignedEvent | Refusal:
    """Judge the data of an event that `speaker` is said to have stored, at wall time `now`."""
    try:
        members = parse_strict(data, EVENT_BOUNDS)
    except InvalidInput:
        return Refusal.MALFORMED
    if not isinstance(members, dict) or MEMBER not in members:
        return Refusal.ABSENT
    given = _read(members)
    if given is None:
        return Refusal.MALFORMED
    key = find_usable(ring, given.key_id)
    if isinstance(key, Refusal):
        return key
    verdict = _judge(key, given, speaker=speaker, now=now, window=window)
    return verdict if isinstance(verdict, Refusal) else SignedEvent(verdict, members)


def _judge(key: Key, given: _Given, *, speaker: AgentId, now: float, window: Window) -> Verdict | Refusal:
    if not hmac.compare_digest(_value(key, given.covered).encode("ascii"), given.value.encode("utf-8")):
        return Refusal.BAD_SIGNATURE
    if key.agent_id != speaker:
        return Refusal.AGENT_MISMATCH
    return judge_terms(key, given.terms, window, now=now)


def _read(members: Mapping[str, object]) -> _Given | None:
    said = members[MEMBER]
    if not isinstance(said, dict) or said.keys() != _NAMES or (said["alg"], said["tag"]) != (ALGORITHM, EVENT_TAG):
        return None
    created, expires = _seconds(said["created"]), _seconds(said["expires"])
    texts = [text for name in ("keyid", "nonce", "value") if isinstance(text := said[name], str)]
    if created is None or expires is None or len(texts) != 3:
        return None
    key_id, nonce, value = texts
    terms = Terms(created=created, expires=expires, nonce=nonce)
    if not terms.is_writable() or KEY_ID.fullmatch(key_id) is None:
        return None
    covered = canonical({**members, MEMBER: {name: said[name] for name in said if name != "value"}})
    return _Given(key_id=key_id, terms=terms, value=value, covered=covered)


def _seconds(value: object) -> int | None:
    # A Bridge may write 1.0 for 1: the canonical form is the same, so the meaning is.
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _value(key: Key, covered: bytes) -> str:
    return b64encode(key.mac(covered)).decode("ascii")
