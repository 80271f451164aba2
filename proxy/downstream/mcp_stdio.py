"""The MCP door over standard input and output: lines go to the server behind us, those of the wait are served here.

One pipe is one MCP client. Both directions flow by themselves, so neither ever stops the other; whatever is served
here is a task beside them and only its one line joins the flow. A call is answered in the server's place only where
the server itself would have taken it; everything doubtful is passed on.

Source: PROTOCOL.md 2.7, 3.3, 3.6, 4.2 (A1 x B1).
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Final, Protocol

from proxy.core.errors import BodyTooLarge, BridgeUnavailable, LegacyRemoved, SidecarError
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.outcome import Door, Result
from proxy.core.routing import Decision, Route
from proxy.downstream.mcp_ledger import Ledger
from proxy.downstream.mcp_lines import Kind, LineSplitter, Oversize, lines_of
from proxy.downstream.mcp_reply import era_of_call, error_reply, note_delivery, note_wait, result_reply
from proxy.downstream.served import Draft, counted_as
from proxy.flows.mcp_clients import McpClient
from proxy.flows.tool_call import ToolCalls, ToolWaited
from proxy.mcp.inbound import (
    LOOKED_AT,
    AnswerCall,
    Cancel,
    Opening,
    ToolNames,
    UnreadableAnswer,
    WaitCall,
    classify,
)
from proxy.mcp.jsonrpc import Request, RequestId, fault_message, parse
from proxy.mcp.revisions import Era
from proxy.ports import Clock, Recorder

MAX_SERVED: Final = 1_000
"""Most calls of the client that are served here at once; what is beyond is passed on. Source: ours."""

Spawn = Callable[[Coroutine[object, object, None], str], "asyncio.Task[None]"]


class Source(Protocol):
    """Where bytes come from."""

    async def read(self) -> bytes:
        """The next bytes; empty at the end."""
        ...


class Sink(Protocol):
    """Where bytes go."""

    async def write(self, data: bytes) -> None:
        """Return when the other side has taken them; if cancelled they are written nevertheless.

        Raises:
            BrokenPipeError: nobody reads there any more.
        """
        ...


class Log(Protocol):
    """What the door says of lines that reach nobody."""

    def lost(self, what: str, size_bytes: int) -> None:
        """A line was not passed on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """The four ends of the two pipes that meet here."""

    from_client: Source
    to_client: Sink
    from_server: Source
    to_server: Sink


@dataclass(frozen=True, slots=True, kw_only=True)
class StdioParts:
    """What the door needs of the house."""

    calls: ToolCalls
    names: ToolNames
    recorder: Recorder
    clock: Clock
    spawn: Spawn
    log: Log
    agent_id: AgentId | None
    """The agent this sidecar stands beside; None: whoever waits."""
    default_timeout_s: int
    hold_cap_s: int
    guide_url: str


