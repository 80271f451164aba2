"""One request in a session of the handshake era: the server asks on its stream, and is answered in messages apart.

A stream that ends too early is taken up again where the server numbers its events, as often as it takes; a server of
2025-11-25 may want to be asked again instead of holding a connection.

Source: PROTOCOL.md 3.1 and 3.6; MCP 2025-11-25, basic/transports, "Resumability and Redelivery".
"""

import asyncio
import re
from collections.abc import Set as AbstractSet
from typing import Final

from proxy.core.errors import BridgeFault, BridgeTimeout, BridgeUnavailable, InvalidInput
from proxy.mcp import ask
from proxy.mcp.calling import OnAsk, OnNote, Outgoing, ServerAsk
from proxy.mcp.client_headers import resume_headers
from proxy.mcp.client_words import Readable, read_question, write_reply
from proxy.mcp.correlation import read_cancelled, write_cancelled
from proxy.mcp.jsonrpc import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    Notification,
    Request,
    Response,
    error_message,
    request_message,
    result_message,
)
from proxy.ports import Alarm, Clock
from proxy.upstream.clock_sleep import sleep_on
from proxy.upstream.mcp_asks import arriving, put_question, tell
from proxy.upstream.mcp_sessions import McpSession
from proxy.upstream.mcp_wire import Heard, Incoming, McpWire, Trail, ended_early, is_for, unasked

MAX_OPEN: Final = 100
"""Most requests that a server may have open while it works on one of ours; beyond it, it hears an error.

Source: ours; nobody answers more at once.
"""

MAX_ANSWERED: Final = 1_000
"""Most ids of answered requests that are remembered. Source: ours; a stream repeats less when it is taken up."""

MIN_RETRY_S: Final = 0.05
"""Shortest wait before a stream is taken up again, whatever the server says. Source: ours, against a busy loop."""

RETRY_S: Final = 1.0
"""How long to wait before a stream is taken up again where the server does not say. Source: ours, as both SDKs."""

MAX_RESUMES: Final = 10_000
"""Most connections for one stream. Source: ours; hours of polling once a second."""

MAX_FAILED_RESUMES: Final = 5
"""Most connections in a row that may fail. Source: ours."""

LAST_ANSWER_S: Final = 1.0
"""Longest time that a response waits for the fate of an answer which is on its way. Source: ours.

Both come on connections of their own, and a server says yes to an answer before it goes on.
"""

_FIELD_VALUE: Final = re.compile(r"[^\x00-\x1f\x7f]{1,1000}")
"""An event id that a header field can carry. Source: RFC 9110 section 5.5; length ours."""

_COMPLETED: Final = "notifications/elicitation/complete"
"""That a link was followed to its end: nothing that goes into an answer. Source: PROTOCOL.md 1.1."""

_BROKEN: Final = (BridgeUnavailable, BridgeTimeout)


