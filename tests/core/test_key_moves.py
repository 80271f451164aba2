"""What became of keys between two rings."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.deeds import KeyMove
from proxy.core.ids import AgentId
from proxy.core.key_moves import moves_between
from proxy.core.key_ring import Key, KeyRing, new_key

pytestmark = pytest.mark.requirement("audit.keys")

ALICE, BOB = AgentId("alice"), AgentId("bob")


def _key(number: int, agent_id: AgentId = ALICE) -> Key:
    return new_key(agent_id, entropy=bytes([number]) * 40, created_at=number)


ONE, TWO, THREE = _key(1), _key(2), _key(3, BOB)


def _told(before: KeyRing, after: KeyRing) -> list[tuple[str, KeyMove, str]]:
    return [(agent, moved.move, moved.keyid) for agent, moved in moves_between(before, after)]


RING = KeyRing((ONE,))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (RING, RING, []),
        (KeyRing(), RING, [("alice", KeyMove.MADE, ONE.key_id)]),
        (RING, RING.with_key(TWO), [("alice", KeyMove.MADE, TWO.key_id)]),
        (RING, RING.rotated(TWO), [("alice", KeyMove.ROTATED, TWO.key_id)]),
        (RING, RING.retired(ONE.key_id), [("alice", KeyMove.ROTATED, ONE.key_id)]),
        (RING, RING.revoked(ONE.key_id), [("alice", KeyMove.REVOKED, ONE.key_id)]),
        (RING, KeyRing(), [("alice", KeyMove.REVOKED, ONE.key_id)]),
        (RING.revoked(ONE.key_id), KeyRing(), []),
        (KeyRing(), RING.revoked(ONE.key_id), []),
        (RING.rotated(TWO), RING.rotated(TWO).revoked(ONE.key_id), [("alice", KeyMove.REVOKED, ONE.key_id)]),
        (
            KeyRing((ONE, THREE)),
            KeyRing((ONE, THREE)).rotated(TWO).revoked(THREE.key_id),
            [("alice", KeyMove.ROTATED, TWO.key_id), ("bob", KeyMove.REVOKED, THREE.key_id)],
        ),
        (RING, KeyRing((replace(ONE, secret=TWO.secret),)), [("alice", KeyMove.ROTATED, ONE.key_id)]),
        (
            RING,
            KeyRing((replace(ONE, agent_id=BOB),)),
            [("bob", KeyMove.MADE, ONE.key_id), ("alice", KeyMove.REVOKED, ONE.key_id)],
        ),
    ],
)
def test_each_change_is_told_as_what_it_is(
    before: KeyRing, after: KeyRing, told: list[tuple[str, KeyMove, str]]
) -> None:
    assert _told(before, after) == told


@given(st.sets(st.integers(0, 7)), st.sets(st.integers(0, 7)))
def test_nothing_is_told_exactly_when_nothing_has_changed(before: set[int], after: set[int]) -> None:
    old, new = (KeyRing(_key(n, AgentId(f"agent{n % 2}")) for n in numbers) for numbers in (before, after))
    assert len(_told(old, new)) == len(before ^ after)
