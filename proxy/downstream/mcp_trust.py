"""Who calls tools over MCP, in whose session and within which limits; the gate has judged the HTTP call before.

Source: ARCHITECTURE.md 3.5, 4; PROTOCOL.md 3.7.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Final

from aiohttp import web

from proxy.core.hop import RawHeaders, values_of
from proxy.core.identity import Claims, Identity
from proxy.core.ids import AgentId
from proxy.core.limits import ANSWERS
from proxy.downstream.body import is_coded
from proxy.downstream.gate import CALLER
from proxy.downstream.limit_reply import GRANTED
from proxy.downstream.mcp_answer import SESSION
from proxy.downstream.mcp_caller import session_of
from proxy.downstream.relay import OnHead
from proxy.flows.admission import Admission
from proxy.flows.session_owners import SessionOwners
from proxy.flows.tool_call import Take
from proxy.mcp.inbound import ToolNames
from proxy.mcp.jsonrpc import Message
from proxy.mcp.tool_claims import ToolUse, read_tools

NO_USE: Final = ToolUse()
_UNREADABLE: Final = Claims(is_readable=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class McpTrust:
    """Judges messages of one MCP path."""

    admission: Admission
    names: ToolNames
    owners: SessionOwners = field(default_factory=SessionOwners)

    def judge(self, request: web.Request, message: Message | None, body: bytes) -> ToolUse:
        """Hold a message against whoever sends it; what it says of its caller. None: it calls no tool.

        Raises:
            ImpersonationRefused: it speaks as somebody else, or in the session of another, and identities are enforced.
        """
        rules = self.admission.rules
        if rules.identity == "off" and not rules.limits:
            return NO_USE
        self.judge_session(request)
        use = NO_USE if message is None else read_tools(message, body, self.names)
        if is_coded(request):  # the server may unpack it
            use = ToolUse(_UNREADABLE)
        self.admission.judge_claims(request.get(CALLER), use.claims)
        return use

    def judge_speaker(self, request: web.Request, agent_id: AgentId) -> None:
        """Hold the agent whose answer this would be, of whom the call says nothing, against whoever gives it.

        Raises:
            ImpersonationRefused: it is another's to give, and identities are enforced.
        """
        self.admission.judge_claims(request.get(CALLER), Claims((agent_id,)))

    def judge_unread(self, request: web.Request) -> None:
        """The same for a request whose body is not looked into, if it has one.

        Raises:
            ImpersonationRefused: the same.
        """
        self.judge_session(request)
        if request.method == "POST":
            self.admission.judge_claims(request.get(CALLER), _UNREADABLE)

    def judge_session(self, request: web.Request) -> None:
        """Hold the session of a request against whoever sends it.

        Raises:
            ImpersonationRefused: it is another's, and identities are enforced.
        """
        owner = self.owners.owner(session_of(request))
        if owner is not None:
            self.admission.judge_owner(request.get(CALLER), owner)

    def opened(self, request: web.Request, session_id: str) -> None:
        """The server has taken a request in this session."""
        identity = request.get(CALLER)
        if identity is not None and self.admission.rules.identity != "off":
            self.owners.seen(session_id, identity.agent_id)

    def opening(self, request: web.Request) -> OnHead:
        """Hears of the head of the server's reply, which names the session that it opens."""

        def note(status: int, headers: RawHeaders) -> None:
            if status < HTTPStatus.MULTIPLE_CHOICES:
                named = values_of(headers, SESSION.lower().encode())
                opened = named[0].decode("utf-8", "surrogateescape") if named else session_of(request)
                self.opened(request, opened)

        return note

    async def take(
        self, request: web.Request, use: ToolUse, *, waited: Sequence[AgentId], is_answer_taken: bool
    ) -> None:
        """Take what a message asks for from what its caller is granted; answers may be taken apart.

        `waited` are the agents that waited in this session, the latest last: who calls a tool that names nobody.

        Raises:
            RateLimited: one of the limits does not grant it.
            StateUnavailable: what was granted cannot be told.
        """
        names = [name for name in use.limits if not (is_answer_taken and name == ANSWERS)]
        if names:
            taken = await self.admission.take(names, self._spender(request, use.claims.named or waited[-1:]))
            request[GRANTED] = [*(request.get(GRANTED) or ()), *taken]

    def taking_answer(self, request: web.Request, agent_id: AgentId) -> Take:
        """How an answer of this agent is taken."""
        return partial(self._take_answer, self._spender(request, (agent_id,)))

    async def _take_answer(self, spender: Identity) -> None:
        await self.admission.take([ANSWERS], spender)

    def _spender(self, request: web.Request, named: Sequence[str]) -> Identity:
        return self.admission.spender(request.get(CALLER), Claims(tuple(named)))
