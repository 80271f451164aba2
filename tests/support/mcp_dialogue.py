"""A call of an MCP client whose stream is read while it lasts, and the answers that the client posts meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import orjson

from proxy.mcp.sse import Splitter, read_frame
from tests.support.house import Heard, fields
from tests.support.manual_bridge import Json
from tests.support.mcp_stand import PLAIN, McpStand, message


@dataclass(slots=True)
class Dialogue:
    """One open stream."""

    made: McpStand
    reply: aiohttp.ClientResponse
    session_id: str
    headers: Mapping[str, str]
    raw: bytearray = field(default_factory=bytearray)
    """All that came so far."""
    _splitter: Splitter = field(default_factory=lambda: Splitter(1 << 24))
    _messages: list[Json] = field(default_factory=list)

    async def next(self) -> Json | None:
        """The next message; None at the end of the stream."""
        async with asyncio.timeout(5):
            while not self._messages:
                chunk = await self.reply.content.readany()
                if not chunk:
                    return None
                self.raw += chunk
                for raw in self._splitter.feed(chunk):
                    frame = read_frame(raw)
                    if frame.data:
                        self._messages.append(fields(orjson.loads(frame.data)))
        return self._messages.pop(0)

    async def asked(self) -> Json:
        """The next message, which must be a question."""
        question = await self.next()
        assert question is not None
        assert question["method"] == "elicitation/create", question
        return question

    async def post(self, body: bytes, session_id: str | None = None, **headers: str) -> Heard:
        """One more POST of the same client, or of another session."""
        return await self.made.post(
            body, self.session_id if session_id is None else session_id, **{**self.headers, **headers}
        )

    async def answer(self, question: Json, result: object = None, *, error: object = None, **headers: str) -> Heard:
        """Answer a question."""
        told = {"error": error} if error is not None else {"result": result}
        body = orjson.dumps({"jsonrpc": "2.0", "id": question["id"], **told})
        return await self.post(body, **headers)

    async def accept(self, question: Json, **content: object) -> None:
        """Accept, which must be taken."""
        heard = await self.answer(question, {"action": "accept", "content": content})
        assert (heard.status, heard.body) == (202, b"")


@asynccontextmanager
async def dialogue(made: McpStand, body: bytes, session_id: str, **headers: str) -> AsyncIterator[Dialogue]:
    """A call whose stream is open as long as the block lasts."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {**PLAIN, "Mcp-Session-Id": session_id, **named}
    url = f"http://127.0.0.1:{made.house.port}/mcp"
    async with made.house.session.post(url, data=body, headers=sent) as reply:
        yield Dialogue(made, reply, session_id, headers)


async def open_as(made: McpStand, *, name: str = "zed", elicitation: object = None, **headers: str) -> str:
    """Begin a session of a client with this name and this capability; None stands for `{}`."""
    capabilities: Json = {"elicitation": {} if elicitation is None else elicitation}
    if elicitation is False:
        capabilities = {}
    params = {"protocolVersion": "2025-06-18", "capabilities": capabilities, "clientInfo": {"name": name}}
    heard = await made.post(message("initialize", params, id=0), **headers)
    return heard.headers["Mcp-Session-Id"]
