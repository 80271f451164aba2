"""Signed events: what is stored is what was said, by whom, and in its time, however the Bridge spells it."""

import json
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import InvalidInput
from proxy.core.event_signing import EVENT_TAG, EVENT_WINDOW, SignedEvent, sign_event, verify_event
from proxy.core.ids import AgentId
from proxy.core.key_ring import Key, KeyRing, KeyState, new_key
from proxy.core.signature_fields import TAG, Terms
from proxy.core.signing import Refusal, Window

pytestmark = pytest.mark.requirement("signatures.events")

ALICE, BOB = AgentId("alice"), AgentId("bob")
KEY = new_key(ALICE, entropy=bytes(range(40)), created_at=1)
BOBS = new_key(BOB, entropy=bytes(range(1, 41)), created_at=1)
RING = KeyRing([KEY, BOBS])
NOW = 1_795_000_000
TERMS = Terms(created=NOW, expires=NOW + 600, nonce="abcdefghijklmnopqrstuv")
DATA: dict[str, object] = {"message": "Ready?", "schema": {"n": 1.0, "max": 10}, "to_agent": "bob", "ü": [None, True]}
SIGNED = sign_event(DATA, key=KEY, terms=TERMS)


def judge(
    data: bytes, *, ring: KeyRing = RING, speaker: AgentId = ALICE, now: float = NOW, window: Window = EVENT_WINDOW
) -> SignedEvent | Refusal:
    return verify_event(data, ring=ring, speaker=speaker, now=now, window=window)


def member(data: dict[str, object] | None = None) -> dict[str, object]:
    found = (SIGNED if data is None else data)["signature"]
    assert isinstance(found, dict)
    return found


def with_member(**changes: object) -> bytes:
    return orjson.dumps({**SIGNED, "signature": {**member(), **changes}})


def test_a_signed_event_is_accepted_with_who_signed_it_and_what() -> None:
    found = judge(orjson.dumps(SIGNED))
    assert isinstance(found, SignedEvent)
    assert found.data == SIGNED
    verdict = found.verdict
    assert (verdict.agent_id, verdict.key_id, verdict.nonce) == (ALICE, KEY.key_id, TERMS.nonce)
    assert (verdict.created, verdict.expires, verdict.good_until) == (NOW, NOW + 600, NOW + 605)
    assert verdict.digest is None


def test_the_signature_of_an_event_is_as_documented() -> None:
    # The value was computed with openssl dgst -sha256 -mac HMAC, over the data in canonical form without it.
    assert sign_event({"b": 1, "a": "x"}, key=KEY, terms=TERMS) == {
        "b": 1,
        "a": "x",
        "signature": {
            "alg": "hmac-sha256",
            "created": NOW,
            "expires": NOW + 600,
            "keyid": "k2021222324252627",
            "nonce": "abcdefghijklmnopqrstuv",
            "tag": "elicit-sidecar-event",
            "value": "JYuLkbBTmjaeyuR8QLiZXPisG2y3izx/W5iY1CDD0aQ=",
        },
    }


def test_a_bridge_may_write_the_json_of_an_event_anew() -> None:
    shuffled = dict(reversed(SIGNED.items()))
    assert isinstance(judge(json.dumps(shuffled, indent=2).encode()), SignedEvent)
    as_floats = {**member(), "created": float(NOW), "expires": float(NOW + 600)}
    anew = {**SIGNED, "schema": {"max": 10.0, "n": 1}, "signature": as_floats}
    assert isinstance(judge(json.dumps(anew).encode()), SignedEvent)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(texts.filter(lambda name: name != "signature"), values, max_size=5))
def test_whatever_is_signed_is_accepted(data: dict[str, object]) -> None:
    event = sign_event(data, key=KEY, terms=TERMS)
    for written in (orjson.dumps(event), json.dumps(event).encode()):
        assert isinstance(judge(written), SignedEvent)


@given(st.data())
def test_a_changed_byte_is_refused_unless_it_means_the_same(data: st.DataObject) -> None:
    written = orjson.dumps(SIGNED)
    at = data.draw(st.integers(0, len(written) - 1))
    changed = written[:at] + data.draw(st.binary(max_size=2)) + written[at + data.draw(st.integers(0, 2)) :]
    found = judge(changed)
    if isinstance(found, SignedEvent):
        assert orjson.loads(changed) == orjson.loads(written)


