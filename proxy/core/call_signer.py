"""Signs the calls that a sidecar sends, each with the key of the agent that it is made for.

That agent is the one this sidecar stands beside; where there is none, the one that the call's Bridge token names, else
the one that the call itself names as its maker. So a sidecar without an agent of its own lets whoever reaches it sign
as any agent of its key file, as far as it asks nothing else of them.

A call is left unsigned where there is no such agent, no active key of it, or nothing in the call that a signature
could cover: whether that is let in is for whoever verifies it.
"""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

from proxy.core.bridge_token import issued_to
from proxy.core.claims import claims_in_body
from proxy.core.content_digest import write_digest
from proxy.core.errors import InvalidInput
from proxy.core.ids import AgentId, parse_agent_id
from proxy.core.key_ring import Key, KeyRing
from proxy.core.secret import Secret
from proxy.core.signature_fields import Origin, Terms
from proxy.core.signing import sign_call

CALL_LIFE_S: Final = 60
"""How long a signed call is good, seconds.

Source: ours; a call is verified when it arrives, so this bounds how far the signer's clock may be behind, and how long
its nonce has to be remembered. The verifier takes up to 300.
"""

NONCE_BYTES: Final = 16
"""Random bytes of a nonce. Source: ours; 128 bits, so that no two are ever the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One call to be signed, as it goes over the wire."""

    method: bytes
    target: bytes
    origin: Origin
    body: bytes | None = None
    """The whole body; None where none follows."""
    path: str = ""
    """The decoded path, by which the body is read."""
    credential: str = ""
    """The value of Authorization, if there is one."""


@final
class CallSigner:
    """Signs calls by the keys that are in force when they are sent."""

    __slots__ = ("_chance", "_configured", "_ring", "_wall")

    def __init__(
        self,
        ring: Callable[[], KeyRing],
        *,
        wall: Callable[[], float],
        chance: Callable[[int], bytes],
        configured: AgentId | None = None,
    ) -> None:
        self._ring = ring
        self._wall = wall
        self._chance = chance
        self._configured = configured

    def fields(self, call: Outgoing) -> list[tuple[bytes, bytes]]:
        """The header fields to add to a call that has none of these names; none where it stays unsigned."""
        agent_id = self._agent_of(call)
        key = None if agent_id is None else self.key_for(agent_id)
        if key is None:
            return []
        nonce = b64encode(self._chance(NONCE_BYTES)).decode("ascii")
        terms = Terms.at(self._wall(), nonce, life_s=CALL_LIFE_S)
        digest = None if call.body is None else write_digest(call.body)
        try:
            return sign_call(
                key, method=call.method, target=call.target, origin=call.origin, terms=terms, digest=digest
            )
        except InvalidInput:
            return []

    def key_for(self, agent_id: AgentId) -> Key | None:
        """The key that signs for an agent now; none where this sidecar stands beside another."""
        is_ours = self._configured in {None, agent_id}
        return self._ring().signer_of(agent_id) if is_ours else None

    def _agent_of(self, call: Outgoing) -> AgentId | None:
        if self._configured is not None:
            return self._configured
        named = issued_to(Secret(call.credential)) if call.credential else None
        if named is None and call.body:
            found = claims_in_body(call.path, call.body).named
            named = found[0] if found else None
        try:
            return None if named is None else parse_agent_id(named)
        except InvalidInput:
            return None
