"""A door on standard input and output between a client and a server that the test plays."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import orjson

from proxy.core.delivery import DeliveryRule
from proxy.core.flags import FlagSet
from proxy.core.ids import AgentId
from proxy.core.outcome import Result
from proxy.downstream.mcp_asking import Asking
from proxy.downstream.mcp_pipe import Ends, Pipe
from proxy.downstream.mcp_stdio import StdioDoor, StdioParts
from proxy.downstream.tool_list import ToolList
from proxy.flows.admission import Admission, AdmissionRules
from proxy.flows.asked_wait import AskedWaits
from proxy.flows.client_answers import ClientAnswers
from proxy.flows.client_questions import ClientQuestions
from proxy.flows.errands import Errands
from proxy.flows.suspended_wait import SuspendedWaits
from proxy.flows.tool_call import ToolCalls
from proxy.mcp.inbound import ToolNames
from proxy.mcp.tool_notes import ToolNote
from proxy.stores.memory import MemoryExchangeStore
from tests.support.admissions import NO_RULES, admission_of
from tests.support.flow_stand import EVERYBODY, FlowStand, flow_stand
from tests.support.manual_clock import settle

Json = dict[str, object]

MODERN: Json = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}
INITIALIZE = b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}\n'
NOTHING: Mapping[str, object] = MappingProxyType({})
FORM: Mapping[str, object] = MappingProxyType({"form": {}})


class Queue:
    """A source that a test fills."""

    def __init__(self) -> None:
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()

    def put(self, *chunks: bytes) -> None:
        for chunk in chunks:
            self._chunks.put_nowait(chunk)

    async def read(self) -> bytes:
        return await self._chunks.get()


class Paper:
    """A sink that keeps what it is told, takes it only while it is open, or is broken."""

    def __init__(self) -> None:
        self.text = b""
        self.is_broken = False
        self.room = asyncio.Event()
        self.room.set()

    async def write(self, data: bytes) -> None:
        if self.is_broken:
            raise BrokenPipeError("nobody reads")
        self.text += data
        await self.room.wait()

    @property
    def messages(self) -> list[Json]:
        return [orjson.loads(line) for line in self.text.splitlines()]

    def of(self, request_id: object) -> Json:
        """The one message with this id."""
        (found,) = [message for message in self.messages if message.get("id") == request_id]
        return found


@dataclass(slots=True)
class Lost:
    """The log."""

    said: list[tuple[str, int]] = field(default_factory=list)

    def lost(self, what: str, size_bytes: int) -> None:
        self.said.append((what, size_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piped:
    """A door between a client and a server that the test plays."""

    stand: FlowStand
    door: StdioDoor
    client: Queue
    to_client: Paper
    server: Queue
    to_server: Paper
    log: Lost
    questions: ClientQuestions

    async def say(self, *lines: bytes) -> None:
        """The client says something."""
        self.client.put(*lines)
        await settle()

    async def open(self) -> None:
        """The client's handshake begins."""
        await self.say(INITIALIZE)

    async def agree(self, *, elicitation: object = FORM, name: str = "t", revision: str = "2025-11-25") -> None:
        """The whole handshake, of a client that can be asked."""
        can = dict(elicitation) if isinstance(elicitation, Mapping) else elicitation
        capabilities = {} if can is None else {"elicitation": can}
        params = {"protocolVersion": revision, "capabilities": capabilities, "clientInfo": {"name": name}}
        await self.say(line("initialize", params, id=0))
        self.server.put(orjson.dumps({"jsonrpc": "2.0", "id": 0, "result": {"protocolVersion": revision}}) + b"\n")
        await settle()
        self.to_client.text = self.to_server.text = b""

    def asked(self) -> list[Json]:
        """The questions that were put to the client."""
        return [message for message in self.to_client.messages if message.get("method") == "elicitation/create"]

    def taken_back(self) -> list[object]:
        """Ids of the questions that are no longer waited for."""
        methods = [message for message in self.to_client.messages if message.get("method") == "notifications/cancelled"]
        return [params["requestId"] for message in methods if isinstance(params := message["params"], dict)]

    async def answer(self, question: Json, given: Json | None = None, *, error: object = None) -> None:
        """The client answers a question."""
        told = {"result": given} if error is None else {"error": error}
        await self.say(orjson.dumps({"jsonrpc": "2.0", "id": question["id"], **told}) + b"\n")

    def items(self, request_id: object) -> list[tuple[object, Json]]:
        """Kind and data of each item of a result."""
        return [(event["event_type"], event["data"]) for event in self.events(request_id)]  # type: ignore[misc]  # data

    def result(self, request_id: object) -> Json:
        """The text of a tool's result, which is JSON."""
        result = self.to_client.of(request_id)["result"]
        assert isinstance(result, dict)
        found: Json = orjson.loads(result["content"][0]["text"])
        return found

    def events(self, request_id: object) -> list[Json]:
        events = self.result(request_id)["events"]
        assert isinstance(events, list)
        return events

    def results(self) -> list[Result]:
        """How the calls ended."""
        return [outcome.result for outcome in self.stand.recorder.outcomes]


