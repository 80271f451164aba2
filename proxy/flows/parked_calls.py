"""Calls of envelope clients at a server of the handshake era, round by round.

A round ends with the server's response or with its questions; these carry a sealed state, and the client comes back
with it and its answers. The call itself stays open at the server meanwhile. A state belongs to one principal, method,
name and arguments, counts once, and opens nothing after its time. The same retry again gets the same end again.

After a restart of ours the call is lost: what is safe to repeat begins anew, everything else is refused.

Source: PROTOCOL.md 2.5, 3.6 and 4.2 (A3 x B2).
"""

import asyncio
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import orjson

from proxy.core.elicitation import AnswerKind
from proxy.core.errors import AgentFault, InvalidInput, InvalidState, SidecarError, TooManyWaits
from proxy.flows.client_questions import NO_WORDS
from proxy.flows.parked_call import Defect, DownCall, ParkedCall
from proxy.mcp.ask import Answered, Failed, Reply, Wording, read_input_response, word, write_input_request
from proxy.mcp.calling import Outgoing, ServerAsk
from proxy.mcp.downward import links_of, read_tools_page
from proxy.mcp.jsonrpc import Response
from proxy.mcp.mrtr import HANDLE_BYTES, open_state, seal
from proxy.mcp.revisions import R2026_07_28, Era
from proxy.ports import Alarm, Clock, ExchangeStore, McpUpstream, Spawn

REPLAY_S: Final = 60.0
"""How long the end of a round is kept for the same retry again, seconds. Source: ours; a broken connection."""

MAX_REPLAYS: Final = 100
"""Most ends of rounds that are kept so; of whoever has most of them, the oldest is forgotten. Source: ours."""

RETRY_S: Final = 5.0
"""When to come again with one call more than may wait. Source: ours; the client's own answers make room sooner."""

MAX_TOOL_PAGES: Final = 20
"""Most pages of `tools/list` that are read for one tool. Source: ours."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The server's response."""

    response: Response


@dataclass(frozen=True, slots=True)
class Asking:
    """The server's questions, for `input_required`."""

    requests: Mapping[str, object]
    state: str


Turn = Finished | Asking
"""How a round ended."""


@dataclass(slots=True)
class _Retry:
    """One retry, however often it comes."""

    call: ParkedCall | None
    """None where it was refused without asking the server."""
    end: Turn | AgentFault | None = None
    handle: bytes = b""
    """Of the state that it came with; empty in a call that begins."""
    is_lost: bool = False
    """It had no end, and its request was given up."""
    waiters: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(slots=True, kw_only=True)
class _Round:
    """One state that is out."""

    principal: str
    record: bytes
    """What binds it to its call."""
    call: ParkedCall | None = None
    """None where nothing is open at the server and the retry repeats the whole call."""
    shown: Mapping[str, Wording]
    handle: bytes = b""
    alarm: Alarm | None = None
    retry: _Retry | None = None
    """None while nobody has come back with it."""


