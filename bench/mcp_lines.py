"""How a raw MCP client of the soak speaks: over streamable HTTP in either era, or by lines with a process it launched.

A line carries calls and hands every question that comes in the middle of one to whoever made the call. Nobody reads
a body twice, and a caller that is cancelled hangs up.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final, Protocol

import aiohttp
import orjson

from bench.mcp_words import (
    CREATE,
    INITIALIZE,
    Message,
    Result,
    UnexpectedError,
    headers_for,
    read_message,
    request,
)
from bench.processes import ROOT

CALL_TIMEOUT_S: Final = 15.0
"""Longest time a call may take beyond what it waits. Source: ours; a stuck sidecar must end a run, not hang it."""

LINE_BYTES: Final = 1 << 22
"""Longest line or event that is read. Source: ours; replies of the soak are far smaller."""

STOP_S: Final = 10.0
"""Longest time a sidecar may take to end once its input is closed. Source: ours; twice what the product promises."""

CALL_ERRORS: Final = (aiohttp.ClientError, OSError, TimeoutError, UnexpectedError)

Asked = Callable[[Message], None]
"""Hears a question that comes while a call lasts."""


class Line(Protocol):
    """One MCP client's way to the sidecar."""

    async def call(self, method: str, params: Mapping[str, object], asked: Asked, *, wait_s: float = 0.0) -> Result:
        """Make one call; it may wait so many seconds.

        Raises:
            CALL_ERRORS: no result.
        """
        ...

    async def answer(self, request_id: int | str, result: Mapping[str, object]) -> None:
        """Answer a question.

        Raises:
            CALL_ERRORS: it was not taken.
        """
        ...


def ask_nothing(message: Message) -> None:
    """For calls in which nothing may be asked."""
    raise UnexpectedError(f"a question where none belongs: {message}")


def _result_of(message: Message) -> Result:
    if message.result is None:
        raise UnexpectedError(f"an error: {bytes(message.error)[:300]!r}")
    return message.result


