"""Keys and rings: which key signs, which verifies, and that a secret is told to nobody."""

import hashlib
from base64 import b64encode
from dataclasses import replace

import pytest

from proxy.core.errors import InvalidInput
from proxy.core.ids import AgentId
from proxy.core.key_ring import (
    ENTROPY_BYTES,
    MAX_KEY_BYTES,
    MAX_KEYS,
    MAX_USABLE_KEYS,
    Key,
    KeyRing,
    KeyState,
    is_key_text,
    new_key,
)
from proxy.core.secret import Secret

pytestmark = pytest.mark.requirement("signatures.keys")

ALICE, BOB = AgentId("alice"), AgentId("bob, the ü")


def make(number: int, agent_id: AgentId = ALICE, created_at: float = 1_000) -> Key:
    return new_key(agent_id, entropy=number.to_bytes(8, "big") * 5, created_at=created_at)


def revoked(number: int) -> Key:
    return replace(make(number), state=KeyState.REVOKED, secret=None)


def states(ring: KeyRing) -> dict[str, KeyState]:
    return {key.key_id: key.state for key in ring.keys}


def test_a_new_key_is_made_of_the_randomness_it_is_given() -> None:
    entropy = bytes(range(ENTROPY_BYTES))
    key = new_key(BOB, entropy=entropy, created_at=1_000.9)
    assert (key.key_id, key.agent_id, key.state, key.created_at) == ("k2021222324252627", BOB, KeyState.ACTIVE, 1_000)
    assert key.secret is not None
    assert key.secret.reveal() == b64encode(entropy[:32]).decode()
    assert key.agent_field == b"bob%2C%20the%20%C3%BC"
    with pytest.raises(ValueError, match="40 random bytes"):
        new_key(BOB, entropy=entropy[1:], created_at=1)


def test_a_key_makes_the_hmac_of_its_bytes_also_where_they_are_longer_than_a_block() -> None:
    text = b64encode(b"\xaa" * 128).decode()
    key = replace(make(1), secret=Secret(text))
    # HMAC-SHA-256 by hand, so that nothing of ours is believed. Source: RFC 2104 section 2.
    block = hashlib.sha256(b"\xaa" * 128).digest().ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block) + b"message").digest()
    assert key.mac(b"message") == hashlib.sha256(bytes(byte ^ 0x5C for byte in block) + inner).digest()
    assert key.mac(b"message") == key.mac(b"message")


def test_no_text_of_a_key_or_a_ring_shows_its_secret() -> None:
    key = make(7)
    assert key.secret is not None
    for shown in (repr(key), str(key), repr(KeyRing([key])), repr(KeyRing([key]).keys)):
        assert key.secret.reveal() not in shown
        assert "HMAC" not in shown
    assert repr(KeyRing([key])) == "KeyRing(1 keys)"


def test_a_key_has_a_secret_exactly_as_long_as_it_is_usable() -> None:
    assert make(1).is_usable
    assert not revoked(1).is_usable
    with pytest.raises(ValueError, match="secret for a usable key"):
        replace(make(1), secret=None)
    with pytest.raises(ValueError, match="none for a revoked"):
        replace(make(1), state=KeyState.REVOKED)
    with pytest.raises(ValueError, match="revoked key has no secret"):
        revoked(1).mac(b"")


