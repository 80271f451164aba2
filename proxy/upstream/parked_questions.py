"""Questions of an MCP server that wait for their agents: each holds up a call of ours until it is answered.

Here the sidecar is what the Bridge is elsewhere: it names the questions, keeps their deadlines, takes the first
answer and refuses every other one. A question belongs to the agent and the credential whose call it came in; nobody
answers it with another one.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson

from proxy.core.elicitation import Answer, AnswerKind, BridgeStatus, Elicitation, is_writable
from proxy.core.errors import BridgeRefused
from proxy.core.ids import AgentId, ElicitationId
from proxy.mcp.ask import Answered, CannotBeAsked, Question, Reply, UrlQuestion
from proxy.mcp.jsonrpc import INVALID_PARAMS
from proxy.ports import Clock

ID_BYTES: Final = 16
"""Chance in the name of a question: who was not told it cannot guess it. Source: ours."""

MAX_OPEN: Final = 10_000
"""Most questions that are open at once. Source: ours; each keeps a call open at the server."""

MAX_ENDED: Final = 10_000
"""Most questions whose end is remembered. Source: ours."""

FORM_ONLY: Final = CannotBeAsked(INVALID_PARAMS, "agents behind this client are asked by form only")
"""Reply to a question by link: a link that somebody should open never becomes a form. Source: PROTOCOL.md 1.5."""

TOO_DEEP: Final = CannotBeAsked(INVALID_PARAMS, "the requested schema is nested too deeply")
"""Reply to a question that could not be handed on."""

_ENDED: Final = {
    AnswerKind.ACCEPT: BridgeStatus.ACCEPTED,
    AnswerKind.DECLINE: BridgeStatus.DECLINED,
    AnswerKind.CANCEL: BridgeStatus.CANCELLED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who is told at once of questions that come and go."""

    announced: Callable[[Elicitation], None]
    """A question was asked."""
    withdrawn: Callable[[ElicitationId], None]
    """The server took a question back, or the call that it came in is over."""
    defect: Callable[[str, BaseException], None]
    """A mistake of our own ended a call."""


@dataclass(frozen=True, slots=True)
class Line:
    """One agent with one credential."""

    agent_id: AgentId
    principal: str


@dataclass(slots=True, kw_only=True)
class _Open:
    """A question, and where its answer is waited for."""

    line: Line
    elicitation: Elicitation
    replied: "asyncio.Future[Answered]"


class ParkedQuestions:
    """The questions that one MCP server has open at agents of this sidecar."""

    __slots__ = ("_chance", "_clock", "_ended", "_max_per_agent", "_of_agent", "_open", "_park_s", "watch")

    def __init__(self, clock: Clock, chance: Callable[[int], bytes], *, park_s: float, max_per_agent: int) -> None:
        self.watch = Watch(announced=_ignored, withdrawn=_ignored, defect=_ignored)
        self._clock = clock
        self._chance = chance
        self._park_s = park_s
        self._max_per_agent = max_per_agent
        self._open: dict[ElicitationId, _Open] = {}
        self._of_agent: dict[AgentId, dict[ElicitationId, None]] = {}
        self._ended: dict[ElicitationId, BridgeStatus] = {}

    async def ask(self, line: Line, question: Question, *, from_agent: str) -> Reply:
        """Put a question to the agent; out of time the reply is a cancel. Cancelled, the question is withdrawn."""
        if isinstance(question, UrlQuestion):
            return FORM_ONLY
        if not is_writable(question.schema):
            return TOO_DEEP
        if len(self._of_agent.get(line.agent_id, ())) >= self._max_per_agent or len(self._open) >= MAX_OPEN:
            return Answered(AnswerKind.CANCEL)
        wall = self._clock.wall()
        elicitation = Elicitation(
            elicitation_id=ElicitationId(f"mcp-{self._chance(ID_BYTES).hex()}"),
            from_agent=from_agent,
            to_agent=line.agent_id,
            message=question.message,
            schema=question.schema,
            created_at=wall,
            expires_at=wall + self._park_s,
        )
        asked = _Open(line=line, elicitation=elicitation, replied=asyncio.get_running_loop().create_future())
        return await self._reply_to(asked)

    async def _reply_to(self, asked: _Open) -> Answered:
        elicitation_id = asked.elicitation.elicitation_id
        self._open[elicitation_id] = asked
        self._of_agent.setdefault(asked.line.agent_id, {})[elicitation_id] = None
        alarm = self._clock.alarm(self._clock.now() + self._park_s, lambda: self._expire(asked))
        try:
            self.watch.announced(asked.elicitation)
            return await asked.replied
        finally:
            alarm.cancel()
            if self._over(asked, BridgeStatus.CANCELLED):
                self.watch.withdrawn(elicitation_id)

    def _expire(self, asked: _Open) -> None:
        if not asked.replied.done() and self._over(asked, BridgeStatus.EXPIRED):
            asked.replied.set_result(Answered(AnswerKind.CANCEL))

    def _over(self, asked: _Open, status: BridgeStatus) -> bool:
        """End a question; False when it has ended already."""
        elicitation_id, agent_id = asked.elicitation.elicitation_id, asked.line.agent_id
        if self._open.pop(elicitation_id, None) is None:
            return False
        del self._of_agent[agent_id][elicitation_id]
        if not self._of_agent[agent_id]:
            del self._of_agent[agent_id]
        self._ended[elicitation_id] = status
        while len(self._ended) > MAX_ENDED:
            del self._ended[next(iter(self._ended))]
        return True

    def open_for(self, line: Line) -> tuple[Elicitation, ...]:
        """The questions that came in calls of this agent with this credential, oldest first."""
        mine = (self._open[elicitation_id] for elicitation_id in self._of_agent.get(line.agent_id, ()))
        return tuple(asked.elicitation for asked in mine if asked.line == line)

    def status(self, elicitation_id: ElicitationId) -> BridgeStatus | None:
        """How a question stands; None for one that is not known, or no longer."""
        return BridgeStatus.PENDING if elicitation_id in self._open else self._ended.get(elicitation_id)

    def give(self, answer: Answer, line: Line) -> None:
        """Take the answer to a question; it goes to the server at once.

        Raises:
            BridgeRefused: there is no such question, it is over, or it was put to somebody else.
        """
        asked = self._open.get(answer.elicitation_id)
        if asked is None:
            raise _refused(*self._why_not(answer.elicitation_id))
        if asked.line != line:
            raise _refused(403, "it was put to another agent, or to another session of this one")
        if asked.replied.done():  # its call was cancelled a moment ago, and has not yet withdrawn it
            raise _refused(409, f"it is {BridgeStatus.CANCELLED.value} already")
        self._over(asked, _ENDED[answer.kind])
        asked.replied.set_result(Answered(answer.kind, answer.content))

    def _why_not(self, elicitation_id: ElicitationId) -> tuple[int, str]:
        match self._ended.get(elicitation_id):
            case None:
                return 404, "it is not known"
            case BridgeStatus.EXPIRED:
                return 410, "it has expired"
            case status:
                return 409, f"it is {status.value} already"


def _refused(status: int, why: str) -> BridgeRefused:
    detail = f"Failed to respond to elicitation: {why}"
    return BridgeRefused(
        detail, bridge_status=status, body=orjson.dumps({"detail": detail}), content_type="application/json"
    )


def _ignored(*_: object) -> None:
    """Nobody is told."""
