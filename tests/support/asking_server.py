"""The McpUpstream port without a wire: a server whose every call does what a test says."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from proxy.core.errors import BridgeFault, BridgeRefused, BridgeUnavailable
from proxy.mcp.ask import FormQuestion, Question, Reply
from proxy.mcp.calling import OnAsk, OnNote, Outgoing, ServerAsk
from proxy.mcp.jsonrpc import Response
from proxy.mcp.revisions import Era

SCHEMA: Mapping[str, object] = {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}

COLOUR = FormQuestion("Which colour?", SCHEMA)


def item(sequence: int, data: object = None) -> dict[str, object]:
    """One message of the server's log."""
    stamp = "2027-01-15T08:00:00+00:00"
    return {"sequence": sequence, "event_type": "CUSTOM", "source_agent": "alice", "timestamp": stamp, "data": data}


def told(*texts: object, is_error: bool = False) -> bytes:
    """The result of a tool with these texts; what is no text is JSON."""
    found = [text if isinstance(text, str) else orjson.dumps(text).decode() for text in texts]
    return orjson.dumps({"content": [{"type": "text", "text": text} for text in found], "isError": is_error})


def events(*items: object) -> bytes:
    """The result of the wait tool with these messages."""
    status = "new_events" if items else "timeout"
    return told({"events": items, "count": len(items), "waited_seconds": 0.0, "status": status})


class ServerCall:
    """One request that arrived, in the hands of the test."""

    def __init__(self, era: Era, outgoing: Outgoing, on_ask: OnAsk) -> None:
        self.era = era
        self.outgoing = outgoing
        self.is_cancelled = False
        self.is_over = False
        self.holds_back = False
        """The test says itself what becomes of the answers; otherwise the server takes them."""
        self.asked: list[ServerAsk] = []
        self._on_ask = on_ask
        self._group: asyncio.TaskGroup | None = None
        self._asking: list[asyncio.Task[Reply]] = []
        self._ended: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    @property
    def arguments(self) -> dict[str, object]:
        """Of the tool."""
        found: dict[str, object] = orjson.loads(self.outgoing.params)["arguments"]
        return found

    async def run(self) -> Response:
        """Go on until the test ends the call, and with it all that it asks."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            await asyncio.wait({self._ended})
            for asking in self._asking:
                asking.cancel()
        for asked in self.asked:
            asked.arrival.tell(BridgeUnavailable("over"))
        return self._ended.result()

    def ask(self, question: Question = COLOUR, key: str = "1") -> "asyncio.Task[Reply]":
        """Ask in the middle of the call; cancelled, the question is taken back."""
        assert self._group is not None
        self._asking.append(self._group.create_task(self._put(ServerAsk(key=key, question=question))))
        return self._asking[-1]

    async def _put(self, asked: ServerAsk) -> Reply:
        self.asked.append(asked)
        try:
            reply = await self._on_ask(asked)
        except asyncio.CancelledError:
            asked.arrival.tell(BridgeUnavailable("taken back"))
            raise
        if not self.holds_back:
            asked.arrival.tell()
        return reply

    def end(self, result: bytes) -> None:
        """Answer with a result."""
        self._ended.set_result(Response(id=1, result=result, error=None, raw=b""))

    def refuse(self, message: str) -> None:
        """Answer with a JSON-RPC error."""
        error = orjson.dumps({"code": -32602, "message": message})
        self._ended.set_result(Response(id=1, result=None, error=error, raw=b""))

    def fail(self, fault: BridgeFault) -> None:
        """Break."""
        self._ended.set_exception(fault)


@dataclass(slots=True)
class AskingServer:
    """The server."""

    era: Era = Era.ENVELOPE
    refused: set[str] = field(default_factory=set)
    """Values of `Authorization` that are not accepted."""
    fault: BridgeFault | None = None
    """What every call meets."""
    described: bytes = b'{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"colour-server"}}}'
    calls: list[ServerCall] = field(default_factory=list)
    descriptions: list[Outgoing] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)

    async def speaks(self, era: Era, headers: Mapping[str, str]) -> bool:
        """See the port."""
        self._check(headers)
        return era is self.era

    def known(self, era: Era) -> bool | None:
        """See the port."""
        return era is self.era

    async def describe(self, era: Era, call: Outgoing) -> bytes:
        """See the port."""
        assert era is self.era
        self.descriptions.append(call)
        self._check(call.headers)
        return self.described

    async def request(self, era: Era, call: Outgoing, *, on_ask: OnAsk, on_note: OnNote) -> Response:
        """See the port."""
        assert era is self.era
        self._check(call.headers)
        await on_note(b'{"jsonrpc":"2.0","method":"notifications/progress"}')
        made = ServerCall(era, call, on_ask)
        self.calls.append(made)
        try:
            return await made.run()
        except asyncio.CancelledError:
            made.is_cancelled = True
            raise
        finally:
            made.is_over = True

    async def forget(self, principal: str) -> None:
        """See the port."""
        self.forgotten.append(principal)

    def _check(self, headers: Mapping[str, str]) -> None:
        if self.fault is not None:
            raise self.fault
        if headers.get("Authorization") in self.refused:
            raise BridgeRefused("who is that?", bridge_status=401, body=b'{"detail":"no"}')
