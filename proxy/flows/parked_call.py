"""One request at a server of the handshake era that goes on while its client is away to answer a question.

It runs in a task of the house. Whoever serves the client at the moment hears its notifications and waits until there
is something to tell: questions that are open, or the end.

Source: PROTOCOL.md 4.2 (A3 x B2).
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from proxy.core.elicitation import AnswerKind
from proxy.core.errors import OurFault, SchemaRefused, SidecarError
from proxy.flows.client_questions import NO_WORDS
from proxy.mcp.ask import Answered, CannotBeAsked, Reply, Wording, word
from proxy.mcp.calling import OnNote, Outgoing, ServerAsk
from proxy.mcp.downward import note_for
from proxy.mcp.enveloped import MAY_ASK, Enveloped
from proxy.mcp.jsonrpc import INVALID_PARAMS, Response
from proxy.mcp.revisions import R2026_07_28, Era, Mode
from proxy.ports import Clock, McpUpstream, Spawn

Defect = Callable[[str, BaseException], None]
"""Report a mistake of our own."""

MAX_ASKS: Final = 100
"""Most questions of one request that are open at once. Source: ours; nobody answers more."""

CLOSING_S: Final = 5.0
"""How long a request may take to end by itself when its questions were cancelled, seconds. Source: ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownCall:
    """One round of a client: what it asks for, and where its notifications go."""

    asked: Enveloped
    outgoing: Outgoing
    """The same for the server."""
    on_note: OnNote

    @property
    def modes(self) -> frozenset[Mode]:
        """How the client can be asked in it. Source: PROTOCOL.md 2.5, rule 1 (only some methods may ask)."""
        return self.asked.modes if self.asked.method in MAY_ASK else frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAsk:
    """A question of the server that waits for an answer."""

    wording: Wording
    mode: Mode
    until: float
    """When it is given up, monotonic seconds."""
    arrived: "asyncio.Future[Reply]"


class ParkedCall:
    """The request: who waits for it, what it waits for, and how it ended."""

    __slots__ = (
        "_clock",
        "_is_closing",
        "_now_heard",
        "_outgoing",
        "_park_s",
        "_stirred",
        "_task",
        "asks",
        "ended",
        "modes",
    )

    def __init__(self, call: DownCall, clock: Clock, *, park_s: float) -> None:
        self._outgoing = call.outgoing
        self._clock = clock
        self._park_s = park_s
        self._now_heard: DownCall | None = call
        self._stirred = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False
        self.modes = call.modes
        """How the client can be asked, by its latest round."""
        self.asks: dict[str, OpenAsk] = {}
        """Open questions by their keys."""
        self.ended: Response | SidecarError | None = None

    # The server's side

    def start(self, upstream: McpUpstream, spawn: Spawn, defect: Defect, *, over: Callable[[], None]) -> None:
        """Send it, in a task of the house; `over` is called when it has ended."""

        def end(_: "asyncio.Task[None]") -> None:
            if self.ended is None:  # cancelled, maybe before its first step
                self.ended = OurFault("the call at the MCP server was given up")
            self._stirred.set()
            over()

        self._task = spawn(self._run(upstream, defect), "a call at the MCP server")
        self._task.add_done_callback(end)

    async def _run(self, upstream: McpUpstream, defect: Defect) -> None:
        # A boundary: a defect here must end this call, not the whole house.
        try:
            self.ended = await upstream.request(Era.HANDSHAKE, self._outgoing, on_ask=self._ask, on_note=self._note)
        except SidecarError as error:
            self.ended = error
        except Exception as error:  # noqa: BLE001  # boundary, see docs/decisions/0003-boundaries.md
            defect("parked call", error)

    async def _ask(self, ask: ServerAsk) -> Reply:
        if self._is_closing:
            return Answered(AnswerKind.CANCEL)
        try:
            wording = word(ask.question, R2026_07_28, self.modes)
        except SchemaRefused as refused:
            return CannotBeAsked(INVALID_PARAMS, refused.detail)
        if wording is None or len(self.asks) >= MAX_ASKS:
            return NO_WORDS
        mode = Mode.URL if wording.worded is None else Mode.FORM
        arrived: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        open_ask = OpenAsk(wording=wording, mode=mode, until=self._clock.now() + self._park_s, arrived=arrived)
        self.asks[ask.key] = open_ask
        self._stirred.set()
        try:
            return await arrived
        finally:
            if self.asks.get(ask.key) is open_ask:  # the server took it back
                del self.asks[ask.key]

    async def _note(self, note: bytes) -> None:
        heard = self._now_heard
        if heard is None:
            return
        shown = note_for(note, progress_token=heard.asked.progress_token, log_level=heard.asked.log_level)
        if shown is not None:
            await heard.on_note(shown)

    # The client's side

    def heard_by(self, call: DownCall) -> None:
        """A round begins; what its client cannot be asked any more, the server is told."""
        self._now_heard, self.modes = call, call.modes
        lost = [key for key, ask in self.asks.items() if ask.mode not in self.modes]
        self.answer(dict.fromkeys(lost, NO_WORDS))

    def unheard(self, call: DownCall) -> None:
        """That round is over."""
        if self._now_heard is call:
            self._now_heard = None

    async def something_to_tell(self) -> None:
        """Wait until a question is open, or the request has ended."""
        while self.ended is None and not self.asks:
            self._stirred.clear()
            await self._stirred.wait()

    def answer(self, replies: Mapping[str, Reply]) -> None:
        """Hand over answers; those to questions that are no longer open are nobody's."""
        for key, reply in replies.items():
            ask = self.asks.pop(key, None)
            if ask is not None and not ask.arrived.done():
                ask.arrived.set_result(reply)

    def expire(self) -> None:
        """Nobody came with an answer: cancel the questions, and a little later the request."""
        self._is_closing = True
        self.answer(dict.fromkeys(list(self.asks), Answered(AnswerKind.CANCEL)))
        self._clock.alarm(self._clock.now() + CLOSING_S, self.cancel)

    def cancel(self) -> None:
        """End the request at the server; harmless when it has ended."""
        if self._task is not None:
            self._task.cancel()
