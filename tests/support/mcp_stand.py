"""A house before a small MCP server that does what a test says and keeps what it was sent."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer
from multidict import CIMultiDict

from tests.support.house import ON, Heard, House, Stand, fields, objects, stand, until
from tests.support.manual_bridge import Json

WAIT, RESPOND, SEND = "lighthouse_wait_for_messages", "lighthouse_respond_to_elicitation", "lighthouse_store_event"

PLAIN: Final[Mapping[str, str]] = MappingProxyType(
    {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", "User-Agent": "python-httpx"}
)
"""Headers of every client; one that does not give up after a minute."""

REVISION: Final = "2026-07-28"

META: Final[Mapping[str, object]] = MappingProxyType(
    {
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
)

TOOLS: Final = b'{ "jsonrpc":"2.0",\n "id" : 3, "result":{"tools":[{"name":"%b","x":1.0}]}  }\n' % WAIT.encode()
"""What the server says to `tools/list`, written as nobody else would."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request as the server got it."""

    method: str
    headers: CIMultiDict[str]
    body: bytes

    @property
    def called(self) -> str:
        """The JSON-RPC method, or nothing."""
        try:
            message = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return ""
        return str(message.get("method", "")) if isinstance(message, dict) else ""


@dataclass(slots=True)
class McpUpstream:
    """The server."""

    gives_sessions: bool = True
    on_stream: bool = False
    """Its replies come as events."""
    holds_stream: bool = False
    """It leaves its streams open."""
    sessions: set[str] = field(default_factory=set)
    received: list[Received] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def got(self, called: str) -> list[Received]:
        """The requests of one JSON-RPC method."""
        return [received for received in self.received if received.called == called]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        body = await request.read()
        self.received.append(Received(request.method, CIMultiDict(request.headers), body))
        called, session_id = self.received[-1].called, request.headers.get("Mcp-Session-Id", "")
        is_modern = request.headers.get("MCP-Protocol-Version") == REVISION
        if self.gives_sessions and called != "initialize" and not is_modern and session_id not in self.sessions:
            return _reply(404 if session_id else 400, {"error": {"code": -32600, "message": "Session not found"}})
        if request.method == "DELETE":
            self.sessions.discard(session_id)
            return web.Response()
        if called == "tools/list":
            return web.Response(body=TOOLS, content_type="application/json")
        if called == "initialize":
            return await self._open(request)
        if called.startswith("notifications/") or request.method != "POST":
            return web.Response(status=202)
        return _reply(200, {"result": {"content": [{"type": "text", "text": "of the server"}], "isError": False}})

    async def _open(self, request: web.Request) -> web.StreamResponse:
        headers = {}
        if self.gives_sessions:
            session_id = f"session-{next(self._numbers)}"
            self.sessions.add(session_id)
            headers["Mcp-Session-Id"] = session_id
        welcome = {"jsonrpc": "2.0", "id": 0, "result": {"protocolVersion": "2025-06-18", "capabilities": {}}}
        if not self.on_stream:
            return web.Response(body=orjson.dumps(welcome), content_type="application/json", headers=headers)
        stream = web.StreamResponse(headers={**headers, "Content-Type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b"event: message\r\ndata: %b\r\n\r\n" % orjson.dumps(welcome))
        if self.holds_stream:
            await asyncio.Event().wait()
        return stream


def _reply(status: int, message: Json) -> web.Response:
    body = orjson.dumps({"jsonrpc": "2.0", "id": None, **message})
    return web.Response(status=status, body=body, content_type="application/json")


def message(method: str, params: object = None, **more: object) -> bytes:
    """One JSON-RPC message."""
    return json.dumps({"jsonrpc": "2.0", **more, "method": method, "params": params or {}}).encode()


def tool(name: str, arguments: Mapping[str, object], request_id: object = 7, **params: object) -> bytes:
    """A `tools/call`."""
    return message("tools/call", {"name": name, "arguments": dict(arguments), **params}, id=request_id)


@dataclass(slots=True, kw_only=True)
class McpStand:
    """A house, the Bridge and the MCP server behind it."""

    stand: Stand
    server: McpUpstream

    @property
    def house(self) -> House:
        """The sidecar."""
        return self.stand.house

    @property
    def ends(self) -> list[tuple[object, object]]:
        """How each call on the MCP path ended so far: result and status."""
        return [(line["event"], line.get("status", 0)) for line in self.house.lines if line["door"] == "mcp_http"]

    async def post(self, body: bytes, session_id: str = "", **headers: str) -> Heard:
        """One POST as a client of the handshake era sends it; `headers` with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        session = {"Mcp-Session-Id": session_id} if session_id else {}
        return await self.house.call("POST", "/mcp", raw=body, headers={**PLAIN, **session, **named})

    async def post_modern(self, body: bytes, **headers: str) -> Heard:
        """One POST of the envelope era, for the tool that the body names."""
        name = orjson.loads(body)["params"]["name"]
        mirrored = {"MCP_Protocol_Version": REVISION, "Mcp_Method": "tools/call", "Mcp_Name": name}
        return await self.post(body, **{**mirrored, **headers})

    async def open(self) -> str:
        """Begin a session."""
        params = {"protocolVersion": "2025-06-18", "capabilities": {"elicitation": {}}, "clientInfo": {"name": "t"}}
        heard = await self.post(message("initialize", params, id=0))
        assert heard.status == 200
        return heard.headers.get("Mcp-Session-Id", "")

    def begin(self, body: bytes, session_id: str = "", **headers: str) -> "asyncio.Task[Heard]":
        """Begin a call that will wait."""
        return asyncio.get_running_loop().create_task(self.post(body, session_id, **headers))

    async def parked(self, body: bytes, session_id: str = "", **headers: str) -> "asyncio.Task[Heard]":
        """Begin a wait; returns when it is parked and the Bridge has accepted its token."""
        parked = int(str((await self.house.health())["parked_waits"]))
        task = self.begin(body, session_id, **headers)
        await self.house.until_parked(parked + 1)
        await until(lambda: self.stand.arrived("GET /elicitation/pending") > 0)
        return task

    async def ask(self, **changes: object) -> str:
        """A question from alice to bob, put through the house; its id."""
        token = await self.stand.bridge.token("alice")
        return str((await self.stand.ask(token, **changes))["elicitation_id"])

    async def status(self, elicitation_id: str) -> object:
        """How a question stands at the Bridge."""
        return await self.stand.status(await self.stand.bridge.token("alice"), elicitation_id)


def result_of(heard: Heard, request_id: object = 7) -> Json:
    """The result in a reply: as JSON, or as the one event of a stream."""
    assert heard.status == 200, heard
    body = heard.body
    if heard.headers["Content-Type"] == "text/event-stream":
        (data,) = [line.removeprefix(b"data: ") for line in body.splitlines() if line.startswith(b"data: ")]
        body = data
    found = fields(orjson.loads(body))
    assert found["id"] == request_id
    return fields(found["result"])


def told_by(heard: Heard, request_id: object = 7, *, is_error: bool = False) -> Json:
    """What a legacy tool told as JSON."""
    result = result_of(heard, request_id)
    assert result["isError"] is is_error, result
    (content,) = objects(result["content"])
    return fields(orjson.loads(str(content["text"])))


@asynccontextmanager
async def mcp_stand(
    folder: Path, overrides: Mapping[str, str] = MappingProxyType({}), *, flags: Mapping[str, str] = ON
) -> AsyncIterator[McpStand]:
    """A house before a development Bridge and a scripted MCP server elsewhere."""
    upstream = McpUpstream()
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/mcp", upstream.serve)
    async with TestServer(app, host="127.0.0.1") as server:
        origin = str(server.make_url("/")).rstrip("/")
        async with stand(folder, {"bridge.mcp_url": origin, **overrides}, flags=flags) as made:
            yield McpStand(stand=made, server=upstream)
