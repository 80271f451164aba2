"""The Bridge port without a wire: a log, questions and tokens in memory, faults and gates as a test sets them."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final, TypeVar

import orjson

from proxy.core.bus import Ask
from proxy.core.elicitation import Answer, AnswerKind, BridgeStatus, Elicitation
from proxy.core.errors import BridgeRefused, BridgeUnavailable
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import ITEMS_PER_REPLY, Message, parse_wait_reply
from proxy.core.secret import Secret
from proxy.core.send_marks import unmarked
from proxy.flows.pause import Pause
from proxy.ports import Clock

T = TypeVar("T")

DENIED: Final = b'{"detail":"Authentication token is not valid or has expired"}'
"""What the Bridge says to a token it does not know. Source: BRIDGE.md 2.1."""

ENDED: Final = {
    AnswerKind.ACCEPT: BridgeStatus.ACCEPTED,
    AnswerKind.DECLINE: BridgeStatus.DECLINED,
    AnswerKind.CANCEL: BridgeStatus.DECLINED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call that arrived."""

    method: str
    agent_id: str
    token: str
    at: float
    """Monotonic seconds."""
    since: int = -1
    """Only of a wait: the cursor."""


class Gate:
    """Calls of one method stop here until the test opens it."""

    __slots__ = ("_arrivals", "_open", "arrived")

    def __init__(self) -> None:
        self.arrived = 0
        self._arrivals = asyncio.Condition()
        self._open = asyncio.Event()

    async def passed(self) -> None:
        """Stop until it is open."""
        self.arrived += 1
        async with self._arrivals:
            self._arrivals.notify_all()
        await self._open.wait()

    async def reached(self, count: int = 1) -> None:
        """Wait until so many calls stand at it."""
        async with asyncio.timeout(5), self._arrivals:
            await self._arrivals.wait_for(lambda: self.arrived >= count)

    def open(self) -> None:
        """Let all calls go on, also later ones."""
        self._open.set()


@dataclass(slots=True, kw_only=True)
class _Faults:
    error: Callable[[], Exception]
    left: int


