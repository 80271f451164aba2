"""An MCP server on the `mcp` SDK 2.x, both eras: a Bridge's MCP server, with some tools for tests.

A client of the envelope era is asked by `input_required`, one of the handshake era by a request on its stream.
"""

import json
import time

from mcp.server.mcpserver import Context, MCPServer
from mcp.types import ElicitRequest, ElicitRequestFormParams, ElicitRequestURLParams, InputRequiredResult
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from peer_bridge import Json, as_text
from peer_server import dawdle, read_options, run, tools_of

NAME_SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}

options = read_options()
tools = tools_of(options)
server = MCPServer("lighthouse-bridge", version="2", log_level="WARNING")


def form(message: str, schema: Json) -> ElicitRequest:
    """A question by form."""
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=dict(schema)))


async def elicit(ctx: Context, message: str, schema: Json) -> tuple[str, Json | None] | InputRequiredResult:
    """Ask the client; in the envelope era the first round returns the question."""
    if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        reply = await ctx.session.elicit_form(message, dict(schema), ctx.request_id)
        return reply.action, reply.content
    if not ctx.input_responses:
        return InputRequiredResult(input_requests={"question": form(message, schema)}, request_state="asked")
    reply = ctx.input_responses["question"]
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
async def ask(ctx: Context, question: str = "Your name?") -> str | InputRequiredResult:
    """Ask for a name."""
    found = await elicit(ctx, question, NAME_SCHEMA)
    if isinstance(found, InputRequiredResult):
        return found
    return f"{found[0]}:{(found[1] or {}).get('name', '')}"


@server.tool()
async def ask_with(ctx: Context, message: str, schema: dict) -> str | InputRequiredResult:
    """Ask by any schema."""
    found = await elicit(ctx, message, schema)
    if isinstance(found, InputRequiredResult):
        return found
    return json.dumps({"action": found[0], "content": found[1]})


@server.tool()
async def ask_twice(ctx: Context) -> str | InputRequiredResult:
    """Ask for two things, one after the other; in the envelope era in two rounds."""
    if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        first = await ctx.session.elicit_form("First?", NAME_SCHEMA, ctx.request_id)
        second = await ctx.session.elicit_form("Second?", NAME_SCHEMA, ctx.request_id)
        return f"{first.action},{second.action}"
    if not ctx.input_responses:
        return InputRequiredResult(input_requests={"first": form("First?", NAME_SCHEMA)}, request_state="0")
    if first := ctx.input_responses.get("first"):
        return InputRequiredResult(input_requests={"second": form("Second?", NAME_SCHEMA)}, request_state=first.action)
    return f"{ctx.request_state},{ctx.input_responses['second'].action}"


@server.tool()
async def ask_url(ctx: Context, message: str, url: str) -> str | InputRequiredResult:
    """Ask to open a page; in the handshake era also tell that it was done."""
    if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        reply = await ctx.session.elicit_url(message, url, "page-1", ctx.request_id)
        await ctx.session.send_elicit_complete("page-1", ctx.request_id)
        return f"{reply.action}:"
    if not ctx.input_responses:
        page = ElicitRequest(params=ElicitRequestURLParams(message=message, url=url))
        return InputRequiredResult(input_requests={"page": page}, request_state="asked")
    return f"{ctx.input_responses['page'].action}:"


async def wait_by_rounds(ctx: Context, agent_id: str, timeout_seconds: int, since: int | None) -> object:
    """One round of an asking wait; what it must remember is in the request state."""
    state = json.loads(ctx.request_state or "{}")
    deadline, asked = state.get("deadline", time.time() + timeout_seconds), state.get("asked", [])
    for key, reply in (ctx.input_responses or {}).items():
        told = await tools.bridge.answer({"id": key}, agent_id, reply.action, reply.content)
        asked.append({"id": key, "action": reply.action, "told": told})
    found = await tools.bridge.wait_or_question(agent_id, deadline, since)
    if not isinstance(found, list):
        return {**found, "asked": asked}
    questions = {str(item["id"]): form(str(item["message"]), item["schema"]) for item in found}
    state = json.dumps({"deadline": deadline, "asked": asked})
    return InputRequiredResult(input_requests=questions, request_state=state)


if options.asks:

    @server.tool()
    async def lighthouse_wait_for_messages(
        ctx: Context, agent_id: str, timeout_seconds: int = 60, since_sequence: int | None = None
    ) -> str | InputRequiredResult:
        """Wait for new messages from other agents; questions come as elicitations."""
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            found = await wait_by_rounds(ctx, agent_id, timeout_seconds, since_sequence)
            return found if isinstance(found, InputRequiredResult) else json.dumps(found, indent=2)

        async def put(question: Json) -> tuple[str, Json | None]:
            reply = await ctx.session.elicit_form(str(question["message"]), dict(question["schema"]), ctx.request_id)
            return reply.action, reply.content

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
    if options.sse:
        return server.sse_app()
    return server.streamable_http_app(json_response=options.json_response, stateless_http=options.stateless)


if __name__ == "__main__":
    run(options, None if options.stdio else app(), server.run_stdio_async, "mcp")
