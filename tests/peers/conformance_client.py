"""The client that the official conformance suite starts for its client scenarios, on the `mcp` SDK 2.x.

    conformance_client.py URL

The suite names the scenario, the revision and what else a scenario needs in the environment. Each reply is told by a
line of JSON on standard output, and so is a failure, which also makes the exit code 1: two runs can be compared by
them. Source: the README of @modelcontextprotocol/conformance, "Client Testing".
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping

import mcp
from mcp import types
from peer_client import filled, outcome

Json = Mapping[str, object]

MODERN = "2026-07-28"
"""The first revision without a handshake."""


def say(kind: str, **fields: object) -> None:
    """Print one line."""
    sys.stdout.write(json.dumps({"kind": kind} | fields) + "\n")
    sys.stdout.flush()


async def call(client: mcp.Client, tool: str, arguments: Json | None = None) -> None:
    """Call a tool and tell what it returned."""
    say("result", tool=tool, **outcome(await client.call_tool(tool, dict(arguments or {}))))


async def tool_names(client: mcp.Client) -> list[str]:
    """List the tools and tell their names."""
    names = [tool.name for tool in (await client.list_tools()).tools]
    say("tools", names=names)
    return names


async def only_list(client: mcp.Client) -> None:
    """List the tools; nothing more is asked for."""
    await tool_names(client)


async def add_numbers(client: mcp.Client) -> None:
    """Call the one tool with numbers."""
    await tool_names(client)
    await call(client, "add_numbers", {"a": 5, "b": 3})


async def accept_defaults(client: mcp.Client) -> None:
    """Be asked, and answer with the defaults of the form."""
    await tool_names(client)
    await call(client, "test_client_elicitation_defaults")


async def reconnect(client: mcp.Client) -> None:
    """Call a tool whose stream is closed; the SDK takes it up again in the time that the server named."""
    await tool_names(client)
    await call(client, "test_reconnection")


async def be_asked_in_rounds(client: mcp.Client) -> None:
    """Answer in further rounds, with and without a state; while the first waits, `answer` calls another tool."""
    await tool_names(client)
    for tool in ("test_mrtr_echo_state", "test_mrtr_no_state", "test_mrtr_no_result_type"):
        await call(client, tool)


async def use_everything(client: mcp.Client) -> None:
    """Send one request of each kind that has headers of its own."""
    for tool in await tool_names(client):
        await call(client, tool)
    for resource in (await client.list_resources()).resources:
        await client.read_resource(resource.uri)
    for prompt in (await client.list_prompts()).prompts:
        await client.get_prompt(prompt.name)


async def call_as_told(client: mcp.Client) -> None:
    """Call the tools that the suite names, with the arguments it names."""
    await tool_names(client)
    for told in json.loads(os.environ["MCP_CONFORMANCE_CONTEXT"])["toolCalls"]:
        await call(client, told["name"], told["arguments"])


async def call_what_is_listed(client: mcp.Client) -> None:
    """Call every tool that the SDK lists; it leaves out those whose headers are invalid."""
    for tool in await tool_names(client):
        await call(client, tool, {"region": "us-west1"})


async def echo_schema(client: mcp.Client) -> None:
    """Send a tool's schema back as it came."""
    listed = {tool.name: tool for tool in (await client.list_tools()).tools}
    await call(client, "json_schema_echo", {"schema": listed["json_schema_2020_12_tool"].input_schema})


SCENARIOS: Mapping[str, Callable[[mcp.Client], Awaitable[None]]] = {
    "initialize": only_list,
    "tools_call": add_numbers,
    "elicitation-sep1034-client-defaults": accept_defaults,
    "sse-retry": reconnect,
    "request-metadata": only_list,
    "sep-2322-client-request-state": be_asked_in_rounds,
    "http-standard-headers": use_everything,
    "http-custom-headers": call_as_told,
    "http-invalid-tool-headers": call_what_is_listed,
    "json-schema-ref-no-deref": only_list,
    "json-schema-2020-12-preservation": echo_schema,
}
"""What to do, by the name of the scenario."""


async def play(scenario: str, url: str) -> None:
    """Connect in the era of the revision and do what the scenario asks for."""
    revision = os.environ.get("MCP_CONFORMANCE_PROTOCOL_VERSION", MODERN)
    between: list[str] = []

    async def answer(_context: object, params: types.ElicitRequestParams) -> types.ElicitResult:
        raw = params.model_dump(mode="json", by_alias=True, exclude_none=True)
        say("asked", message=raw["message"])
        if scenario == "sep-2322-client-request-state" and not between:
            between.append("called")
            await call(client, "test_mrtr_unrelated")
        return types.ElicitResult(action="accept", content=filled(raw["requestedSchema"]))

    async def sample(_context: object, _params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        return types.CreateMessageResult(
            role="assistant", content=types.TextContent(type="text", text=""), model="none"
        )

    async def roots(_context: object) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[])

    client = mcp.Client(
        url,
        mode="auto" if revision >= MODERN else "legacy",
        elicitation_callback=answer,
        sampling_callback=sample,
        list_roots_callback=roots,
    )
    async with client:
        say("connected", revision=client.protocol_version)
        await SCENARIOS[scenario](client)


def main() -> int:
    """Play the scenario; 1 when the SDK raised."""
    try:
        asyncio.run(play(os.environ["MCP_CONFORMANCE_SCENARIO"], sys.argv[-1]))
    except Exception as error:  # noqa: BLE001  whatever an SDK raises is an outcome to compare
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        say("failed", error=type(error).__name__, message=str(error)[:300])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
