"""Who leaves, who gives up and who is cancelled, on real SDKs: through the sidecar it ends as it does directly."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import aiohttp
import pytest

from tests.support.house import ON, house
from tests.support.mcp_stand import PLAIN, message, tool
from tests.support.peers import Room, Server, peer_room

pytestmark = [pytest.mark.e2e, pytest.mark.requirement("mcp.transparent.cancel")]

NOVEMBER = "2025-11-25"
ASKABLE = {
    "protocolVersion": NOVEMBER,
    "capabilities": {"elicitation": {}},
    "clientInfo": {"name": "t", "version": "1"},
}


@pytest.fixture(scope="module", name="room")
def _room() -> Iterator[Room]:
    with peer_room() as opened:
        yield opened


@asynccontextmanager
async def _before(server: Server) -> AsyncIterator[str]:
    """The MCP address of a sidecar before a server."""
    async with house("http://127.0.0.1:9", {**ON, "bridge.mcp_url": server.url.removesuffix("/mcp")}) as made:
        yield f"http://127.0.0.1:{made.port}/mcp"


async def _heard(server: Server, kind: str) -> Mapping[str, object]:
    return await asyncio.to_thread(server.process.hear, kind=kind)


@pytest.mark.parametrize("client", ["mcp-2.3", "fastmcp-4", "ts-2"])
@pytest.mark.parametrize("name", ["mcp-2.3", "ts-2"])
async def test_a_client_that_leaves_cancels_its_call_in_the_envelope_era(room: Room, client: str, name: str) -> None:
    server = room.server(name, "--agent", f"left-by-{client}")
    async with _before(server) as url:
        run = room.client(client, url=url, interactive=True)
        assert (await run.heard(kind="connected"))["revision"] == "2026-07-28"
        run.call("slow", {"seconds": 20, "steps": 200}, tag="long", progress=True)
        await run.heard(kind="heard")
        run.drop()
        assert await _heard(server, "cancelled")
        assert await run.heard(kind="dropped")


@pytest.mark.parametrize(("client", "mode"), [("mcp-2.3", "legacy"), ("ts-1", None), ("ts-2", "legacy")])
@pytest.mark.parametrize("name", ["mcp-1.30", "mcp-2.3", "ts-1"])
async def test_a_client_that_gives_a_call_up_in_the_handshake_era_tells_the_server(
    *, room: Room, client: str, mode: str | None, name: str
) -> None:
    server = room.server(name, "--agent", f"given-up-by-{client}")
    async with _before(server) as url:
        run = room.client(client, mode=mode, url=url, interactive=True)
        assert (await run.heard(kind="connected"))["revision"] == NOVEMBER
        run.call("slow", {"seconds": 20, "steps": 200}, tag="long", progress=True)
        await run.heard(kind="heard")
        run.tell(do="cancel", of="long")
        assert await _heard(server, "cancelled")
        run.call("echo", {"text": "still here"}, tag="short")
        assert (await run.heard(kind="result", tag="short"))["text"] == ["still here"]
        run.end()
        assert await run.heard(kind="closed")


class _Wire:
    """A client of the handshake era, by hand, so that it can break off where no SDK would."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url
        self._headers = dict(PLAIN)

    async def open(self) -> None:
        async with self.post(message("initialize", ASKABLE, id=0)) as reply:
            assert reply.status == 200, reply
            self._headers |= {"Mcp-Session-Id": reply.headers["Mcp-Session-Id"], "MCP-Protocol-Version": NOVEMBER}
            await reply.read()
        await self.tell("notifications/initialized")

    async def tell(self, method: str, **params: object) -> None:
        async with self.post(message(method, params)) as reply:
            assert reply.status == 202

    def post(self, body: bytes) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._session.post(self._url, data=body, headers=self._headers)


async def _next(reply: aiohttp.ClientResponse) -> dict[str, object]:
    """The next message of a stream."""
    async for line in reply.content:
        data = line.removeprefix(b"data:").strip()
        if line.startswith(b"data:") and data:
            found = json.loads(data)
            assert isinstance(found, dict)
            return found
    raise AssertionError("the stream ended")


@asynccontextmanager
async def _opened(server: Server) -> AsyncIterator[_Wire]:
    async with asyncio.timeout(20), _before(server) as url, aiohttp.ClientSession() as session:
        wire = _Wire(session, url)
        await wire.open()
        yield wire


@pytest.mark.parametrize("name", ["mcp-1.30", "mcp-2.3", "ts-1"])
async def test_a_stream_that_breaks_in_the_handshake_era_lets_the_call_go_on(room: Room, name: str) -> None:
    server = room.server(name, "--agent", "broken-off")
    async with _opened(server) as wire:
        call = tool("slow", {"seconds": 1, "steps": 10}, _meta={"progressToken": 1})
        async with wire.post(call) as reply:
            assert (await _next(reply))["method"] == "notifications/progress"
            reply.close()
        assert await _heard(server, "finished")
    assert server.process.said(kind="cancelled") == []


async def test_a_question_that_the_server_takes_back_is_cancelled_at_the_client(room: Room) -> None:
    async with _opened(room.server("mcp-2.3")) as wire, wire.post(tool("ask", {}, 9)) as reply:
        asked = await _next(reply)
        assert asked["method"] == "elicitation/create"
        await wire.tell("notifications/cancelled", requestId=9)
        taken_back = await _next(reply)
        assert taken_back["method"] == "notifications/cancelled"
        params = taken_back["params"]
        assert isinstance(params, dict)
        assert params["requestId"] == asked["id"]
        ended = await _next(reply)
        assert (ended["id"], "error" in ended) == (9, True)