@dataclass(slots=True, kw_only=True)
class ParkedCalls:
    """All such calls of one sidecar."""

    upstream: McpUpstream
    store: ExchangeStore
    clock: Clock
    chance: Callable[[int], bytes]
    """Random bytes, as many as asked for."""
    spawn: Spawn
    defect: Defect
    park_s: float
    """How long a question stays open, seconds."""
    max_parked: int
    """Most calls of one principal that wait for an answer."""
    _rounds: dict[bytes, _Round] = field(default_factory=dict)
    _parked: Counter[str] = field(default_factory=Counter)
    _replays: dict[str, dict[bytes, None]] = field(default_factory=dict)
    """Rounds that are kept for the same retry again, of each principal, the oldest first."""
    _live: set[ParkedCall] = field(default_factory=set)

    def __len__(self) -> int:
        """Calls that wait for an answer of their clients."""
        return self._parked.total()

    async def serve(self, call: DownCall) -> Turn:
        """Serve one round to its end. Cancelled while the server works, the request is cancelled there.

        Raises:
            InvalidInput: the state or an answer cannot be taken.
            TooManyWaits: as many calls of this principal wait as may.
            StateUnavailable: the store fails.
            BridgeFault: the server gave no response.
            AgentFault: the client would not do what the server needs.
        """
        retry = _Retry(self._begun(call)) if call.asked.state is None else await self._taken_up(call)
        return await self._ended(retry, call)

    def close(self) -> None:
        """Give up all calls: the house closes."""
        for round_ in self._rounds.values():
            if round_.alarm is not None:
                round_.alarm.cancel()
        self._rounds.clear()
        self._replays.clear()
        self._parked.clear()
        for running in tuple(self._live):
            running.cancel()

    def _begun(self, call: DownCall) -> ParkedCall:
        running = ParkedCall(call, self.clock, park_s=self.park_s)
        self._live.add(running)
        running.start(self.upstream, self.spawn, self.defect, over=lambda: self._live.discard(running))
        return running

    # The end of a round

    async def _ended(self, retry: _Retry, call: DownCall) -> Turn:
        running = retry.call
        if running is None or retry.end is not None:
            return _told(retry.end)
        retry.waiters += 1
        running.heard_by(call)
        try:
            async with retry.lock:
                if retry.end is None:
                    retry.end = await self._next(running, call)
                    self._keep_until(retry.handle, self.clock.now() + REPLAY_S)
            return _told(retry.end)
        finally:
            retry.waiters -= 1
            running.unheard(call)
            if retry.end is None and retry.waiters == 0:
                retry.is_lost = True
                running.cancel()

    async def _next(self, running: ParkedCall, call: DownCall) -> Turn:
        while True:
            await running.something_to_tell()
            match running.ended:
                case SidecarError() as error:
                    raise error
                case Response() as response:
                    return await self._responded(response, call)
                case None:
                    asking = await self._questions(running, call)
                    if asking is not None:
                        return asking

    async def _responded(self, response: Response, call: DownCall) -> Turn:
        worded = [word(link, R2026_07_28, call.modes) for link in links_of(response)]
        shown = {f"link-{number}": wording for number, wording in enumerate(worded) if wording is not None}
        if not shown:
            return Finished(response)
        round_ = _Round(principal=call.outgoing.principal, record=_record(call), shown=shown)
        state = await self._put_out(round_, until=self.clock.now() + self.park_s)
        return Asking(_requests(shown), state)

    async def _questions(self, running: ParkedCall, call: DownCall) -> Asking | None:
        """What is open now; None where that changed before it could be shown."""
        asks = dict(running.asks)
        shown = {key: ask.wording for key, ask in asks.items()}
        round_ = _Round(principal=call.outgoing.principal, record=_record(call), call=running, shown=shown)
        state = await self._put_out(round_, until=min(ask.until for ask in asks.values()))
        if running.ended is None and running.asks == asks:
            return Asking(_requests(shown), state)
        self._drop(round_)
        return None

    # States that are out

    async def _put_out(self, round_: _Round, *, until: float) -> str:
        """Let a round wait for its client until monotonic time `until`; gives its sealed state."""
        if self._parked[round_.principal] >= self.max_parked:
            raise TooManyWaits(
                f"expected at most {self.max_parked} calls of one client that wait for its answer; answer those first",
                retry_after_s=RETRY_S,
            )
        handle = self.chance(HANDLE_BYTES)
        round_.handle = handle
        expires_at = math.ceil(self.clock.wall() + until - self.clock.now())
        self._rounds[handle] = round_
        self._parked[round_.principal] += 1
        is_out = False
        try:
            owner = round_.principal.encode()
            await self.store.suspend(handle, round_.record, owner=owner, expires_at=expires_at)
            ring = await self.store.keys()
            state = seal(handle, expires_at=expires_at, ring=ring, binding=round_.record)
            is_out = True
        finally:
            if not is_out:
                self._drop(round_)
        round_.alarm = self.clock.alarm(until, lambda: self._expire(round_))
        return state

    def _drop(self, round_: _Round) -> None:
        """Forget a round for which nobody has come back."""
        self._rounds.pop(round_.handle, None)
        self._no_longer_parked(round_)

    def _no_longer_parked(self, round_: _Round) -> None:
        if round_.alarm is not None:
            round_.alarm.cancel()
            round_.alarm = None
        self._parked[round_.principal] -= 1
        if not self._parked[round_.principal]:
            del self._parked[round_.principal]

    def _expire(self, round_: _Round) -> None:
        self._drop(round_)
        if round_.call is not None:
            round_.call.expire()

    # Retries

    async def knows(self, call: DownCall) -> bool:
        """Whether the state of this call is one of ours for it, and in time."""
        try:
            await self._handle(call)
        except InvalidState:
            return False
        return True

    async def _handle(self, call: DownCall) -> bytes:
        ring = await self.store.keys()
        return open_state(call.asked.state, now=self.clock.wall(), ring=ring, binding=_record(call)).handle

    async def _taken_up(self, call: DownCall) -> _Retry:
        """The retry that this round is, the first time or again."""
        handle = await self._handle(call)
        round_ = self._rounds.get(handle)
        replies = {} if round_ is None or round_.retry else _replies(round_.shown, call.asked.answers)
        record = await self.store.resume(handle, _digest(call.asked.answers), now=self.clock.wall())
        if record != _record(call):
            raise InvalidState
        if round_ is None or (round_.retry is not None and round_.retry.is_lost):
            return await self._repeated(handle, call)
        if round_.retry is None:
            if handle not in self._rounds:
                raise InvalidState  # it expired meanwhile
            self._no_longer_parked(round_)
            round_.retry = self._retried(round_, replies, call)
            self._remember(round_)
        return round_.retry

    def _retried(self, round_: _Round, replies: Mapping[str, Reply], call: DownCall) -> _Retry:
        if round_.call is not None:
            round_.call.answer(replies)
            return _Retry(round_.call, handle=round_.handle)
        if any(reply != Answered(AnswerKind.ACCEPT) for reply in replies.values()):
            return _Retry(None, end=AgentFault("the server does not serve this before its link was opened"))
        return _Retry(self._begun(call), handle=round_.handle)

    async def _repeated(self, handle: bytes, call: DownCall) -> _Retry:
        """Begin anew what a restart interrupted, or what was forgotten, where that is safe."""
        if not await self._is_repeatable(call):
            raise InvalidState
        known = self._rounds.get(handle)
        if known is not None and known.retry is not None and not known.retry.is_lost:
            return known.retry  # the same retry, come twice
        retry = _Retry(self._begun(call), handle=handle)
        principal, record = call.outgoing.principal, _record(call)
        self._rounds[handle] = _Round(principal=principal, record=record, handle=handle, shown={}, retry=retry)
        self._remember(self._rounds[handle])
        return retry

    async def _is_repeatable(self, call: DownCall) -> bool:
        if call.asked.method != "tools/call":
            return True  # prompts and resources are only read
        cursor: str | None = None
        for _ in range(MAX_TOOL_PAGES):
            listing = _listing(call.outgoing, cursor)
            response = await self.upstream.request(Era.HANDSHAKE, listing, on_ask=_refuse, on_note=_ignore)
            page = read_tools_page(response.result or b"null", call.asked.name)
            if page.is_repeatable is not None or page.next_cursor is None:
                return page.is_repeatable is True
            cursor = page.next_cursor
        return False

    # Replays

    def _remember(self, round_: _Round) -> None:
        """Keep the round for the same retry again; at the bound nobody pushes out those of others who have fewer."""
        self._replays.setdefault(round_.principal, {})[round_.handle] = None
        if sum(map(len, self._replays.values())) > MAX_REPLAYS:
            most = max(self._replays.values(), key=len)
            self._forget(next(iter(most)))

    def _keep_until(self, handle: bytes, until: float) -> None:
        round_ = self._rounds.get(handle)
        if round_ is not None:
            round_.alarm = self.clock.alarm(until, lambda: self._forget(handle))

    def _forget(self, handle: bytes) -> None:
        round_ = self._rounds.pop(handle, None)
        if round_ is None:
            return
        if round_.alarm is not None:
            round_.alarm.cancel()
        kept = self._replays.get(round_.principal, {})
        kept.pop(handle, None)
        if not kept:
            self._replays.pop(round_.principal, None)


