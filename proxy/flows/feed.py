"""What the Bridge has for one agent, fetched once for all of its parked waits.

A feed belongs to one agent and one credential, because nobody may read on another's token. It runs only while
somebody waits: one long poll for messages and one paced poll for questions, however many waits there are. A
question ends the poll for questions of that wait only when nobody is left; the long poll for messages is let run
out, since a Bridge keeps working on an abandoned one.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Final

from proxy.core.breaker import Breaker
from proxy.core.elicitation import BridgeStatus
from proxy.core.errors import BridgeFault, BridgeRefused
from proxy.core.exchange import BridgeSaid, Event, Stirred, WayFailed
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import Message, renumbered
from proxy.core.outcome import ElicitationOutcome
from proxy.core.pace import Pace
from proxy.core.questions import QuestionBook
from proxy.core.routing import Reason, Way
from proxy.core.secret import Secret
from proxy.core.sequences import SequenceMap
from proxy.flows.credential import BridgeCredential
from proxy.flows.naming import AnswerNames
from proxy.flows.pause import Pause
from proxy.flows.waiter import Parcel, Waiter
from proxy.ports import Bridge, Clock, Recorder

FIRST_RETRY_S: Final = 0.05
LAST_RETRY_S: Final = 1.0
"""A Bridge that is away is asked again after 50 ms, then less and less often. Source: ours."""

SURE_S: Final = 5.0
"""After so many seconds without contact the log may be another one. Source: ours; a Bridge restarts in 1.3 s."""

PEEK_S: Final = 1.0
"""Longest time a wait of zero seconds is looked after. Source: ours."""

MAX_CHECKS: Final = 5
"""Most vanished questions whose state is asked for in one round. Source: ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedParts:
    """What all feeds of one sidecar share."""

    bridge: Bridge
    book: QuestionBook
    breaker: Breaker
    sequences: SequenceMap
    names: AnswerNames
    clock: Clock
    recorder: Recorder
    spawn: Callable[[Coroutine[object, object, None], str], "asyncio.Task[None]"]
    """Start a task in the TaskGroup of the house, under a name."""
    new_pace: Callable[[], Pace]
    hold_s: float
    """How long one long poll is held at the Bridge, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What the last long poll brought after the last wait had ended: the next wait may want it."""

    since: int
    offset: int
    batch: list[Message]


