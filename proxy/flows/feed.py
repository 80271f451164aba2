"""What the Bridge has for one agent, fetched once for all of its parked waits.

A feed belongs to one agent and one credential, because nobody may read on another's token. It runs only while
somebody waits: one long poll for messages and one paced poll for questions, however many waits there are. When the
last wait is answered, the poll for questions ends and the long poll for messages is let run out, since a Bridge keeps
working on an abandoned one; when the last agent hangs up, both end.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from proxy.core.bookkeeping import asks
from proxy.core.errors import BridgeFault, BridgeRefused
from proxy.core.exchange import BridgeSaid, Event, Stirred, WayFailed
from proxy.core.ids import AgentId
from proxy.core.journal import MessageKept
from proxy.core.legacy import Message, parse_message, renumbered
from proxy.core.routing import Reason
from proxy.core.secret import Secret
from proxy.flows.budget import Budget
from proxy.flows.credential import TOKEN_REFUSED, BridgeCredential
from proxy.flows.feed_parts import FeedParts
from proxy.flows.pause import Pause
from proxy.flows.question_poll import QuestionPoll
from proxy.flows.showing import may_have_been_asked, see_second_copies, sends_settled, show
from proxy.flows.waiter import Parcel, Waiter

FIRST_RETRY_S: Final = 0.05
LAST_RETRY_S: Final = 1.0
"""A Bridge that is away is asked again after 50 ms, then less and less often. Source: ours."""

SURE_S: Final = 5.0
"""After so many seconds without contact the log may be another one. Source: ours; a Bridge restarts in 1.3 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """One message under the agent's number; `body` is its JSON under that number."""

    number: int
    body: bytes
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """What one long poll brought: every message after `since` up to the last one here, in the agent's numbers."""

    since: int
    offset: int
    """Of the numbering that `since` belongs to."""
    messages: tuple[_Read, ...]


@dataclass(frozen=True, slots=True)
class _Barren:
    """A stretch of the log without anything for this agent: whoever stands in it may begin at its end."""

    since: int
    upto: int


