"""The sockets in the wall: everything the flows need from outside, in our own words."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Protocol

from proxy.core.audit import Entry, Head, Trail
from proxy.core.bus import Ask
from proxy.core.cohort import Cohort
from proxy.core.deeds import Deed
from proxy.core.elicitation import Answer, BridgeStatus, Elicitation
from proxy.core.flags import FlagChange, FlagSet
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.journal import Recovered, Stamped
from proxy.core.legacy import Message
from proxy.core.limits import Decision, LimitName
from proxy.core.nonces import NonceClaim
from proxy.core.outcome import ElicitationOutcome, Outcome
from proxy.core.rate import Rate
from proxy.core.secret import Secret
from proxy.core.suspicion import Suspicion
from proxy.mcp.calling import OnAsk, OnNote, Outgoing
from proxy.mcp.jsonrpc import Response
from proxy.mcp.mrtr import SealKey
from proxy.mcp.revisions import Era

Spawn = Callable[[Coroutine[object, object, None], str], "asyncio.Task[None]"]
"""Start a task in the TaskGroup of the house, under a name."""


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


class SendBridge(Protocol):
    """The calls of the Bridge that are made in an agent's own name. Methods raise what those of Bridge do."""

    async def create(self, ask: Ask, credential: Secret) -> Elicitation:
        """Put one question; where the outcome is unclear there may be one or none."""
        ...

    async def store_event(self, agent_id: AgentId, data: Mapping[str, object], credential: Secret) -> int:
        """Store one event; its sequence."""
        ...


class QuestionBus(Protocol):
    """Questions carried as events of the Bridge's log, where the Bridge has no calls of its own for them.

    `credential` is the value of an `Authorization` header. Methods that wait raise what those of Bridge do.
    """

    async def carries(self, credential: Secret) -> bool:
        """Whether a question that is asked now travels over the bus."""
        ...

    def has_open(self) -> bool:
        """Whether a question over the bus is open, also where new ones travel another way."""
        ...

    def judge(self, message: Message) -> Message:
        """Mark a message of a log that is gone, where it is part of an elicitation that counts."""
        ...

    async def ask(self, ask: Ask, credential: Secret) -> Elicitation:
        """Put one question; it is in the log when this returns.

        Raises:
            InvalidInput: the question is too large for an event.
            AnswerForbidden: the token belongs to another agent than the one that asks.
            TooManyQuestions: there is no room for it, and nothing was stored.
        """
        ...

    async def withdraw(self, elicitation_id: ElicitationId, agent_id: AgentId, credential: Secret) -> None:
        """Take a question back in the name of its asker; refused to everybody else, and when it is over."""
        ...

    async def find(self, elicitation_id: ElicitationId, credential: Secret) -> Elicitation | None:
        """The question of this id, open or over; None when it is not known."""
        ...


class McpServer(Protocol):
    """The MCP server upstream, for questions of our own."""

    async def is_alive(self, headers: Mapping[str, str]) -> bool:
        """Whether the server knows the session that these headers name.

        Raises:
            BridgeFault: the server could not be asked.
        """
        ...


class McpUpstream(Protocol):
    """The MCP server upstream as we call it ourselves, in an era that its client may not speak."""

    async def speaks(self, era: Era, headers: Mapping[str, str]) -> bool:
        """Whether the server speaks this era; asked once, remembered, and asked again after a failure.

        Raises:
            BridgeFault: the server could not be asked.
        """
        ...

    def known(self, era: Era) -> bool | None:
        """What is remembered of that; None where the server would have to be asked."""
        ...

    async def describe(self, era: Era, call: Outgoing) -> bytes:
        """What the server says of itself: the result of `initialize` or of `server/discover`, as it came.

        Only headers, principal, modes and name of `call` count.

        Raises:
            BridgeFault: the server could not be asked, or refused.
        """
        ...

    async def request(self, era: Era, call: Outgoing, *, on_ask: OnAsk, on_note: OnNote) -> Response:
        """Send one request and wait for its response, however many questions come before it.

        Cancelled, it cancels the request at the server as the era has it. What became of each reply to a question is
        told to its `arrival` before this returns. The response's id means nothing.

        Raises:
            BridgeFault: no response came, or none that can be read.
        """
        ...

    async def forget(self, principal: str) -> None:
        """End the sessions that are kept for this principal."""
        ...


