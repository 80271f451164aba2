"""Multi round-trip requests of 2026-07-28: the result that asks, and the sealed state that comes back.

A request state is an opaque handle under HMAC-SHA256; what it stands for stays in our store, so that nothing secret
travels. The seal binds the handle to its expiry; the store's record binds it to agent, method and arguments, and
is consumed once.

Source: MCP 2026-07-28, basic/patterns/mrtr (requestState integrity); RFC 2104.
"""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from proxy.core.errors import InvalidInput

HANDLE_BYTES: Final = 16
"""Source: ours; 128 bits cannot be guessed."""

_PREFIX: Final = "esc1."
_MAX_CHARS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SealKey:
    """One key of the ring; the first of a ring seals, all open."""

    key_id: str
    secret: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedState:
    """What a genuine request state says of itself."""

    handle: bytes
    expires_at: int
    """Seconds since the epoch."""


class InvalidState(InvalidInput):
    """A request state that is not ours, was altered, has expired or was used before; never says which."""

    code = "invalid_request_state"
    title = "Invalid or expired requestState"


def arguments_digest(method: str, name: str, arguments: bytes) -> bytes:
    """SHA-256 that binds a state to the request it suspends; the arguments as the bytes that came."""
    return hashlib.sha256(b"\x00".join((method.encode(), name.encode(), arguments))).digest()


def _mac(key: SealKey, body: bytes) -> bytes:
    return hmac.digest(key.secret, b"elicit-sidecar request state\x00" + body, "sha256")


def seal(handle: bytes, *, expires_at: int, ring: Sequence[SealKey]) -> str:
    """The request state for a handle of 16 bytes, under the first key of the ring."""
    key = ring[0]
    body = f"{key.key_id}.{expires_at}.".encode() + urlsafe_b64encode(handle)
    return _PREFIX + body.decode() + "." + urlsafe_b64encode(_mac(key, body)).decode()


def open_state(state: object, *, now: float, ring: Sequence[SealKey]) -> OpenedState:
    """Open a request state that a client sent back; `now` in seconds since the epoch.

    Raises:
        InvalidState: it is not genuine or has expired; one error for every cause.
    """
    refused = InvalidState("expected the requestState of an open question, unchanged; call the tool again")
    if not isinstance(state, str) or not state.startswith(_PREFIX) or len(state) > _MAX_CHARS or not state.isascii():
        raise refused
    body, _, mac = state.removeprefix(_PREFIX).rpartition(".")
    key_id, _, rest = body.partition(".")
    expiry, _, handle = rest.partition(".")
    try:
        given = urlsafe_b64decode(mac)
        opened = OpenedState(handle=urlsafe_b64decode(handle), expires_at=int(expiry))
    except ValueError:
        raise refused from None
    key = next((known for known in ring if known.key_id == key_id), None)
    is_genuine = key is not None and hmac.compare_digest(_mac(key, body.encode()), given)
    if not is_genuine or now >= opened.expires_at or len(opened.handle) != HANDLE_BYTES:
        raise refused
    return opened


def is_ours(state: object) -> bool:
    """Whether a request state looks like one of ours, genuine or not; all others belong to the upstream."""
    return isinstance(state, str) and state.startswith(_PREFIX)


def input_required(requests: Mapping[str, object], state: str, server_info: object) -> dict[str, object]:
    """The result that asks the client. Source: MCP 2026-07-28, schema InputRequiredResult."""
    return {
        "resultType": "input_required",
        "inputRequests": dict(requests),
        "requestState": state,
        "_meta": {"io.modelcontextprotocol/serverInfo": server_info},
    }
