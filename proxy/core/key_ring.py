"""The keys by which agents sign: whose they are, what they may still do, and how they are replaced.

An agent may have several keys, so that a new one can be spread before the old one goes:

- `active` signs and verifies; where there are several, the newest signs;
- `retiring` verifies what is still on its way, and signs nothing;
- `revoked` does neither. Its secret is forgotten; its id stays, so that a refusal can say why.

A ring is a value: every change makes a new one, and whoever verifies is given it whole.
"""

import hmac
import math
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, final

from proxy.core.errors import InvalidInput
from proxy.core.ids import AgentId
from proxy.core.secret import Secret
from proxy.core.signature_fields import KEY_ID, write_agent

KEY_BYTES: Final = 32
"""Length of the keys we make. Source: RFC 2104 section 3: the length of the hash."""

MAX_KEY_BYTES: Final = 128
"""Longest key that is taken. Source: ours; from 64 bytes on a key is hashed first. RFC 2104 section 2."""

ENTROPY_BYTES: Final = KEY_BYTES + 8
"""Random bytes that a new key is made of: its secret and its id."""

MAX_USABLE_KEYS: Final = 8
"""Keys of one agent that are not revoked. Source: ours; a rotation needs two."""

MAX_KEYS: Final = 10_000
"""Keys of a ring, the revoked ones included. Source: ours; it is how many agents a sidecar knows."""