class ExchangeStore(Protocol):
    """Calls that are suspended until their client comes back with an answer, kept over restarts."""

    async def keys(self) -> Sequence[SealKey]:
        """The key ring of the seals, made on first use; the first key seals, all open."""
        ...

    async def suspend(self, handle: bytes, record: bytes, *, owner: bytes, expires_at: float) -> None:
        """Keep what a call needs to go on; `expires_at` in seconds since the epoch, `owner` whose call it is.

        Raises:
            StateUnavailable: as many calls are kept as may be, in all or of this owner, or the store fails.
        """
        ...

    async def resume(self, handle: bytes, digest: bytes, *, now: float) -> bytes | None:
        """Take up a suspended call with the answers that have this digest; None where there is none any more.

        It is consumed once: from then on only the same digest gets the record again, so that a retry repeated on a
        broken connection ends as the first one did.

        Raises:
            StateUnavailable: the store fails.
        """
        ...

    async def sweep(self, *, now: float) -> None:
        """Forget what has expired; `now` in seconds since the epoch."""
        ...


class JournalStore(Protocol):
    """What a sidecar writes down as it happens. Every method raises StateUnavailable, and nothing else."""

    async def apply(self, changes: Sequence[Stamped]) -> None:
        """Write changes in their order, all or none; durable when this returns."""
        ...

    async def replace(self, changes: Sequence[Stamped]) -> None:
        """Forget everything that is open and write these changes instead, in one step."""
        ...

    async def recover(self) -> Recovered:
        """What an earlier process kept."""
        ...

    async def prune(self, *, now: float) -> None:
        """Forget the oldest of what is over, and give the room back; `now` in seconds since the epoch."""
        ...


class JournalWatch(Protocol):
    """Whoever is told how the journal fares."""

    def wrote(self, changes: int, seconds: float) -> None:
        """So many changes became durable with one commit, which took so long."""
        ...

    def trouble_began(self, why: str) -> None:
        """The store does not take what is written; from here on the state lives in memory only."""
        ...

    def trouble_ended(self) -> None:
        """The journal is whole again."""
        ...


class LimitStore(Protocol):
    """What rate limits have granted to agents."""

    async def take(self, name: LimitName, agent_id: AgentId, rate: Rate, *, now: float, cost: int = 1) -> Decision:
        """Take `cost` from what the limit grants to the agent, or nothing where that is too much; in one step.

        `now` is monotonic seconds. A store that has no place left for a new agent refuses that one.

        Raises:
            ValueError: a cost below 0.
            StateUnavailable: the store fails.
        """
        ...


class NonceStore(Protocol):
    """Nonces of signed calls, each of which counts once, also after a restart."""

    async def claim(self, keyid: str, nonce: str, *, expires: float, now: float) -> NonceClaim:
        """Claim a nonce of a key; kept when this returns `CLAIMED`, and only then the call may be let through.

        `expires` is the first moment at which the signature is refused for its age, in seconds since the epoch as
        `now`. What is full refuses what is new. The same nonce claimed by two at once is claimed by one of them.

        Raises:
            StateUnavailable: the claim cannot be kept; the call is not to be let through.
        """
        ...


class AuditTrail(Protocol):
    """What was done, by whom and to whom, in a chain that shows where anybody has touched it.

    Every method raises StateUnavailable where the store fails.
    """

    async def append(self, deed: Deed, *, who: str, subject: str, at: float) -> Entry:
        """Write one entry, with its place in the chain; durable when this returns. `at`: seconds since the epoch.

        When there are more entries than are kept, the oldest go, and another entry says so.

        Raises:
            InvalidInput: a deed, a name or a time that cannot be written down.
        """
        ...

    async def read(self, *, after: int, limit: int) -> Sequence[Entry]:
        """The entries behind this number, oldest first, as they stand there."""
        ...

    async def head(self) -> Head:
        """Number and digest of the last entry, from where they are kept apart; to be kept elsewhere, too."""
        ...

    async def whole(self) -> Trail:
        """All entries and the head as they stand at one moment, to be checked or exported."""
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


class DescriptorWatch(Protocol):
    """Hears of connections that are turned away because the process is short of file descriptors."""

    def short_of_descriptors(self, limit: int) -> None:
        """Connections are turned away from now on; the process may have `limit` descriptors."""
        ...

    def turned_away(self) -> None:
        """One connection was turned away."""
        ...

    def descriptors_back(self, refused: int) -> None:
        """Connections are taken again, after so many were turned away."""
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
        """Report messages that a restarted Bridge can no longer deliver to this agent, at most `count`."""
        ...

    def suspect(self, suspicion: Suspicion) -> None:
        """Take note of a call that a rule of security refuses, or would refuse."""
        ...

    def limited(self, limit: LimitName, *, is_allowed: bool) -> None:
        """Take note of what a rate limit said to a call."""
        ...

    def defect(self, where: str, error: BaseException) -> None:
        """Report a mistake of our own, with its traceback."""
        ...
