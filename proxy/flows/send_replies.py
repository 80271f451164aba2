"""The way back of dual mode: legacy replies that answer questions, and answers that senders read as legacy replies.

An answer to a send is a message in the Bridge's log, as the reply would have been that it stands for. It is stored
before the answer counts as settled, so that who answers again after a crash brings it about once more.

Source: ARCHITECTURE.md 2.4; BRIDGE.md 2.1 (session abuse rule).
"""

import asyncio
from typing import Final

from proxy.core.allowances import Allowances
from proxy.core.answers import GivenAnswer
from proxy.core.bus import is_bus_id
from proxy.core.elicitation import Answer, Elicitation
from proxy.core.errors import BridgeFault
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import Message
from proxy.core.numbered_replies import NumberedReply, question_meant, read_numbered_reply
from proxy.core.outcome import ElicitationOutcome
from proxy.core.rate import Rate
from proxy.core.routing import Way
from proxy.core.secret import Secret
from proxy.core.send_replies import reply_data
from proxy.flows.feeds import Feeds
from proxy.flows.pause import Pause
from proxy.ports import SendBridge

LOOKUPS: Final = Rate(count=10, period_s=60, burst=5)
"""How often a reply of one agent is looked up at the Bridge. Source: ours; each takes two calls of its session."""

MAX_HANDED: Final = 1_000
"""Most late answers that are remembered, so that the same one again is no second message. Source: ours."""

LOOK_UP_S: Final = 2.0
"""Longest time that a reply is held back for this. Source: ours; a look into the log may take a second by itself."""

RETRIES_S: Final = (0.5, 2.0, 8.0, 30.0)
"""Pauses before a message that the Bridge did not take is stored again. Source: ours; a Bridge restarts in seconds."""

_LOOK_S: Final = 1.0
"""Shortest wait that looks into the log. Source: BRIDGE.md 2.3."""


class SendReplies:
    """The answering side of dual mode."""

    __slots__ = ("_bridge", "_feeds", "_handed", "_lookups")

    def __init__(self, feeds: Feeds, bridge: SendBridge | None) -> None:
        """Without a `bridge` nothing is stored in an agent's name."""
        self._feeds = feeds
        self._bridge = bridge
        self._lookups = Allowances(LOOKUPS)
        self._handed: dict[ElicitationId, bytes] = {}
        """Late answers, by their digest."""

    async def meant(self, body: bytes, credential: Secret) -> GivenAnswer | None:
        """`POST /event/store` as the answer to the question that it names by a number; None: it is a message."""
        reply = read_numbered_reply(body)
        if reply is None:
            return None
        sequences = self._feeds.parts.sequences
        sequence = sequences.to_bridge(reply.number) if sequences.offset else reply.number
        question = self._known(reply, sequence)
        if question is None and sequence:  # else it is of a log that is gone, where nobody can look it up
            question = await self._found(reply, sequence, credential)
        return None if question is None else reply.as_answer(question.elicitation_id)

    def _known(self, reply: NumberedReply, sequence: int) -> Elicitation | None:
        parts = self._feeds.parts
        named = parts.told.named_at(reply.agent_id, reply.number)
        told = None if named is None else parts.book.get(named)
        sent = parts.sent.known_by(reply.agent_id, (sequence,)) if sequence else []
        known = [*([] if told is None else [told]), *sent]
        return next((question for question in known if reply.may_answer(question)), None)

    async def _found(self, reply: NumberedReply, sequence: int, credential: Secret) -> Elicitation | None:
        """Ask the Bridge which question is meant; None as well where it cannot be told now."""
        parts = self._feeds.parts
        now = parts.clock.now()
        # By token as well: whoever has none of the agent's must not use up what it may look up.
        caller = AgentId(f"{reply.agent_id} {credential.fingerprint().hex()}")
        if parts.breaker.way(now) is not Way.OPEN or not self._lookups.take(caller, now):
            return None
        try:
            async with asyncio.timeout(LOOK_UP_S):
                return await self._looked_up(reply, sequence, credential)
        except (BridgeFault, TimeoutError):
            return None

    async def _looked_up(self, reply: NumberedReply, sequence: int, credential: Secret) -> Elicitation | None:
        parts = self._feeds.parts
        pending = [*await parts.bridge.pending(reply.agent_id, credential), *self._asked_before(reply)]
        if not any(reply.may_answer(question) for question in pending):
            return None
        message = await self._read(reply.agent_id, sequence, credential)
        by_id = {question.elicitation_id: question for question in pending}
        question = None if message is None else question_meant(reply, message, by_id.values())
        if question is not None:
            self._feeds.question_created(question)
            parts.sent.judge(question, message)
        return question

    def _asked_before(self, reply: NumberedReply) -> list[Elicitation]:
        """What is no longer pending because the same reply has answered it, though its sender was not told so."""
        book = self._feeds.parts.book
        return book.asked_of(reply.addressee, reply.agent_id) if reply.addressee else []

    async def _read(self, agent_id: AgentId, sequence: int, credential: Secret) -> Message | None:
        found = await self._feeds.parts.bridge.wait(agent_id, credential, since=sequence - 1, hold_s=_LOOK_S)
        return next((message for message in found if message.sequence == sequence), None)

    async def tell(self, question: Elicitation, answer: Answer, credential: Secret) -> None:
        """Bring an answer to the sender of what it answers: before this returns, or as soon as the Bridge takes it."""
        if self._bridge is None or question.made_from is None or is_bus_id(question.elicitation_id):
            return  # on a bus the answer is a message already
        await self._store(self._bridge, question, answer, credential)

    async def hand_over(self, given: GivenAnswer, credential: Secret) -> bool:
        """Bring an answer that comes too late to the sender, as a legacy reply would have come; False if it is none."""
        parts, named = self._feeds.parts, given.answer.elicitation_id
        question = parts.book.get(named) or parts.sent.ended(named)
        is_its = question is not None and question.made_from is not None and question.to_agent == given.agent_id
        if self._bridge is None or question is None or not is_its:
            return False
        if self._handed.get(question.elicitation_id) == given.answer.digest():
            return True
        self._handed[question.elicitation_id] = given.answer.digest()
        if len(self._handed) > MAX_HANDED:
            del self._handed[next(iter(self._handed))]
        await self._store(self._bridge, question, given.answer, credential)
        self._feeds.message_stored(question.from_agent)
        return True

    async def _store(self, bridge: SendBridge, question: Elicitation, answer: Answer, credential: Secret) -> None:
        try:
            await bridge.store_event(question.to_agent, reply_data(question, answer), credential)
        except BridgeFault:
            work = self._tell_again(bridge, question, answer, credential)
            _ = self._feeds.parts.errands.begin(work, f"reply of {question.to_agent}")

    async def _tell_again(self, bridge: SendBridge, question: Elicitation, answer: Answer, credential: Secret) -> None:
        parts = self._feeds.parts
        for pause_s in RETRIES_S:
            await Pause(parts.clock).sleep(pause_s)
            try:
                await bridge.store_event(question.to_agent, reply_data(question, answer), credential)
            except BridgeFault:
                continue
            self._feeds.message_stored(question.from_agent)
            return
        parts.recorder.elicitation(ElicitationOutcome.UNDELIVERED, question.to_agent)
