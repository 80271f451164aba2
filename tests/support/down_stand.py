"""The down bridge's door before a scripted server or a real one, on real connections."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import aiohttp
from aiohttp import web

from proxy.core.errors import SidecarError
from proxy.core.outcome import Door
from proxy.downstream.connection import ENDS_WITH_PEER, PortRunner
from proxy.downstream.mcp_down import DownDoor
from proxy.downstream.problem import error_boundary
from proxy.downstream.served import served
from proxy.flows.parked_calls import ParkedCalls
from proxy.mcp.ask import Answered, FormQuestion, Question, Reply
from proxy.mcp.calling import OnAsk, OnNote, Outgoing, ServerAsk
from proxy.mcp.jsonrpc import Response, error_message, parse, result_message
from proxy.mcp.revisions import Era
from proxy.ports import Clock, ExchangeStore, McpUpstream
from proxy.stores.memory import MemoryExchangeStore
from tests.support.fake_recorder import FakeRecorder
from tests.support.manual_clock import ManualClock, settle

PARK_S: Final = 300.0
REVISION: Final = "2026-07-28"
PREFIX: Final = "io.modelcontextprotocol/"

INITIALIZED: Final = (
    b'{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},'
    b'"serverInfo":{"name":"old","version":"1"},"instructions":"Ask."}'
)

FORM: Final = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
BOTH_MODES: Final[Mapping[str, object]] = MappingProxyType({"form": {}, "url": {}})


def ask(key: str = "1", message: str = "Your name?") -> ServerAsk:
    """A question with a form."""
    return ServerAsk(key=key, question=FormQuestion(message, FORM))


def answered(reply: Reply) -> str:
    """An answer in one word or two."""
    if isinstance(reply, Answered):
        return f"{reply.kind.value}:{(reply.content or {}).get('name', '')}"
    return type(reply).__name__


def response(result: object) -> Response:
    """The response of a server: a result as JSON, or as the bytes it sends."""
    raw = result if isinstance(result, bytes) else json.dumps(result).encode()
    parsed = parse(result_message("up", raw))
    assert isinstance(parsed, Response)
    return parsed


def done(text: str = "done") -> Response:
    """The response of a tool."""
    return response({"content": [{"type": "text", "text": text}], "isError": False})


def failed(code: int, message: str = "no", data: object = None) -> Response:
    """An error of a server."""
    parsed = parse(error_message("up", code, message, data))
    assert isinstance(parsed, Response)
    return parsed


Script = Callable[[Outgoing, OnAsk, OnNote], Awaitable[Response]]


async def at_once(_call: Outgoing, _ask: OnAsk, _note: OnNote) -> Response:
    """A tool that needs nothing."""
    return done()


def asks(*questions: ServerAsk) -> Script:
    """A tool that asks one question after the other, and tells the answers."""

    async def script(_call: Outgoing, on_ask: OnAsk, _note: OnNote) -> Response:
        return done(",".join([answered(await on_ask(question)) for question in questions]))

    return script


def asks_at_once(*questions: Question) -> Script:
    """A tool that asks several questions together, and tells the answers."""

    async def script(_call: Outgoing, on_ask: OnAsk, _note: OnNote) -> Response:
        async with asyncio.TaskGroup() as group:
            asked = [ServerAsk(key=str(number), question=question) for number, question in enumerate(questions)]
            tasks = [group.create_task(_answer(on_ask, each)) for each in asked]
        return done(",".join(task.result() for task in tasks))

    return script


async def _answer(on_ask: OnAsk, question: ServerAsk) -> str:
    return answered(await on_ask(question))


@dataclass(slots=True)
class OldServer:
    """The McpUpstream port of a server of the handshake era, as a test wants it."""

    script: Script = at_once
    described: bytes | SidecarError = INITIALIZED
    calls: list[Outgoing] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    """How each call ended: open, done, failed or cancelled."""

    async def speaks(self, era: Era, headers: Mapping[str, str]) -> bool:
        """Only the older era."""
        del headers
        return era is Era.HANDSHAKE

    def known(self, era: Era) -> bool | None:
        """The same, without asking."""
        return era is Era.HANDSHAKE

    async def describe(self, era: Era, call: Outgoing) -> bytes:
        """What the test says."""
        del call
        assert era is Era.HANDSHAKE
        if isinstance(self.described, SidecarError):
            raise self.described
        return self.described

    async def request(self, era: Era, call: Outgoing, *, on_ask: OnAsk, on_note: OnNote) -> Response:
        """Run the script of the test."""
        assert era is Era.HANDSHAKE
        self.calls.append(call)
        self.ends.append("open")
        index = len(self.ends) - 1
        try:
            found = await self.script(call, on_ask, on_note)
        except asyncio.CancelledError:
            self.ends[index] = "cancelled"
            raise
        except Exception:
            self.ends[index] = "failed"
            raise
        self.ends[index] = "done"
        return found

    async def forget(self, principal: str) -> None:
        """There is nothing to forget."""


@dataclass(frozen=True, slots=True)
class Said:
    """One reply."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def messages(self) -> list[dict[str, object]]:
        """What it says: one message as JSON, or the events of a stream."""
        if not self.headers.get("Content-Type", "").startswith("text/event-stream"):
            return [json.loads(self.body)]
        lines = self.body.splitlines()
        return [json.loads(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: ")]

    @property
    def result(self) -> dict[str, object]:
        """The result in its last message."""
        found = self.messages[-1].get("result")
        assert isinstance(found, dict), self
        return found

    def part(self, member: str) -> dict[str, object]:
        """One member of the result."""
        found = self.result[member]
        assert isinstance(found, dict), self
        return found

    @property
    def error(self) -> dict[str, object]:
        """The error in its last message."""
        found = self.messages[-1].get("error")
        assert isinstance(found, dict), self
        return found

    @property
    def text(self) -> str:
        """The text of a tool's result."""
        content = self.result["content"]
        assert isinstance(content, list)
        return str(content[0]["text"])


def envelope(elicitation: Mapping[str, object] | None = None, **more: object) -> dict[str, object]:
    """The `_meta` of a request; `more` are keys of the protocol's own."""
    capabilities = {} if elicitation is None else {"elicitation": dict(elicitation)}
    own = {"protocolVersion": REVISION, "clientCapabilities": capabilities, "clientInfo": {"name": "t"}, **more}
    return {f"{PREFIX}{key}": value for key, value in own.items()}


def mirrored(message: Mapping[str, object]) -> dict[str, str]:
    """The headers that say what a message says."""
    params = message.get("params")
    named = params.get("name", params.get("uri")) if isinstance(params, dict) else None
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": REVISION,
        "Mcp-Method": str(message.get("method")),
    }
    return headers | ({"Mcp-Name": named} if isinstance(named, str) else {})


def rpc(method: str, params: Mapping[str, object] | None = None, request_id: object = 7) -> dict[str, object]:
    """A request whose parameters have an envelope already, or get one."""
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": {"_meta": envelope(), **(params or {})}}


def tool(elicitation: Mapping[str, object] | None = None, *, name: str = "t", **params: object) -> dict[str, object]:
    """A `tools/call`."""
    return rpc("tools/call", {"name": name, "arguments": {}, "_meta": envelope(elicitation), **params})


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what no event tells."""
    async with asyncio.timeout(5):
        while not is_so():  # noqa: ASYNC110  # other tasks tell nobody
            await asyncio.sleep(0)
    await settle()


@dataclass(slots=True, kw_only=True)
class DownStand:
    """The door, and whoever calls it."""

    url: str
    http: aiohttp.ClientSession
    parked: ParkedCalls
    door: DownDoor
    recorder: FakeRecorder
    clock: Clock
    server: OldServer
    """Unused where a real server stands behind."""

    @asynccontextmanager
    async def send(
        self, message: Mapping[str, object] | bytes, headers: Mapping[str, str | None] = MappingProxyType({})
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """POST one message; a header that is None is left out."""
        known = {} if isinstance(message, bytes) else mirrored(message)
        named = {name: value for name, value in {**known, **headers}.items() if value is not None}
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        skipped = ["Content-Type", "Accept"]
        async with self.http.post(self.url, data=body, headers=named, skip_auto_headers=skipped) as reply:
            yield reply

    async def say(
        self, message: Mapping[str, object] | bytes, headers: Mapping[str, str | None] = MappingProxyType({})
    ) -> Said:
        """POST one message and read the reply to its end."""
        async with asyncio.timeout(5), self.send(message, headers) as reply:
            return Said(reply.status, reply.headers, await reply.read())

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something that comes over the wire."""
        await until(is_so)


@asynccontextmanager
async def parked_calls(
    upstream: McpUpstream,
    clock: Clock,
    *,
    recorder: FakeRecorder,
    store: ExchangeStore | None = None,
    park_s: float = PARK_S,
    max_parked: int = 2,
) -> AsyncIterator[ParkedCalls]:
    """The flow alone."""
    async with asyncio.TaskGroup() as group:

        def spawn(work: Coroutine[object, object, None], name: str) -> "asyncio.Task[None]":
            return group.create_task(work, name=name)

        calls = ParkedCalls(
            upstream=upstream,
            store=store or MemoryExchangeStore(clock, os.urandom),
            clock=clock,
            chance=os.urandom,
            spawn=spawn,
            defect=recorder.defect,
            park_s=park_s,
            max_parked=max_parked,
        )
        try:
            yield calls
        finally:
            calls.close()


@asynccontextmanager
async def down_stand(
    *, upstream: McpUpstream | None = None, clock: Clock | None = None, park_s: float = PARK_S, max_parked: int = 2
) -> AsyncIterator[DownStand]:
    """A door on a port of its own; without an `upstream` before a scripted server."""
    server, recorder, time = OldServer(), FakeRecorder(), clock or ManualClock()
    flow = parked_calls(upstream or server, time, recorder=recorder, park_s=park_s, max_parked=max_parked)
    async with flow as parked:
        door = DownDoor(upstream or server, parked, time, parked.spawn, edit=lambda _, result: result)

        async def handle(request: web.Request) -> web.StreamResponse:
            request[ENDS_WITH_PEER] = True  # as the data port does for this path
            with served(request, Door.MCP, recorder, time) as draft:
                return await door.serve(request, draft, None)

        app = web.Application(middlewares=[error_boundary(recorder.defect)])
        app.router.add_route("*", "/mcp", handle)
        runner = PortRunner(app, shutdown_timeout_s=1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            async with aiohttp.ClientSession() as http:
                yield DownStand(
                    url=f"http://{host}:{port}/mcp",
                    http=http,
                    parked=parked,
                    door=door,
                    recorder=recorder,
                    clock=time,
                    server=server,
                )
        finally:
            door.drain()
            await runner.cleanup()