class Feed:
    """The two polls of one agent with one credential."""

    def __init__(self, agent_id: AgentId, credential: Secret, parts: FeedParts) -> None:
        self.agent_id = agent_id
        self.waiters: set[Waiter] = set()
        self.idle_since: float = parts.clock.now()
        self.access = BridgeCredential(agent_id, credential, parts.sessions, parts.clock)
        self._parts = parts
        self._budget = Budget(parts.new_pace(), parts.clock)
        self._questions = QuestionPoll(
            agent_id,
            parts,
            budget=self._budget,
            access=self.access,
            is_wanted=lambda: any(waiter.on_elicitation for waiter in self.waiters),
            post=self._post_all,
            met=self._met,
            look_again=self.look_again,
        )
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._scope: asyncio.Timeout | None = None
        self._polled_from = 0
        self._kept: _Batch | None = None
        self._barren = _Barren(0, 0)
        self._told = 0
        """The end of the logs whose loss was reported last, where the agent's own inbox does not know."""
        self._has_news = False
        """Something was stored while the long poll ran on for nobody."""
        self._unsure = True
        self._contact_at = float("-inf")

    def join(self, waiter: Waiter) -> None:
        """A wait begins."""
        self.waiters.add(waiter)
        if self.access.is_known():
            self._note_cursor(waiter)
        if not waiter.on_elicitation:
            self._parts.names.passes_as_legacy(self.agent_id, waiter.scan)
        self._budget.stir()
        self._unsure = self._unsure or self._parts.clock.now() - self._contact_at > SURE_S
        if waiter.on_elicitation and self._barren.since <= waiter.scan < self._barren.upto:
            waiter.scan = self._barren.upto
        kept, self._kept = self._kept, None
        if kept is not None and not self._unsure and kept.offset == self._parts.sequences.offset:
            self._hand_out(kept)
        if not self._unsure and self.access.is_trusted():
            self._leave_gone_logs([waiter])
        self._start("messages", self._carry_messages)
        if waiter.on_elicitation:
            self._start("questions", self._questions.run)
        if waiter.scan < self._polled_from or self._has_news:
            self.look_again()

    def turn_legacy(self, waiter: Waiter) -> None:
        """A wait goes on on the legacy way, from the agent's cursor, as that way shows what this one left out."""
        waiter.on_elicitation = False
        self._parts.names.passes_as_legacy(self.agent_id, waiter.ask.since)
        if waiter.start_over():
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
        """Ask for questions once, for a wait that will not wait; see QuestionPoll."""
        return await self._questions.peek()

    def stir(self) -> None:
        """A question for this agent was noted: all its waits look."""
        self._budget.stir()
        self._post_all(Stirred())

    def look_again(self) -> None:
        """Messages for this agent were stored, or a lower cursor came: begin the long poll anew."""
        if self._scope is None:
            return
        if not self.waiters:  # the next wait cuts it short: nobody would be woken now
            self._has_news = True
            return
        scope, self._scope = self._scope, None  # given up here, because a poll can be cut only once
        scope.reschedule(asyncio.get_running_loop().time())

    def _start(self, name: str, loop: Callable[[], Coroutine[object, object, None]]) -> None:
        running = self._tasks.get(name)
        # Not `cancelling()`: a poll that look_again() cuts short is that for a moment, and goes on.
        if running is None or running.done():
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
            await self._pause_messages(self._budget.until_message())
            try:
                batch = await self._poll_messages()
            except TimeoutError:  # look_again() cut the poll short
                continue
            except BridgeRefused as refusal:
                await self._settle_refusal(refusal)
                continue
            except BridgeFault:
                self._unsure = True
                self.access.disturbed()
                await self._pause_messages(retry_s)
                retry_s = min(retry_s * 2, LAST_RETRY_S)
                continue
            retry_s = FIRST_RETRY_S
            self._met()
            if batch.messages:
                await self._put_on_record(batch.messages[-1].number)
            if batch.messages and await self._has_caught_up(batch):
                await self._learn_names(batch)
                self._deliver(batch)

    async def _settle_refusal(self, refusal: BridgeRefused) -> None:
        """Go on with a new token where the Bridge has forgotten the old one; else its words belong to the agents."""
        is_about_token = refusal.bridge_status in TOKEN_REFUSED
        if is_about_token:
            self.access.doubted()
        if await self.access.renewed_after(refusal):
            return
        if is_about_token:
            self.access.given_up()
        self._dismiss(_said(refusal))

    async def _poll_messages(self) -> _Batch:
        parts = self._parts
        async with asyncio.timeout(None) as scope:
            self._scope = scope
            try:
                if self._unsure or not self.access.is_trusted():
                    await self._recognise_log()
                    if self._unsure:
                        return _Batch(since=self._polled_from, offset=parts.sequences.offset, messages=())
                self._leave_gone_logs(self.waiters)
                since = min((waiter.scan for waiter in self.waiters), default=self._polled_from)
                self._polled_from, offset = since, parts.sequences.offset
                self._has_news = False
                self._budget.spend()
                found = await parts.bridge.wait(
                    self.agent_id, self.access.secret, since=parts.sequences.to_bridge(since), hold_s=parts.hold_s
                )
            finally:
                if self._scope is scope:  # another poll may have begun while this one ended
                    self._scope = None
        # Where another feed has found the log to be a new one meanwhile, these were asked for by an old number.
        is_current = offset == parts.sequences.offset
        return _Batch(since=since, offset=offset, messages=self._note(found, since) if is_current else ())

    def _note(self, found: Iterable[Message], since: int) -> tuple[_Read, ...]:
        """Number what was read, and keep a copy until the agent shows that it has it."""
        sequences = self._parts.sequences
        read: list[_Read] = []
        for message in found:
            sequences.saw(message.sequence)
            number = sequences.to_agent(message.sequence)
            read.append(_Read(number=number, body=renumbered(message, number), message=message))
        if read and self.access.is_agents_own:
            copies = [MessageKept(self.agent_id, each.number, each.body, each.message.created_at) for each in read]
            self._parts.inbox.keep(self.agent_id, since, copies)
        return tuple(read)

    async def _put_on_record(self, number: int) -> None:
        """Let nothing be shown under a number that a crash of ours would give to another message."""
        sequences = self._parts.sequences
        if not sequences.is_on_record(number):
            numbering = sequences.numbering()
            if await self._parts.synced():
                sequences.on_record = numbering

    async def _recognise_log(self) -> None:
        """Compare the log's first message with the one known, as a restarted Bridge may number from 1 again.

        The Bridge answers at once, unless its log is empty: then this is the long poll, as any cursor may be too high.
        """
        self._budget.spend()
        hold_s = self._parts.hold_s
        first = await self._parts.bridge.wait(self.agent_id, self.access.secret, since=0, hold_s=hold_s)
        self._met()
        if first:
            self._parts.sequences.recognise((first[0].sequence, first[0].created_at))
        self._unsure = not first

    def _leave_gone_logs(self, waiters: Iterable[Waiter]) -> None:
        """Take waits that stand in a log that is gone to its end, with what was read of it, and report the rest once.

        An agent that begins at 0 asks for what there is, and gets all of it.
        """
        ended, inbox, lost = self._parts.sequences.ended, self._parts.inbox, 0
        is_own = self.access.is_agents_own
        for waiter in waiters:
            since = waiter.scan
            if since >= ended:
                continue
            copies = inbox.after(self.agent_id, since, ended) if is_own else ()
            if since:
                lost = max(lost, inbox.lost(self.agent_id, since, ended) if is_own else ended - since)
            parcels = [(copy.number, copy.body, self._parts.judge(parse_message(copy.body))) for copy in copies]
            self._give(waiter, *self._parcels(parcels), upto=ended)
        is_news = inbox.tell_once(self.agent_id, ended) if lost and is_own else self._told != ended
        if lost and is_news:
            self._told = ended
            self._parts.recorder.lost_messages(self.agent_id, lost)

    def _note_cursor(self, waiter: Waiter) -> None:
        """A cursor that came with an accepted token: the agent has what it covers, where it was read here."""
        sequences = self._parts.sequences
        sequences.held(waiter.ask.since)
        if self.access.is_agents_own and waiter.ask.since <= sequences.highest:
            self._parts.told.passed(self.agent_id, waiter.ask.since)
            self._parts.inbox.shown(self.agent_id, waiter.ask.since)

    async def _pause_messages(self, seconds: float) -> None:
        if seconds:
            await Pause(self._parts.clock).sleep(seconds)

    def _met(self) -> None:
        """The Bridge has just accepted this feed's credential, so its waits' cursors may be believed."""
        was_trusted = self.access.is_trusted()
        self._contact_at = self._parts.clock.now()
        self.access.accepted()
        for waiter in self.waiters:
            self._note_cursor(waiter)
        if not was_trusted:
            self._post_all(Stirred())

    async def _has_caught_up(self, batch: _Batch) -> bool:
        """Whether the questions that the batch tells of are in the book, or nobody waits for them there.

        Nothing behind the Bridge's note of a question may be delivered before: the agent's cursor would pass the
        note, which is all that the legacy way has of the question. A send that is becoming a question is held back
        for it, and one that may have become one elsewhere is looked for.
        """
        messages = [read.message for read in batch.messages]
        if any(waiter.on_elicitation for waiter in self.waiters):
            failed = await self._catch_up(messages)
            if failed is not None:
                self._post_all(WayFailed(failed))
                return False
        if not all(waiter.on_elicitation for waiter in self.waiters):
            await see_second_copies(self._parts, self.agent_id, self.access.secret, messages)
        return True

    async def _catch_up(self, messages: Sequence[Message]) -> Reason | None:
        await sends_settled(self._parts, self.agent_id, messages)
        if any(asks(message, self.agent_id) for message in messages):
            return await self._questions.catch_up()
        # A send is delivered as it is where its question cannot be looked for.
        if not self._budget.until_message() and may_have_been_asked(self._parts, self.agent_id, messages):
            await self._questions.look_up()
        return None

    async def _learn_names(self, batch: _Batch) -> None:
        # A batch that nobody waits for may be read on either way.
        on_elicitation = not self.waiters or any(waiter.on_elicitation for waiter in self.waiters)
        found = [(read.number, read.message) for read in batch.messages]
        if self._parts.names.learn(self.agent_id, found, on_elicitation=on_elicitation):
            await self._parts.synced()

    def _deliver(self, batch: _Batch) -> None:
        self._budget.stir()
        if self.waiters:
            self._hand_out(batch)
        elif not any(asks(read.message, self.agent_id) for read in batch.messages):
            self._kept = batch

    def _hand_out(self, batch: _Batch) -> None:
        """Give a batch to all waits that stand in it; one that joined with a lower cursor must not skip to its end."""
        raw, translated = self._parcels((read.number, read.body, read.message) for read in batch.messages)
        upto = batch.messages[-1].number
        if not translated and not any(parcel.note_key for parcel in raw):  # which way that is told is open
            self._note_barren(batch.since, upto)
        for waiter in self.waiters:
            if waiter.scan >= batch.since:
                self._give(waiter, raw, translated, upto=upto)

    def _parcels(self, read: Iterable[tuple[int, bytes, Message]]) -> tuple[list[Parcel], list[Parcel]]:
        """Messages as the legacy way shows them, and as the elicitation way does."""
        raw: list[Parcel] = []
        translated: list[Parcel] = []
        for number, body, message in read:
            parcel = Parcel(sequence=number, body=body, created_at=message.created_at)
            one, other = show(self._parts, self.agent_id, parcel, message)
            raw.extend([one] if one else [])
            translated.extend([other] if other else [])
        return raw, translated

    @staticmethod
    def _give(waiter: Waiter, raw: list[Parcel], translated: list[Parcel], *, upto: int) -> None:
        waiter.take(translated if waiter.on_elicitation else raw, upto)

    def _note_barren(self, since: int, upto: int) -> None:
        known = self._barren
        joins = known.since <= since <= known.upto
        self._barren = _Barren(known.since, max(known.upto, upto)) if joins else _Barren(since, upto)


def _said(refusal: BridgeRefused) -> BridgeSaid:
    return BridgeSaid(status=refusal.bridge_status, body=refusal.body, content_type=refusal.content_type)
