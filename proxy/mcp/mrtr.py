"""Multi round-trip requests of 2026-07-28: the result that asks, and the sealed state that comes back.

A request state is an opaque handle under HMAC-SHA256; what it stands for stays in our store, so that nothing secret
travels. The seal binds the handle to its expiry and to whatever the retry has to come with again (who asks, the
arguments), which does not travel either; the store lets it be consumed once.

Source: PROTOCOL.md 2.5, requestState integrity; RFC 2104; RFC 4648 section 5.
"""

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from proxy.core.errors import InvalidState
from proxy.mcp.jsonrpc import INVALID_PARAMS, RequestId, error_message

HANDLE_BYTES: Final = 16
"""Source: ours; 128 bits cannot be guessed."""

_PREFIX: Final = "esc1."
_DOMAIN: Final = b"elicit-sidecar request state 1\x00"
"""Keeps a key of ours from ever sealing the same bytes for another purpose. Source: ours."""

_STATE: Final = re.compile(
    re.escape(_PREFIX)
    + r"(?P<body>(?P<key_id>[0-9A-Za-z_-]{1,16})\.(?P<expiry>[0-9]{1,12})\.(?P<handle>[0-9A-Za-z_-]{22}))"
    + r"\.(?P<mac>[0-9A-Za-z_-]{43})"
)
"""22 characters of base64url hold a handle, 43 a SHA-256, both without padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SealKey:
    """One key of the ring; the first of a ring seals, all open."""

    key_id: str
    """At most 16 characters of base64url; it travels."""
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedState:
    """What a genuine request state says of itself."""

    handle: bytes
    expires_at: int
    """Seconds since the epoch."""


def state_refused(error: InvalidState, request_id: RequestId) -> bytes:
    """The JSON-RPC response that tells it, sent with the HTTP status of the error. Source: PROTOCOL.md 2.4, 2.5."""
    return error_message(request_id, INVALID_PARAMS, error.title, {"reason": error.code})


def arguments_digest(method: str, name: str, arguments: bytes) -> bytes:
    """SHA-256 that binds a state to the request it suspends; the arguments as the bytes that came.

    The retry repeats them unchanged. Source: PROTOCOL.md 2.5, rule 4.
    """
    parts = (method.encode("utf-8", "surrogatepass"), name.encode("utf-8", "surrogatepass"), arguments)
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()


def seal(handle: bytes, *, expires_at: int, ring: Sequence[SealKey], binding: bytes = b"") -> str:
    """The request state for a handle, under the first key of the ring.

    `expires_at` in seconds since the epoch. It opens only with the same `binding`, which does not travel.

    Raises:
        ValueError: no key, a handle of another length, a time or a key's name that has no place in a state.
    """
    if not ring or len(handle) != HANDLE_BYTES:
        raise ValueError(f"expected a key and a handle of {HANDLE_BYTES} bytes, got {len(ring)} and {len(handle)}")
    body = f"{ring[0].key_id}.{expires_at}.{_text(handle)}"
    state = f"{_PREFIX}{body}.{_mac(ring[0], body, binding)}"
    if _STATE.fullmatch(state) is None:
        raise ValueError(f"expected a key id of base64url and seconds since the epoch, got {body!r}")
    return state


def open_state(state: object, *, now: float, ring: Sequence[SealKey], binding: bytes = b"") -> OpenedState:
    """Open a request state that a client sent back; `now` in seconds since the epoch.

    Raises:
        InvalidState: it is not genuine or has expired; one error for every cause.
    """
    found = _STATE.fullmatch(state) if isinstance(state, str) else None
    if found is None:
        raise InvalidState
    # Texts are compared, not what they decode to: base64 has several spellings of the same bytes.
    genuine = [
        hmac.compare_digest(_mac(key, found["body"], binding), found["mac"])
        for key in ring
        if key.key_id == found["key_id"]
    ]
    opened = OpenedState(handle=urlsafe_b64decode(found["handle"] + "=="), expires_at=int(found["expiry"]))
    if not any(genuine) or now >= opened.expires_at:
        raise InvalidState
    return opened


def is_ours(state: object) -> bool:
    """Whether a request state looks like one of ours, genuine or not; all others belong to the upstream."""
    return isinstance(state, str) and state.startswith(_PREFIX)


def input_required(requests: Mapping[str, object], state: str, server_info: object = None) -> dict[str, object]:
    """The result that asks the client; without requests it asks to come again. `server_info` where one is to be told.

    It carries no cache hints. Source: PROTOCOL.md 2.5, rules 2, 5 and 8.
    """
    result: dict[str, object] = {"resultType": "input_required"}
    if requests:
        result["inputRequests"] = dict(requests)
    result["requestState"] = state
    if server_info is not None:
        result["_meta"] = {"io.modelcontextprotocol/serverInfo": server_info}
    return result


def _mac(key: SealKey, body: str, binding: bytes) -> str:
    # The binding's digest has a fixed length, so that nothing can move from it into the body.
    sealed = _DOMAIN + hashlib.sha256(binding).digest() + body.encode()
    return _text(hmac.digest(key.secret, sealed, "sha256"))


def _text(octets: bytes) -> str:
    return urlsafe_b64encode(octets).rstrip(b"=").decode()
