"""What every store of suspended calls keeps to: its bounds, and when one seal key follows another."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import InvalidState, StateUnavailable
from proxy.mcp.mrtr import open_state, seal
from proxy.stores.exchange_rules import (
    KEY_LIFE_S,
    LONGEST_TTL_S,
    RETRY_S,
    Bounds,
    MadeKey,
    Taken,
    end_of,
    mark_of,
    turn_ring,
)

START = 1_800_000_000.0
HANDLE = b"h" * 16


class Chance:
    """Bytes that never come twice."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def __call__(self, size: int) -> bytes:
        return next(self._numbers).to_bytes(size)


def names(ring: tuple[MadeKey, ...]) -> list[str]:
    return [made.key.key_id for made in ring]


@pytest.mark.requirement("store.seal_keys")
def test_the_first_use_makes_a_key_of_as_many_bytes_as_the_hash() -> None:
    (made,) = turn_ring((), Chance(), now=START)
    assert made.made_at == START
    assert len(made.key.secret) == 32
    assert made.key.key_id == "00000001"


@pytest.mark.requirement("store.seal_keys")
def test_a_key_seals_for_thirty_days_and_opens_for_a_day_more() -> None:
    chance = Chance()
    first = turn_ring((), chance, now=START)
    assert turn_ring(first, chance, now=START + KEY_LIFE_S - 1) == first
    turned = START + KEY_LIFE_S
    second = turn_ring(first, chance, now=turned)
    assert names(second) == ["00000003", "00000001"]
    assert turn_ring(second, chance, now=turned + LONGEST_TTL_S - 1) == second
    assert names(turn_ring(second, chance, now=turned + LONGEST_TTL_S)) == ["00000003"]


@pytest.mark.requirement("store.seal_keys")
def test_a_ring_that_nobody_looked_at_for_years_still_opens_what_was_sealed_before() -> None:
    """The old key sealed up to this very moment, for nobody had made its successor."""
    chance = Chance()
    first = turn_ring((), chance, now=START)
    later = START + 400 * 86_400
    assert names(turn_ring(first, chance, now=later)) == ["00000003", "00000001"]


def test_a_clock_that_was_set_back_makes_no_key() -> None:
    first = turn_ring((), Chance(), now=START)
    assert turn_ring(first, Chance(), now=START - 10 * KEY_LIFE_S) == first


@given(steps=st.lists(st.floats(0, KEY_LIFE_S * 1.5), max_size=12), life=st.floats(1, LONGEST_TTL_S * 2))
@pytest.mark.requirement("store.seal_keys")
def test_whatever_was_sealed_opens_for_as_long_as_its_call_is_kept(steps: list[float], life: float) -> None:
    chance, now = Chance(), START
    ring = turn_ring((), chance, now=now)
    sealed: list[tuple[str, int]] = []
    for step in steps:
        end = int(end_of(now + life, now=now))
        sealed.append((seal(HANDLE, expires_at=end, ring=[made.key for made in ring]), end))
        now += step
        ring = turn_ring(ring, chance, now=now)
        assert len(ring) <= 3
        for state, expires_at in sealed:
            if now < expires_at:
                assert open_state(state, now=now, ring=[made.key for made in ring]).expires_at == expires_at
            else:
                with pytest.raises(InvalidState):
                    open_state(state, now=now, ring=[made.key for made in ring])


def test_no_call_is_kept_for_longer_than_a_day() -> None:
    assert end_of(START + 600, now=START) == START + 600
    assert end_of(START * 2, now=START) == START + 86_400


@pytest.mark.requirement("store.exchanges.bound")
def test_there_is_room_up_to_each_bound_and_no_further() -> None:
    bounds = Bounds(calls=2, record_bytes=8, total_bytes=10)
    bounds.check_room(Taken(1, 4), Taken(), b"x" * 6)
    for taken, record in ((Taken(2, 4), b"x"), (Taken(1, 4), b"x" * 7)):
        with pytest.raises(StateUnavailable, match="as many calls are") as caught:
            bounds.check_room(taken, Taken(), record)
        assert caught.value.retry_after_s == RETRY_S
    bounds.check_size(b"x" * 8)
    with pytest.raises(StateUnavailable, match="may take 8 bytes, this one takes 9"):
        bounds.check_size(b"x" * 9)


@pytest.mark.requirement("store.exchanges.owner")
def test_the_bounds_of_one_owner_lie_within_those_of_all() -> None:
    bounds = Bounds(owner_calls=2, owner_bytes=10)
    bounds.check_room(Taken(9, 90), Taken(1, 4), b"x" * 6)
    for owners, record in ((Taken(2, 4), b""), (Taken(1, 4), b"x" * 7)):
        with pytest.raises(StateUnavailable, match="of this caller") as caught:
            bounds.check_room(Taken(9, 90), owners, record)
        assert caught.value.retry_after_s == RETRY_S


def test_all_owners_have_marks_of_one_length() -> None:
    assert {len(mark_of(owner)) for owner in (b"", b"alice", bytes(1_000))} == {32}
    assert mark_of(b"alice") != mark_of(b"ben")


@pytest.mark.requirement("store.exchanges.bound")
def test_a_record_of_one_mebibyte_is_kept_and_a_larger_one_is_not() -> None:
    Bounds().check_size(bytes(1 << 20))
    with pytest.raises(StateUnavailable):
        Bounds().check_size(bytes((1 << 20) + 1))
