"""One agent's questions, asked of the Bridge at a pace: the half of a feed that legacy waits do without."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from proxy.core.asker_share import within_share
from proxy.core.elicitation import BridgeStatus, Elicitation
from proxy.core.errors import BadBridgeReply, BridgeFault, BridgeRefused
from proxy.core.exchange import Event, Stirred, WayFailed
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.outcome import ElicitationOutcome
from proxy.core.routing import Reason, Way
from proxy.flows.budget import Budget
from proxy.flows.credential import TOKEN_REFUSED, BridgeCredential
from proxy.flows.feed_parts import FeedParts
from proxy.flows.pause import Pause

PEEK_S: Final = 1.0
"""Longest time a wait of zero seconds is looked after. Source: ours."""

LOOK_S: Final = 1.0
"""Shortest wait that looks into the log. Source: BRIDGE.md 2.3 (a wait of 0 seconds does not look)."""

MAX_CHECKS: Final = 5
"""Most vanished questions whose state is asked for in one round. Source: ours."""


class QuestionPoll:
    """Brings questions into the book, and tells the waits when the elicitation way is lost."""

    __slots__ = (
        "_access",
        "_agent_id",
        "_budget",
        "_is_wanted",
        "_look_again",
        "_met",
        "_parts",
        "_pause",
        "_post",
        "_turn",
    )

    def __init__(  # what it shares with the other half
        self,
        agent_id: AgentId,
        parts: FeedParts,
        *,
        budget: Budget,
        access: BridgeCredential,
        is_wanted: Callable[[], bool],
        post: Callable[[Event], None],
        met: Callable[[], None],
        look_again: Callable[[], None],
    ) -> None:
        self._agent_id = agent_id
        self._parts = parts
        self._budget = budget
        self._access = access
        self._is_wanted = is_wanted
        """Whether a wait on the elicitation way is left."""
        self._post = post
        """Put an event before all waits."""
        self._met = met
        """The Bridge has just accepted the token."""
        self._look_again = look_again
        """Read messages anew: what was made from one is delivered in its stead."""
        self._pause = Pause(parts.clock)
        self._turn = asyncio.Lock()

    async def catch_up(self) -> Reason | None:
        """Ask now, as the log tells of a question for this agent; why the Bridge did not serve that, or None."""
        if not self._parts.breaker.may_try(self._parts.clock.now()):
            return self._why_not()
        return await self._ask_once()

    async def look_up(self) -> None:
        """The same for a question that need not be there: it takes a second at most, and a failure means nothing."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PEEK_S):
                await self.catch_up()

    async def run(self) -> None:
        """Ask for as long as a wait wants it and the elicitation way can serve."""
        breaker, clock = self._parts.breaker, self._parts.clock
        while self._is_wanted():
            if gap_s := self._budget.until_question():
                await self._pause.sleep(gap_s)
                continue
            if not breaker.may_try(clock.now()):
                self._post(WayFailed(self._why_not()))
                return
            failed = await self._ask_once()
            if failed is not None:
                self._post(WayFailed(failed))
                return
            await self._prove()

    async def _prove(self) -> None:
        """Read the events that questions say they were made from, where no wait has come to them yet, or all have."""
        sent = self._parts.sent
        for question in sent.unproven(self._agent_id)[:MAX_CHECKS]:
            since = (question.made_from or 1) - 1
            self._budget.spend()
            try:
                found = await self._parts.bridge.wait(self._agent_id, self._access.secret, since=since, hold_s=LOOK_S)
            except BridgeFault:  # asked again after the next poll
                return
            sent.judge(question, next((each for each in found if each.sequence == question.made_from), None))
            if sent.is_true(question.elicitation_id):
                self._look_again()
            else:
                self._post(Stirred())

    async def peek(self) -> bool:
        """Ask once, for a wait that will not wait; False when the Bridge did not serve it.

        Where the last look was only a moment ago, or the allowance is used up, what is known has to do.

        Raises:
            TimeoutError: it took longer than a second.
        """
        if self._budget.until_question():
            return self._access.is_trusted()
        if not self._parts.breaker.may_try(self._parts.clock.now()):
            return False
        async with asyncio.timeout(PEEK_S):
            failed = await self._ask_once()
        return failed is None and self._access.is_trusted()

    def _why_not(self) -> Reason:
        way = self._parts.breaker.way(self._parts.clock.now())
        return Reason(way.value) if way is not Way.OPEN else Reason.BREAKER_OPEN

    async def _ask_once(self) -> Reason | None:
        """One round of questions; the reason why the elicitation way is lost, or None."""
        async with self._turn:
            try:
                return await self._ask()
            finally:
                self._budget.asked()

    async def _ask(self) -> Reason | None:
        parts = self._parts
        listed_before = set(parts.book.absent_from(self._agent_id, ()))
        self._budget.spend()
        try:
            found = await parts.bridge.pending(self._agent_id, self._access.secret)
        except BridgeFault as fault:
            return self._judge(fault)
        except asyncio.CancelledError:
            parts.breaker.abandoned()
            raise
        parts.breaker.succeeded()
        self._met()
        if not self._note(found):
            return Reason.FALLBACK  # the book is full: the legacy way shows the Bridge's note of it
        listed = {elicitation.elicitation_id for elicitation in found}
        await self._check_vanished(sorted(listed_before - listed)[:MAX_CHECKS])
        return None

    def _note(self, found: Sequence[Elicitation]) -> bool:
        """Write the questions into the book; False when it has no room for one.

        What is beyond the share of its asker stays with the Bridge for now.
        """
        book, within = self._parts.book, within_share(found)
        for elicitation in within:
            if book.add(elicitation):
                self._parts.recorder.elicitation(ElicitationOutcome.SEEN, self._agent_id)
                self._budget.stir()
        if found:  # new ones, ones that are due again, and ones that another wait gave back
            self._post(Stirred())
        return all(book.get(elicitation.elicitation_id) is not None for elicitation in within)

    def _judge(self, fault: BridgeFault) -> Reason | None:
        """What a failed round means for the waits; None where another half will settle it."""
        breaker, now = self._parts.breaker, self._parts.clock.now()
        match fault:
            case BridgeRefused(bridge_status=status) if status in TOKEN_REFUSED:
                # The poll for messages renews the token or passes the refusal on.
                self._access.doubted()
                breaker.abandoned()
                return None
            case BridgeRefused(bridge_status=404 | 405):
                breaker.incapable(now)
                return Reason.INCAPABLE
            case BridgeRefused(bridge_status=status):
                self._count(is_the_bridges=status >= 500)
            case BadBridgeReply():  # what this agent was asked cannot be read: no reason to give up on all others
                self._count(is_the_bridges=False)
            case _:
                self._access.disturbed()
                self._count(is_the_bridges=True)
        return Reason.FALLBACK

    def _count(self, *, is_the_bridges: bool) -> None:
        """Count a failure of the elicitation way, unless it may be this agent's own doing.

        The breaker is everybody's: a token that the Bridge has not accepted cannot open it.
        """
        if is_the_bridges and self._access.is_known():
            self._parts.breaker.failed(self._parts.clock.now())
        else:
            self._parts.breaker.abandoned()

    async def _check_vanished(self, vanished: Sequence[ElicitationId]) -> None:
        """Questions the Bridge no longer lists: forget those it says are over, keep what it cannot tell."""
        for elicitation_id in vanished:
            self._budget.spend()
            try:
                status = await self._parts.bridge.status(elicitation_id, self._access.secret)
            except BridgeFault:
                return
            if status is not BridgeStatus.PENDING:
                self._parts.book.withdraw(elicitation_id)
