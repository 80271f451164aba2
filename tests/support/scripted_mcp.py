"""An MCP server for the tests of its clients: it notes every HTTP request and answers by a script.

Handshakes, notifications and ends of sessions it answers by itself, unless the script does. All that a script says is
JSON; a `Line` is the event stream of one reply.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
from aiohttp import web
from yarl import URL

from proxy.mcp.ask import Reply
from proxy.mcp.calling import OnAsk, ServerAsk
from proxy.mcp.jsonrpc import Response
from proxy.upstream.mcp_client import HttpMcpUpstream
from proxy.upstream.session import open_bridge_session
from tests.support.manual_clock import ManualClock

Json = Mapping[str, object]

TURNS = 10_000
"""Turns of the event loop that are waited for something; far more than any exchange on loopback takes."""


@dataclass(frozen=True, slots=True)
class Got:
    """One HTTP request of the client."""

    verb: str
    headers: Mapping[str, str]
    body: Json
    request: web.Request = field(repr=False)

    @property
    def method(self) -> object:
        """The JSON-RPC method; None where the message has none."""
        return self.body.get("method")

    @property
    def params(self) -> Json:
        """The parameters."""
        found = self.body["params"]
        assert isinstance(found, dict)
        return found

    @property
    def meta(self) -> Json:
        """`_meta` of the parameters."""
        found = self.params["_meta"]
        assert isinstance(found, dict)
        return found

    def result(self, result: object, **headers: str) -> web.Response:
        """A reply of one JSON body with the result."""
        return self.json({"result": result}, headers=headers)

    def error(self, code: int, status: int = 200, data: object = None) -> web.Response:
        """A reply of one JSON body with an error."""
        return self.json({"error": {"code": code, "message": "no", "data": data}}, status=status)

    def json(self, message: Json, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
        """A reply of one JSON body."""
        whole = {"jsonrpc": "2.0", "id": self.body.get("id"), **message}
        return web.Response(
            body=orjson.dumps(whole), status=status, content_type="application/json", headers=headers or {}
        )

    async def line(self) -> "Line":
        """Begin a reply that is a stream."""
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(self.request)
        return Line(stream, self.body.get("id"))


@dataclass(frozen=True, slots=True)
class Line:
    """The stream of one reply."""

    stream: web.StreamResponse
    id: object

    async def event(self, text: str) -> None:
        """Write the lines of one event."""
        await self.stream.write(text.encode() + b"\n\n")

    async def say(self, message: Json, event_id: str = "") -> None:
        """Write one message."""
        named = f"id: {event_id}\n" if event_id else ""
        await self.event(f"{named}data: {orjson.dumps({'jsonrpc': '2.0', **message}).decode()}")

    async def finish(self, result: object) -> web.StreamResponse:
        """Write the response and end the stream."""
        await self.say({"id": self.id, "result": result})
        return self.stream


Script = Callable[[Got], Awaitable[web.StreamResponse | None]]
"""What to answer; None leaves it to the server's own manners."""


class ScriptedMcp:
    """The server."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.got: list[Got] = []
        self.revision = "2025-11-25"
        self.has_sessions = True
        self._changed = asyncio.Condition()

    def all(self, method: object, verb: str = "POST") -> list[Got]:
        """The requests so far with this JSON-RPC method (None: responses) or, without body, of this verb."""
        return [got for got in self.got if (got.verb, got.method) == (verb, method)]

    @property
    def answers(self) -> list[Json]:
        """The responses that the client sent to requests of the server."""
        return [got.body for got in self.all(None)]

    async def until(self, count: int, method: object, verb: str = "POST") -> list[Got]:
        """Wait until so many requests of a kind have come."""
        async with asyncio.timeout(5), self._changed:
            await self._changed.wait_for(lambda: len(self.all(method, verb)) >= count)
        return self.all(method, verb)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one HTTP request."""
        body = await request.read()
        got = Got(request.method, dict(request.headers), orjson.loads(body) if body else {}, request)
        self.got.append(got)
        async with self._changed:
            self._changed.notify_all()
        return await self.script(got) or self._manners(got)

    def _manners(self, got: Got) -> web.StreamResponse:
        if got.method == "initialize":
            session = {"Mcp-Session-Id": f"s{len(self.all('initialize'))}"} if self.has_sessions else {}
            return got.result({"protocolVersion": self.revision, "capabilities": {}, "serverInfo": {}}, **session)
        if got.method == "tools/list":
            return got.result({"tools": []})
        if got.verb == "POST" and "id" in got.body and got.method is not None:
            return got.error(-32601)
        return web.Response(status=200 if got.verb == "DELETE" else 202 if got.verb == "POST" else 405)


