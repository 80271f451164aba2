"""The MCP server of server_v2.py for the envelope era alone: a client of the handshake era is refused over HTTP.

It has a resource and a prompt as well. The command line is that of all server peers.
"""

from collections.abc import Awaitable, Callable

from mcp.server.mcpserver import Context
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from peer_server import run
from server_v2 import app, options, server

REFUSAL = b'{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"only 2026-07-28 is spoken here"}}'

Asgi = Callable[[dict, Callable, Callable], Awaitable[None]]


@server.resource("lighthouse://{name}")
def light(name: str) -> str:
    """The state of a light."""
    return f"{name} is lit"


@server.prompt()
def greet(name: str) -> str:
    """A greeting."""
    return f"Greet {name}."


@server.tool()
async def chatter(ctx: Context) -> str:
    """Write log lines."""
    await ctx.debug("whisper")
    await ctx.info("word")
    return "said"


def refusing(inner: Asgi) -> Asgi:
    """Let only requests of the envelope era through."""

    async def serve(scope: dict, receive: Callable, send: Callable) -> None:
        headers = dict(scope.get("headers") or ())
        revision = headers.get(b"mcp-protocol-version", b"").decode()
        if scope["type"] != "http" or revision in MODERN_PROTOCOL_VERSIONS:
            await inner(scope, receive, send)
            return
        head = {"type": "http.response.start", "status": 400, "headers": [(b"content-type", b"application/json")]}
        await send(head)
        await send({"type": "http.response.body", "body": REFUSAL})

    return serve


if __name__ == "__main__":
    run(options, refusing(app()), server.run_stdio_async, "mcp")
