"""The up bridge's door before a server that does what a test says, on real connections and a manual clock."""

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
from proxy.downstream.connection import PortRunner
from proxy.downstream.mcp_up import UpDoor
from proxy.downstream.problem import error_boundary
from proxy.downstream.served import served
from proxy.flows.client_questions import ClientQuestions
from proxy.flows.era_up import EraUp
from proxy.flows.errands import Errands
from proxy.flows.mcp_clients import McpClients
from proxy.mcp.calling import OnAsk, OnNote, Outgoing
from proxy.mcp.jsonrpc import Response
from proxy.mcp.revisions import Era
from proxy.mcp.sse import Reader, Splitter
from proxy.ports import Clock, McpUpstream
from tests.support.fake_recorder import FakeRecorder
from tests.support.manual_clock import ManualClock

PARK_S: Final = 60.0

HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
)

DISCOVERED: Final = (
    b'{"resultType":"complete","supportedVersions":["2026-07-28"],"ttlMs":0,"cacheScope":"private",'
    b'"capabilities":{"tools":{"listChanged":true}},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s","version":"1"}}}'
)

Json = Mapping[str, object]
Script = Callable[[Outgoing, OnAsk, OnNote], Awaitable[Response]]


def done(text: str = "done") -> Response:
    """The response of a server that has finished a tool."""
    result = {"resultType": "complete", "content": [{"type": "text", "text": text}], "isError": False}
    return Response(id="up", result=json.dumps(result).encode(), error=None, raw=b"")


async def _at_once(_call: Outgoing, _ask: OnAsk, _note: OnNote) -> Response:
    return done()


@dataclass(slots=True)
class ScriptedServer:
    """The McpUpstream port as a test wants it."""

    script: Script = _at_once
    discovered: bytes | SidecarError = DISCOVERED
    described: list[Outgoing] = field(default_factory=list)
    calls: list[Outgoing] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    """How each call ended: done, failed or cancelled."""

    async def speaks(self, era: Era, headers: Mapping[str, str]) -> bool:
        """Only the newer era."""
        del headers
        return era is Era.ENVELOPE

    def known(self, era: Era) -> bool | None:
        """Nothing is remembered."""
        del era
        return None

    async def describe(self, era: Era, call: Outgoing) -> bytes:
        """What the test says."""
        assert era is Era.ENVELOPE
        self.described.append(call)
        if isinstance(self.discovered, SidecarError):
            raise self.discovered
        return self.discovered

    async def request(self, era: Era, call: Outgoing, *, on_ask: OnAsk, on_note: OnNote) -> Response:
        """Run the script of the test."""
        assert era is Era.ENVELOPE
        self.calls.append(call)
        self.ends.append("failed")
        index = len(self.ends) - 1
        try:
            response = await self.script(call, on_ask, on_note)
        except asyncio.CancelledError:
            self.ends[index] = "cancelled"
            raise
        self.ends[index] = "done"
        return response

    async def forget(self, principal: str) -> None:
        """There is nothing to forget."""


@dataclass(slots=True)
class Talk:
    """A reply that comes piece by piece."""

    reply: aiohttp.ClientResponse
    _reader: Reader = field(default_factory=lambda: Reader(Splitter(1 << 20)))
    _held: list[dict[str, object]] = field(default_factory=list)
    comments: int = 0

    async def next(self) -> dict[str, object] | None:
        """The next message; None at the end."""
        async with asyncio.timeout(5):
            while not self._held:
                chunk = await self.reply.content.readany()
                if not chunk:
                    return None
                for frame in self._reader.feed(chunk):
                    if frame.data is None:
                        self.comments += 1
                    else:
                        self._held.append(json.loads(frame.data))
        return self._held.pop(0)

    async def rest(self) -> list[dict[str, object]]:
        """All messages to the end."""
        found = []
        while (message := await self.next()) is not None:
            found.append(message)
        return found


@dataclass(slots=True, kw_only=True)
class UpStand:
    """The door, and whoever calls it."""

    url: str
    http: aiohttp.ClientSession
    server: ScriptedServer
    flow: EraUp
    clock: ManualClock
    recorder: FakeRecorder
    errands: Errands
    clients: McpClients

    @asynccontextmanager
    async def send(self, message: object, session: str = "", **headers: str) -> AsyncIterator[Talk]:
        """POST one message; headers with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        known = {"Mcp-Session-Id": session} if session else {}
        async with self.http.post(self.url, data=body, headers={**HEADERS, **known, **named}) as reply:
            yield Talk(reply)

    async def say(self, message: object, session: str = "", **headers: str) -> tuple[int, dict[str, object]]:
        """POST one message that is answered at once: status and body."""
        async with self.send(message, session, **headers) as talk:
            body = await talk.reply.read()
            return talk.reply.status, json.loads(body) if body else {}

    async def open(self, elicitation: object = None, *, revision: str = "2025-11-25", **headers: str) -> str:
        """Begin a session; its id."""
        capabilities = {} if elicitation is None else {"elicitation": elicitation}
        params = {"protocolVersion": revision, "capabilities": capabilities, "clientInfo": {"name": "t"}}
        async with self.send(rpc("initialize", params, 0), **headers) as talk:
            assert talk.reply.status == 200, await talk.reply.text()
            return talk.reply.headers["Mcp-Session-Id"]


def rpc(method: str, params: object = None, request_id: object = None) -> dict[str, object]:
    """A request, or a notification without an id."""
    named = {} if request_id is None else {"id": request_id}
    return {"jsonrpc": "2.0", **named, "method": method, **({} if params is None else {"params": params})}


def tool(name: str = "t", request_id: object = 7, **params: object) -> dict[str, object]:
    """A `tools/call`."""
    return rpc("tools/call", {"name": name, "arguments": {}, **params}, request_id)


@asynccontextmanager
async def up_stand(
    *, max_parked: int = 2, upstream: McpUpstream | None = None, time: Clock | None = None
) -> AsyncIterator[UpStand]:
    """A door on a port of its own, before another server and on another clock where they are given."""
    manual, recorder, server, clients = ManualClock(), FakeRecorder(), ScriptedServer(), McpClients()
    clock = time or manual
    async with asyncio.TaskGroup() as group:

        def spawn(work: Coroutine[object, object, None], name: str) -> "asyncio.Task[None]":
            return group.create_task(work, name=name)

        errands = Errands(spawn)
        flow = EraUp(
            upstream=upstream or server,
            questions=ClientQuestions(clock=clock, chance=os.urandom, late=lambda *_: None),
            clients=clients,
            clock=clock,
            begin=errands.begin,
            defect=recorder.defect,
            edit=lambda _, result: result,
            park_s=PARK_S,
            max_parked=max_parked,
        )
        door = UpDoor(flow)

        async def handle(request: web.Request) -> web.StreamResponse:
            with served(request, Door.MCP, recorder, clock) as draft:
                body = await request.read() if request.method == "POST" else None
                return await door.serve(request, draft, None if body == b"too long" else body)

        app = web.Application(middlewares=[error_boundary(recorder.defect)])
        app.router.add_route("*", "/mcp", handle)
        runner = PortRunner(app, shutdown_timeout_s=1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            async with aiohttp.ClientSession(auto_decompress=False) as http:
                yield UpStand(
                    url=f"http://{host}:{port}/mcp",
                    http=http,
                    server=server,
                    flow=flow,
                    clock=manual,
                    recorder=recorder,
                    errands=errands,
                    clients=clients,
                )
        finally:
            errands.close()
            await runner.cleanup()
