"""Clients of the soak that do not stay: they come, look around, begin to wait and leave, each way there is to leave.

Nothing that counts is for them. Whatever they leave behind in a sidecar is a leak.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from enum import Enum
from typing import Final

import aiohttp

from bench.ledger import Ledger
from bench.mcp_lines import CALL_ERRORS, HttpLine, Line, Pipe
from bench.mcp_words import WAIT_TOOL, Message, UnexpectedError, tool_params, wait_arguments

WAIT_S: Final = 60
"""Length of a wait that nobody will see the end of; long enough to be answered on a stream."""

STAY_S: Final = (0.02, 1.5)
"""Shortest and longest time until a visitor leaves its wait. Source: ours; before and after a question finds it."""


class Leaving(Enum):
    """How a client of the handshake era leaves its wait."""

    HANG_UP = "it closes the connection, then ends its session"
    CANCEL = "it cancels the call, then ends its session"
    END = "it ends its session while it waits"
    VANISH = "it closes the connection and is never seen again"


class Visits:
    """All visits of one run."""

    __slots__ = ("_chance", "_cursor", "_http", "_ledger", "_url", "count")

    def __init__(
        self, http: aiohttp.ClientSession, url: str, ledger: Ledger, *, chance: random.Random, cursor: Callable[[], int]
    ) -> None:
        self.count = 0
        self._http = http
        self._url = url
        self._ledger = ledger
        self._chance = chance
        self._cursor = cursor
        """Where the log ends, as far as is known."""

    async def over_http(self, name: str) -> None:
        """One visit over HTTP, in either era."""
        line = HttpLine(self._http, self._url, is_modern=self._chance.random() < 0.5)
        try:
            await line.open()
            await (self._leave_call(line, name) if line.is_modern else self._leave_session(line, name))
            self.count += 1
        except CALL_ERRORS as error:
            self._failed(error)

    async def over_pipe(self, pipe: Pipe, name: str) -> None:
        """One wait that its caller cancels, between others on the same pipe."""
        try:
            await self._leave_call(pipe, name)
            await pipe.call("ping", {}, _unheard)
            self.count += 1
        except CALL_ERRORS as error:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        self._ledger.failed(f"visit: {type(error).__name__}: {str(error)[:200]}")

    async def _wait(self, line: Line, name: str) -> None:
        params = tool_params(WAIT_TOOL, wait_arguments(name, since=self._cursor(), wait_s=WAIT_S))
        await line.call("tools/call", params, _unheard, wait_s=WAIT_S)

    async def _leave_call(self, line: Line, name: str) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._chance.uniform(*STAY_S)):
                await self._wait(line, name)

    async def _leave_session(self, line: HttpLine, name: str) -> None:
        leaving = self._chance.choice(tuple(Leaving))
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(self._quietly(line.listen()))
            waiting = group.create_task(self._quietly(self._wait(line, name)))
            await asyncio.sleep(self._chance.uniform(*STAY_S))
            await self._quietly(self._leave(line, leaving, waiting))
            listening.cancel()
        if leaving is not Leaving.VANISH:
            await line.close()

    async def _leave(self, line: HttpLine, leaving: Leaving, waiting: "asyncio.Task[None]") -> None:
        if leaving is Leaving.CANCEL and not waiting.done():
            await line.cancel_last()
        elif leaving is Leaving.END:
            await line.close()
        waiting.cancel()

    async def _quietly(self, work: Coroutine[object, object, None]) -> None:
        """Do what ends in one of many ways here; only what is no end of a call counts as a failure."""
        try:
            await work
        except UnexpectedError:  # a call without a result, as it was given up
            return
        except CALL_ERRORS as error:
            self._failed(error)


def _unheard(message: Message) -> None:
    """A visitor does not answer."""
    del message