@dataclass(slots=True)
class FakeBridge:
    """A Bridge of one test."""

    clock: Clock
    tick_s: float = 0.0
    """Pause between two looks of a parked wait, as the real Bridge has it; 0 wakes it with the message."""
    writes_notes: bool = False
    """Whether questions and answers leave notes in the log."""
    is_down: bool = False
    lingers: int = 0
    """Turns of the event loop that a call takes to end, however it ends, as closing a connection may."""
    calls: list[Call] = field(default_factory=list)
    running: Counter[str] = field(default_factory=Counter)
    """Calls under way, by method."""
    peak: Counter[str] = field(default_factory=Counter)
    """Most calls that were under way at once, by method."""
    tokens: set[str] = field(default_factory=set)
    log: list[Message] = field(default_factory=list)
    questions: dict[ElicitationId, Elicitation] = field(default_factory=dict)
    states: dict[ElicitationId, BridgeStatus] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    """Answers that were taken, in order."""
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _faults: dict[tuple[str, bool], _Faults] = field(default_factory=dict)
    _gates: dict[tuple[str, bool], Gate] = field(default_factory=dict)
    _parked: set[Pause] = field(default_factory=set)

    # What a test does

    def token(self, agent_id: str) -> Secret:
        """A credential that is accepted."""
        token = f"Bearer t{next(self._numbers)}:{agent_id}"
        self.tokens.add(token)
        return Secret(token)

    def store(self, data: object = None, *, event_type: str = "custom", source: str = "alice") -> int:
        """Put a message into the log; its number."""
        sequence = self.log[-1].sequence + 1 if self.log else 1
        item = {
            "sequence": sequence,
            "event_type": event_type,
            "source_agent": source,
            "timestamp": datetime.fromtimestamp(self.clock.wall(), UTC).isoformat(),
            "data": data,
        }
        self.log.extend(parse_wait_reply(orjson.dumps({"events": [item]})))
        if not self.tick_s:
            self._wake()
        return sequence

    def ask(
        self,
        to_agent: str,
        *,
        from_agent: str = "alice",
        timeout_s: float = 600.0,
        shape: Mapping[str, object] = MappingProxyType({}),
    ) -> Elicitation:
        """Put a question; `shape` is its schema's properties."""
        wall = self.clock.wall()
        question = Elicitation(
            elicitation_id=ElicitationId(f"elicit_{next(self._numbers):04}"),
            from_agent=from_agent,
            to_agent=AgentId(to_agent),
            message="Which colour?",
            schema={"type": "object", "properties": dict(shape)},
            created_at=wall,
            expires_at=wall + timeout_s,
        )
        self.questions[question.elicitation_id] = question
        self.states[question.elicitation_id] = BridgeStatus.PENDING
        self._note_question(question)
        return question

    def put(self, ask: Ask) -> Elicitation:
        """Put a question as somebody else asks it."""
        schema, made_from = unmarked(ask.schema)
        wall = self.clock.wall()
        question = Elicitation(
            elicitation_id=ElicitationId(f"elicit_{next(self._numbers):04}"),
            from_agent=ask.from_agent,
            to_agent=ask.to_agent,
            message=ask.message,
            schema=schema,
            made_from=made_from,
            created_at=wall,
            expires_at=wall + ask.timeout_s,
        )
        self.questions[question.elicitation_id] = question
        self.states[question.elicitation_id] = BridgeStatus.PENDING
        self._note_question(question)
        return question

    def end(self, elicitation_id: ElicitationId, status: BridgeStatus) -> None:
        """End a question in another way than by an answer of ours."""
        self.states[elicitation_id] = status

    def fails(
        self, method: str, error: Callable[[], Exception], *, times: int = 1_000_000, after: bool = False
    ) -> None:
        """Let the next calls of a method fail, before or after they were carried out; with 0 times it works again."""
        self._faults[method, after] = _Faults(error=error, left=times)

    def gate(self, method: str, *, after: bool = False) -> Gate:
        """Stop the calls of a method before, or after they were carried out."""
        return self._gates.setdefault((method, after), Gate())

    def ungate(self, method: str, *, after: bool = False) -> None:
        """Take a gate away; whoever stands at it goes on."""
        self._gates.pop((method, after)).open()

    def go_down(self) -> None:
        """Be unreachable; what is under way breaks."""
        self.is_down = True
        self._wake()

    def come_back(self, *, keeps_log: bool = False) -> None:
        """Be another process: all tokens are dead, and the log is another one unless it was kept."""
        self.is_down = False
        self.tokens.clear()
        if not keeps_log:
            self.log.clear()

    def count(self, method: str, *, since: float = 0.0) -> int:
        """How many calls of a method arrived from monotonic time `since` on."""
        return sum(call.method == method and call.at >= since for call in self.calls)

    # The port

    async def wait(self, agent_id: AgentId, credential: Secret, *, since: int, hold_s: float) -> tuple[Message, ...]:
        """The legacy wait; see the port."""
        call = self._call("wait", agent_id, credential)
        return await self._serve(replace(call, since=since), lambda: self._messages(since, max(1.0, hold_s)))

    async def pending(self, agent_id: AgentId, credential: Secret) -> tuple[Elicitation, ...]:
        """Open questions; see the port."""
        return await self._serve(
            self._call("pending", agent_id, credential), lambda: _at_once(self._open_for(agent_id))
        )

    async def respond(self, answer: Answer, agent_id: AgentId, credential: Secret) -> None:
        """Take an answer; see the port."""
        await self._serve(self._call("respond", agent_id, credential), lambda: self._take(answer, agent_id))

    async def status(self, elicitation_id: ElicitationId, credential: Secret) -> BridgeStatus | None:
        """State of one elicitation; see the port."""
        call = self._call("status", "", credential)
        return await self._serve(call, lambda: _at_once(self.states.get(elicitation_id)))

    async def create(self, ask: Ask, credential: Secret) -> Elicitation:
        """Put a question; see the port of sends."""
        return await self._serve(self._call("create", ask.from_agent, credential), lambda: _at_once(self.put(ask)))

    async def store_event(self, agent_id: AgentId, data: Mapping[str, object], credential: Secret) -> int:
        """Store an event; see the port of sends."""
        call = self._call("store_event", agent_id, credential)
        return await self._serve(call, lambda: _at_once(self.store(data, source=agent_id)))

    async def open_session(self, agent_id: AgentId) -> Secret:
        """Open a session; see the port."""
        call = self._call("open_session", agent_id, None)
        return await self._serve(call, lambda: _at_once(self.token(agent_id)))

    # Inside

    def _call(self, method: str, agent_id: str, credential: Secret | None) -> Call:
        token = credential.reveal() if credential else ""
        return Call(method=method, agent_id=agent_id, token=token, at=self.clock.now())

    async def _serve(self, call: Call, work: Callable[[], Coroutine[object, object, T]]) -> T:
        method = call.method
        self.calls.append(call)
        self.running[method] += 1
        self.peak[method] = max(self.peak[method], self.running[method])
        try:
            await self._pass(method, after=False)
            self._refuse(call)
            result = await work()
            await self._pass(method, after=True)
            self._break(method, after=True)
            return result
        finally:
            for _ in range(self.lingers):
                await asyncio.sleep(0)
            self.running[method] -= 1

    async def _pass(self, method: str, *, after: bool) -> None:
        gate = self._gates.get((method, after))
        if gate is not None:
            await gate.passed()

    def _refuse(self, call: Call) -> None:
        if self.is_down:
            raise BridgeUnavailable("connection refused")
        self._break(call.method, after=False)
        if call.method != "open_session" and call.token not in self.tokens:
            raise refused(403, DENIED)

    def _break(self, method: str, *, after: bool) -> None:
        fault = self._faults.get((method, after))
        if fault is not None and fault.left:
            fault.left -= 1
            raise fault.error()

    async def _messages(self, since: int, hold_s: float) -> tuple[Message, ...]:
        ends_at = self.clock.now() + hold_s
        while not (found := [message for message in self.log if message.sequence > since]):
            left = ends_at - self.clock.now()
            if left <= 0:
                return ()
            pause = Pause(self.clock)
            self._parked.add(pause)
            try:
                await pause.sleep(min(left, self.tick_s or left))
            finally:
                self._parked.discard(pause)
            if self.is_down:
                raise BridgeUnavailable("connection reset")
        return tuple(found[:ITEMS_PER_REPLY])

    def _open_for(self, agent_id: AgentId) -> tuple[Elicitation, ...]:
        return tuple(
            question
            for question in self.questions.values()
            if question.to_agent == agent_id and self.states[question.elicitation_id] is BridgeStatus.PENDING
        )

    async def _take(self, answer: Answer, agent_id: AgentId) -> None:
        question = self.questions.get(answer.elicitation_id)
        if question is None or self.states[answer.elicitation_id] is not BridgeStatus.PENDING:
            raise refused(500, b'{"detail":"400: Failed to respond to elicitation"}')
        if question.to_agent != agent_id:
            raise refused(500, b'{"detail":"Agent not authorized to respond to elicitation"}')
        self.states[answer.elicitation_id] = ENDED[answer.kind]
        self.answers.append(answer)
        kind = f"elicitation_{ENDED[answer.kind].value}"
        self._note({"elicitation_type": kind, "responding_agent": agent_id, "response_data": answer.content}, agent_id)

    def _note_question(self, question: Elicitation) -> None:
        noted = {
            "elicitation_type": "elicitation_requested",
            "from_agent": question.from_agent,
            "to_agent": question.to_agent,
            "message": question.message,
            "schema": question.wire_schema,
            "created_at": question.created_at,
            "expires_at": question.expires_at,
        }
        self._note(noted, question.from_agent)

    def _note(self, data: object, source: str) -> None:
        if self.writes_notes:
            self.store(data, source=source)

    def _wake(self) -> None:
        for pause in self._parked:
            pause.end()


def refused(status: int, body: bytes = b"{}") -> BridgeRefused:
    """The Bridge's refusal with this status."""
    return BridgeRefused(
        f"the Bridge answered with status {status}", bridge_status=status, body=body, content_type="application/json"
    )


async def _at_once(value: T) -> T:
    return value
