"""An MCP client on fastmcp 3 or 4: streamable HTTP or stdio; peer_client.py tells how to run it."""

from dataclasses import dataclass

import fastmcp
from fastmcp.client.elicitation import ElicitResult
from fastmcp.client.transports import StdioTransport, StreamableHttpTransport
from peer_client import Client, Json, outcome, run, unheard


@dataclass(frozen=True, slots=True)
class FastSession:
    """A client of fastmcp."""

    inner: fastmcp.Client
    client: Client

    async def call(self, step: Json, timeout_s: float | None) -> Json:
        """Call a tool, with as many rounds as the server asks for."""
        result = await self.inner.call_tool_mcp(
            str(step["tool"]),
            dict(step.get("arguments") or {}),
            timeout=timeout_s,
            progress_handler=unheard if step.get("progress") else None,
        )
        return outcome(result)

    async def tools(self) -> list[Json]:
        """The tools as they came."""
        return [
            tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in await self.inner.list_tools()
        ]


async def work(client: Client) -> None:
    """Connect, negotiate and drive."""

    async def asked(message: str, _kind: object, params: object, _context: object) -> ElicitResult:
        raw = params.model_dump(mode="json", by_alias=True, exclude_none=True)
        more = {"mode": raw.get("mode"), "url": raw.get("url"), "meta": raw.get("_meta")}
        action, content = await client.asked(message, raw.get("requestedSchema"), **more)
        return ElicitResult(action=action, content=content)

    async def heard(message: object) -> None:
        inner = getattr(message, "root", message)
        if isinstance(method := getattr(inner, "method", None), str):
            client.heard(method, inner.model_dump(mode="json", by_alias=True, exclude_none=True).get("params"))

    if command := client.plan.get("stdio"):
        transport = StdioTransport(command=command[0], args=command[1:], keep_alive=False)
    else:
        transport = StreamableHttpTransport(str(client.plan["url"]), headers=client.headers)
    # fastmcp 3 has but one era and does not know the word.
    mode = {"mode": client.plan["mode"]} if client.plan.get("mode") else {}
    inner = fastmcp.Client(
        transport, elicitation_handler=asked if client.answers else None, message_handler=heard, **mode
    )
    async with inner:
        revision, server = _welcome(inner)
        client.connected("fastmcp", revision, server)
        await client.drive(FastSession(inner, client))


def _welcome(inner: fastmcp.Client) -> tuple[object, object]:
    """Revision and server: of the handshake in fastmcp 3, of the session in fastmcp 4."""
    revision = getattr(inner.session, "protocol_version", None)
    if revision is not None:
        info = inner.session.server_info
        return revision, info and info.model_dump(mode="json")
    welcome = inner.initialize_result
    return welcome.protocolVersion, welcome.serverInfo.model_dump(mode="json")


if __name__ == "__main__":
    run(work)
