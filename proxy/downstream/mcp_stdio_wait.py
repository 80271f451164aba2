"""Serves the waits of the MCP client on a pipe: held, its questions put to the client where it is to be so, answered.

Source: PROTOCOL.md 2.5, 3.3, 3.5, 3.6, 4.2 (A1 x B1, A2 x B1, A3 x B1).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from proxy.core.errors import InvalidState, LegacyRemoved, SidecarError
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.outcome import Door, ElicitationOutcome, Result
from proxy.core.routing import Decision, Route
from proxy.downstream.mcp_asking import Asking, note_told
from proxy.downstream.mcp_ledger import Ledger
from proxy.downstream.mcp_passing import SEAT
from proxy.downstream.mcp_pipe import Pipe
from proxy.downstream.mcp_reply import error_reply, note_wait, result_reply
from proxy.downstream.served import Draft
from proxy.flows.asked_wait import AskedCall, ToldWait
from proxy.flows.client_questions import ClientLine
from proxy.flows.mcp_clients import McpClient
from proxy.flows.suspended_wait import SuspendedCall
from proxy.flows.tool_call import Access, ToolCalls, ToolWaited
from proxy.mcp.correlation import write_cancelled
from proxy.mcp.inbound import WaitCall
from proxy.mcp.jsonrpc import RequestId
from proxy.mcp.mrtr import state_refused
from proxy.mcp.revisions import Era, Mode
from proxy.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One wait while it is served."""

    call: WaitCall
    era: Era
    line: bytes
    draft: Draft
    decision: Decision

    def suspended(self, access: Access) -> SuspendedCall:
        """It as a wait that may be suspended."""
        return SuspendedCall(
            principal=SEAT.principal,
            call=self.call.call,
            ask=self.call.ask,
            access=access,
            note=self.draft.elicitations.append,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PipeWaits:
    """The waits of one client."""

    calls: ToolCalls
    asking: Asking
    client: McpClient
    pipe: Pipe
    ledger: Ledger
    clock: Clock
    agent_id: AgentId | None
    """The agent this sidecar stands beside; None: whoever waits."""
    hold_cap_s: int
    guide_url: str
    held: "dict[RequestId, asyncio.Task[None]]" = field(default_factory=dict)
    """Calls that are served here, by id."""

    def begin(self, call: WaitCall, era: Era, line: bytes) -> bool:
        """Begin to serve a wait that the server itself would take; False where it is to be passed on."""
        ask = call.ask if self.agent_id is None else replace(call.ask, agent_id=self.agent_id)
        call = replace(call, ask=ask)
        self.client.waited(ask.agent_id)
        decision = self.calls.decide(ask.agent_id)
        draft = Draft(Door.MCP_STDIO, result=Result.GONE, agent_id=ask.agent_id)
        draft.decided(decision)
        on = _Call(call=call, era=era, line=line, draft=draft, decision=decision)
        is_retry = call.call.retry is not None
        # A wait that was suspended here nobody else could take up, whatever the flags say by now.
        is_ours = self.asking.suspended.may_be_ours(call.call) if is_retry else decision.route is not Route.LEGACY
        if is_ours:
            self._begin(on)
        else:
            self.ledger.passed_on(call.id, draft, call.call.name)
        return is_ours

    def cancel(self, request_id: RequestId) -> bool:
        """End one of the calls that are served here, in silence; False when it is none of them."""
        task = self.held.pop(request_id, None)
        if task is None:
            return False
        task.cancel()
        # When it has ended it waits for no answer any more.
        task.add_done_callback(lambda _: self._take_back_questions(request_id))
        return True

    def drop(self) -> None:
        """The client is gone, and with it all that it waits for."""
        for task in tuple(self.held.values()):
            task.cancel()
        self.asking.questions.close(SEAT)

    def _take_back_questions(self, request_id: RequestId) -> None:
        for own_id in self.asking.questions.left_open(SEAT, request_id):
            self.pipe.tell_soon(write_cancelled(own_id, "the call was cancelled"))

    def _begin(self, on: _Call) -> None:
        request_id, tool = on.call.id, on.call.call.name
        task = self.pipe.begin(self._serve(on), tool)
        self.ledger.follow(task, on.draft, tool)
        self.held[request_id] = task
        task.add_done_callback(lambda _: self._release(request_id, task))

    def _release(self, request_id: RequestId, task: "asyncio.Task[None]") -> None:
        if self.held.get(request_id) is task:
            del self.held[request_id]

    async def _serve(self, on: _Call) -> None:
        """Serve a call; tell what goes wrong, and pass on what cannot be served here after all."""
        draft, request_id = on.draft, on.call.id
        try:
            is_served = await (self._waited(on) if on.call.call.retry is None else self._resumed(on))
        except InvalidState as error:
            draft.failed(error)
            await self.pipe.tell(state_refused(error, request_id))
        except SidecarError as error:
            draft.failed(error)
            await self.pipe.tell(error_reply(request_id, error, on.era))
        else:
            if not is_served:
                # The server serves it from here on, so that a cancellation is for the server to hear.
                del self.held[request_id]
                draft.result, draft.status = Result.RELAYED, 200
                await self.pipe.pass_up(on.line)

    async def _access(self, on: _Call) -> Access | None:
        return await self.calls.access_for(on.call.ask.agent_id, "")

    async def _tell(self, message: bytes, left: Sequence[ElicitationId]) -> bool:
        """Give the result of a call; the questions in it are offered again where it never arrives."""
        has_arrived = False
        try:
            has_arrived = await self.pipe.tell(message)
        finally:
            if not has_arrived:
                self.calls.take_back_ids(left)
        return has_arrived

    # Waits

    async def _waited(self, on: _Call) -> bool:
        if on.decision.route is Route.REMOVED:
            guide = self.guide_url
            raise LegacyRemoved(f"{on.call.call.name} was removed; use elicitation instead, see {guide}", guide=guide)
        access = await self._access(on)
        told = None if access is None else await self._hold(on, access)
        if told is None:
            return False
        served = told.waited.served
        note_wait(on.draft, served)
        message = result_reply(on.call.id, told.waited.result, on.era)
        if await self._tell(message, served.found.elicitation_ids):
            note_told(on.draft, told, wall=self.clock.wall())
        return True

    async def _hold(self, on: _Call, access: Access) -> ToldWait | None:
        ask = on.call.ask
        cap_s = min(ask.hold_s, self.hold_cap_s)
        began = self.clock.now()
        waited = await self.calls.wait(ask, on.decision, access, hold_cap_s=cap_s)
        if waited is None:
            return None
        told = None
        try:
            if on.era is Era.ENVELOPE:
                told = await self._suspended(on, access, waited)
            else:
                told = await self._asked(on, access, waited, began=began, until=began + cap_s)
        finally:
            if told is None:
                self.calls.take_back(waited.served)
        return told

    def _elicits(self, on: _Call, client_name: str) -> bool:
        return self.asking.rule.elicits(self.calls.member(on.call.ask.agent_id), client_name)

    # Clients of the handshake era

    async def _asked(self, on: _Call, access: Access, waited: ToolWaited, *, began: float, until: float) -> ToldWait:
        """Put what was found to the client, where that is its way to be asked."""
        client = self.client
        revision = client.revision
        if revision is None or Mode.FORM not in client.modes or not self._elicits(on, client.client_name):
            return ToldWait(waited=waited)
        line = ClientLine(seat=SEAT, call_id=on.call.id, revision=revision, modes=client.modes, write=self.pipe.tell)
        asked = AskedCall(
            line=line,
            client=client,
            ask=on.call.ask,
            access=access,
            began=began,
            until=until,
            note=on.draft.elicitations.append,
        )
        return await self.asking.asked.tell(waited, asked)

    # Clients of the envelope era

    async def _suspended(self, on: _Call, access: Access, waited: ToolWaited) -> ToldWait:
        """Ask for the answers to what was found, where the client can be asked so."""
        told, call = ToldWait(waited=waited), on.call.call
        if Mode.FORM not in call.modes or not self._elicits(on, call.client_name):
            return told
        return await self.asking.suspended.suspend(told, on.suspended(access))

    async def _resumed(self, on: _Call) -> bool:
        """Take up a wait that was suspended."""
        access = await self._access(on)
        if access is None:
            return False
        resumed = await self.asking.suspended.resume(on.suspended(access))
        draft = on.draft
        if await self._tell(result_reply(on.call.id, resumed.result, on.era), resumed.left):
            draft.result, draft.status, draft.items = Result.DELIVERED, 200, resumed.items
            draft.elicitations.extend(ElicitationOutcome.OFFERED for _ in resumed.left)
        return True
