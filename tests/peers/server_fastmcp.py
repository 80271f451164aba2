"""An MCP server on fastmcp 3 or 4: a few tools for tests, of which one asks."""

from fastmcp import Context, FastMCP
from peer_server import dawdle, read_options, run, tools_of
from pydantic import BaseModel

try:  # fastmcp 4 speaks both eras, fastmcp 3 the handshake era only
    from mcp_types import ElicitRequest, ElicitRequestFormParams, InputRequiredResult
    from mcp_types.version import MODERN_PROTOCOL_VERSIONS
except ModuleNotFoundError:
    InputRequiredResult = str
    MODERN_PROTOCOL_VERSIONS = ()

NAME_SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}

options = read_options()
tools = tools_of(options)
server = FastMCP("lighthouse-bridge")


class Name(BaseModel):
    """What is asked for."""

    name: str


@server.tool
def echo(text: str) -> str:
    """Say the same."""
    return text


@server.tool
async def slow(ctx: Context, seconds: float = 1.0, steps: int = 4) -> str:
    """Take a while, with progress."""
    return await dawdle(options, seconds, steps, ctx.report_progress)


@server.tool
async def ask(ctx: Context, question: str = "Your name?") -> str | InputRequiredResult:
    """Ask for a name."""
    if getattr(ctx.request_context, "protocol_version", None) in MODERN_PROTOCOL_VERSIONS:
        if not ctx.input_responses:
            params = ElicitRequestFormParams(message=question, requested_schema=NAME_SCHEMA)
            return InputRequiredResult(input_requests={"who": ElicitRequest(params=params)}, request_state="asked")
        reply = ctx.input_responses["who"]
        return f"{reply.action}:{(reply.content or {}).get('name', '')}"
    reply = await ctx.elicit(question, Name)
    return f"{reply.action}:{reply.data.name if reply.action == 'accept' else ''}"


for tool in (
    tools.lighthouse_wait_for_messages,
    tools.lighthouse_store_event,
    tools.lighthouse_elicit_information,
    tools.lighthouse_check_elicitations,
    tools.lighthouse_respond_to_elicitation,
    tools.lighthouse_health_check,
):
    server.tool(tool)


async def stdio() -> None:
    """Speak on standard input and output."""
    await server.run_stdio_async(show_banner=False)


if __name__ == "__main__":
    application = server.http_app(
        transport="sse" if options.sse else "http",
        json_response=options.json_response,
        stateless_http=options.stateless,
    )
    run(options, application, stdio, "fastmcp")
