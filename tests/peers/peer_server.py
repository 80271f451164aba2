"""What all MCP server peers written in Python share: the command line, and serving on a free port.

    server_X.py (--stdio | --port N) [--bridge URL] [--asks] [--json-response] [--stateless] [--leash]
                [--sse [--absolute]]

With --port it prints one line of JSON when it is ready: {"kind": "ready", "url", "pid"}. Port 0 takes a free one.
It is always on 127.0.0.1, and SIGTERM ends it at once.
"""

import argparse
import asyncio
import json
import os
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import version

import uvicorn
from peer_bridge import Bridge, Tools

Report = Callable[[float, float], Awaitable[None]]

GRACE_S = 1
"""How long an open stream keeps a server from ending, seconds."""


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--stdio", action="store_true", help="speak on standard input and output")
    where.add_argument("--port", type=int, help="serve HTTP on this port; 0 takes a free one")
    parser.add_argument("--bridge", default="http://127.0.0.1:8765", help="the REST Bridge behind the lighthouse tools")
    parser.add_argument("--agent", default="mcp_server", help="whom this server is towards the Bridge")
    parser.add_argument("--asks", action="store_true", help="the wait tool asks the client itself")
    parser.add_argument("--json-response", action="store_true", help="answer with plain JSON where possible")
    parser.add_argument("--stateless", action="store_true", help="open no sessions")
    parser.add_argument("--leash", action="store_true", help="end when standard input does, so with whoever started it")
    parser.add_argument("--sse", action="store_true", help="speak HTTP+SSE, the transport of 2024-11-05")
    parser.add_argument("--absolute", action="store_true", help="with --sse: name the endpoint by an absolute URL")
    return parser.parse_args()


def tools_of(options: argparse.Namespace) -> Tools:
    """The Bridge's tools as told by the command line."""
    return Tools(Bridge(options.bridge.rstrip("/"), options.agent, tell=partial(tell, options)))


def tell(options: argparse.Namespace, **fields: object) -> None:
    """Print one line: on standard output, or on standard error where that is the protocol's."""
    print(json.dumps(fields), file=sys.stderr if options.stdio else sys.stdout, flush=True)


async def dawdle(options: argparse.Namespace, seconds: float, steps: int, report: Report) -> str:
    """Take a while, with progress; tell of it when the caller has given up."""
    try:
        for step in range(steps):
            await asyncio.sleep(seconds / steps)
            await report(step + 1, steps)
    except asyncio.CancelledError:
        tell(options, kind="cancelled", tool="slow")
        raise
    tell(options, kind="finished", tool="slow")
    return f"took {seconds:g} s"


def with_absolute_endpoint(app: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """An ASGI application whose stream names the place to post to as a server does that knows its own address."""

    async def serve(scope: dict, receive: object, send: Callable[[dict], Awaitable[None]]) -> None:
        async def put(message: dict) -> None:
            origin = b"http://" + dict(scope["headers"])[b"host"]
            body = message.get("body", b"").replace(b"event: endpoint\r\ndata: ", b"event: endpoint\r\ndata: " + origin)
            await send({**message, "body": body} if "body" in message else message)

        await app(scope, receive, put if scope["type"] == "http" else send)

    return serve


def hold_leash() -> None:
    """Wait for the end of standard input and end at once, whatever is open."""
    while os.read(0, 4096):
        pass
    os._exit(0)


def run(options: argparse.Namespace, app: object, stdio: Callable[[], Awaitable[None]], sdk: str) -> None:
    """Serve by the way that was asked for."""
    if options.stdio:
        asyncio.run(stdio())
        return
    if options.leash:
        threading.Thread(target=hold_leash, daemon=True).start()
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", options.port))
    listener.listen(128)
    path = "/sse" if options.sse else "/mcp"
    url = f"http://127.0.0.1:{listener.getsockname()[1]}{path}"
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE_S, lifespan="on")

    class Server(uvicorn.Server):
        """Tells when it is ready."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            tell(options, kind="ready", url=url, pid=os.getpid(), sdk=f"{sdk} {version(sdk)}")

    Server(config).run([listener])
