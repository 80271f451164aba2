"""Delivery by elicitation in the handshake era: the questions of a wait are put to the client in the middle of it.

One after the other, and never longer than the wait lasts. Whatever is left without an answer is an item of the
result, as in a wait of anybody else, so that nothing is lost.

Source: PROTOCOL.md 3.5, 3.6, 4.2 (A2 x B1).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from proxy.core.delivery import unanswered_item
from proxy.core.elicitation import Elicitation
from proxy.core.errors import SchemaRefused
from proxy.core.exchange import Found
from proxy.core.legacy import WaitAsk, write_reply
from proxy.core.outcome import ElicitationOutcome
from proxy.flows.client_answers import ClientAnswers, Disposed
from proxy.flows.client_questions import NO_WORDS, Afterwards, ClientLine, ClientQuestions
from proxy.flows.mcp_clients import McpClient
from proxy.flows.tool_call import Access, ToolCalls, ToolWaited
from proxy.mcp.ask import CannotBeAsked, FormQuestion, Reply
from proxy.mcp.revisions import Mode
from proxy.mcp.tools import tool_result
from proxy.ports import Clock

BRIDGE_MARGIN_S: Final = 0.25
"""How long before a question's end its answer has to be here. Source: PROTOCOL.md 4.1, Deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedCall:
    """A wait whose client is asked in the middle of it."""

    line: ClientLine
    client: McpClient
    ask: WaitAsk
    access: Access
    began: float
    """Monotonic seconds."""
    until: float
    """When the wait has to end, monotonic seconds."""
    note: Callable[[ElicitationOutcome], None]
    """Hears what happens to the questions, also of a call that ends in the middle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldWait:
    """A wait with what became of its questions."""

    waited: ToolWaited
    put_at: tuple[float | None, ...] = ()
    """When each question was put to the client, in seconds since the epoch; None where it was not."""


def ref_of(question: Elicitation) -> str:
    """What our questions are known by among all that are open at clients, and by name in `inputRequests`."""
    return f"esc:{question.elicitation_id}"


class AskedWaits:
    """Puts questions of waits to clients."""

    __slots__ = ("_answers", "_calls", "_clock", "_questions")

    def __init__(self, calls: ToolCalls, questions: ClientQuestions, answers: ClientAnswers, clock: Clock) -> None:
        self._calls = calls
        self._questions = questions
        self._answers = answers
        self._clock = clock

    async def tell(self, waited: ToolWaited, call: AskedCall) -> ToldWait:
        """Put the questions that a wait has found to its client, and tell in its result what became of them."""
        found = waited.served.found
        if not found.elicitation_ids:
            return ToldWait(waited=waited)
        items = list(found.items)
        put_at: list[float | None] = []
        for index, elicitation_id in enumerate(found.elicitation_ids):  # questions come first in `items`
            question = self._calls.question(elicitation_id)
            may_ask = question is not None and self._may_ask(question, call)
            put_at.append(self._clock.wall() if may_ask else None)
            if question is None or not may_ask:
                continue
            call.note(ElicitationOutcome.OFFERED)
            disposed = await self._put(question, call)
            items[index] = disposed.item
            if disposed.outcome is not None:
                call.note(disposed.outcome)
        told = _retold(waited, replace(found, items=tuple(items)), waited_s=self._clock.now() - call.began)
        return ToldWait(waited=told, put_at=tuple(put_at))

    def _may_ask(self, question: Elicitation, call: AskedCall) -> bool:
        has_time = self._until(question, call) > self._clock.now()
        is_asked = self._questions.is_asking(call.line.seat, ref_of(question))
        return has_time and not is_asked and Mode.FORM in call.client.modes

    def _ends_at(self, question: Elicitation) -> float:
        """When the Bridge ends the question, on the monotonic clock."""
        return self._clock.now() + question.expires_at - self._clock.wall()

    def _until(self, question: Elicitation, call: AskedCall) -> float:
        return min(call.until, self._ends_at(question) - BRIDGE_MARGIN_S)

    async def _put(self, question: Elicitation, call: AskedCall) -> Disposed:
        place = self._calls.place_of(question, call.ask.since)
        try:
            reply = await self._questions.ask(
                call.line,
                FormQuestion(question.message, question.schema),
                ref=ref_of(question),
                until=self._until(question, call),
                afterwards=Afterwards(until=self._ends_at(question), take=partial(self._late, question, call.access)),
            )
        except SchemaRefused:
            return Disposed(unanswered_item(question, sequence=place))
        if isinstance(reply, CannotBeAsked) and reply is not NO_WORDS:
            call.client.modes = frozenset()
        return await self._answers.give(question, reply, call.access, since=place)

    def _late(self, question: Elicitation, access: Access, reply: Reply) -> None:
        self._answers.give_late(question, reply, access)


def _retold(waited: ToolWaited, found: Found, *, waited_s: float) -> ToolWaited:
    body = write_reply(found.items, waited_s=waited_s)
    return ToolWaited(tool_result(body), replace(waited.served, body=body, found=found))