@dataclass(frozen=True, slots=True)
class UpstreamStand:
    """A server and our client of it."""

    server: ScriptedMcp
    upstream: HttpMcpUpstream
    clock: ManualClock
    group: asyncio.TaskGroup
    """Where tests run requests that they do not wait for."""

    async def pause(self, beside: int = 0) -> float:
        """Wait until our client waits for the clock; for how many seconds.

        `beside` counts the alarms that are set anyway and are later.
        """
        for _ in range(TURNS):
            if len(self.clock.waiting()) > beside:
                break
            await asyncio.sleep(0)
        return round(self.clock.waiting()[0] - self.clock.now(), 3)


@asynccontextmanager
async def upstream_stand(script: Script) -> AsyncIterator[UpstreamStand]:
    """Both, for as long as the block lasts, which is half a minute at most."""
    server = ScriptedMcp(script)
    app = web.Application()
    app.router.add_route("*", "/mcp", server.serve)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    clock = ManualClock()
    try:
        async with (
            asyncio.timeout(30),
            open_bridge_session(connect_timeout_s=1) as session,
            asyncio.TaskGroup() as group,
        ):
            url = URL(f"http://127.0.0.1:{site.port}/mcp")

            def spawn(work: Coroutine[object, object, None], name: str) -> "asyncio.Task[None]":
                return group.create_task(work, name=name)

            upstream = HttpMcpUpstream(session, url, clock=clock, spawn=spawn, request_timeout_s=5)
            yield UpstreamStand(server, upstream, clock, group)
    finally:
        await runner.cleanup()


FORM: Json = {"message": "Name?", "requestedSchema": {"type": "object", "properties": {}}}
"""Parameters of a question."""


def asks(request_id: object = 1, params: Json = FORM, method: str = "elicitation/create") -> Json:
    """A request of the server's own: a question, if nothing else is said."""
    return {"id": request_id, "method": method, "params": params}


def result_of(response: Response) -> object:
    """The result of a response, read."""
    assert response.result is not None
    return orjson.loads(response.result)


class Calls:
    """A script that answers calls of the tool, one after the other, by functions; the last one again and again."""

    def __init__(self, *replies: object) -> None:
        self.replies = list(replies)

    async def __call__(self, got: Got) -> web.StreamResponse | None:
        if got.method != "tools/call":
            return None
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        assert callable(reply)
        answer = reply(got)
        found = await answer if asyncio.iscoroutine(answer) else answer
        assert isinstance(found, web.StreamResponse)
        return found


async def never_asked(ask: ServerAsk) -> Reply:
    """An OnAsk for what asks nothing."""
    raise AssertionError(f"nobody was to be asked, but {ask}")


def replying(reply: Reply, asked: list[ServerAsk] | None = None) -> OnAsk:
    """An OnAsk with one reply for all; `asked` takes the questions."""

    async def answer(ask: ServerAsk) -> Reply:
        if asked is not None:
            asked.append(ask)
        return reply

    return answer


async def unheard(note: bytes) -> None:
    """An OnNote that does not care."""


@dataclass(slots=True)
class Answering:
    """An OnAsk whose replies the test gives in its own time."""

    asked: list[ServerAsk] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    _replies: "dict[str, asyncio.Future[Reply]]" = field(default_factory=dict)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __call__(self, ask: ServerAsk) -> Reply:
        """Wait for the test's reply."""
        self.asked.append(ask)
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._replies[ask.key] = reply
        async with self._changed:
            self._changed.notify_all()
        try:
            return await reply
        except asyncio.CancelledError:
            self.cancelled.append(ask.key)
            raise

    async def until(self, count: int) -> None:
        """Wait until so many questions are open."""
        async with asyncio.timeout(5), self._changed:
            await self._changed.wait_for(lambda: len(self.asked) >= count)

    def reply(self, key: str, reply: Reply) -> None:
        """Answer one question."""
        self._replies[key].set_result(reply)
