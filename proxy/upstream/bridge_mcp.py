"""The Bridge port over an MCP server that asks by itself: its wait tool brings messages, and questions meanwhile.

While such a question is open, the call that it came in stays open too: the next wait of the same agent takes part in
it instead of calling again, and what the call brings in the end is kept for whoever waits next. Only a call without
an open question is given up together with its wait.

Source: PROTOCOL.md 4.2, A0 x B2 and A0 x B3.
"""

import asyncio
import hmac
from collections.abc import Callable
from typing import Final

from proxy.core.elicitation import Answer, BridgeStatus, Elicitation
from proxy.core.errors import (
    BadBridgeReply,
    BridgeFault,
    BridgeRefused,
    BridgeTimeout,
    BridgeUnavailable,
    SidecarError,
)
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import Message
from proxy.core.secret import Secret
from proxy.mcp.ask import Reply
from proxy.mcp.calling import Outgoing, ServerAsk
from proxy.mcp.revisions import Era, Mode
from proxy.mcp.wait_tool import CALL, read_wait_result, server_name, wait_params
from proxy.ports import Clock, McpUpstream, Spawn
from proxy.upstream.parked_questions import Line, ParkedQuestions, Watch
from proxy.upstream.wait_call import Joined, WaitCall

MIN_HOLD_S: Final = 1
"""Shortest wait that the tool is asked for, as of the Bridge itself. Source: BRIDGE.md 2.3."""

TRUST_S: Final = 60.0
"""How long a credential counts as accepted after the server served a call with it. Source: ours."""

MAX_KNOWN: Final = 10_000
"""Most accepted credentials that are remembered; the server is asked about the others again. Source: ours."""

MAX_UNCLAIMED: Final = 100
"""Most results that are kept for a later wait; what is dropped is read again by its cursor. Source: ours."""

CLOSE_S: Final = 0.4
"""How long calls have to end when the sidecar stops. Source: ARCHITECTURE.md 2.6 (an exit takes less than 2 s)."""

KEY_BYTES: Final = 32
"""Source: RFC 2104 section 3 (as long as the hash)."""

_REFUSED: Final = frozenset({401, 403})
"""What a server says to a credential that it does not accept. Source: RFC 9110 sections 15.5.2 and 15.5.4."""


