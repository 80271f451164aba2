"""What became of keys between two rings, as the audit trail tells of it; never a secret."""

from collections.abc import Iterator, Mapping

from proxy.core.deeds import KeyMove, KeyMoved, parse_word
from proxy.core.ids import AgentId
from proxy.core.key_ring import Key, KeyRing, KeyState

Move = tuple[AgentId, KeyMoved]
"""Whose key, and what became of it."""

_Place = tuple[AgentId, str]


def moves_between(before: KeyRing, after: KeyRing) -> Iterator[Move]:
    """The moves that lead from one ring to another.

    A new key for which an older one retires is a rotation, any other new one was made. A key that is not there any
    more, or is another agent's, is as good as revoked. What else became of one that stays (another state, or another
    secret under its id) counts as a rotation, too.
    """
    old, new = _usable(before), _usable(after)
    made = [place for place in new if place not in old]
    retired = {place[0] for place, key in new.items() if place in old and _retires(old[place], key)}
    for place in made:
        yield _moved(place, KeyMove.ROTATED if place[0] in retired else KeyMove.MADE)
    rotated = retired & {place[0] for place in made}
    for place, key in old.items():
        now = new.get(place)
        if now is None:
            yield _moved(place, KeyMove.REVOKED)
        elif _mark(now) != _mark(key) or (now.state is not key.state and place[0] not in rotated):
            yield _moved(place, KeyMove.ROTATED)


def _usable(ring: KeyRing) -> Mapping[_Place, Key]:
    return {(key.agent_id, key.key_id): key for key in ring.keys if key.is_usable}


def _retires(before: Key, now: Key) -> bool:
    return before.state is KeyState.ACTIVE and now.state is KeyState.RETIRING


def _mark(key: Key) -> bytes:
    return b"" if key.secret is None else key.secret.fingerprint()


def _moved(place: _Place, move: KeyMove) -> Move:
    agent_id, key_id = place
    return agent_id, KeyMoved(move=move, keyid=parse_word(key_id))
