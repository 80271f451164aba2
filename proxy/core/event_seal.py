"""Signs the parts of elicitations that travel as events of a log, and tells which of a log's events count.

A question, an answer and a withdrawal are each signed by the sidecar of the agent that speaks in it. Its nonce is made
of its kind and the id of its question: an event that is read again is the same event, and one that was copied into the
log later is the second of its id, of which the first counts. When it was stored is what the Bridge says of it, so a
signature has to be good at that moment, and a log can be read long after.

What does not count where it is enforced stays an ordinary message, as a foreign event always does; an agent without a
sidecar, which answers by an event of its own, cannot sign it.

Source: ARCHITECTURE.md 2.2 and 4; BRIDGE.md 2.2 (spoofing allowed).
"""

from collections.abc import Callable, Mapping
from typing import Final, final

from proxy.core.bus import Answered, Asked, BusEvent, read_event
from proxy.core.call_signer import CallSigner
from proxy.core.event_signing import sign_event, verify_event
from proxy.core.identity import Mode
from proxy.core.ids import AgentId
from proxy.core.key_ring import KeyRing
from proxy.core.legacy import Message
from proxy.core.signature_fields import Terms
from proxy.core.signing import LIFE_S, Refusal
from proxy.core.suspicion import Breach, Suspicion

QUESTION: Final = "question"
ANSWER: Final = "answer"
WITHDRAWAL: Final = "withdrawal"

EVENT_LIFE_S: Final = LIFE_S
"""How long a signed event may take until the Bridge has stored it, seconds."""


def nonce_of(kind: str, elicitation_id: str) -> str:
    """The nonce of the one event of this kind that counts for a question."""
    return f"{kind}-{elicitation_id}"


@final
class EventSeal:
    """Signs what we store, and judges what is read."""

    __slots__ = ("_counted", "_hear", "_mode", "_ring", "_signer")

    def __init__(self, ring: Callable[[], KeyRing], *, mode: Mode = "off", signer: CallSigner | None = None) -> None:
        self._ring = ring
        self._mode = mode
        self._signer = signer
        self._hear: Callable[[Suspicion], None] = _nobody_hears
        self._counted: dict[int, int] = {}
        """The highest sequence of each log that was judged."""

    def watch(self, hear: Callable[[Suspicion], None]) -> None:
        """Tell of each event that is not signed as it has to be, once."""
        self._hear = hear

    def sealed(
        self, data: Mapping[str, object], speaker: AgentId, *, kind: str, elicitation_id: str, wall: float
    ) -> dict[str, object]:
        """The data of an event, signed where this sidecar signs for its speaker; `wall` is the Bridge's time.

        Raises:
            InvalidInput: data that has no canonical form.
        """
        key = None if self._signer is None else self._signer.key_for(speaker)
        if key is None:
            return dict(data)
        terms = Terms.at(wall, nonce_of(kind, elicitation_id), life_s=EVENT_LIFE_S)
        return sign_event(data, key=key, terms=terms)

    def counts(self, message: Message, *, log: int, wall: float) -> bool:
        """Whether a message of a log may be a part of an elicitation; `wall` is the time where it has no stamp."""
        if self._mode == "off":
            return True
        event = read_event(message)
        if event is None:
            return True
        refusal = self._refusal(message, event, wall)
        if refusal is None:
            return True
        is_enforced = self._mode == "enforce"
        if message.sequence > self._counted.get(log, -1):
            self._counted[log] = message.sequence
            self._hear(
                Suspicion(
                    breach=Breach.SIGNATURE,
                    rule=refusal.value,
                    agent_id=message.source_agent,
                    is_enforced=is_enforced,
                )
            )
        return not is_enforced

    def _refusal(self, message: Message, event: BusEvent, wall: float) -> Refusal | None:
        stored_at = wall if message.created_at is None else message.created_at
        found = verify_event(message.data, ring=self._ring(), speaker=AgentId(message.source_agent), now=stored_at)
        if isinstance(found, Refusal):
            return found
        return None if found.verdict.nonce == _nonce(event) else Refusal.MALFORMED


def _nonce(event: BusEvent) -> str:
    if isinstance(event, Asked):
        return nonce_of(QUESTION, event.question.elicitation_id)
    if isinstance(event, Answered):
        return nonce_of(ANSWER, event.answer.elicitation_id)
    return nonce_of(WITHDRAWAL, event.elicitation_id)


def _nobody_hears(_suspicion: Suspicion) -> None:
    pass