@pytest.mark.parametrize("change", [{"key_id": ""}, {"key_id": 'k"'}, {"key_id": "k" * 65}, {"created_at": -1}])
def test_a_key_that_could_not_be_written_cannot_be_made(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected an id"):
        replace(make(1), **change)  # type: ignore[arg-type] # wrong on purpose


def test_a_key_of_a_length_or_spelling_that_is_not_ours_cannot_be_made() -> None:
    good = b64encode(bytes(32)).decode()
    assert is_key_text(Secret(good))
    assert is_key_text(Secret(b64encode(bytes(MAX_KEY_BYTES)).decode()))
    short, long = b64encode(bytes(31)).decode(), b64encode(bytes(MAX_KEY_BYTES + 1)).decode()
    for text in (short, long, good[:-1], good[:-2] + "B=", good + "\n", "ü" * 44, "-" * 44, " " + good):
        assert not is_key_text(Secret(text)), text
    with pytest.raises(ValueError, match="32 to 128 bytes"):
        replace(make(1), secret=Secret(short))


def test_the_age_of_a_key_counts_from_when_it_was_made() -> None:
    assert make(1).age_s(1_600.5) == 600.5
    assert make(1).age_s(0) == 0


def test_the_newest_active_key_signs_and_of_two_as_old_the_one_given_last() -> None:
    old, new, newer, other = make(1), make(2, created_at=2_000), make(3, created_at=2_000), make(4, BOB)
    ring = KeyRing([newer, old, other]).with_key(new)
    assert ring.signer_of(ALICE) is new
    assert ring.retired(new.key_id).signer_of(ALICE) is newer
    assert ring.revoked(new.key_id).revoked(newer.key_id).signer_of(ALICE) is old
    assert ring.signer_of(AgentId("nobody")) is None
    assert KeyRing([revoked(1)]).signer_of(ALICE) is None
    assert ring.keys_of(ALICE) == (newer, old, new)


def test_a_rotation_retires_what_signed_before_for_this_agent_only() -> None:
    ring = KeyRing([make(1), make(2, BOB), revoked(3)]).rotated(make(4))
    assert list(states(ring).values()) == [KeyState.RETIRING, KeyState.ACTIVE, KeyState.REVOKED, KeyState.ACTIVE]
    again = ring.rotated(make(5))
    assert [key.state for key in again.keys_of(ALICE) if key.is_usable] == [
        KeyState.RETIRING,
        KeyState.RETIRING,
        KeyState.ACTIVE,
    ]
    assert list(states(ring).values())[-1] is KeyState.ACTIVE  # a ring is a value


def test_a_revoked_key_keeps_its_id_and_loses_its_secret() -> None:
    key = make(1)
    ring = KeyRing([key]).revoked(key.key_id)
    found = ring.find(key.key_id)
    assert found is not None
    assert (found.state, found.secret) == (KeyState.REVOKED, None)
    assert ring.revoked(key.key_id).find(key.key_id) == found
    with pytest.raises(InvalidInput, match="cannot be taken into use again"):
        ring.retired(key.key_id)


def test_only_a_revoked_key_can_be_removed() -> None:
    ring = KeyRing([make(1), revoked(2)])
    one, two = states(ring)
    assert states(ring.without(two)) == {one: KeyState.ACTIVE}
    with pytest.raises(InvalidInput, match="revoke it first"):
        ring.without(one)


def test_a_change_of_a_key_that_is_not_there_is_refused() -> None:
    ring = KeyRing()
    assert ring.find("k1") is None
    for change in (ring.retired, ring.revoked, ring.without):
        with pytest.raises(InvalidInput, match="id of a key"):
            change("k1")


def test_two_keys_never_share_an_id_or_a_secret() -> None:
    with pytest.raises(InvalidInput, match="each key id once"):
        KeyRing([make(1), replace(make(1), agent_id=BOB)])
    with pytest.raises(InvalidInput, match="secret of its own") as caught:
        KeyRing([make(1), replace(make(1), key_id="other", agent_id=BOB)])
    assert "AAAA" not in str(caught.value)


def test_the_keys_of_an_agent_and_of_a_ring_are_bounded() -> None:
    usable = [make(number) for number in range(1, MAX_USABLE_KEYS + 1)]
    KeyRing([*usable, make(100, BOB), revoked(101)])
    with pytest.raises(InvalidInput, match="usable keys"):
        KeyRing([*usable, make(100)])
    many = [replace(revoked(1), key_id=f"k{number}") for number in range(MAX_KEYS + 1)]
    assert len(KeyRing(many[1:]).keys) == MAX_KEYS
    with pytest.raises(InvalidInput, match="at most 10000 keys"):
        KeyRing(many)