class Feed:
    """The two polls of one agent with one credential."""

    def __init__(self, agent_id: AgentId, credential: Secret, parts: FeedParts) -> None:
        self.agent_id = agent_id
        self.waiters: set[Waiter] = set()
        self.idle_since: float = parts.clock.now()
        self.access = BridgeCredential(agent_id, credential, parts.bridge, parts.clock)
        self._parts = parts
        self._pace = parts.new_pace()
        self._pause = Pause(parts.clock)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._scope: asyncio.Timeout | None = None
        self._polled_from = 0
        self._kept: _Kept | None = None
        self._unsure = True
        self._contact_at = float("-inf")

    def join(self, waiter: Waiter) -> None:
        """A wait begins."""
        now = self._parts.clock.now()
        self.waiters.add(waiter)
        self._parts.sequences.held(waiter.ask.since)
        self._pace.stir(now)
        self._unsure = self._unsure or now - self._contact_at > SURE_S
        kept, self._kept = self._kept, None
        is_fresh = kept is not None and not self._unsure and kept.offset == self._parts.sequences.offset
        if kept is not None and is_fresh and kept.since <= waiter.scan:
            self._hand_out(kept.batch, [waiter])
        self._start("messages", self._carry_messages)
        if waiter.on_elicitation:
            self._start("questions", self._carry_questions)
        if waiter.scan < self._polled_from:
            self.look_again()

    def leave(self, waiter: Waiter, *, gone: bool) -> None:
        """A wait ended; `gone` when its agent hung up, which releases the polls at once."""
        self.waiters.discard(waiter)
        self.idle_since = self._parts.clock.now()
        if self.waiters:
            return
        self._stop("questions")
        if gone:
            self._stop("messages")

    def close(self) -> None:
        """End both polls."""
        self._stop("questions")
        self._stop("messages")

    async def peek(self) -> bool:
        """Ask for questions once, for a wait that will not wait; False when the Bridge did not serve it."""
        async with asyncio.timeout(PEEK_S):
            failed = await self._ask_once()
        return failed is None and self.access.is_trusted()

    def stir(self) -> None:
        """A question for this agent was noted: all its waits look."""
        self._pace.stir(self._parts.clock.now())
        self._post_all(Stirred())

    def look_again(self) -> None:
        """Messages for this agent were stored, or a lower cursor came: begin the long poll anew."""
        if self._scope is not None and self.waiters:
            self._scope.reschedule(asyncio.get_running_loop().time())

    def _start(self, name: str, loop: Callable[[], Coroutine[object, object, None]]) -> None:
        running = self._tasks.get(name)
        if running is None or running.done() or running.cancelling():
            self._tasks[name] = self._parts.spawn(self._guarded(loop), f"{name} of {self.agent_id}")

    def _stop(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()

    async def _guarded(self, loop: Callable[[], Coroutine[object, object, None]]) -> None:
        # A boundary: a defect here must end the waits of one agent, not the whole house.
        try:
            await loop()
        except Exception as error:  # noqa: BLE001  # boundary, see docs/decisions/0003-boundaries.md
            self._parts.recorder.defect("feed", error)
            self._dismiss(BridgeSaid(status=500, body=b'{"detail":"Internal error"}', content_type="application/json"))

    def _post_all(self, event: Event) -> None:
        for waiter in self.waiters:
            waiter.post(event)

    def _dismiss(self, event: Event) -> None:
        self._post_all(event)
        self.waiters.clear()

    # Messages

    async def _carry_messages(self) -> None:
        retry_s = FIRST_RETRY_S
        while self.waiters:
            try:
                batch = await self._poll_messages()
            except TimeoutError:  # look_again() cut the poll short
                continue
            except BridgeRefused as refusal:
                if not await self.access.renewed_after(refusal):
                    self._dismiss(_said(refusal))
                continue
            except BridgeFault:
                self._unsure = True
                self.access.disturbed()
                await self._pause_messages(retry_s)
                retry_s = min(retry_s * 2, LAST_RETRY_S)
                continue
            retry_s = FIRST_RETRY_S
            self._met()
            await self._parts.names.learn(self.agent_id, batch, self.access.secret)
            self._deliver(list(batch))

    async def _poll_messages(self) -> Sequence[Message]:
        parts = self._parts
        async with asyncio.timeout(None) as scope:
            self._scope = scope
            try:
                if self._unsure:
                    await self._recognise_log()
                since = min((waiter.scan for waiter in self.waiters), default=self._polled_from)
                self._polled_from = since
                self._pace.spend(parts.clock.now())
                return await parts.bridge.wait(
                    self.agent_id, self.access.secret, since=parts.sequences.to_bridge(since), hold_s=parts.hold_s
                )
            finally:
                self._scope = None

    async def _recognise_log(self) -> None:
        """Compare the log's first message with the one known, as a restarted Bridge may number from 1 again."""
        sequences = self._parts.sequences
        self._pace.spend(self._parts.clock.now())
        first = await self._parts.bridge.wait(self.agent_id, self.access.secret, since=0, hold_s=1)
        if first and sequences.recognise((first[0].sequence, first[0].created_at)):
            unread = max((sequences.unread(waiter.scan) for waiter in self.waiters), default=0)
            if unread:
                self._parts.recorder.lost_messages(self.agent_id, unread)
        self._unsure = False
        self._met()

    async def _pause_messages(self, seconds: float) -> None:
        pause = Pause(self._parts.clock)
        await pause.sleep(seconds)

    def _met(self) -> None:
        """The Bridge has just accepted this feed's credential."""
        was_trusted = self.access.is_trusted()
        self._contact_at = self._parts.clock.now()
        self.access.accepted()
        if not was_trusted:
            self._post_all(Stirred())

    def _deliver(self, batch: list[Message]) -> None:
        if not batch:
            return
        self._pace.stir(self._parts.clock.now())
        if not self.waiters:
            self._kept = _Kept(since=self._polled_from, offset=self._parts.sequences.offset, batch=batch)
            return
        self._hand_out(batch, list(self.waiters))

    def _hand_out(self, batch: list[Message], waiters: list[Waiter]) -> None:
        sequences = self._parts.sequences
        raw: list[Parcel] = []
        translated: list[Parcel] = []
        for message in batch:
            sequences.saw(message.sequence)
            number = sequences.to_agent(message.sequence)
            body = renumbered(message, number)
            raw.append(Parcel(sequence=number, body=body, created_at=message.created_at))
            told = self._parts.names.translate(self.agent_id, message, body, sequence=number)
            if told is not None:
                translated.append(Parcel(sequence=number, body=told, created_at=message.created_at))
        upto = sequences.to_agent(batch[-1].sequence)
        for waiter in waiters:
            waiter.take(translated if waiter.on_elicitation else raw, upto)

    # Questions

    async def _carry_questions(self) -> None:
        breaker, clock = self._parts.breaker, self._parts.clock
        while any(waiter.on_elicitation for waiter in self.waiters):
            if not breaker.may_try(clock.now()):
                way = breaker.way(clock.now())
                self._post_all(WayFailed(Reason(way.value) if way is not Way.OPEN else Reason.BREAKER_OPEN))
                return
            failed = await self._ask_once()
            if failed is not None:
                self._post_all(WayFailed(failed))
                return
            await self._pause.sleep(self._pace.gap(clock.now()))

    async def _ask_once(self) -> Reason | None:
        """One round of questions; the reason why the elicitation way is lost, or None."""
        parts = self._parts
        listed_before = set(parts.book.absent_from(self.agent_id, ()))
        self._pace.spend(parts.clock.now())
        try:
            found = await parts.bridge.pending(self.agent_id, self.access.secret)
        except BridgeRefused as refusal:
            if refusal.bridge_status in {401, 403}:  # the poll for messages renews the credential or passes it on
                parts.breaker.abandoned()
                return None
            if refusal.bridge_status in {404, 405}:
                parts.breaker.incapable(parts.clock.now())
                return Reason.INCAPABLE
            parts.breaker.failed(parts.clock.now())
            return Reason.FALLBACK
        except BridgeFault:
            self.access.disturbed()
            parts.breaker.failed(parts.clock.now())
            return Reason.FALLBACK
        except asyncio.CancelledError:
            parts.breaker.abandoned()
            raise
        parts.breaker.succeeded()
        self._met()
        for elicitation in found:
            if parts.book.add(elicitation):
                parts.recorder.elicitation(ElicitationOutcome.SEEN, self.agent_id)
                self.stir()
        listed = {elicitation.elicitation_id for elicitation in found}
        await self._check_vanished(sorted(listed_before - listed)[:MAX_CHECKS])
        due = parts.book.next_due(self.agent_id)
        if due is not None and due <= parts.clock.now():
            self._post_all(Stirred())
        return None

    async def _check_vanished(self, vanished: Sequence[ElicitationId]) -> None:
        """Questions the Bridge no longer lists: forget those it says are over, keep what it cannot tell."""
        for elicitation_id in vanished:
            self._pace.spend(self._parts.clock.now())
            try:
                status = await self._parts.bridge.status(elicitation_id, self.access.secret)
            except BridgeFault:
                return
            if status is not BridgeStatus.PENDING:
                self._parts.book.withdraw(elicitation_id)


def _said(refusal: BridgeRefused) -> BridgeSaid:
    return BridgeSaid(status=refusal.bridge_status, body=refusal.body, content_type=refusal.content_type)