class HttpLine:
    """One client over streamable HTTP."""

    __slots__ = ("_http", "_next", "_session", "_url", "is_modern")

    def __init__(self, http: aiohttp.ClientSession, url: str, *, is_modern: bool) -> None:
        self._http = http
        self._url = url
        self._session = ""
        self._next = 0
        self.is_modern = is_modern

    async def open(self) -> None:
        """Begin: a handshake, or a look at what there is.

        Raises:
            CALL_ERRORS: it did not succeed.
        """
        await self.call("server/discover" if self.is_modern else "initialize", INITIALIZE, ask_nothing)
        if not self.is_modern:
            await self.notify("notifications/initialized", {})
        await self.call("tools/list", {}, ask_nothing)

    async def close(self) -> None:
        """End the session, if there is one.

        Raises:
            CALL_ERRORS: the server did not take it.
        """
        if not self._session:
            return
        headers = headers_for("", {}, self._session, is_modern=False)
        async with asyncio.timeout(CALL_TIMEOUT_S), self._http.delete(self._url, headers=headers) as reply:
            _expect(reply.status, 200)
        self._session = ""

    async def cancel_last(self) -> None:
        """Give up the call that was begun last.

        Raises:
            CALL_ERRORS: it was not taken.
        """
        given_up = {"requestId": self._next, "reason": "the caller has left"}
        await self.notify("notifications/cancelled", given_up)

    async def call(self, method: str, params: Mapping[str, object], asked: Asked, *, wait_s: float = 0.0) -> Result:
        """Make one call; see `Line`."""
        self._next += 1
        call_id = self._next
        async with asyncio.timeout(wait_s + CALL_TIMEOUT_S), self._post(method, params, call_id) as reply:
            _expect(reply.status, 200)
            self._session = reply.headers.get("Mcp-Session-Id", self._session) if not self.is_modern else ""
            async for message in _messages(reply):
                if message.method == CREATE:
                    asked(message)
                elif not message.method and message.id == call_id:
                    return _result_of(message)
        raise UnexpectedError(f"the reply to {method} ended without a result")

    async def notify(self, method: str, params: Mapping[str, object]) -> None:
        """Say something that has no answer.

        Raises:
            CALL_ERRORS: it was not taken.
        """
        async with asyncio.timeout(CALL_TIMEOUT_S), self._post(method, params, None) as reply:
            _expect(reply.status, 202)

    async def answer(self, request_id: int | str, result: Mapping[str, object]) -> None:
        """Answer a question; see `Line`."""
        body = orjson.dumps({"jsonrpc": "2.0", "id": request_id, "result": result})
        headers = headers_for("", {}, self._session, is_modern=False)
        async with asyncio.timeout(CALL_TIMEOUT_S), self._http.post(self._url, data=body, headers=headers) as reply:
            _expect(reply.status, 202)

    async def listen(self) -> None:
        """Hold the session's own stream open, until it ends."""
        headers = headers_for("", {}, self._session, is_modern=False)
        async with self._http.get(self._url, headers=headers) as reply:
            _expect(reply.status, 200)
            while await reply.content.readany():
                pass

    def _post(
        self, method: str, params: Mapping[str, object], call_id: int | None
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        body = orjson.dumps(request(method, params, call_id, is_modern=self.is_modern))
        headers = headers_for(method, params, self._session, is_modern=self.is_modern)
        return self._http.post(self._url, data=body, headers=headers)


def _expect(status: int, expected: int) -> None:
    if status != expected:
        raise UnexpectedError(f"expected status {expected}, got {status}")


async def _messages(reply: aiohttp.ClientResponse) -> AsyncIterator[Message]:
    """The messages of one reply: one as JSON, or many on a stream."""
    if reply.content_type == "application/json":
        yield read_message(await reply.read())
        return
    async for line in reply.content:
        if line.startswith(b"data: "):
            yield read_message(line.removeprefix(b"data: "))


class Pipe:
    """One client over standard input and output: `elicit-sidecar stdio` as its child, with calls side by side."""

    __slots__ = ("_calls", "_next", "hear", "is_modern", "name", "process")

    def __init__(self, name: str, process: asyncio.subprocess.Process, *, is_modern: bool) -> None:
        self.name = name
        self.process = process
        self.is_modern = is_modern
        self.hear: Asked = ask_nothing
        """Hears every question, as on a pipe nobody can tell in which call it comes."""
        self._next = 0
        self._calls: dict[int, asyncio.Future[Result]] = {}

    async def open(self) -> None:
        """Begin, as `HttpLine.open`."""
        await self.call("server/discover" if self.is_modern else "initialize", INITIALIZE, ask_nothing)
        if not self.is_modern:
            self._say(request("notifications/initialized", {}, None, is_modern=False))
        await self.call("tools/list", {}, ask_nothing)

    async def read(self) -> None:
        """Hand out what the sidecar says until it says no more; whoever still waits fails then."""
        output = self.process.stdout
        while output is not None and (line := await output.readline()):
            message = read_message(line)
            if message.method == CREATE:
                self.hear(message)
            elif not message.method and isinstance(message.id, int) and message.id in self._calls:
                self._settle(message.id, message)
        for arrived in self._calls.values():
            if not arrived.done():
                arrived.set_exception(UnexpectedError("the sidecar has ended"))

    def _settle(self, call_id: int, message: Message) -> None:
        arrived = self._calls[call_id]
        if arrived.done():  # its caller has just left
            return
        try:
            result = _result_of(message)
        except UnexpectedError as error:
            arrived.set_exception(error)
        else:
            arrived.set_result(result)

    async def call(self, method: str, params: Mapping[str, object], asked: Asked, *, wait_s: float = 0.0) -> Result:
        """Make one call; see `Line`. A caller that is cancelled says so, and its questions are for `hear`."""
        del asked
        self._next += 1
        call_id = self._next
        arrived: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._calls[call_id] = arrived
        self._say(request(method, params, call_id, is_modern=self.is_modern))
        try:
            async with asyncio.timeout(wait_s + CALL_TIMEOUT_S):
                return await arrived
        finally:
            del self._calls[call_id]
            if arrived.cancelled() and self.process.returncode is None:
                given_up = {"requestId": call_id, "reason": "the caller has left"}
                self._say(request("notifications/cancelled", given_up, None, is_modern=self.is_modern))

    async def answer(self, request_id: int | str, result: Mapping[str, object]) -> None:
        """Answer a question; see `Line`."""
        self._say({"jsonrpc": "2.0", "id": request_id, "result": result})

    def _say(self, message: Mapping[str, object]) -> None:
        if self.process.stdin is not None:
            self.process.stdin.write(orjson.dumps(message) + b"\n")

    async def close(self) -> int:
        """Close its input and wait for its end, by force when it will not; the exit code."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            async with asyncio.timeout(STOP_S):
                return await self.process.wait()
        except TimeoutError:
            self.process.kill()
            return await self.process.wait()


async def launch(name: str, command: Sequence[str], log: Path, *, is_modern: bool) -> Pipe:
    """Start a sidecar with us as its client; its words on standard error go to `log`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ELICIT_SIDECAR_")}
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            limit=LINE_BYTES,
            cwd=ROOT,
            env=environment,
        )
    return Pipe(name, process, is_modern=is_modern)
