"""The server that the conformance suite is run against, directly and through the sidecar, on the `mcp` SDK 2.x.

It offers what the suite's server scenarios of 2025-06-18, 2025-11-25 and 2026-07-28 call by name: the plain parts
here, those of the multi round-trip requests in conformance_rounds.py.

    conformance_server.py --port 0 [--no-host-check]

Without the host check it fails `dns-rebinding-protection`, which a sidecar in front of it must then pass.
"""

import asyncio
import base64
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated

from conformance_rounds import add_rounds
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.server.mcpserver.tools import Tool
from mcp.server.streamable_http import EventMessage, EventStore
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import (
    AudioContent,
    Completion,
    EmbeddedResource,
    EmptyResult,
    ImageContent,
    SamplingMessage,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequestParams,
)
from peer_server import read_options, run
from pydantic import Field

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
"""One red pixel."""

WAV = base64.b64encode(b"RIFF$\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0@\x1f\0\0@\x1f\0\0\1\0\x08\0data\0\0\0\0").decode()
"""No sound at all."""

PAUSE_S = 0.05
"""Between two notifications, seconds. Source: the suite's scenario descriptions."""

RETRY_MS = 50
"""How soon a client of a closed stream should come back, milliseconds. Source: ours; the suite waits that long."""

SCHEMA_2020_12 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
"""What the suite's json-schema-2020-12 scenario looks for, keyword by keyword."""

CONTACT = {
    "type": "object",
    "properties": {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    },
    "required": ["username", "email"],
}

DEFAULTS = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    },
    "required": [],
}


def _titled(prefix: str, titles: str) -> list[dict[str, str]]:
    return [{"const": f"value{n}", "title": f"{word} {titles}"} for n, word in enumerate(prefix.split(), 1)]


ENUMS = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {"type": "string", "oneOf": _titled("First Second Third", "Option")},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["option1", "option2", "option3"]}},
        "titledMulti": {"type": "array", "items": {"anyOf": _titled("First Second Third", "Choice")}},
    },
    "required": [],
}


class Memory(EventStore):
    """Events of streams, so that a client can come back to one."""

    def __init__(self) -> None:
        self._events: list[tuple[str, object]] = []

    async def store_event(self, stream_id: str, message: object) -> str:
        """Keep one; its id is its place."""
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(
        self, last_event_id: str, send_callback: Callable[..., Awaitable[None]]
    ) -> str | None:
        """Send what followed on the same stream."""
        place = int(last_event_id)
        if not 0 < place <= len(self._events):
            return None
        stream = self._events[place - 1][0]
        for number, (other, message) in enumerate(self._events[place:], place + 1):
            if other == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


def json_schema_2020_12_tool() -> str:
    """Tool with JSON Schema 2020-12 features."""
    return "ok"


rich = Tool.from_function(json_schema_2020_12_tool, structured_output=False)
rich.parameters = SCHEMA_2020_12
server = MCPServer("conformance-server", version="1", log_level="ERROR", tools=[rich])


# Tools


@server.tool(name="test_simple_text", structured_output=False)
def simple_text() -> str:
    """Return a text."""
    return "This is a simple text response for testing."


@server.tool(name="test_image_content", structured_output=False)
def image_content() -> ImageContent:
    """Return a picture."""
    return ImageContent(type="image", data=PNG, mime_type="image/png")


@server.tool(name="test_audio_content", structured_output=False)
def audio_content() -> AudioContent:
    """Return a sound."""
    return AudioContent(type="audio", data=WAV, mime_type="audio/wav")


