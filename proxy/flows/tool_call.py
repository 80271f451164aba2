"""Serve the legacy tools of MCP clients: the wait and the answers, whatever door they came through.

The result of a tool has the legacy shape, so that the agent's model reads what it has always read. A call that
elicitation does not serve is None: the door relays it to the MCP server it was meant for.

Source: ARCHITECTURE.md 2.2 (delivery `result`), PROTOCOL.md 4.2 (A1 x B1).
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import orjson

from proxy.core.answers import GivenAnswer, responded_reply, stored_reply
from proxy.core.elicitation import AnswerKind, Elicitation
from proxy.core.errors import BridgeFault, BridgeRefused, TokenRefused
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import WaitAsk
from proxy.core.outcome import ElicitationOutcome
from proxy.core.routing import Decision, Membership, Route, Way
from proxy.core.secret import Secret
from proxy.flows.agent_sessions import AgentSessions
from proxy.flows.credential import TOKEN_REFUSED
from proxy.flows.feeds import Feeds
from proxy.flows.flags import FlagBoard
from proxy.flows.respond import Answers
from proxy.flows.wait import WaitServed, serve_peek, serve_wait
from proxy.mcp.inbound import AnswerTool
from proxy.mcp.tools import tool_result

Take = Callable[[], Awaitable[None]]
"""Take one answer from what its agent is granted.

Raises:
    RateLimited: that is used up.
"""


async def take_nothing() -> None:
    """It was taken before, or is not limited."""


@dataclass(frozen=True, slots=True)
class Access:
    """With what a call goes to the Bridge."""

    secret: Secret
    is_own: bool
    """It is a session of the sidecar's own, which may be opened anew."""

    @property
    def authorization(self) -> str:
        """What the caller itself came with; empty where that was nothing."""
        return "" if self.is_own else self.secret.reveal()


@dataclass(frozen=True, slots=True)
class ToolWaited:
    """The result of a wait that was served here."""

    result: dict[str, object]
    served: WaitServed


@dataclass(frozen=True, slots=True)
class ToolAnswered:
    """The result of an answer that was taken here."""

    result: dict[str, object]
    outcome: ElicitationOutcome


