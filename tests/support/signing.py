"""Keys, signers and verifiers whose time stands still and whose chance is a count."""

import hashlib
from itertools import count

from proxy.core.call_signer import CallSigner
from proxy.core.ids import AgentId
from proxy.core.key_file import write_keys
from proxy.core.key_ring import Key, KeyRing, new_key
from proxy.core.signature_fields import parse_origin
from proxy.core.signing import Call, Refusal, Verdict, Verifier
from tests.support.raw_http import Head

NOW = 1_800_000_000.0


def key_of(agent_id: str, number: int = 0) -> Key:
    """A key of an agent; of another number, another key."""
    entropy = hashlib.sha512(b"%d-%b" % (number, agent_id.encode("utf-8"))).digest()[:40]
    return new_key(AgentId(agent_id), entropy=entropy, created_at=NOW - 1000 + number)


def signer_of(ring: KeyRing, agent_id: str = "", *, now: float = NOW) -> CallSigner:
    """A signer with these keys, for one agent if it is named."""
    numbers = count()
    return CallSigner(
        lambda: ring,
        wall=lambda: now,
        chance=lambda size: next(numbers).to_bytes(size, "big"),
        configured=AgentId(agent_id) if agent_id else None,
    )


def judged(ring: KeyRing, origin: str, head: Head, body: bytes, *, now: float = NOW) -> Verdict | Refusal:
    """The verdict of a server that is called by `origin` over a call as it came over the wire."""
    method, target, _ = head.start.split(b" ")
    has_body = head.is_chunked or bool(head.length)
    call = Call(method=method, target=target, headers=head.headers, has_body=has_body)
    return Verifier(ring, origins=[parse_origin(origin)]).verify_whole(call, body, now)


def key_text(*keys: Key) -> str:
    """The text of a key file."""
    return write_keys(KeyRing(keys))