def _resource(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    return EmbeddedResource(type="resource", resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


@server.tool(name="test_embedded_resource", structured_output=False)
def embedded_resource() -> EmbeddedResource:
    """Return a resource."""
    return _resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")


@server.tool(name="test_multiple_content_types", structured_output=False)
def multiple_content_types() -> list[TextContent | ImageContent | EmbeddedResource]:
    """Return a text, a picture and a resource."""
    text = TextContent(type="text", text="Multiple content types test:")
    inside = json.dumps({"test": "data", "value": 123}, separators=(",", ":"))
    return [text, image_content(), _resource("test://mixed-content-resource", "application/json", inside)]


@server.tool(name="test_tool_with_logging", structured_output=False)
async def tool_with_logging(ctx: Context) -> str:
    """Log three times."""
    for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.info(words)
        await asyncio.sleep(PAUSE_S)
    return "Logged three times."


@server.tool(name="test_logging_tool", structured_output=False)
async def logging_tool(ctx: Context) -> str:
    """Log once, if the caller asked for log messages at all."""
    await ctx.info("This is for those who asked")
    return "Logged once."


@server.tool(name="test_error_handling", structured_output=False)
def error_handling() -> str:
    """Fail."""
    raise ToolError("This tool intentionally returns an error for testing")


@server.tool(name="test_tool_with_progress", structured_output=False)
async def tool_with_progress(ctx: Context) -> str:
    """Report progress three times."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100)
        await asyncio.sleep(PAUSE_S)
    return "Progressed."


@server.tool(name="test_sampling", structured_output=False)
async def sampling(prompt: str, ctx: Context) -> str:
    """Let the client's model answer."""
    message = SamplingMessage(role="user", content=TextContent(type="text", text=prompt))
    reply = await ctx.session.create_message([message], max_tokens=100, related_request_id=ctx.request_id)
    return f"LLM response: {getattr(reply.content, 'text', reply.content)}"


async def _elicited(ctx: Context, message: str, schema: dict[str, object]) -> str:
    reply = await ctx.session.elicit_form(message, schema, ctx.request_id)
    return f"action={reply.action}, content={json.dumps(reply.content)}"


@server.tool(name="test_elicitation", structured_output=False)
async def elicitation(message: str, ctx: Context) -> str:
    """Ask the user."""
    return f"User response: {await _elicited(ctx, message, CONTACT)}"


@server.tool(name="test_elicitation_sep1034_defaults", structured_output=False)
async def elicitation_defaults(ctx: Context) -> str:
    """Ask with a default for every kind of field."""
    return f"Elicitation completed: {await _elicited(ctx, 'Please review', DEFAULTS)}"


@server.tool(name="test_elicitation_sep1330_enums", structured_output=False)
async def elicitation_enums(ctx: Context) -> str:
    """Ask with every kind of choice."""
    return f"Elicitation completed: {await _elicited(ctx, 'Please choose', ENUMS)}"


@server.tool(name="test_reconnection", structured_output=False)
async def reconnection(ctx: Context) -> str:
    """Close the stream in the middle of the call; the result waits for the client to come back."""
    await ctx.close_sse_stream()
    await asyncio.sleep(2 * RETRY_MS / 1000)
    return "Reconnection test completed."


@server.tool(name="test_x_mcp_header", structured_output=False)
def x_mcp_header(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
    """Have an argument that also travels as a header."""
    return f"region={region}"


@server.tool(name="test_trigger_tool_change", structured_output=False)
async def trigger_tool_change(ctx: Context) -> str:
    """Tell subscribers that the tools changed."""
    await ctx.notify_tools_changed()
    return "Told."


@server.tool(name="test_trigger_prompt_change", structured_output=False)
async def trigger_prompt_change(ctx: Context) -> str:
    """Tell subscribers that the prompts changed."""
    await ctx.notify_prompts_changed()
    return "Told."


# Resources


@server.resource("test://static-text", name="static-text", mime_type="text/plain")
def static_text() -> str:
    """Hold a text."""
    return "This is the content of the static text resource."


@server.resource("test://static-binary", name="static-binary", mime_type="image/png")
def static_binary() -> bytes:
    """Hold a picture."""
    return base64.b64decode(PNG)


@server.resource("test://watched-resource", name="watched-resource", mime_type="text/plain")
def watched_resource() -> str:
    """Hold what is subscribed to."""
    return "Watched."


@server.resource("test://template/{id}/data", name="template", mime_type="application/json")
def template(id: str) -> str:  # noqa: A002  the template's own word
    """Hold one of many."""
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


# Prompts


@server.prompt(name="test_simple_prompt")
def simple_prompt() -> str:
    """Be simple."""
    return "This is a simple prompt for testing."


@server.prompt(name="test_prompt_with_arguments")
def prompt_with_arguments(arg1: str, arg2: str) -> str:
    """Have two arguments."""
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.prompt(name="test_prompt_with_embedded_resource")
def prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:  # noqa: N803  the suite's own word
    """Hold a resource."""
    resource = _resource(resourceUri, "text/plain", "Embedded resource content for testing.")
    return [UserMessage(resource), UserMessage("Please process the embedded resource above.")]


@server.prompt(name="test_prompt_with_image")
def prompt_with_image() -> list[UserMessage]:
    """Hold a picture."""
    return [UserMessage(image_content()), UserMessage("Please analyze the image above.")]


@server.completion()
async def complete(_ref: object, argument: object, _context: object) -> Completion:
    """Complete an argument."""
    values = [word for word in ("paris", "park", "party") if word.startswith(argument.value)]
    return Completion(values=values, total=len(values), has_more=False)


# What only the handshake era has


async def nothing(_ctx: object, _params: object) -> EmptyResult:
    """Accept, and do nothing about it."""
    return EmptyResult()


def add_handshake_only(inner: object) -> None:
    """Subscriptions by call, and the level of log messages."""
    inner.add_request_handler("resources/subscribe", SubscribeRequestParams, nothing)
    inner.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, nothing)
    inner.add_request_handler("logging/setLevel", SetLevelRequestParams, nothing)


def main() -> None:
    """Serve."""
    is_open = "--no-host-check" in sys.argv
    sys.argv = [word for word in sys.argv if word != "--no-host-check"]
    add_rounds(server)
    add_handshake_only(server._lowlevel_server)  # the high-level server has no door for these
    security = TransportSecuritySettings(enable_dns_rebinding_protection=False) if is_open else None
    app = server.streamable_http_app(event_store=Memory(), retry_interval=RETRY_MS, transport_security=security)
    run(read_options(), app, server.run_stdio_async, "mcp")


if __name__ == "__main__":
    main()
