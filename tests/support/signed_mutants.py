"""Signed calls and attacks on them, from a seed: changed, cut, replayed, re-addressed, stale and forged ones.

Each attack is made from a genuine call that was presented before, and differs from it in something that is signed.
The attacker may hold a key of its own and every call that was ever made; it does not hold the keys of others.
"""

import random
import string
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from proxy.core.content_digest import write_digest
from proxy.core.ids import AgentId
from proxy.core.key_ring import ENTROPY_BYTES, Key, KeyRing, KeyState, new_key
from proxy.core.signature_fields import (
    ALGORITHM,
    COVERED,
    COVERED_WITH_BODY,
    TAG,
    Origin,
    Terms,
    parse_origin,
    signature_base,
    write_params,
)
from proxy.core.signing import Call, Refusal, Verdict, Verifier, Window, sign_call

GENUINE: Final = "genuine"
REPLAYED: Final = "replayed"
NOW: Final = 1_795_000_000
WINDOW: Final = Window()

_TARGETS: Final = (
    b"/event/store",
    b"/event/wait?agent_id=a&since_sequence=17&timeout_seconds=30",
    b"/elicitation/respond",
    b"/mcp",
    b"/a/../b//c?q=%2F%zz&&x",
)
_METHODS: Final = (b"GET", b"POST", b"DELETE", b"PUT")
_ALPHABET: Final = (string.ascii_letters + string.digits + "-_").encode("ascii")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One call that reaches the verifier."""

    kind: str
    """GENUINE, or the name of an attack."""
    call: Call
    body: bytes
    now: float
    key: Key
    """Whose call it was to begin with."""

    @property
    def is_sendable(self) -> bool:
        """Whether an HTTP client could write this head; no server would read any other as one."""
        head = [self.call.method, self.call.target, *(part for pair in self.call.headers for part in pair)]
        return not any(byte < 0x20 or byte == 0x7F for part in head for byte in part) and b" " not in self.call.target

    def value(self, name: bytes) -> bytes:
        """The value of the field `name`."""
        return next(value for given, value in self.call.headers if given == name)

    def with_value(self, name: bytes, value: bytes) -> "Attempt":
        """This attempt with another value of a field it has."""
        headers = [(given, value if given == name else old) for given, old in self.call.headers]
        return replace(self, call=replace(self.call, headers=headers))


class Gate:
    """A verifier and the nonces that it let in: what a server does with a signed call."""

    def __init__(self, ring: KeyRing, origin: Origin) -> None:
        self._verifier = Verifier(ring, origins=[parse_origin("http://localhost:8766"), origin], window=WINDOW)
        self._claimed: set[tuple[str, str]] = set()

    def judge(self, attempt: Attempt) -> Verdict | Refusal | str:
        """The verdict on a call that is let in, or why it is not."""
        verdict = self._verifier.verify_whole(attempt.call, attempt.body, attempt.now)
        if isinstance(verdict, Refusal):
            return verdict
        claim = (verdict.key_id, verdict.nonce)
        if claim in self._claimed:
            return REPLAYED
        self._claimed.add(claim)
        return verdict


class Crew:
    """Some agents with keys, what they send, and what an attacker makes of it."""

    def __init__(self, seed: int, *, agents: int = 4) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a test's chance has to be repeatable
        self.origin = parse_origin("https://bridge.example")
        names = [AgentId(f"agent {number}, ü") for number in range(agents)]
        self.keys = [self._new_key(name) for name in names]
        self._revoked = [self._new_key(name) for name in names]
        self._unknown = self._new_key(names[0])
        gone = [replace(key, state=KeyState.REVOKED, secret=None) for key in self._revoked]
        self.ring = KeyRing([*self.keys, *gone])
        self._attacks: dict[str, Callable[[Attempt], Attempt]] = {
            name.removeprefix("_attack_"): getattr(self, name) for name in dir(self) if name.startswith("_attack_")
        }

    @property
    def kinds(self) -> frozenset[str]:
        """The names of all attacks."""
        return frozenset(self._attacks)

    def pairs(self, count: int) -> Iterator[tuple[Attempt, Attempt]]:
        """So many genuine calls, each with one attack on it; every kind of attack in turn."""
        kinds = list(self._attacks)
        for number in range(count):
            genuine = self.genuine()
            kind = kinds[number % len(kinds)]
            yield genuine, replace(self._attacks[kind](genuine), kind=kind)

    def genuine(self) -> Attempt:
        """A call that an agent signs."""
        chance = self._random
        body = chance.randbytes(chance.choice((0, 1, 2, 60, 2_000)))
        key = chance.choice(self.keys)
        method, target = chance.choice(_METHODS), chance.choice(_TARGETS)
        call = Call(method=method, target=target, headers=(), has_body=bool(body))
        attempt = Attempt(kind=GENUINE, call=call, body=body, now=NOW + chance.random() * 1e6, key=key)
        fields = sign_call(
            key,
            method=method,
            target=target,
            origin=self.origin,
            terms=self._terms(attempt),
            digest=write_digest(body) if body else None,
        )
        others = [(b"Host", b"bridge.example"), (b"Authorization", b"Bearer x"), (b"Accept", b"*/*")]
        return replace(attempt, call=replace(call, headers=[*others, *fields]))

    # Changed on the way: no key needed

    def _attack_changed_byte(self, attempt: Attempt) -> Attempt:
        def change(value: bytes) -> bytes:
            at = self._random.randrange(len(value))
            return value[:at] + bytes([value[at] ^ self._random.randint(1, 255)]) + value[at + 1 :]

        return self._edited(attempt, change)

    def _attack_removed_byte(self, attempt: Attempt) -> Attempt:
        def remove(value: bytes) -> bytes:
            at = self._random.randrange(len(value))
            return value[:at] + value[at + 1 :]

        return self._edited(attempt, remove)

    def _attack_added_byte(self, attempt: Attempt) -> Attempt:
        def add(value: bytes) -> bytes:
            at = self._random.randint(0, len(value))
            # Not a blank: at the ends of a field they mean nothing.
            return value[:at] + bytes([self._random.choice(_ALPHABET)]) + value[at:]

        return self._edited(attempt, add)

    def _attack_truncated(self, attempt: Attempt) -> Attempt:
        return self._edited(attempt, lambda value: value[: self._random.randrange(len(value))])

    def _attack_without_field(self, attempt: Attempt) -> Attempt:
        gone = self._random.choice(self._signed_names(attempt))
        headers = [pair for pair in attempt.call.headers if pair[0] != gone]
        return replace(attempt, call=replace(attempt.call, headers=headers))

    def _attack_repeated_field(self, attempt: Attempt) -> Attempt:
        name = self._random.choice(self._signed_names(attempt))
        again = (name.swapcase(), attempt.value(name))
        return replace(attempt, call=replace(attempt.call, headers=[*attempt.call.headers, again]))

    def _attack_other_body(self, attempt: Attempt) -> Attempt:
        body = attempt.body + self._random.randbytes(self._random.randint(1, 9))
        return replace(attempt, body=body, call=replace(attempt.call, has_body=True))

    def _attack_other_digest(self, attempt: Attempt) -> Attempt:
        body = attempt.body + b"!"
        headers = [pair for pair in attempt.call.headers if pair[0] != b"Content-Digest"]
        call = replace(attempt.call, headers=[*headers, (b"Content-Digest", write_digest(body))], has_body=True)
        return replace(attempt, body=body, call=call)

    def _attack_parts_of_two(self, attempt: Attempt) -> Attempt:
        other = self.genuine()
        name = self._random.choice((b"Signature-Input", b"Signature"))
        return attempt.with_value(name, other.value(name))

    def _attack_respelled(self, attempt: Attempt) -> Attempt:
        # 32 bytes leave two bits of the last character before the padding unused.
        written = attempt.value(b"Signature")
        alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/"
        last = alphabet[alphabet.index(chr(written[-3])) ^ self._random.randint(1, 3)].encode("ascii")
        return attempt.with_value(b"Signature", written[:-3] + last + written[-2:])

    def _attack_second_signature(self, attempt: Attempt) -> Attempt:
        name = self._random.choice((b"Signature-Input", b"Signature"))
        value = attempt.value(name)
        return attempt.with_value(name, self._random.choice((value + b", " + value, value + b", sig2" + value[4:])))

    # At the wrong time, or twice

    def _attack_replayed(self, attempt: Attempt) -> Attempt:
        return replace(attempt, now=attempt.now + self._random.random() * WINDOW.life_s)

    def _attack_stale(self, attempt: Attempt) -> Attempt:
        late = int(attempt.now) + WINDOW.life_s + WINDOW.skew_s
        return replace(attempt, now=late + self._random.choice((0, 0.001, 1, 1e3, 1e9)))

    def _attack_early(self, attempt: Attempt) -> Attempt:
        early = int(attempt.now) - WINDOW.skew_s
        return replace(attempt, now=early - self._random.choice((0.001, 1, 1e3, 1e9)))

    def _attack_long_lived(self, attempt: Attempt) -> Attempt:
        terms = self._terms(attempt, life_s=WINDOW.life_s + self._random.choice((1, 60, 10**9)))
        return self._resigned(attempt, attempt.key, terms=terms)

    # With a key of one's own

    def _attack_cross_agent(self, attempt: Attempt) -> Attempt:
        other = self._other(attempt.key)
        return attempt.with_value(b"X-Agent-Id", other.agent_field)

    def _attack_cross_agent_signed(self, attempt: Attempt) -> Attempt:
        other = self._other(attempt.key)
        return self._resigned(attempt.with_value(b"X-Agent-Id", other.agent_field), attempt.key)

    def _attack_other_key_id(self, attempt: Attempt) -> Attempt:
        return self._resigned(attempt, attempt.key, key_id=self._other(attempt.key).key_id)

    def _attack_revoked_key(self, attempt: Attempt) -> Attempt:
        mine = next(key for key in self._revoked if key.agent_id == attempt.key.agent_id)
        return self._resigned(attempt, mine)

    def _attack_unknown_key(self, attempt: Attempt) -> Attempt:
        return self._resigned(attempt, self._unknown, key_id=self._random.choice(("k0", self._unknown.key_id)))

    def _attack_forged(self, attempt: Attempt) -> Attempt:
        return self._resigned(attempt, self._unknown, key_id=attempt.key.key_id)

    def _attack_elsewhere(self, attempt: Attempt) -> Attempt:
        url = self._random.choice(("http://bridge.example", "https://bridge.example:8443", "https://other.example"))
        return self._resigned(attempt, attempt.key, origin=parse_origin(url))

    def _attack_uncovered(self, attempt: Attempt) -> Attempt:
        names = list(COVERED_WITH_BODY if attempt.body else COVERED)
        names.remove(self._random.choice(names))
        return self._resigned(attempt, attempt.key, names=names)

    def _attack_other_terms(self, attempt: Attempt) -> Attempt:
        def edit(said: dict[str, int | str]) -> None:
            name = self._random.choice(list(said))
            match self._random.choice(("drop", "change", "type")):
                case "drop":
                    del said[name]
                case "change":
                    said.update(alg="hmac-sha512") if self._random.random() < 0.5 else said.update(tag="other")
                case _:
                    said[name] = 1 if isinstance(said[name], str) else str(said[name])
            said.update(self._random.choice(({}, {"extra": 1}, {"context": "x"})))

        return self._resigned(attempt, attempt.key, edit=edit)

    # The tools of it

    def _edited(self, attempt: Attempt, edit: Callable[[bytes], bytes]) -> Attempt:
        places = ["method", "target", *(["body"] if attempt.body else []), *self._signed_names(attempt)]
        match self._random.choice(places):
            case "method":
                return replace(attempt, call=replace(attempt.call, method=edit(attempt.call.method)))
            case "target":
                return replace(attempt, call=replace(attempt.call, target=edit(attempt.call.target)))
            case "body":
                return replace(attempt, body=edit(attempt.body))
            case bytes(name):
                return attempt.with_value(name, edit(attempt.value(name)))
            case other:
                raise AssertionError(other)

    def _resigned(
        self,
        attempt: Attempt,
        key: Key,
        *,
        key_id: str = "",
        terms: Terms | None = None,
        origin: Origin | None = None,
        names: list[str] | None = None,
        edit: Callable[[dict[str, int | str]], None] | None = None,
    ) -> Attempt:
        """Sign a call again, properly, with a key that the attacker has."""
        call = attempt.call
        terms = terms or self._terms(attempt)
        said: dict[str, int | str] = {
            "created": terms.created,
            "expires": terms.expires,
            "nonce": terms.nonce,
            "keyid": key_id or key.key_id,
            "alg": ALGORITHM,
            "tag": TAG,
        }
        if edit is not None:
            edit(said)
        values = {
            "@method": call.method,
            "@target-uri": (origin or self.origin).text.encode("ascii") + call.target,
            "x-agent-id": attempt.value(b"X-Agent-Id"),
            **({"content-digest": attempt.value(b"Content-Digest")} if attempt.body else {}),
        }
        names = names if names is not None else list(COVERED_WITH_BODY if attempt.body else COVERED)
        params = write_params(names, said)
        mac = key.mac(signature_base([(name, values[name]) for name in names], params))
        signed = attempt.with_value(b"Signature-Input", b"sig1=" + params)
        return signed.with_value(b"Signature", b"sig1=:" + b64encode(mac) + b":")

    def _signed_names(self, attempt: Attempt) -> list[bytes]:
        names = [b"X-Agent-Id", b"Signature-Input", b"Signature"]
        return [*names, b"Content-Digest"] if attempt.body else names

    def _other(self, key: Key) -> Key:
        return self._random.choice([other for other in self.keys if other.agent_id != key.agent_id])

    def _terms(self, attempt: Attempt, *, life_s: int = WINDOW.life_s) -> Terms:
        nonce = bytes(self._random.choices(_ALPHABET, k=22)).decode("ascii")
        return Terms.at(attempt.now, nonce, life_s=life_s)

    def _new_key(self, agent_id: AgentId) -> Key:
        return new_key(agent_id, entropy=self._random.randbytes(ENTROPY_BYTES), created_at=NOW - 1_000)