class Conversation:
    """One request, and everything the server says and asks before its response."""

    __slots__ = (
        "_answered",
        "_call",
        "_clock",
        "_group",
        "_id",
        "_is_answered",
        "_on_ask",
        "_on_note",
        "_on_the_way",
        "_open",
        "_session",
        "_trail",
        "_wire",
    )

    def __init__(
        self, wire: McpWire, session: McpSession, call: Outgoing, *, clock: Clock, on_ask: OnAsk, on_note: OnNote
    ) -> None:
        self._wire = wire
        self._session = session
        self._call = call
        self._clock = clock
        self._on_ask = on_ask
        self._on_note = on_note
        self._id = next(session.numbers)
        self._trail = Trail()
        self._group = asyncio.TaskGroup()
        self._open: dict[str, asyncio.Task[None]] = {}
        """What answers the server's requests, by their ids."""
        self._answered: dict[str, None] = {}
        """Ids of the server's requests that are over, the oldest first."""
        self._on_the_way: set[str] = set()
        """Ids of the server's questions whose answers are being sent."""
        self._is_answered = False
        """Our own request has its response."""

    @property
    def farewell(self) -> bytes:
        """The notification that tells the server to give up."""
        return write_cancelled(self._id, "the client no longer waits")

    async def run(self) -> Heard | None:
        """Send the request and wait for its response; None where the server does not know the session.

        Raises:
            BridgeFault: no response came, or none that can be read.
        """
        last: Alarm | None = None
        try:
            async with self._group:
                heard = await self._until_answered()
                self._is_answered = True
                self._end_all(but=self._on_the_way)
                if self._on_the_way:
                    last = self._clock.alarm(self._clock.now() + LAST_ANSWER_S, self._end_all)
        except ExceptionGroup as group:
            # A TaskGroup wraps even its own body's error; of several the first one ended the others.
            raise group.exceptions[0] from None
        finally:
            if last is not None:
                last.cancel()
        return heard

    def _end_all(self, but: AbstractSet[str] = frozenset()) -> None:
        for key, task in tuple(self._open.items()):
            if key not in but:
                task.cancel()

    async def _until_answered(self) -> Heard | None:
        headers = self._session.headers_for(self._call.headers)
        body = request_message(self._id, self._call.method, self._call.params)
        try:
            async with self._wire.open(headers, body, trail=self._trail) as incoming:
                if incoming.status == 404 and self._session.id is not None:
                    return None
                if incoming.status >= 300:
                    return await incoming.refusal()
                found = await self._listen(incoming)
        except _BROKEN:
            if not _FIELD_VALUE.fullmatch(self._trail.last_event_id):
                raise
            found = None
        return Heard(found or await self._taken_up(headers), 200)

    async def _taken_up(self, sent: dict[str, str]) -> Response:
        failures = 0
        for _ in range(MAX_RESUMES):
            last_event_id, retry_ms = self._trail.last_event_id, self._trail.retry_ms
            if not _FIELD_VALUE.fullmatch(last_event_id):
                break
            await sleep_on(self._clock, RETRY_S if retry_ms is None else max(MIN_RETRY_S, retry_ms / 1000))
            try:
                headers = resume_headers(sent, last_event_id)
                async with self._wire.open(headers, None, method="GET", trail=self._trail) as incoming:
                    if incoming.status >= 300:
                        raise incoming.refused(await incoming.body())
                    found = await self._listen(incoming)
            except _BROKEN:
                failures = 1 if self._trail.last_event_id != last_event_id else failures + 1
                if failures == MAX_FAILED_RESUMES:
                    raise
                continue
            if found is not None:
                return found
            failures = 0
        raise ended_early(self._wire.url)

    async def _listen(self, incoming: Incoming) -> Response | None:
        while (message := await incoming.next()) is not None:
            if isinstance(message, Response):
                if not is_for(message, self._id):
                    raise unasked(message)
                return message
            await self._take(message)
        return None

    async def _take(self, message: Readable) -> None:
        match message:
            case Request():
                await self._begin(message)
            case Notification(method="notifications/cancelled"):
                task = self._open.get(str(read_cancelled(message.params)))
                if task is not None:
                    task.cancel()
            case Notification() if message.method != _COMPLETED:
                await self._on_note(message.raw)

    async def _begin(self, request: Request) -> None:
        key = str(request.id)
        if key in self._open or key in self._answered:
            return  # taken up again, a stream may repeat what it said
        if len(self._open) >= MAX_OPEN:
            text = f"expected at most {MAX_OPEN} open requests while one is worked on"
            await self._tell(error_message(request.id, INVALID_REQUEST, text))
            return
        task = self._open[key] = self._group.create_task(self._answer(request, key))
        task.add_done_callback(lambda _: self._close(key))

    def _close(self, key: str) -> None:
        del self._open[key]
        self._answered[key] = None
        if len(self._answered) > MAX_ANSWERED:
            del self._answered[next(iter(self._answered))]

    async def _answer(self, request: Request, key: str) -> None:
        match request.method:
            case ask.METHOD:
                await self._answer_question(request, key)
            case "ping":
                await self._tell(result_message(request.id, {}))
            case _:
                text = "the client has declared no such capability"
                await self._tell(error_message(request.id, METHOD_NOT_FOUND, text))

    async def _answer_question(self, request: Request, key: str) -> None:
        try:
            question = read_question(request.params or b"{}", salt=f"{self._session.id} {self._id} {key}")
        except InvalidInput as flaw:
            await self._tell(error_message(request.id, INVALID_PARAMS, flaw.detail))
            return
        ask = ServerAsk(key=key, question=question)
        try:
            with arriving((ask,)):
                reply = await put_question(ask, self._call, self._on_ask)
                self._on_the_way.add(key)
                await self._tell(write_reply(request.id, reply))
                tell((ask,))
        except BridgeFault:
            if not self._is_answered:
                raise  # otherwise only whoever has answered needs to know
        finally:
            self._on_the_way.discard(key)

    async def _tell(self, body: bytes) -> None:
        await self._wire.tell(self._session.headers_for(self._call.headers), body)
