"""An MCP server on the `mcp` SDK 1.x, handshake era: a Bridge's MCP server, with some tools for tests."""

import json

from mcp.server.fastmcp import Context, FastMCP
from peer_bridge import Json, as_text
from peer_server import dawdle, read_options, run, tools_of, with_absolute_endpoint

NAME_SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}

options = read_options()
tools = tools_of(options)
server = FastMCP(
    "lighthouse-bridge", json_response=options.json_response, stateless_http=options.stateless, log_level="WARNING"
)


async def elicit(ctx: Context, message: str, schema: Json) -> tuple[str, Json | None]:
    """Ask the client on the stream of the call at work."""
    reply = await ctx.session.elicit(message, dict(schema), ctx.request_id)
    return reply.action, reply.content


@server.tool()
def echo(text: str) -> str:
    """Say the same."""
    return text


@server.tool()
async def slow(ctx: Context, seconds: float = 1.0, steps: int = 4) -> str:
    """Take a while, with progress."""
    return await dawdle(options, seconds, steps, ctx.report_progress)


@server.tool()
async def ask(ctx: Context, question: str = "Your name?") -> str:
    """Ask for a name."""
    action, content = await elicit(ctx, question, NAME_SCHEMA)
    return f"{action}:{(content or {}).get('name', '')}"


@server.tool()
async def ask_with(ctx: Context, message: str, schema: dict) -> str:
    """Ask by any schema."""
    action, content = await elicit(ctx, message, schema)
    return json.dumps({"action": action, "content": content})


@server.tool()
async def ask_url(ctx: Context, message: str, url: str) -> str:
    """Ask to open a page, and tell that it was done."""
    reply = await ctx.session.elicit_url(message, url, "page-1", ctx.request_id)
    await ctx.session.send_elicit_complete("page-1", ctx.request_id)
    return f"{reply.action}:"


if options.asks:

    @server.tool()
    async def lighthouse_wait_for_messages(
        ctx: Context, agent_id: str, timeout_seconds: int = 60, since_sequence: int | None = None
    ) -> str:
        """Wait for new messages from other agents; questions come as elicitations."""

        async def put(question: Json) -> tuple[str, Json | None]:
            return await elicit(ctx, str(question["message"]), question["schema"])

        return await as_text(tools.wait_and_ask(agent_id, timeout_seconds, since=since_sequence, ask=put))

else:
    server.add_tool(tools.lighthouse_wait_for_messages)

for tool in (
    tools.lighthouse_store_event,
    tools.lighthouse_elicit_information,
    tools.lighthouse_check_elicitations,
    tools.lighthouse_respond_to_elicitation,
    tools.lighthouse_health_check,
):
    server.add_tool(tool)


def app() -> object:
    """The HTTP application that was asked for."""
    if not options.sse:
        return server.streamable_http_app()
    return with_absolute_endpoint(server.sse_app()) if options.absolute else server.sse_app()


if __name__ == "__main__":
    run(options, app(), server.run_stdio_async, "mcp")