class StdioDoor:
    """The door of one client."""

    __slots__ = ("_client", "_ends", "_held", "_is_open", "_ledger", "_parts", "_tasks", "client_gone")

    def __init__(self, ends: Ends, parts: StdioParts) -> None:
        self._ends = ends
        self._parts = parts
        self._client = McpClient()
        """Which agents waited here; the respond tool names none."""
        self._is_open = False
        """Whether a handshake was seen; before it no server takes a call of that era."""
        self._held: dict[RequestId, asyncio.Task[None]] = {}
        self._ledger = Ledger(parts.recorder, parts.clock)
        self._tasks: set[asyncio.Task[None]] = set()
        self.client_gone = asyncio.Event()
        """Set when the client no longer reads."""

    async def upward(self) -> None:
        """Carry the client's lines until its input ends."""
        splitter = LineSplitter()
        while chunk := await self._ends.from_client.read():
            for piece in splitter.feed(chunk):
                if isinstance(piece, Oversize):
                    self._refuse(piece, sender=self._to_client, receiver=self._to_server)
                elif any(mark in piece for mark in LOOKED_AT):
                    for line in lines_of(piece):
                        await self._take(line)
                else:
                    await self._pass_up(piece)
        if rest := splitter.rest():
            await self._to_server(rest)

    async def downward(self) -> None:
        """Carry the server's lines until its output ends or the client reads no more."""
        splitter = LineSplitter()
        while not self.client_gone.is_set() and (chunk := await self._ends.from_server.read()):
            for piece in splitter.feed(chunk):
                if isinstance(piece, Oversize):
                    self._refuse(piece, sender=self._to_server, receiver=self._to_client)
                else:
                    self._ledger.passed_by(piece)
                    await self._to_client(piece)
        if rest := splitter.rest():
            await self._to_client(rest)

    def drop(self) -> None:
        """The client is gone: give up what it waits for; what it has answered goes on to its end."""
        for task in tuple(self._held.values()):
            task.cancel()
        self._ledger.close()

    async def settle(self, limit_s: float) -> None:
        """Wait until nothing is served any more; after `limit_s` seconds give up what is left."""
        try:
            async with asyncio.timeout(limit_s):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            for task in tuple(self._tasks):
                task.cancel()

    async def _take(self, line: bytes) -> None:
        if not self._is_served(line):
            await self._pass_up(line)

    def _is_served(self, line: bytes) -> bool:
        """Whether the line was taken here; if not it has to be passed on."""
        message = parse(line)
        timeout_s = self._parts.default_timeout_s
        match classify(message, self._parts.names, default_timeout_s=timeout_s, answers_as=self._answers_as):
            case Opening():
                self._is_open = True
                return False
            case Cancel(request_id):
                return self._cancel(request_id)
            case WaitCall() | AnswerCall() | UnreadableAnswer() as call if isinstance(message, Request):
                era = era_of_call(message.params)
                is_taken = era is Era.ENVELOPE or (era is Era.HANDSHAKE and self._is_open)
                has_room = call.id not in self._held and len(self._tasks) < MAX_SERVED
                return era is not None and is_taken and has_room and self._begin_call(call, era, line)
            case _:
                return False

    def _answers_as(self, elicitation_id: ElicitationId) -> AgentId | None:
        return self._parts.agent_id or self._parts.calls.answers_as(elicitation_id, self._client.agents)

    def _begin_call(self, call: WaitCall | AnswerCall | UnreadableAnswer, era: Era, line: bytes) -> bool:
        match call:
            case WaitCall():
                return self._begin_wait(call, era, line)
            case AnswerCall():
                self._begin_answer(call, era, line)
                return True
            case UnreadableAnswer(id=request_id, elicitation_id=named, error=error):
                if not self._parts.calls.knows(named):
                    return False
                draft = Draft(Door.MCP)
                draft.failed(error)
                self._serve(self._tell(error_reply(request_id, error, era)), draft, "answer")
                return True

    async def _tell(self, message: bytes) -> None:
        await self._to_client(message + b"\n")

    def _cancel(self, request_id: RequestId) -> bool:
        held = self._held.pop(request_id, None)
        if held is None:
            self._ledger.cancelled(request_id)
            return False
        held.cancel()
        return True

    def _begin_wait(self, call: WaitCall, era: Era, line: bytes) -> bool:
        ask = call.ask if self._parts.agent_id is None else replace(call.ask, agent_id=self._parts.agent_id)
        call = replace(call, ask=ask)
        self._client.waited(ask.agent_id)
        decision = self._parts.calls.decide(ask.agent_id)
        draft = Draft(Door.MCP, result=Result.GONE, agent_id=ask.agent_id)
        draft.decided(decision)
        if decision.route is Route.LEGACY:
            self._ledger.passed_on(call.id, draft, call.call.name)
            return False
        work = self._wait(call, draft, decision, era=era, line=line)
        self._serve(work, draft, call.call.name, held_as=call.id)
        return True

    def _release(self, request_id: RequestId, task: "asyncio.Task[None]") -> None:
        if self._held.get(request_id) is task:
            del self._held[request_id]

    async def _wait(self, call: WaitCall, draft: Draft, decision: Decision, *, era: Era, line: bytes) -> None:
        try:
            waited = await self._hold(call, decision)
        except SidecarError as error:
            draft.failed(error)
            await self._tell(error_reply(call.id, error, era))
            return
        if waited is None:
            # The server serves it from here on, so that a cancellation is for the server to hear.
            del self._held[call.id]
            draft.result, draft.status = Result.RELAYED, 200
            await self._pass_up(line)
            return
        note_wait(draft, waited.served)
        has_arrived = False
        try:
            has_arrived = await self._to_client(result_reply(call.id, waited.result, era) + b"\n")
        finally:
            if not has_arrived:
                self._parts.calls.take_back(waited.served)
        if has_arrived:
            note_delivery(draft, waited.served, wall=self._parts.clock.wall())

    async def _hold(self, call: WaitCall, decision: Decision) -> ToolWaited | None:
        if decision.route is Route.REMOVED:
            guide = self._parts.guide_url
            raise LegacyRemoved(f"{call.call.name} was removed; use elicitation instead, see {guide}", guide=guide)
        access = await self._parts.calls.access_for(call.ask.agent_id, "")
        if access is None:
            return None
        cap_s = min(call.ask.hold_s, self._parts.hold_cap_s)
        return await self._parts.calls.wait(call.ask, decision, access, hold_cap_s=cap_s)

    def _begin_answer(self, call: AnswerCall, era: Era, line: bytes) -> None:
        given = call.given if self._parts.agent_id is None else replace(call.given, agent_id=self._parts.agent_id)
        draft = Draft(Door.MCP, result=Result.GONE, agent_id=given.agent_id)
        self._serve(self._answer(replace(call, given=given), draft, era=era, line=line), draft, "answer")

    async def _answer(self, call: AnswerCall, draft: Draft, *, era: Era, line: bytes) -> None:
        try:
            answered = await self._parts.calls.answer(call.given, call.tool, "")
        except SidecarError as error:
            draft.failed(error)
            draft.elicitations.append(counted_as(error))
            await self._tell(error_reply(call.id, error, era))
            return
        if answered is None:
            draft.result, draft.status = Result.RELAYED, 200
            await self._pass_up(line)
            return
        draft.elicitations.append(answered.outcome)
        draft.result, draft.status = Result.ANSWERED, 200
        await self._tell(result_reply(call.id, answered.result, era))

    def _serve(
        self, work: Coroutine[object, object, None], draft: Draft, what: str, *, held_as: RequestId | None = None
    ) -> None:
        """Begin to serve a call, which leaves one outcome however it ends; `held_as` is its id if it may be ended."""
        served = self._ledger.begin(draft, what)
        task = self._begin(work, what)
        task.add_done_callback(lambda _: self._ledger.end(served))
        if held_as is not None:
            self._held[held_as] = task
            task.add_done_callback(lambda _: self._release(held_as, task))

    def _begin(self, work: Coroutine[object, object, None], what: str) -> "asyncio.Task[None]":
        task = self._parts.spawn(work, what)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _refuse(self, line: Oversize, *, sender: "_Way", receiver: "_Way") -> None:
        """Tell whoever would wait for it in vain that a line was too long."""
        kind, request_id = line.told()
        error = BodyTooLarge(
            f"expected a line of at most 64 MiB, got {line.size_bytes} bytes; send less in one message"
        )
        way = {Kind.REQUEST: sender, Kind.RESPONSE: receiver}.get(kind)
        self._parts.log.lost("a line is too long", line.size_bytes)
        if way is not None and request_id is not None:
            self._say(way, fault_message(request_id, error))

    def _say(self, way: "_Way", message: bytes) -> None:
        """Send a message of ours without holding up the flow."""
        if len(self._tasks) < MAX_SERVED:
            _ = self._begin(_sent(way, message + b"\n"), "a message of ours")
        else:
            self._parts.log.lost("nobody reads the refusals", len(message))

    async def _pass_up(self, block: bytes) -> None:
        """Hand lines of the client to the server; if it reads no more, its requests are refused."""
        if await self._to_server(block):
            return
        error = BridgeUnavailable("the MCP server no longer reads its input; start it again")
        for line in lines_of(block):
            message = parse(line)
            if isinstance(message, Request):
                self._say(self._to_client, fault_message(message.id, error))

    async def _to_server(self, block: bytes) -> bool:
        try:
            await self._ends.to_server.write(block)
        except BrokenPipeError:
            self._parts.log.lost("the server reads no more", len(block))
            return False
        return True

    async def _to_client(self, block: bytes) -> bool:
        try:
            await self._ends.to_client.write(block)
        except BrokenPipeError:
            self.client_gone.set()
            return False
        return True


_Way = Callable[[bytes], Coroutine[object, object, bool]]


async def _sent(way: _Way, message: bytes) -> None:
    await way(message)