class KeyState(StrEnum):
    """What a key may still do."""

    ACTIVE = "active"
    RETIRING = "retiring"
    REVOKED = "revoked"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of one agent.

    Raises:
        ValueError: an id or a date that cannot be written, a usable key without its secret, a revoked one with it,
            or a secret that `is_key_text` does not take.
    """

    key_id: str
    agent_id: AgentId
    state: KeyState
    created_at: int
    """Seconds since the epoch."""
    secret: Secret | None
    """The key in base64; None exactly when it is revoked."""
    agent_field: bytes = field(init=False, repr=False, compare=False)
    """How X-Agent-Id names its agent."""
    _begun: hmac.HMAC | None = field(init=False, repr=False, compare=False)
    """The HMAC with the key in it and nothing else; a copy of it takes a message without reading the key again."""

    def __post_init__(self) -> None:
        if KEY_ID.fullmatch(self.key_id) is None or self.created_at < 0:
            raise ValueError("expected an id of letters, digits, dot, hyphen and underscore, and a date from 1970 on")
        if (self.secret is None) is not (self.state is KeyState.REVOKED):
            raise ValueError("expected a secret for a usable key and none for a revoked one")
        begun = None
        if self.secret is not None:
            if not is_key_text(self.secret):
                raise ValueError(f"expected {KEY_BYTES} to {MAX_KEY_BYTES} bytes in base64 as a key")
            begun = hmac.new(b64decode(self.secret.reveal()), digestmod="sha256")
        object.__setattr__(self, "agent_field", write_agent(self.agent_id))
        object.__setattr__(self, "_begun", begun)

    @property
    def is_usable(self) -> bool:
        """Whether a signature by this key may be good."""
        return self.state is not KeyState.REVOKED

    def mac(self, message: bytes) -> bytes:
        """HMAC-SHA-256 of a message under this key, 32 bytes.

        Raises:
            ValueError: the key is revoked.

        Source: RFC 2104; RFC 9421 section 3.3.3.
        """
        if self._begun is None:
            raise ValueError("a revoked key has no secret to sign or verify with")
        running = self._begun.copy()
        running.update(message)
        return running.digest()

    def age_s(self, now: float) -> float:
        """Seconds since it was made; 0 where the clock says that it is not made yet."""
        return max(0.0, now - self.created_at)


@final
class KeyRing:
    """All keys that a sidecar knows, by id and by agent.

    Raises:
        InvalidInput: an id or a secret twice, more usable keys of an agent than 8, or more keys than 10,000.
    """

    __slots__ = ("_by_agent", "_by_id")

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._by_id: dict[str, Key] = {}
        self._by_agent: dict[AgentId, tuple[Key, ...]] = {}
        secrets: set[bytes] = set()
        for key in keys:
            if key.key_id in self._by_id:
                raise InvalidInput(f"expected each key id once, got {key.key_id} twice")
            if key.secret is not None and key.secret.fingerprint() in secrets:
                raise InvalidInput(f"expected a secret of its own for each key, got that of another for {key.key_id}")
            self._by_id[key.key_id] = key
            self._by_agent[key.agent_id] = (*self._by_agent.get(key.agent_id, ()), key)
            secrets.update(() if key.secret is None else (key.secret.fingerprint(),))
        if len(self._by_id) > MAX_KEYS:
            raise InvalidInput(f"expected at most {MAX_KEYS} keys, got {len(self._by_id)}: remove revoked ones")
        for mine in self._by_agent.values():
            if sum(key.is_usable for key in mine) > MAX_USABLE_KEYS:
                raise InvalidInput(f"expected at most {MAX_USABLE_KEYS} usable keys of an agent: revoke old ones")

    def __repr__(self) -> str:
        return f"KeyRing({len(self._by_id)} keys)"

    @property
    def keys(self) -> tuple[Key, ...]:
        """All keys, in the order they were given."""
        return tuple(self._by_id.values())

    def find(self, key_id: str) -> Key | None:
        """The key of this id, in whatever state."""
        return self._by_id.get(key_id)

    def keys_of(self, agent_id: AgentId) -> tuple[Key, ...]:
        """The keys of an agent, in the order they were given."""
        return self._by_agent.get(agent_id, ())

    def signer_of(self, agent_id: AgentId) -> Key | None:
        """The key that signs for an agent: its newest active one, of two as old the one given last."""
        active = [key for key in self.keys_of(agent_id) if key.state is KeyState.ACTIVE]
        return max(reversed(active), key=lambda key: key.created_at, default=None)

    def with_key(self, key: Key) -> "KeyRing":
        """This ring and one key more.

        Raises:
            InvalidInput: as of a ring.
        """
        return KeyRing((*self.keys, key))

    def rotated(self, key: Key) -> "KeyRing":
        """This ring with a new key, for which the active ones of its agent retire.

        Raises:
            InvalidInput: as of a ring.
        """
        retired = (_retired(known) if known.agent_id == key.agent_id else known for known in self.keys)
        return KeyRing((*retired, key))

    def retired(self, key_id: str) -> "KeyRing":
        """This ring with one key that signs no more.

        Raises:
            InvalidInput: no such key, or it is revoked.
        """
        known = self._get(key_id)
        if not known.is_usable:
            raise InvalidInput(f"key {key_id} is revoked and cannot be taken into use again")
        return self._replaced(_retired(known))

    def revoked(self, key_id: str) -> "KeyRing":
        """This ring with one key that is good for nothing any more; its secret is gone.

        Raises:
            InvalidInput: no such key.
        """
        return self._replaced(replace(self._get(key_id), state=KeyState.REVOKED, secret=None))

    def without(self, key_id: str) -> "KeyRing":
        """This ring without one key, not even its id.

        Raises:
            InvalidInput: no such key, or it is still usable.
        """
        if self._get(key_id).is_usable:
            raise InvalidInput(f"key {key_id} is still usable: revoke it first")
        return KeyRing(key for key in self.keys if key.key_id != key_id)

    def _get(self, key_id: str) -> Key:
        key = self._by_id.get(key_id)
        if key is None:
            raise InvalidInput("expected the id of a key of this ring, got another")
        return key

    def _replaced(self, key: Key) -> "KeyRing":
        return KeyRing(key if known.key_id == key.key_id else known for known in self.keys)


def new_key(agent_id: AgentId, *, entropy: bytes, created_at: float) -> Key:
    """A new active key of an agent, made of 40 random bytes that are used for nothing else.

    Raises:
        ValueError: another number of bytes, or a date before 1970.
    """
    if len(entropy) != ENTROPY_BYTES:
        raise ValueError(f"expected {ENTROPY_BYTES} random bytes, got {len(entropy)}")
    return Key(
        key_id=f"k{entropy[KEY_BYTES:].hex()}",
        agent_id=agent_id,
        state=KeyState.ACTIVE,
        created_at=math.floor(created_at),
        secret=Secret(b64encode(entropy[:KEY_BYTES]).decode("ascii")),
    )


def is_key_text(secret: Secret) -> bool:
    """Whether a secret is 32 to 128 bytes in base64, in the one spelling that these bytes have."""
    text = secret.reveal()
    try:
        material = b64decode(text, validate=True)
    except ValueError:
        return False
    return KEY_BYTES <= len(material) <= MAX_KEY_BYTES and b64encode(material).decode("ascii") == text


def _retired(key: Key) -> Key:
    return replace(key, state=KeyState.RETIRING) if key.state is KeyState.ACTIVE else key