def line(method: str, params: Mapping[str, object], **more: object) -> bytes:
    return orjson.dumps({"jsonrpc": "2.0", **more, "method": method, "params": dict(params)}) + b"\n"


def call(request_id: object, tool: str, arguments: Mapping[str, object], meta: Mapping[str, object] = NOTHING) -> bytes:
    params = {"name": tool, "arguments": dict(arguments), **({"_meta": dict(meta)} if meta else {})}
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}) + b"\n"


def wait(request_id: object, agent_id: str = "bob", *, meta: Mapping[str, object] = NOTHING, **more: object) -> bytes:
    return call(request_id, "wait_for_messages", {"agent_id": agent_id, "timeout_seconds": 30, **more}, meta)


def respond(request_id: object, elicitation_id: str, **more: object) -> bytes:
    given = {"elicitation_id": elicitation_id, "response_type": "accept", "data": {}, **more}
    return call(request_id, "lighthouse_respond_to_elicitation", given)


def cancelled(request_id: object) -> bytes:
    params = {"requestId": request_id, "reason": "no more"}
    return orjson.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}) + b"\n"


RESULT, ELICIT = DeliveryRule(), DeliveryRule(to_all=True)
NOTE = ToolNote(frozenset({"wait_for_messages"}), "Deprecated.")


def _asking(stand: FlowStand, calls: ToolCalls, pipe: Pipe, rule: DeliveryRule, *, admission: Admission) -> Asking:
    questions = ClientQuestions(stand.clock, secrets.token_bytes, late=lambda *_: None)
    answers = ClientAnswers(calls, Errands(pipe.begin), stand.recorder, admission.take_answer_of)
    return Asking(
        rule=rule,
        questions=questions,
        asked=AskedWaits(calls, questions, answers, stand.clock),
        suspended=SuspendedWaits(
            calls,
            answers,
            MemoryExchangeStore(stand.clock, secrets.token_bytes),
            clock=stand.clock,
            chance=secrets.token_bytes,
            server_info={"name": "sidecar"},
        ),
    )


@asynccontextmanager
async def pipe(
    *,
    flags: FlagSet = EVERYBODY,
    agent_id: str = "",
    hold_cap_s: int = 55,
    rule: DeliveryRule = RESULT,
    rules: AdmissionRules = NO_RULES,
) -> AsyncIterator[Piped]:
    """A door that carries lines for as long as the block lasts."""
    async with asyncio.timeout(20), flow_stand(flags=flags) as stand:
        client, to_client, server, to_server, log = Queue(), Paper(), Queue(), Paper(), Lost()
        calls = ToolCalls(stand.feeds, stand.answers, stand.board, stand.feeds.parts.sessions)
        ends = Ends(from_client=client, to_client=to_client, from_server=server, to_server=to_server)
        between = Pipe(ends, stand.spawn, log)
        configured = AgentId(agent_id) if agent_id else None
        admission = admission_of(stand.clock, stand.recorder, replace(rules, configured=configured))
        asking = _asking(stand, calls, between, rule, admission=admission)
        parts = StdioParts(
            calls=calls,
            asking=asking,
            tools=ToolList(stand.board, NOTE),
            names=ToolNames(
                wait=frozenset({"wait_for_messages"}),
                respond=frozenset({"lighthouse_respond_to_elicitation"}),
                send=frozenset({"lighthouse_store_event"}),
            ),
            admission=admission,
            recorder=stand.recorder,
            clock=stand.clock,
            agent_id=AgentId(agent_id) if agent_id else None,
            default_timeout_s=60,
            hold_cap_s=hold_cap_s,
            guide_url="https://guide.example",
        )
        door = StdioDoor(between, parts)
        up = stand.spawn(door.upward(), "up")
        down = stand.spawn(door.downward(), "down")
        try:
            yield Piped(
                stand=stand,
                door=door,
                client=client,
                to_client=to_client,
                server=server,
                to_server=to_server,
                log=log,
                questions=asking.questions,
            )
        finally:
            to_client.room.set()
            to_server.room.set()
            door.drop()
            await door.settle(5)
            up.cancel()
            down.cancel()


async def asked_by_wait(made: Piped, **waiting: object) -> str:
    """A question that the client knows of."""
    await made.open()
    asked = made.stand.bridge.ask("bob", shape={"colour": {"type": "string"}})
    await made.say(wait(1, **waiting))  # type: ignore[arg-type]  # arguments of the tool
    await made.stand.clock.advance(5)
    return asked.elicitation_id
