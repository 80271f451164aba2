"""The sockets in the wall: everything the flows need from outside, in our own words."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from proxy.core.cohort import Cohort
from proxy.core.elicitation import Answer, BridgeStatus, Elicitation
from proxy.core.flags import FlagChange, FlagSet
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import Message
from proxy.core.outcome import ElicitationOutcome, Outcome
from proxy.core.secret import Secret


class Alarm(Protocol):
    """A call that is due later and can be called off."""

    def cancel(self) -> None:
        """Call it off; harmless when it has rung."""
        ...


class Clock(Protocol):
    """Time, in seconds."""

    def now(self) -> float:
        """Monotonic time, for durations and deadlines."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch, for dates and for the Bridge's deadlines."""
        ...

    def alarm(self, at: float, ring: Callable[[], None]) -> Alarm:
        """Call `ring` once at monotonic time `at`."""
        ...


class Bridge(Protocol):
    """The Bridge over its REST interface.

    `credential` is the value of an `Authorization` header. Every method raises BridgeUnavailable, BridgeTimeout,
    BridgeRefused (with the Bridge's own words) or BadBridgeReply, and nothing else.
    """

    async def wait(self, agent_id: AgentId, credential: Secret, *, since: int, hold_s: float) -> tuple[Message, ...]:
        """The legacy wait; empty after `hold_s` seconds without a message."""
        ...

    async def pending(self, agent_id: AgentId, credential: Secret) -> tuple[Elicitation, ...]:
        """Questions that wait for this agent."""
        ...

    async def respond(self, answer: Answer, agent_id: AgentId, credential: Secret) -> None:
        """Give one answer."""
        ...

    async def status(self, elicitation_id: ElicitationId, credential: Secret) -> BridgeStatus | None:
        """State of one elicitation; None when the Bridge does not know it."""
        ...

    async def open_session(self, agent_id: AgentId) -> Secret:
        """Open a Bridge session in the agent's name; the credential of the new session."""
        ...


class McpServer(Protocol):
    """The MCP server upstream, for questions of our own."""

    async def is_alive(self, headers: Mapping[str, str]) -> bool:
        """Whether the server knows the session that these headers name.

        Raises:
            BridgeFault: the server could not be asked.
        """
        ...


class FlagStore(Protocol):
    """The flag set, its history and the operators' overrides, kept over restarts."""

    async def load(self) -> FlagSet | None:
        """The last stored set, or None when nothing was stored yet."""
        ...

    async def compare_and_set(self, flags: FlagSet, change: FlagChange, *, expected: int) -> None:
        """Store a set and its history entry in one step.

        Raises:
            FlagConflict: another version than `expected` is stored.
        """
        ...

    async def history(self, limit: int) -> Sequence[FlagChange]:
        """The latest changes, newest first."""
        ...

    async def force(self, agent_id: AgentId, cohort: Cohort | None, *, until: float | None) -> None:
        """Remember that an operator forced an agent to a cohort, or (None) no longer does. `until`: wall clock."""
        ...

    async def forced(self) -> dict[AgentId, tuple[Cohort, float | None]]:
        """All overrides that were stored, with their ends."""
        ...


class Recorder(Protocol):
    """The one listener to outcomes."""

    def record(self, outcome: Outcome) -> None:
        """Take note of one served call."""
        ...

    def elicitation(self, outcome: ElicitationOutcome, agent_id: str) -> None:
        """Take note of something that happened to an elicitation outside of a served call."""
        ...

    def lost_messages(self, agent_id: str, count: int) -> None:
        """Report messages that a restarted Bridge can no longer deliver to this agent."""
        ...

    def defect(self, where: str, error: BaseException) -> None:
        """Report a mistake of our own, with its traceback."""
        ...
