"""An MCP client on the `mcp` SDK 1.x: handshake era, HTTP both ways or stdio; peer_client.py tells how to run it."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

from mcp import ClientSession, StdioServerParameters, types
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamablehttp_client
from peer_client import Client, Json, outcome, run, unheard


@dataclass(frozen=True, slots=True)
class V1Session:
    """A session of the SDK."""

    session: ClientSession
    client: Client

    async def call(self, step: Json, timeout_s: float | None) -> Json:
        """Call a tool."""
        result = await self.session.call_tool(
            str(step["tool"]),
            dict(step.get("arguments") or {}),
            read_timeout_seconds=None if timeout_s is None else timedelta(seconds=timeout_s),
            progress_callback=unheard if step.get("progress") else None,
        )
        return outcome(result)

    async def tools(self) -> list[Json]:
        """The tools as they came."""
        listed = await self.session.list_tools()
        return [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in listed.tools]


async def work(client: Client) -> None:
    """Connect, shake hands and drive."""

    async def asked(_context: object, params: types.ElicitRequestParams) -> types.ElicitResult:
        raw = params.model_dump(mode="json", by_alias=True, exclude_none=True)
        more = {"mode": raw.get("mode"), "url": raw.get("url"), "meta": raw.get("_meta")}
        action, content = await client.asked(params.message, raw.get("requestedSchema"), **more)
        return types.ElicitResult(action=action, content=content)

    async def heard(message: object) -> None:
        if isinstance(message, types.ServerNotification):
            client.heard(message.root.method, message.root.model_dump(mode="json").get("params"))

    async with AsyncExitStack() as stack:
        if command := client.plan.get("stdio"):
            launched = StdioServerParameters(command=command[0], args=command[1:])
            streams = await stack.enter_async_context(stdio_client(launched))
        else:
            connect = sse_client if client.plan.get("sse") else streamablehttp_client
            opened = connect(str(client.plan["url"]), headers=client.headers)
            streams = await stack.enter_async_context(opened)
        callback = asked if client.answers else None
        session = ClientSession(streams[0], streams[1], elicitation_callback=callback, message_handler=heard)
        await stack.enter_async_context(session)
        welcome = await session.initialize()
        client.connected("mcp", welcome.protocolVersion, welcome.serverInfo.model_dump(mode="json"))
        await client.drive(V1Session(session, client))


if __name__ == "__main__":
    run(work)