@pytest.mark.parametrize("name", [*DATA, "signature"])
def test_a_member_that_is_missing_or_added_is_noticed(name: str) -> None:
    left = {key: value for key, value in SIGNED.items() if key != name}
    assert judge(orjson.dumps(left)) is (Refusal.ABSENT if name == "signature" else Refusal.BAD_SIGNATURE)
    assert judge(orjson.dumps({**SIGNED, f"{name}2": 1})) is Refusal.BAD_SIGNATURE


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"alg": "none"}, Refusal.MALFORMED),
        ({"tag": "elicit-sidecar"}, Refusal.MALFORMED),
        ({"extra": 1}, Refusal.MALFORMED),
        ({"created": str(NOW)}, Refusal.MALFORMED),
        ({"created": True}, Refusal.MALFORMED),
        ({"created": NOW + 0.5}, Refusal.MALFORMED),
        ({"created": 0}, Refusal.MALFORMED),
        ({"expires": None}, Refusal.MALFORMED),
        ({"expires": NOW}, Refusal.MALFORMED),
        ({"expires": 10**11}, Refusal.MALFORMED),
        ({"keyid": 1}, Refusal.MALFORMED),
        ({"keyid": "k 1"}, Refusal.MALFORMED),
        ({"nonce": "short"}, Refusal.MALFORMED),
        ({"nonce": []}, Refusal.MALFORMED),
        ({"value": None}, Refusal.MALFORMED),
        ({"value": "ü"}, Refusal.BAD_SIGNATURE),
        ({"value": ""}, Refusal.BAD_SIGNATURE),
        ({"created": NOW - 1}, Refusal.BAD_SIGNATURE),
        ({"expires": NOW + 601}, Refusal.BAD_SIGNATURE),
        ({"nonce": "bbcdefghijklmnopqrstuv"}, Refusal.BAD_SIGNATURE),
        ({"keyid": BOBS.key_id}, Refusal.BAD_SIGNATURE),
        ({"keyid": "k0"}, Refusal.UNKNOWN_KEY),
    ],
)
def test_a_signature_member_that_was_changed_is_refused(changes: dict[str, object], refusal: Refusal) -> None:
    assert judge(with_member(**changes)) is refusal


@pytest.mark.parametrize("name", ["alg", "created", "expires", "keyid", "nonce", "tag", "value"])
def test_a_signature_member_has_all_its_parts(name: str) -> None:
    left = {key: value for key, value in member().items() if key != name}
    assert judge(orjson.dumps({**SIGNED, "signature": left})) is Refusal.MALFORMED


@pytest.mark.parametrize("said", [None, "text", [], 1])
def test_a_signature_that_is_no_object_is_malformed(said: object) -> None:
    assert judge(orjson.dumps({**SIGNED, "signature": said})) is Refusal.MALFORMED


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"", Refusal.MALFORMED),
        (b"[]", Refusal.ABSENT),
        (b"{}", Refusal.ABSENT),
        (orjson.dumps(SIGNED)[:-1] + b',"message":"Ready?"}', Refusal.MALFORMED),
        (b'{"a":"' + b"x" * 70_000 + b'"}', Refusal.MALFORMED),
    ],
)
def test_data_that_is_no_signed_event_is_refused(data: bytes, refusal: Refusal) -> None:
    assert judge(data) is refusal


@given(st.binary(max_size=60) | st.dictionaries(st.just("signature"), values).map(orjson.dumps))
def test_any_bytes_are_judged_and_never_raised_over(data: bytes) -> None:
    assert isinstance(judge(data), Refusal)


@pytest.mark.requirement("signatures.window")
@pytest.mark.parametrize(
    ("offset", "refusal"),
    [
        (-6, Refusal.NOT_YET),
        (-5, None),
        (0, None),
        (604, None),
        (605, Refusal.EXPIRED),
        (606, Refusal.EXPIRED),
    ],
)
def test_an_event_is_judged_by_the_same_rule_of_time(offset: float, refusal: Refusal | None) -> None:
    found = judge(orjson.dumps(SIGNED), now=NOW + offset)
    assert (found if isinstance(found, Refusal) else None) is refusal


@pytest.mark.requirement("signatures.window")
def test_an_event_may_be_meant_for_as_long_as_a_question_lives() -> None:
    day = sign_event(DATA, key=KEY, terms=replace(TERMS, expires=NOW + 86_400))
    assert isinstance(judge(orjson.dumps(day)), SignedEvent)
    longer = sign_event(DATA, key=KEY, terms=replace(TERMS, expires=NOW + 86_401))
    assert judge(orjson.dumps(longer)) is Refusal.TOO_LONG_LIVED
    assert judge(orjson.dumps(day), window=Window()) is Refusal.TOO_LONG_LIVED


@pytest.mark.requirement("signatures.keys")
def test_a_key_speaks_for_its_own_agent_only_and_until_it_is_revoked() -> None:
    data = orjson.dumps(SIGNED)
    assert judge(data, speaker=BOB) is Refusal.AGENT_MISMATCH
    assert isinstance(judge(data, ring=RING.retired(KEY.key_id)), SignedEvent)
    assert judge(data, ring=RING.revoked(KEY.key_id)) is Refusal.REVOKED_KEY
    assert judge(data, ring=KeyRing()) is Refusal.UNKNOWN_KEY


@pytest.mark.parametrize(
    ("key", "terms"),
    [
        (replace(KEY, state=KeyState.RETIRING), TERMS),
        (KEY, replace(TERMS, nonce="")),
        (KEY, replace(TERMS, created=0)),
    ],
)
def test_only_an_active_key_signs_and_only_terms_in_order(key: Key, terms: Terms) -> None:
    with pytest.raises(ValueError, match="active key"):
        sign_event(DATA, key=key, terms=terms)


@pytest.mark.parametrize("data", [SIGNED, {"a": 2**63 + 1}, {"a": 2**53 + 1}, {"a": "\ud800"}, {"a": float("nan")}])
def test_data_that_has_a_signature_or_no_one_spelling_is_not_signed(data: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        sign_event(data, key=KEY, terms=TERMS)


def test_the_tag_of_events_is_another_than_that_of_calls() -> None:
    assert member()["tag"] == EVENT_TAG
    assert str(TAG) != EVENT_TAG
