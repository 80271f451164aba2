"""A small MCP server over streamable HTTP for the soak: sessions and streams of the handshake era, and the envelope.

It speaks just enough for a client to come, look around and go; the wait itself is the sidecar's to serve. Run it with
`python bench/mcp_server.py`; it picks a port and says so in one line of JSON.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import orjson
import uvloop
from aiohttp import web

from bench.mcp_words import ENVELOPE, HANDSHAKE, REVISION_HEADER, SESSION_HEADER, WAIT_TOOL
from bench.raw_server import announce, until_told

TOOLS: Final = ({"name": WAIT_TOOL, "inputSchema": {"type": "object"}},)
INFO: Final[Mapping[str, object]] = {"serverInfo": {"name": "bench", "version": "1"}, "capabilities": {"tools": {}}}
RESULTS: Final[Mapping[str, Mapping[str, object]]] = {
    "initialize": {"protocolVersion": HANDSHAKE, **INFO},
    "server/discover": {"supportedVersions": [ENVELOPE], **INFO},
    "tools/list": {"tools": TOOLS},
    "tools/call": {"content": [{"type": "text", "text": "this is the server, not the sidecar"}], "isError": True},
    "ping": {},
}

TYPE: Final = "application/json"
UNKNOWN_METHOD: Final = {"code": -32601, "message": "Method not found"}
UNKNOWN_SESSION: Final = {"code": -32600, "message": "Session not found"}


class McpServer:
    """The sessions of one server."""

    __slots__ = ("_ended", "_number")

    def __init__(self) -> None:
        self._number = 0
        self._ended: dict[str, asyncio.Event] = {}
        """The end of each session that is open."""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one HTTP request."""
        is_modern = request.headers.get(REVISION_HEADER) == ENVELOPE
        said = orjson.loads(await request.read() or b"{}")
        method, request_id = said.get("method", ""), said.get("id")
        if method == "initialize":
            return self._open(request_id)
        session = request.headers.get(SESSION_HEADER, "")
        if not is_modern and session not in self._ended:
            return _reply(request_id, {"error": UNKNOWN_SESSION}, status=404)
        if request.method == "GET":
            return await self._listen(request, self._ended[session])
        if request.method == "DELETE":
            self._ended.pop(session).set()
            return web.Response()
        if request_id is None or not method:
            return web.Response(status=202)
        return _answer(method, request_id, is_modern=is_modern)

    def _open(self, request_id: object) -> web.Response:
        self._number += 1
        session = f"session-{self._number}"
        self._ended[session] = asyncio.Event()
        return _reply(request_id, {"result": RESULTS["initialize"]}, headers={SESSION_HEADER: session})

    async def _listen(self, request: web.Request, ended: asyncio.Event) -> web.StreamResponse:
        """The stream of a session, with nothing to say on it, until either side ends it."""
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b": open\n\n")
        await ended.wait()
        return stream


def _answer(method: str, request_id: object, *, is_modern: bool) -> web.Response:
    result = RESULTS.get(method)
    if result is None:
        return _reply(request_id, {"error": UNKNOWN_METHOD})
    return _reply(request_id, {"result": {**result, "resultType": "complete"} if is_modern else result})


def _reply(
    request_id: object, said: Mapping[str, object], *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    body = orjson.dumps({"jsonrpc": "2.0", "id": request_id, **said})
    return web.Response(body=body, status=status, content_type=TYPE, headers=headers)


async def main() -> None:
    """Serve on a free port of loopback until told to stop."""
    app = web.Application()
    app.router.add_route("*", "/mcp", McpServer().serve)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    announce(runner.addresses[0][1])
    await until_told()
    await runner.cleanup()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        loop.run(main())
