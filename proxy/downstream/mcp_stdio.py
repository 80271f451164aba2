"""The MCP door over standard input and output: lines go to the server behind us, those of the wait are served here.

One pipe is one MCP client. A call is answered in the server's place only where the server itself would have taken it;
everything doubtful is passed on, and so is an answer to any question that was not put here.

Source: PROTOCOL.md 2.7, 3.3, 3.5, 3.6, 4.2 (A1 x B1, A2 x B1, A3 x B1).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from proxy.core.errors import RateLimited, SidecarError
from proxy.core.identity import Claims, Identity, Witness
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.limits import ANSWERS, BYTES, CALLS
from proxy.core.outcome import Door, Result, counted_as
from proxy.downstream.mcp_asking import Asking
from proxy.downstream.mcp_ledger import Ledger
from proxy.downstream.mcp_lines import lines_of
from proxy.downstream.mcp_passing import SEAT, Passing
from proxy.downstream.mcp_pipe import Pipe
from proxy.downstream.mcp_reply import era_of_call, error_reply, result_reply
from proxy.downstream.mcp_stdio_wait import PipeWaits
from proxy.downstream.served import Draft
from proxy.downstream.tool_list import ToolList
from proxy.flows.admission import Admission
from proxy.flows.mcp_clients import McpClient
from proxy.flows.tool_call import ToolCalls, take_nothing
from proxy.mcp.correlation import Verdict
from proxy.mcp.inbound import (
    LOOKED_AT,
    AnswerCall,
    AnswerTool,
    Cancel,
    Opening,
    ToolNames,
    ToQuestion,
    UnreadableAnswer,
    WaitCall,
    classify,
)
from proxy.mcp.jsonrpc import Malformed, Message, Request, RequestId, Response, fault_message, parse
from proxy.mcp.revisions import Era
from proxy.mcp.tool_claims import read_tools
from proxy.ports import Clock, Recorder


@dataclass(frozen=True, slots=True, kw_only=True)
class StdioParts:
    """What the door needs of the house."""

    calls: ToolCalls
    asking: Asking
    """How questions reach the client; its answers are to be errands of the pipe, so that the end waits for them."""
    tools: ToolList
    names: ToolNames
    admission: Admission
    recorder: Recorder
    clock: Clock
    agent_id: AgentId | None
    """The agent this sidecar stands beside; None: whoever waits."""
    default_timeout_s: int
    hold_cap_s: int
    guide_url: str


class StdioDoor:
    """The door of one client."""

    __slots__ = ("_client", "_identity", "_is_open", "_ledger", "_parts", "_passing", "_pipe", "_waits")

    def __init__(self, pipe: Pipe, parts: StdioParts) -> None:
        self._pipe = pipe
        self._parts = parts
        self._client = McpClient()
        """Which agents waited here, as the respond tool names none, and what the handshake told."""
        admitted = parts.admission.rules.configured
        self._identity = None if admitted is None else Identity(admitted, Witness.CONFIGURED)
        """Whom the configuration vouches for: nobody else can be at the other end."""
        self._is_open = False
        """Whether a handshake was seen; before it no server takes a call of that era."""
        self._ledger = Ledger(parts.recorder, parts.clock)
        self._passing = Passing(self._client, self._ledger, parts.asking.questions, parts.tools)
        self._waits = PipeWaits(
            calls=parts.calls,
            asking=parts.asking,
            client=self._client,
            pipe=pipe,
            ledger=self._ledger,
            clock=parts.clock,
            agent_id=parts.agent_id,
            hold_cap_s=parts.hold_cap_s,
            guide_url=parts.guide_url,
        )

    @property
    def client_gone(self) -> asyncio.Event:
        """Set when the client no longer reads."""
        return self._pipe.client_gone

    async def upward(self) -> None:
        """Carry the client's lines until its input ends."""
        await self._pipe.upward(self._up)

    async def downward(self) -> None:
        """Carry the server's lines until its output ends or the client reads no more."""
        await self._pipe.downward(self._down)

    def drop(self) -> None:
        """The client is gone: give up what it waits for; what it has answered goes on to its end."""
        self._waits.drop()
        self._ledger.close()

    async def settle(self, limit_s: float) -> None:
        """Wait until nothing is served any more; after `limit_s` seconds give up what is left."""
        await self._pipe.settle(limit_s)

    def give_up(self) -> None:
        """The house closes: end whatever is still served or said."""
        self._pipe.give_up()

    async def _up(self, block: bytes) -> None:
        self._passing.asked(block)
        if not any(mark in block for mark in LOOKED_AT):
            await self._pipe.pass_up(block)
            return
        for line in lines_of(block):
            message = parse(line)
            if not (await self._is_refused(message, line) or self._is_served(message, line)):
                await self._pipe.pass_up(line)

    async def _down(self, block: bytes) -> None:
        await self._pipe.to_client(self._passing.passed(block))

    async def _is_refused(self, message: Message, line: bytes) -> bool:
        """Whether the line speaks as somebody else, or beyond a limit; whoever wants a response gets one."""
        admission = self._parts.admission
        use = read_tools(message, line, self._parts.names)
        is_call = isinstance(message, Request) and message.method == "tools/call"
        spender = self._spender(use.claims.named or self._client.agents[-1:])
        try:
            admission.judge_claims(self._identity, use.claims)
            await admission.take([CALLS, *use.limits] if is_call else use.limits, spender)
            await admission.take([BYTES] if is_call else (), spender, cost=len(line))
        except SidecarError as error:
            self._refuse(message, error)
            return True
        return False

    def _refuse(self, message: Message, error: SidecarError) -> None:
        draft = Draft(Door.MCP_STDIO)
        draft.failed(error)
        if isinstance(message, Request | Malformed) and message.id is not None:
            task = self._pipe.begin(self._tell(fault_message(message.id, error)), "refusal")
            self._ledger.follow(task, draft, "refusal")
        else:
            self._ledger.end(self._ledger.begin(draft, "refusal", method="notification"))

    def _spender(self, named: Sequence[str]) -> Identity:
        return self._parts.admission.spender(self._identity, Claims(tuple(named)))

    def _is_served(self, message: Message, line: bytes) -> bool:
        """Whether the line was taken here; if not it has to be passed on."""
        timeout_s = self._parts.default_timeout_s
        match classify(message, self._parts.names, default_timeout_s=timeout_s, answers_as=self._answers_as):
            case Opening() as opening:
                self._open(opening)
                return False
            case ToQuestion(response):
                return self._is_taken(response)
            case Cancel(request_id):
                return self._is_cancelled(request_id)
            case WaitCall() | AnswerCall() | UnreadableAnswer() as call if isinstance(message, Request):
                era = era_of_call(message.params)
                is_taken = era is Era.ENVELOPE or (era is Era.HANDSHAKE and self._is_open)
                has_room = call.id not in self._waits.held and self._pipe.has_room
                return era is not None and is_taken and has_room and self._is_begun(call, era, line)
            case _:
                return False

    def _open(self, opening: Opening) -> None:
        self._is_open = True
        self._client.modes, self._client.client_name = opening.modes, opening.client_name
        self._passing.opening(opening.id)

    def _is_cancelled(self, request_id: RequestId) -> bool:
        if self._waits.cancel(request_id):
            return True
        self._passing.cancelled(request_id)
        return False

    def _is_begun(self, call: WaitCall | AnswerCall | UnreadableAnswer, era: Era, line: bytes) -> bool:
        match call:
            case WaitCall():
                return self._waits.begin(call, era, line)
            case AnswerCall():
                self._begin_answer(call, era, line)
                return True
            case UnreadableAnswer(id=request_id, elicitation_id=named, error=error):
                if not self._parts.calls.knows(named):
                    return False
                draft = Draft(Door.MCP_STDIO)
                draft.failed(error)
                task = self._pipe.begin(self._tell(error_reply(request_id, error, era)), "answer")
                self._ledger.follow(task, draft, "answer")
                return True

    async def _tell(self, message: bytes) -> None:
        await self._pipe.tell(message)

    # Answers

    def _is_taken(self, response: Response) -> bool:
        """Take the answer to a question that was put to the client; what comes too late ends here as well."""
        verdict = self._parts.asking.questions.take(SEAT, response)
        if verdict is Verdict.FORWARD:
            return False
        draft = Draft(Door.MCP_STDIO, result=Result.ANSWERED if verdict is None else Result.REFUSED, status=202)
        self._ledger.end(self._ledger.begin(draft, "elicitation/create", method="response"))
        return True

    def _answers_as(self, elicitation_id: ElicitationId) -> AgentId | None:
        return self._parts.agent_id or self._parts.calls.answers_as(elicitation_id, self._client.agents)

    def _begin_answer(self, call: AnswerCall, era: Era, line: bytes) -> None:
        given = call.given if self._parts.agent_id is None else replace(call.given, agent_id=self._parts.agent_id)
        draft = Draft(Door.MCP_STDIO, result=Result.GONE, agent_id=given.agent_id)
        task = self._pipe.begin(self._answer(replace(call, given=given), draft, era=era, line=line), "answer")
        self._ledger.follow(task, draft, "answer")

    async def _take(self, agent_id: AgentId) -> None:
        await self._parts.admission.take([ANSWERS], self._spender((agent_id,)))

    async def _answer(self, call: AnswerCall, draft: Draft, *, era: Era, line: bytes) -> None:
        try:
            # One by the respond tool was taken as it came in.
            take = partial(self._take, call.given.agent_id) if call.tool is AnswerTool.SEND else take_nothing
            answered = await self._parts.calls.answer(call.given, call.tool, "", take)
        except RateLimited as error:
            draft.failed(error)
            await self._tell(fault_message(call.id, error))
            return
        except SidecarError as error:
            draft.failed(error)
            draft.elicitations.append(counted_as(error))
            await self._tell(error_reply(call.id, error, era))
            return
        if answered is None:
            draft.result, draft.status = Result.RELAYED, 200
            await self._pipe.pass_up(line)
            return
        draft.elicitations.append(answered.outcome)
        draft.result, draft.status = Result.ANSWERED, 200
        await self._tell(result_reply(call.id, answered.result, era))
