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
from proxy.core.errors import BridgeFault, BridgeRefused, BridgeTimeout
from proxy.core.ids import AgentId, ElicitationId
from proxy.mcp.ask import Answered, CannotBeAsked, Reply, UrlQuestion
from proxy.mcp.calling import Arrival, ServerAsk
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
    arrived: "asyncio.Future[BridgeFault | None]"
    """Whether the answer has reached the server."""
    given: Answered | None = None
    """The answer that is on its way."""


class ParkedQuestions:
    """The questions that one MCP server has open at agents of this sidecar."""

    __slots__ = ("_arrive_s", "_chance", "_clock", "_ended", "_max_per_agent", "_of_agent", "_open", "_park_s", "watch")

    def __init__(
        self,
        clock: Clock,
        chance: Callable[[int], bytes],
        *,
        park_s: float,
        max_per_agent: int,
        arrive_s: float,
    ) -> None:
        """`arrive_s` bounds the time in seconds that whoever answers waits for the server."""
        self.watch = Watch(announced=_ignored, withdrawn=_ignored, defect=_ignored)
        self._clock = clock
        self._chance = chance
        self._park_s = park_s
        self._arrive_s = arrive_s
        self._max_per_agent = max_per_agent
        self._open: dict[ElicitationId, _Open] = {}
        self._of_agent: dict[AgentId, dict[ElicitationId, None]] = {}
        self._ended: dict[ElicitationId, BridgeStatus] = {}

    async def ask(self, line: Line, ask: ServerAsk, *, from_agent: str) -> Reply:
        """Put a question to the agent; out of time the reply is a cancel. Cancelled, the question is withdrawn."""
        question = ask.question
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
        loop = asyncio.get_running_loop()
        asked = _Open(line=line, elicitation=elicitation, replied=loop.create_future(), arrived=loop.create_future())
        return await self._reply_to(asked, ask.arrival)

    async def _reply_to(self, asked: _Open, arrival: Arrival) -> Answered:
        elicitation_id = asked.elicitation.elicitation_id
        self._open[elicitation_id] = asked
        self._of_agent.setdefault(asked.line.agent_id, {})[elicitation_id] = None
        alarm = self._clock.alarm(self._clock.now() + self._park_s, lambda: self._expire(asked))
        arrival.heard_by = lambda fault: self._arrived(asked, fault)
        try:
            self.watch.announced(asked.elicitation)
            return await asked.replied
        finally:
            alarm.cancel()
            if asked.given is None:
                self._withdraw(asked)

    def _withdraw(self, asked: _Open) -> None:
        if self._over(asked, BridgeStatus.CANCELLED):
            self.watch.withdrawn(asked.elicitation.elicitation_id)

    def _arrived(self, asked: _Open, fault: BridgeFault | None) -> None:
        """The fate of a reply; without its answer the server's call is broken, and the question over with it."""
        if asked.given is None:
            return  # nobody has answered
        if fault is None:
            self._over(asked, _ENDED[asked.given.kind])
        else:
            self._withdraw(asked)
        asked.arrived.set_result(fault)

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
        return tuple(asked.elicitation for asked in mine if asked.line == line and asked.given is None)

    def status(self, elicitation_id: ElicitationId) -> BridgeStatus | None:
        """How a question stands; None for one that is not known, or no longer."""
        return BridgeStatus.PENDING if elicitation_id in self._open else self._ended.get(elicitation_id)

    async def give(self, answer: Answer, line: Line) -> None:
        """Take the answer to a question and wait until it has reached the server.

        Until then the question is pending, and the same answer again waits for the same end.

        Raises:
            BridgeRefused: there is no such question, it is over, it was put to somebody else, or the server refuses.
            BridgeTimeout: it is not known in time whether the answer has arrived; it is still on its way.
            BridgeFault: it has not arrived, and the question is over.
        """
        asked = self._open.get(answer.elicitation_id)
        if asked is None:
            raise _refused(*self._why_not(answer.elicitation_id))
        if asked.line != line:
            raise _refused(403, "it was put to another agent, or to another session of this one")
        given = Answered(answer.kind, answer.content)
        if asked.given is None and not asked.replied.done():
            asked.given = given
            asked.replied.set_result(given)
        elif asked.given is None:  # its call was cancelled a moment ago, and has not yet withdrawn it
            raise _refused(409, f"it is {BridgeStatus.CANCELLED.value} already")
        elif asked.given != given:
            raise _refused(409, "another answer to it is on its way")
        await self._until_arrived(asked)

    async def _until_arrived(self, asked: _Open) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def ring(_: object = None) -> None:
            if not waiting.done():
                waiting.set_result(None)

        asked.arrived.add_done_callback(ring)
        alarm = self._clock.alarm(self._clock.now() + self._arrive_s, ring)
        try:
            await waiting
        finally:
            alarm.cancel()
            asked.arrived.remove_done_callback(ring)
        if not asked.arrived.done():
            raise BridgeTimeout("the MCP server has not yet said whether it has taken the answer")
        fault = asked.arrived.result()
        if fault is not None:
            raise fault

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
