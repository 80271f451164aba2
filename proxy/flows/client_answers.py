"""Bring what an MCP client answered to a question of its wait to the Bridge, and say as an item what became of it.

An answer goes on its way whatever becomes of the call it belongs to: the client was told that it has arrived.
Nothing that fails here ends the call; the question is then left to the agent as in every other wait.

Source: PROTOCOL.md 4.2 (A2 x B1, A3 x B1).
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from proxy.core.answers import GivenAnswer
from proxy.core.delivery import answered_item, unanswered_item
from proxy.core.elicitation import Answer, AnswerKind, Elicitation, is_writable
from proxy.core.errors import AnswerUndelivered, InvalidInput, SidecarError
from proxy.core.ids import AgentId
from proxy.core.outcome import ElicitationOutcome, counted_as
from proxy.flows.errands import Errands
from proxy.flows.tool_call import Access, ToolCalls
from proxy.mcp.ask import Answered, Failed, Reply
from proxy.mcp.inbound import AnswerTool
from proxy.ports import Recorder


@dataclass(frozen=True, slots=True)
class Disposed:
    """What became of one question of a wait."""

    item: bytes
    """As the result of the wait tells it."""
    outcome: ElicitationOutcome | None = None
    """Of the answer, if there was one."""
    is_left: bool = False
    """It is left to the agent."""


@dataclass(slots=True)
class _Sent:
    """How the giving of one answer ended."""

    result: ElicitationOutcome | SidecarError = field(
        default_factory=lambda: AnswerUndelivered("the sidecar stops; whether the answer has arrived is not known")
    )
    is_left: bool = False
    """Nobody waits for the end."""

    @property
    def outcome(self) -> ElicitationOutcome:
        """As what it counts."""
        return counted_as(self.result) if isinstance(self.result, SidecarError) else self.result


TakeOf = Callable[[AgentId], Awaitable[None]]
"""Take one answer from what this agent is granted.

Raises:
    RateLimited: that is used up.
"""


async def _takes_nothing(_agent_id: AgentId) -> None:
    """Answers are not limited."""


class ClientAnswers:
    """Takes what clients answer."""

    __slots__ = ("_calls", "_errands", "_recorder", "_take")

    def __init__(self, calls: ToolCalls, errands: Errands, recorder: Recorder, take: TakeOf = _takes_nothing) -> None:
        self._take = take
        self._calls = calls
        self._errands = errands
        self._recorder = recorder

    async def give(self, question: Elicitation, reply: Reply | None, access: Access, *, since: int) -> Disposed:
        """Bring an answer to its end; `since` is the wait's cursor, which no item may be above."""
        match reply:
            case Answered(kind, content):
                answer = _answer(question, kind, content)
                sent = await self._sent(answer, question, access)
                if not isinstance(sent.result, SidecarError):
                    return Disposed(answered_item(question, answer, sequence=since), sent.outcome)
                error = sent.result
                item = unanswered_item(question, sequence=since, error=error.detail, code=error.code)
                return Disposed(item, sent.outcome, is_left=True)
            case Failed(text, code):
                item = unanswered_item(question, sequence=since, error=text)
                return Disposed(item, ElicitationOutcome.INVALID if code is None else None, is_left=True)
            case _:
                return Disposed(unanswered_item(question, sequence=since), is_left=True)

    def give_late(self, question: Elicitation, reply: Reply, access: Access) -> None:
        """The same for a client whose call is over."""
        if isinstance(reply, Answered):
            answer = _answer(question, reply.kind, reply.content)
            _ = self._begin(answer, question, access, _Sent(is_left=True))

    async def _sent(self, answer: Answer, question: Elicitation, access: Access) -> _Sent:
        sent = _Sent()
        task = self._begin(answer, question, access, sent)
        try:
            await asyncio.wait({task})
        finally:
            sent.is_left = not task.done()
        return sent

    def _begin(self, answer: Answer, question: Elicitation, access: Access, sent: _Sent) -> "asyncio.Task[None]":
        name = f"answer of a client to {question.elicitation_id}"
        return self._errands.begin(self._bring(answer, question, access, sent), name)

    async def _bring(self, answer: Answer, question: Elicitation, access: Access, sent: _Sent) -> None:
        given = GivenAnswer(answer=answer, agent_id=question.to_agent)
        try:
            if not is_writable(answer.content):
                raise InvalidInput("expected an answer that is nested less deeply")  # told as all are
            take = partial(self._take, question.to_agent)
            answered = await self._calls.answer(given, AnswerTool.RESPOND, access.authorization, take)
            sent.result = _untaken(question) if answered is None else answered.outcome
        except SidecarError as error:
            sent.result = error
        if sent.is_left:
            self._recorder.elicitation(sent.outcome, question.to_agent)


def _untaken(question: Elicitation) -> AnswerUndelivered:
    return AnswerUndelivered(f"the answer to {question.elicitation_id} could not be given now; give it again")


def _answer(question: Elicitation, kind: AnswerKind, content: object) -> Answer:
    given = (content if isinstance(content, dict) else {}) if kind is AnswerKind.ACCEPT else None
    return Answer(elicitation_id=question.elicitation_id, kind=kind, content=given)
