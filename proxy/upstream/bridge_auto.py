"""The Bridge as it turns out to be: its own elicitation calls where it has them, the event log where it has not.

How it is found out: the poll for questions goes to `/elicitation/pending`. A Bridge that answers it, or refuses the
token for it, has elicitation; 404, 405 and 501 say that it has none, and from then on questions travel over the bus.
Any other failure tells nothing: what was known stays, and a Bridge of which nothing is known yet counts as failing.
Every `reprobe_s` one poll asks anew, so that a Bridge that was replaced by another is noticed without a restart.

What a change of the way does to questions that are open. An id tells by its form which way its question went, so
answers and states go the way of their question whatever the present way is.
- The Bridge learns elicitation: new questions go to it. Those on the bus stay listed beside the Bridge's own until they
  are answered or expire, and so do those that a sidecar which has not noticed yet still puts there: the log goes on to
  be read by the waits of the agents. Only a sidecar that is started anew meanwhile does not look for them in the past
  of the log; they reach its agents as messages.
- The Bridge loses elicitation: its own questions are gone with it, and withdrawn as their states become unknown.

Source: ARCHITECTURE.md 2.2 (`auto` probes and re-probes); PROTOCOL.md 4.2, A0 x B0 (404 and 405); status 501 by
RFC 9110 section 15.6.2.
"""

from typing import Final

from proxy.core.bridge_token import issued_to
from proxy.core.bus import READER, Ask, is_bus_id
from proxy.core.elicitation import Answer, BridgeStatus, Elicitation
from proxy.core.errors import BridgeFault, BridgeRefused
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import Message
from proxy.core.secret import Secret
from proxy.ports import Bridge, Clock
from proxy.upstream.bridge_bus import BusBridge

NO_ELICITATION: Final = frozenset({404, 405, 501})
"""What a Bridge without elicitation answers to the poll for questions."""

TOKEN_REFUSED: Final = frozenset({401, 403})
"""What a Bridge with elicitation answers to it when it does not accept the token. Source: BRIDGE.md 2.1."""


class AutoBridge:
    """The Bridge port, and the QuestionBus port, over whichever way the Bridge has."""

    __slots__ = ("_bus", "_clock", "_is_legacy", "_probe_at", "_reprobe_s", "_rest")

    def __init__(self, rest: Bridge, bus: BusBridge, clock: Clock, *, reprobe_s: float) -> None:
        self._rest = rest
        self._bus = bus
        self._clock = clock
        self._reprobe_s = reprobe_s
        self._is_legacy: bool | None = None
        """Whether it has no elicitation; None until it was asked."""
        self._probe_at = float("-inf")

    # The Bridge port

    async def wait(self, agent_id: AgentId, credential: Secret, *, since: int, hold_s: float) -> tuple[Message, ...]:
        """The legacy wait, with elicitation traffic marked; see the port."""
        return await self._bus.wait(agent_id, credential, since=since, hold_s=hold_s)

    async def pending(self, agent_id: AgentId, credential: Secret) -> tuple[Elicitation, ...]:
        """The open questions to one agent, whichever way they went; see the port."""
        found = await self._polled(agent_id, credential)
        if found is None:
            return await self._bus.pending(agent_id, credential)
        return (*found, *self._bus.open_for(agent_id))

    async def respond(self, answer: Answer, agent_id: AgentId, credential: Secret) -> None:
        """Give one answer the way its question came; see the port."""
        await self._way_of(answer.elicitation_id).respond(answer, agent_id, credential)

    async def status(self, elicitation_id: ElicitationId, credential: Secret) -> BridgeStatus | None:
        """State of one elicitation; see the port."""
        return await self._way_of(elicitation_id).status(elicitation_id, credential)

    async def open_session(self, agent_id: AgentId) -> Secret:
        """Open a session in the agent's name; see the port."""
        return await self._rest.open_session(agent_id)

    # The QuestionBus port

    async def carries(self, credential: Secret) -> bool:
        """Whether the Bridge has no elicitation; asks it where that is not known, or not for sure any more."""
        if self._is_legacy is None or self._is_due():
            # Whose questions are asked for does not matter, as only the status counts.
            await self._polled(AgentId(issued_to(credential) or READER), credential)
        return self._is_legacy is True

    def has_open(self) -> bool:
        """Whether a question over the bus is open; see the port."""
        return self._bus.has_open()

    def judge(self, message: Message) -> Message:
        """Mark a message of a log that is gone; see the port."""
        return self._bus.judge(message)

    async def ask(self, ask: Ask, credential: Secret) -> Elicitation:
        """Put one question over the bus; see the port."""
        return await self._bus.ask(ask, credential)

    async def withdraw(self, elicitation_id: ElicitationId, agent_id: AgentId, credential: Secret) -> None:
        """Take a question on the bus back; see the port."""
        await self._bus.withdraw(elicitation_id, agent_id, credential)

    async def find(self, elicitation_id: ElicitationId, credential: Secret) -> Elicitation | None:
        """The question of this id on the bus; see the port."""
        return await self._bus.find(elicitation_id, credential)

    # Which way

    def _way_of(self, elicitation_id: ElicitationId) -> Bridge:
        return self._bus if is_bus_id(elicitation_id) else self._rest

    def _is_due(self) -> bool:
        return self._clock.now() >= self._probe_at

    async def _polled(self, agent_id: AgentId, credential: Secret) -> tuple[Elicitation, ...] | None:
        """What the Bridge lists itself; None where questions travel over the bus."""
        if self._is_legacy and not self._is_due():
            return None
        # Set before it is asked, so that of many polls at once only one asks anew.
        self._probe_at = self._clock.now() + self._reprobe_s
        try:
            found = await self._rest.pending(agent_id, credential)
        except BridgeRefused as refusal:
            if refusal.bridge_status in NO_ELICITATION:
                self._is_legacy = True
            elif refusal.bridge_status in TOKEN_REFUSED:
                self._is_legacy = False
            if self._is_legacy:
                return None
            raise
        except BridgeFault:
            if self._is_legacy:
                return None
            raise
        self._is_legacy = False
        return found
