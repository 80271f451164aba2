"""Serve the legacy tools of MCP clients: the wait and the answers, whatever door they came through.

The result of a tool has the legacy shape, so that the agent's model reads what it has always read. A call that
elicitation does not serve is None: the door relays it to the MCP server it was meant for.

Source: ARCHITECTURE.md 2.2 (delivery `result`), PROTOCOL.md 4.2 (A1 x B1).
"""

from dataclasses import dataclass, replace

import orjson

from proxy.core.answers import GivenAnswer, responded_reply
from proxy.core.errors import BridgeFault
from proxy.core.ids import AgentId
from proxy.core.legacy import WaitAsk
from proxy.core.outcome import ElicitationOutcome, Result
from proxy.core.routing import Decision, Route, Way
from proxy.core.secret import Secret
from proxy.flows.agent_sessions import AgentSessions
from proxy.flows.credential import TOKEN_REFUSED
from proxy.flows.feeds import Feeds
from proxy.flows.flags import FlagBoard
from proxy.flows.respond import Answers
from proxy.flows.wait import WaitServed, serve_peek, serve_wait
from proxy.mcp.tools import tool_result


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolAnswered:
    """The result of a tool call that was served here."""

    result: dict[str, object]
    served: WaitServed | None = None
    """Of a wait."""
    outcome: ElicitationOutcome | None = None
    """Of an answer."""


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

    async def wait(
        self, ask: WaitAsk, decision: Decision, authorization: str, *, hold_cap_s: int
    ) -> ToolAnswered | None:
        """Hold one wait and give its reply as a tool result; None when no Bridge session could be had for it.

        Raises:
            TooManyWaits: as many waits are parked as may be.
            ElicitationUnavailable: the elicitation way failed and the fallback is off.
        """
        held = replace(ask, timeout_s=min(ask.timeout_s, hold_cap_s))
        for _ in range(2):
            try:
                credential = await self._credential(ask.agent_id, authorization)
            except BridgeFault:
                return None
            if held.hold_s == 0:
                peeked = await serve_peek(self._feeds, held, decision, credential)
                return None if peeked is None else _as_tool(peeked)
            served = await serve_wait(
                self._feeds, held, decision, credential, may_fall_back=self._board.flags.legacy_fallback
            )
            if served.result is not Result.RELAYED or served.status not in TOKEN_REFUSED or authorization:
                return _as_tool(served)
            self._sessions.forget(ask.agent_id, credential)
        return None

    def take_back(self, served: WaitServed) -> None:
        """The reply with these questions never reached its agent."""
        self._feeds.take_back(served.found.elicitation_ids)

    async def answer(self, given: GivenAnswer, authorization: str) -> ToolAnswered | None:
        """Take an answer; None when it belongs to no question of the elicitation way.

        Raises:
            SidecarError: as `Answers.give`.
        """
        try:
            credential = await self._credential(given.agent_id, authorization)
            if not await self._is_ours(given, credential):
                return None
        except BridgeFault:
            return None
        taken = await self._answers.give(given, credential)
        return ToolAnswered(result=tool_result(responded_reply(given.answer)), outcome=taken.outcome)

    async def _is_ours(self, given: GivenAnswer, credential: Secret) -> bool:
        if self._answers.knows(given.answer.elicitation_id):
            return True
        if self._board.decide(given.agent_id, Way.OPEN).route is not Route.ELICITATION:
            return False
        return await self._answers.look_up(given, credential)

    async def _credential(self, agent_id: AgentId, authorization: str) -> Secret:
        return Secret(authorization) if authorization else await self._sessions.credential_for(agent_id)


def _as_tool(served: WaitServed) -> ToolAnswered:
    if served.error is not None:
        raise served.error
    if served.status == 200:
        return ToolAnswered(result=tool_result(served.body), served=served)
    # The legacy tool tells a refusal of the Bridge in its text, without the error mark. Source: BRIDGE.md 3.
    said = f"Bridge returned status {served.status}: {served.body[:1000].decode('utf-8', 'replace')}"
    return ToolAnswered(result=tool_result(orjson.dumps({"error": said})), served=served)