def _told(end: Turn | AgentFault | None) -> Turn:
    if isinstance(end, Finished | Asking):
        return end
    raise end or InvalidState


def _record(call: DownCall) -> bytes:
    """What a state is bound to: principal, method, name and arguments."""
    return hashlib.sha256(call.outgoing.principal.encode() + b"\x00" + call.asked.digest).digest()


def _digest(answers: Mapping[str, bytes]) -> bytes:
    """What tells one set of answers from another."""
    told = ((hashlib.sha256(key.encode()).digest(), hashlib.sha256(raw).digest()) for key, raw in answers.items())
    return hashlib.sha256(b"".join(key + raw for key, raw in sorted(told))).digest()


def _requests(shown: Mapping[str, Wording]) -> dict[str, object]:
    return {key: write_input_request(wording) for key, wording in shown.items()}


def _replies(shown: Mapping[str, Wording], answers: Mapping[str, bytes]) -> dict[str, Reply]:
    """The answers to what was shown; what is missing will be asked for again. Source: PROTOCOL.md 2.5, rule 6."""
    replies: dict[str, Reply] = {}
    for key, wording in shown.items():
        if key in answers:
            reply = read_input_response(wording, answers[key])
            if isinstance(reply, Failed):
                raise InvalidInput(f"expected an answer in inputResponses.{key}: {reply.text}")
            replies[key] = reply
    return replies


def _listing(call: Outgoing, cursor: str | None) -> Outgoing:
    params = {} if cursor is None else {"cursor": cursor}
    return replace(call, method="tools/list", params=orjson.dumps(params), modes=frozenset())


async def _refuse(_ask: ServerAsk) -> Reply:
    return NO_WORDS


async def _ignore(_note: bytes) -> None:
    return