class ToolCalls:
    """The legacy tools, served by elicitation."""

    __slots__ = ("_answers", "_board", "_feeds", "_sessions")

    def __init__(self, feeds: Feeds, answers: Answers, board: FlagBoard, sessions: AgentSessions) -> None:
        self._feeds = feeds
        self._answers = answers
        self._board = board
        self._sessions = sessions

    def decide(self, agent_id: AgentId) -> Decision:
        """The route of one wait of this agent now."""
        parts = self._feeds.parts
        return self._board.decide(agent_id, parts.breaker.way(parts.clock.now()))

    async def access_for(self, agent_id: AgentId, authorization: str) -> Access | None:
        """The caller's own token where it has one, else a session of ours; None when none could be had."""
        if authorization:
            return Access(Secret(authorization), is_own=False)
        try:
            return Access(await self._sessions.credential_for(agent_id), is_own=True)
        except BridgeFault:
            return None

    # Waits

    async def wait(self, ask: WaitAsk, decision: Decision, access: Access, *, hold_cap_s: int) -> ToolWaited | None:
        """Hold one wait, at most `hold_cap_s` seconds, and give its reply as a tool result; None: relay it.

        Only a wait of no time is ever relayed from here.

        Raises:
            TooManyWaits: as many waits are parked as may be.
            ElicitationUnavailable: the elicitation way failed and the fallback is off.
        """
        held = ask if ask.hold_s <= hold_cap_s else replace(ask, timeout_s=hold_cap_s)
        served = await self._serve(held, decision, access.secret)
        if access.is_own and await self._is_refused(held.agent_id, access.secret, served):
            self._sessions.forget(held.agent_id, access.secret)
            renewed = await self.access_for(held.agent_id, "")
            if renewed is not None:
                served = await self._serve(held, decision, renewed.secret)
        if served is not None and served.found.upto:
            self._feeds.parts.places.stands(held.agent_id, served.found.upto)
        return None if served is None else _as_tool(served)

    async def _serve(self, ask: WaitAsk, decision: Decision, secret: Secret) -> WaitServed | None:
        if ask.hold_s == 0:
            return await serve_peek(self._feeds, ask, decision, secret)
        return await serve_wait(self._feeds, ask, decision, secret, may_fall_back=self._board.flags.legacy_fallback)

    async def _is_refused(self, agent_id: AgentId, secret: Secret, served: WaitServed | None) -> bool:
        """Whether the Bridge does not accept this session of ours; a peek that brought nothing does not tell why."""
        if served is not None:
            return served.status in TOKEN_REFUSED
        fingerprint = secret.fingerprint()
        for feed in self._feeds.of(agent_id):
            if feed.access.stands_for(fingerprint) and feed.access.is_trusted():
                return False
        try:
            await self._feeds.parts.bridge.pending(agent_id, secret)
        except BridgeFault as fault:
            return isinstance(fault, BridgeRefused) and fault.bridge_status in TOKEN_REFUSED
        return False

    def take_back(self, served: WaitServed) -> None:
        """The reply with these questions never reached its agent."""
        self.take_back_ids(served.found.elicitation_ids)

    def take_back_ids(self, elicitation_ids: Sequence[ElicitationId]) -> None:
        """The same for single questions."""
        self._feeds.take_back(elicitation_ids)

    # Questions

    def member(self, agent_id: AgentId) -> Membership:
        """What is known of an agent, by which the operator may have named it."""
        return self._board.member(agent_id)

    def question(self, elicitation_id: ElicitationId) -> Elicitation | None:
        """A question of the elicitation way, if it is known here."""
        return self._feeds.parts.book.get(elicitation_id)

    def place_of(self, question: Elicitation, since: int) -> int:
        """The number of a question's item in the reply to a wait that came with the cursor `since`.

        One that was made from a send has the place of its event, which the agent passes with it.
        """
        parts = self._feeds.parts
        if question.made_from is None or not parts.sent.is_true(question.elicitation_id):
            return since
        return max(since, parts.sequences.to_agent(question.made_from))

    async def find(self, elicitation_id: ElicitationId, agent_id: AgentId, access: Access) -> Elicitation | None:
        """The same, and the Bridge is asked for what is not known here, as after a restart.

        Raises:
            BridgeFault: the Bridge could not tell.
        """
        if self.question(elicitation_id) is None:
            for elicitation in await self._feeds.parts.bridge.pending(agent_id, access.secret):
                self._feeds.question_created(elicitation)
        return self.question(elicitation_id)

    # Answers

    def knows(self, elicitation_id: ElicitationId) -> bool:
        """Whether this is a question of the elicitation way."""
        return self._answers.knows(elicitation_id)

    def answers_as(self, elicitation_id: ElicitationId, waited: Sequence[AgentId]) -> AgentId | None:
        """Which agent answers by the respond tool, which names none: the one asked, if it may be behind this client.

        `waited` are the agents that waited in this MCP session, the latest last. A session in which nobody waited may
        be anybody's, as some clients open one for each call; it has to know the elicitation's id.
        """
        question = self._feeds.parts.book.get(elicitation_id)
        if question is not None and (not waited or question.to_agent in waited):
            return question.to_agent
        return waited[-1] if waited else None

    async def answer(
        self, given: GivenAnswer, tool: AnswerTool, authorization: str, take: Take = take_nothing
    ) -> ToolAnswered | None:
        """Take an answer; None when it belongs to no question of the elicitation way.

        Raises:
            SidecarError: as `take` and `Answers.give`.
        """
        if not self._may_be_ours(given):
            return None
        access = await self.access_for(given.agent_id, authorization)
        if access is None:
            return None
        try:
            return await self._give(given, tool, access.secret, take)
        except TokenRefused:
            if not access.is_own:
                raise
            self._sessions.forget(given.agent_id, access.secret)
        renewed = await self.access_for(given.agent_id, "")
        return None if renewed is None else await self._give(given, tool, renewed.secret, take_nothing)

    def _may_be_ours(self, given: GivenAnswer) -> bool:
        question = self._feeds.parts.book.get(given.answer.elicitation_id)
        if question is None:
            return self._board.decide(given.agent_id, Way.OPEN).route is Route.ELICITATION
        # The asker withdraws its question, which is between it and the Bridge.
        is_askers = question.from_agent == given.agent_id != question.to_agent
        return not (is_askers and given.answer.kind is AnswerKind.CANCEL)

    async def _give(self, given: GivenAnswer, tool: AnswerTool, secret: Secret, take: Take) -> ToolAnswered | None:
        try:
            if not await self._answers.look_up(given, secret):
                return None
        except BridgeRefused as refusal:
            if refusal.bridge_status in TOKEN_REFUSED:
                raise TokenRefused("the Bridge does not accept the token of this call") from refusal
            return None
        except BridgeFault:  # it cannot be told now: the legacy way is always right
            return None
        await take()
        taken = await self._answers.give(given, secret)
        return ToolAnswered(tool_result(self._reply(given, tool)), taken.outcome)

    def _reply(self, given: GivenAnswer, tool: AnswerTool) -> bytes:
        """What this tool answers. Source: BRIDGE.md 3."""
        if tool is AnswerTool.RESPOND:
            return responded_reply(given.answer)
        timestamp_ns = int(self._feeds.parts.clock.wall() * 1e9)
        return stored_reply(given.answer, sequence=self._feeds.place_of(given.agent_id), timestamp_ns=timestamp_ns)


def _as_tool(served: WaitServed) -> ToolWaited:
    if served.error is not None:
        raise served.error
    if served.status == 200:
        return ToolWaited(tool_result(served.body), served)
    # The legacy tool tells a refusal of the Bridge in its text, without the error mark. Source: BRIDGE.md 3.
    said = f"Bridge returned status {served.status}: {served.body[:1000].decode('utf-8', 'replace')}"
    return ToolWaited(tool_result(orjson.dumps({"error": said})), served)