class McpBridge:
    """The Bridge port over the wait tool of an MCP server.

    `chance` gives random bytes, `spawn` starts a task in the TaskGroup of the house.
    """

    __slots__ = (
        "_asking",
        "_clock",
        "_key",
        "_known",
        "_name",
        "_questions",
        "_request_timeout_s",
        "_running",
        "_spawn",
        "_tool",
        "_unclaimed",
        "_upstream",
    )

    def __init__(
        self,
        upstream: McpUpstream,
        *,
        tool: str,
        clock: Clock,
        spawn: Spawn,
        chance: Callable[[int], bytes],
        park_s: float,
        max_parked_calls: int,
        request_timeout_s: float,
    ) -> None:
        self._upstream = upstream
        self._tool = tool
        self._clock = clock
        self._spawn = spawn
        self._request_timeout_s = request_timeout_s
        self._key = chance(KEY_BYTES)
        self._questions = ParkedQuestions(
            clock, chance, park_s=park_s, max_per_agent=max_parked_calls, arrive_s=request_timeout_s
        )
        self._name: str | None = None
        self._known: dict[str, float] = {}
        """When the server last accepted which credential, the longest ago first."""
        self._running: dict[WaitCall, None] = {}
        self._asking: dict[Line, WaitCall] = {}
        """The running call of each line that has asked something."""
        self._unclaimed: dict[Line, WaitCall] = {}

    def tell(self, watch: Watch) -> None:
        """Tell `watch` of questions from now on."""
        self._questions.watch = watch

    async def close(self) -> None:
        """Give up all calls, and wait a moment until they have ended; for when the sidecar stops."""
        calls = tuple(self._running)
        for call in calls:
            call.give_up(BridgeUnavailable("the sidecar stops"))
        tasks = [call.task for call in calls if call.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_S)

    # The port

    async def wait(self, agent_id: AgentId, credential: Secret, *, since: int, hold_s: float) -> tuple[Message, ...]:
        """Wait by the wait tool, at least a second; see the port."""
        line = self._line(agent_id, credential)
        until = self._clock.now() + max(MIN_HOLD_S, hold_s)
        while True:
            found = self._claim(line, since)
            left_s = until - self._clock.now()
            if found or left_s <= 0:
                return found
            asking = self._asking.get(line)
            call = asking or self._begin(line, credential, since=since, hold_s=left_s)
            await self._take_part(call, Joined(since), until)
            if isinstance(call.outcome, BridgeFault):
                raise call.outcome
            news = call.news_after(since)
            if news or call is not asking:
                return news

    async def pending(self, agent_id: AgentId, credential: Secret) -> tuple[Elicitation, ...]:
        """Questions that wait for this agent; see the port.

        The server is asked only whether it accepts the credential, and only where it has not just done so.
        """
        line = self._line(agent_id, credential)
        known = self._known.get(line.principal)
        if known is None or self._clock.now() - known >= TRUST_S:
            outgoing = self._outgoing(line, credential)
            try:
                await self._introduce(line, await self._era(outgoing), outgoing)
            except BridgeFault as fault:
                self._judge(line, fault)
                raise
        return self._questions.open_for(line)

    async def respond(self, answer: Answer, agent_id: AgentId, credential: Secret) -> None:
        """Give one answer and wait until it has reached the server; see the port."""
        await self._questions.give(answer, self._line(agent_id, credential))

    async def status(
        self,
        elicitation_id: ElicitationId,
        credential: Secret,  # noqa: ARG002  # the port's
    ) -> BridgeStatus | None:
        """State of one elicitation, whoever asks, as nobody can guess its id; see the port."""
        return self._questions.status(elicitation_id)

    async def open_session(self, agent_id: AgentId) -> Secret:
        """What stands for an agent without a credential, here and nowhere else; see the port."""
        return self._own(agent_id)

    # Who asks

    def _own(self, agent_id: AgentId) -> Secret:
        digest = hmac.digest(self._key, agent_id.encode("utf-8", "surrogatepass"), "sha256")
        return Secret(f"elicit-sidecar {digest.hex()}")

    @staticmethod
    def _line(agent_id: AgentId, credential: Secret) -> Line:
        return Line(agent_id, credential.fingerprint().hex())

    def _outgoing(self, line: Line, credential: Secret, params: bytes = b"{}") -> Outgoing:
        # What stands for an agent here means nothing to the server.
        is_own = self._own(line.agent_id).matches(credential.reveal())
        return Outgoing(
            method=CALL,
            params=params,
            headers={} if is_own else {"Authorization": credential.reveal()},
            principal=line.principal,
            modes=frozenset({Mode.FORM}),
        )

    async def _era(self, outgoing: Outgoing) -> Era:
        speaks_envelope = await self._upstream.speaks(Era.ENVELOPE, outgoing.headers)
        return Era.ENVELOPE if speaks_envelope else Era.HANDSHAKE

    async def _introduce(self, line: Line, era: Era, outgoing: Outgoing) -> None:
        """Hear the server's name; that it tells it means that it accepts the credential."""
        self._name = server_name(await self._upstream.describe(era, outgoing))
        self._accepted(line)

    def _accepted(self, line: Line) -> None:
        """The server has just served this credential."""
        self._known.pop(line.principal, None)
        self._known[line.principal] = self._clock.now()
        while len(self._known) > MAX_KNOWN:
            del self._known[next(iter(self._known))]

    def _judge(self, line: Line, fault: BridgeFault) -> None:
        """What a failed call says of its credential: a refused one is not believed again until it is accepted anew."""
        if isinstance(fault, BridgeRefused) and fault.bridge_status in _REFUSED:
            self._known.pop(line.principal, None)
            # Its session goes too, as it would still answer for itself.
            _ = self._spawn(self._upstream.forget(line.principal), "end of a session at the MCP server")

    # Calls

    def _claim(self, line: Line, since: int) -> tuple[Message, ...]:
        """What a call has brought for which nobody waited any more.

        Who reads from the beginning wants to see the log as it is now.
        """
        call = self._unclaimed.pop(line, None)
        return call.news_after(since) if call is not None and since else ()

    def _begin(self, line: Line, credential: Secret, *, since: int, hold_s: float) -> WaitCall:
        call = WaitCall(line=line, since=since, hold_s=hold_s)
        timeout_s = max(MIN_HOLD_S, int(hold_s))
        params = wait_params(self._tool, line.agent_id, since=since, timeout_s=timeout_s)
        self._running[call] = None
        self._set_due(call)
        call.task = self._spawn(
            self._run(call, self._outgoing(line, credential, params)), f"wait of {line.agent_id} at the MCP server"
        )
        # Not at the end of the task's own work: one that is cancelled before its first step never gets there.
        call.task.add_done_callback(lambda _: self._ended(call))
        return call

    async def _run(self, call: WaitCall, outgoing: Outgoing) -> None:
        async def on_ask(asked: ServerAsk) -> Reply:
            return await self._asked(call, asked)

        try:
            era = await self._era(outgoing)
            if self._name is None or call.line.principal not in self._known:
                await self._introduce(call.line, era, outgoing)
            response = await self._upstream.request(era, outgoing, on_ask=on_ask, on_note=_unheard)
            self._accepted(call.line)
            call.end(read_wait_result(response))
        except BridgeFault as fault:
            self._judge(call.line, fault)
            call.end(fault)
        except SidecarError as error:
            call.end(BadBridgeReply(error.detail))
        except Exception as error:  # noqa: BLE001  # boundary, see docs/decisions/0003-boundaries.md
            self._questions.watch.defect("wait at the MCP server", error)
            call.end(BridgeUnavailable("the wait at the MCP server met a defect of the sidecar"))

    async def _asked(self, call: WaitCall, asked: ServerAsk) -> Reply:
        """A question in the middle of the call, which now stays open for as long as it takes."""
        self._accepted(call.line)
        self._asking[call.line] = call
        call.asks()
        try:
            return await self._questions.ask(call.line, asked, from_agent=self._name or "")
        finally:
            call.open_questions -= 1
            if not call.open_questions:
                self._set_due(call)

    def _set_due(self, call: WaitCall) -> None:
        """The server goes on to wait for as long as it was told to, and then has to answer."""
        at = self._clock.now() + call.hold_s + self._request_timeout_s
        late = BridgeTimeout(f"no answer from the tool {self._tool} in time")
        call.due = self._clock.alarm(at, lambda: call.give_up(late))

    def _ended(self, call: WaitCall) -> None:
        del self._running[call]
        if self._asking.get(call.line) is call:
            del self._asking[call.line]
        call.end(BridgeUnavailable("the wait at the MCP server was given up"))
        if not any(joined.since >= call.since for joined in call.joined):
            self._keep(call)
        call.stir()

    def _keep(self, call: WaitCall) -> None:
        """Keep what a call has brought for a later wait."""
        if isinstance(call.outcome, tuple) and call.outcome:
            self._unclaimed[call.line] = call
            while len(self._unclaimed) > MAX_UNCLAIMED:
                del self._unclaimed[next(iter(self._unclaimed))]

    async def _take_part(self, call: WaitCall, joined: Joined, until: float) -> None:
        """Wait for the end of a call, at most until monotonic time `until` when it has asked something."""
        call.joined.add(joined)
        alarm = self._clock.alarm(until, joined.ring_late)
        stays = False
        try:
            while call.is_held_for(joined):
                await joined.stirred()
            stays = True
        finally:
            alarm.cancel()
            call.joined.discard(joined)
            if not stays:
                self._deserted(call)

    def _deserted(self, call: WaitCall) -> None:
        """A wait was given up; without any other one and without a question, so is its call."""
        if call.outcome is not None:
            self._keep(call)
        elif not call.joined and not call.open_questions:
            self._asking.pop(call.line, None)
            call.give_up(BridgeUnavailable("nobody waits for it any more"))


async def _unheard(_note: bytes) -> None:
    """Progress and log lines of the server, which a legacy wait has no place for."""
