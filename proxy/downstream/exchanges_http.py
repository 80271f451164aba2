"""The doors that show which questions are open, never what they ask."""

from collections.abc import Sequence
from typing import Final, Protocol

from aiohttp import web

from proxy.core.errors import ElicitationUnknown
from proxy.core.ids import AgentId, ElicitationId, parse_agent_id, parse_elicitation_id
from proxy.core.listed_question import Listed
from proxy.downstream.admin_body import read_limit
from proxy.downstream.admin_reply import json_reply
from proxy.ports import Clock

MAX_SHOWN: Final = 10_000
"""Most questions in one reply. Source: ours; they are written in some 10 ms, in which nothing else runs."""


class Exchanges(Protocol):
    """The questions this sidecar knows of."""

    def listing(self, agent_id: AgentId | None = None, *, wall: float, limit: int) -> Sequence[Listed]:
        """Open questions, to one agent or to all, the oldest first."""
        ...

    def listed(self, elicitation_id: ElicitationId) -> Listed | None:
        """One of them, also when it is over."""
        ...


class ExchangeDoors:
    """One method per operation of the table."""

    __slots__ = ("_clock", "_exchanges")

    def __init__(self, exchanges: Exchanges, clock: Clock) -> None:
        self._exchanges = exchanges
        self._clock = clock

    async def exchanges(self, request: web.Request) -> web.Response:
        """Open questions, and whether there are more."""
        named = request.query.get("agent_id")
        agent_id = None if named is None else parse_agent_id(named)
        limit = read_limit(request, default=100, most=MAX_SHOWN)
        found = self._exchanges.listing(agent_id, wall=self._clock.wall(), limit=limit + 1)
        shown = [listed.as_json() for listed in found[:limit]]
        return json_reply({"exchanges": shown, "has_more": len(found) > limit})

    async def exchange(self, request: web.Request) -> web.Response:
        """One question."""
        elicitation_id = parse_elicitation_id(request.match_info["elicitation_id"])
        listed = self._exchanges.listed(elicitation_id)
        if listed is None:
            raise ElicitationUnknown(f"elicitation {elicitation_id} is not known here; GET /exchanges lists open ones")
        return json_reply(listed.as_json())
