"""An MCP client on the `mcp` SDK 2.x: both eras, streamable HTTP or stdio; peer_client.py tells how to run it."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

import httpx2
import mcp
from mcp import StdioServerParameters, types
from mcp.client.streamable_http import streamable_http_client
from peer_client import Client, Json, outcome, run, unheard

READ_S = 300.0
"""Longest silence on a stream, seconds. Source: the SDK's own default."""


@dataclass(frozen=True, slots=True)
class V2Session:
    """A client of the SDK."""

    inner: mcp.Client
    client: Client

    async def call(self, step: Json, timeout_s: float | None) -> Json:
        """Call a tool, with as many rounds as the server asks for."""
        result = await self.inner.call_tool(
            str(step["tool"]),
            dict(step.get("arguments") or {}),
            read_timeout_seconds=timeout_s,
            progress_callback=unheard if step.get("progress") else None,
        )
        return outcome(result)

    async def tools(self) -> list[Json]:
        """The tools as they came."""
        listed = await self.inner.list_tools()
        return [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in listed.tools]


async def work(client: Client) -> None:
    """Connect, negotiate and drive."""

    async def asked(_context: object, params: types.ElicitRequestParams) -> types.ElicitResult:
        raw = params.model_dump(mode="json", by_alias=True, exclude_none=True)
        more = {"mode": raw.get("mode"), "url": raw.get("url"), "meta": raw.get("_meta")}
        action, content = await client.asked(params.message, raw.get("requestedSchema"), **more)
        return types.ElicitResult(action=action, content=content)

    async def heard(message: object) -> None:
        if not isinstance(message, Exception):
            raw = message.model_dump(mode="json", by_alias=True, exclude_none=True)
            client.heard(raw.get("method"), raw.get("params"))

    async with AsyncExitStack() as stack:
        if command := client.plan.get("stdio"):
            server = StdioServerParameters(command=command[0], args=command[1:])
        else:
            timeout = httpx2.Timeout(30.0, read=READ_S)
            sender = httpx2.AsyncClient(headers=client.headers, timeout=timeout, follow_redirects=True)
            await stack.enter_async_context(sender)
            server = streamable_http_client(str(client.plan["url"]), http_client=sender)
        inner = mcp.Client(
            server,
            mode=str(client.plan.get("mode") or "auto"),
            elicitation_callback=asked if client.answers else None,
            message_handler=heard,
        )
        await stack.enter_async_context(inner)
        info = inner.server_info
        client.connected("mcp", inner.protocol_version, info and info.model_dump(mode="json"))
        await client.drive(V2Session(inner, client))


if __name__ == "__main__":
    run(work)
