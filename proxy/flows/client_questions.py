"""Questions that are open at MCP clients of the handshake era: put on a stream of theirs, answered in a message apart.

Whoever asks owns the stream and waits here; a door hands over every response that a client sends. An answer that
comes when nobody waits any more still counts while its question is open: it goes to `late`.

Source: PROTOCOL.md 3.5 and 3.6.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from proxy.mcp.ask import CannotBeAsked, Question, Reply, Wording, read_answer, word, write_create
from proxy.mcp.correlation import ID_BYTES, Asked, Correlation, Seat, Verdict, own_id, write_cancelled
from proxy.mcp.jsonrpc import INVALID_PARAMS, RequestId, Response
from proxy.mcp.revisions import Mode, Revision
from proxy.ports import Alarm, Clock

NO_WORDS: Final = CannotBeAsked(INVALID_PARAMS, "the client cannot be asked this way")
"""Reply of a client that must not be asked: its revision or its capability has no such question."""

Write = Callable[[bytes], Awaitable[bool]]
"""Put one message on the stream of the client's call; False when it cannot arrive any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLine:
    """One call of a client that can be asked in the middle of it."""

    seat: Seat
    call_id: RequestId
    revision: Revision
    modes: frozenset[Mode]
    write: Write


@dataclass(frozen=True, slots=True, kw_only=True)
class Afterwards:
    """What becomes of an answer that comes when the call is over."""

    until: float
    """Monotonic seconds; from then on it no longer counts."""
    take: Callable[[Reply], None]


@dataclass(slots=True, kw_only=True)
class _Waiting:
    line: ClientLine
    asked: Asked
    wording: Wording
    arrived: "asyncio.Future[Reply]"
    afterwards: Afterwards | None
    is_left: bool = False
    """Nobody waits any more."""
    end: Alarm | None = None
    """When the question ends, with nobody to wait for that."""


@dataclass(slots=True)
class ClientQuestions:
    """All questions that are open at clients of one sidecar."""

    clock: Clock
    chance: Callable[[int], bytes]
    """Random bytes, as many as asked for."""
    late: Callable[[Seat, Asked, Reply], None]
    """An answer to an open question for which nobody waits, where `ask` was not told what becomes of it."""
    correlation: Correlation = field(default_factory=Correlation)
    """To be changed here alone, as each of its questions has a counterpart in `_waiting`."""
    _waiting: dict[str, _Waiting] = field(default_factory=dict)
    _is_draining: bool = False

    async def ask(
        self, line: ClientLine, question: Question, *, ref: str, until: float, afterwards: Afterwards | None = None
    ) -> Reply | None:
        """Ask in the middle of a call; None when monotonic time `until` came first, or the stream is broken.

        Out of time, the client is told that its answer is no longer waited for; it counts nevertheless until
        `settle(ref)`, or until the time that `afterwards` names. The same holds when the asker is cancelled, who
        tells the client by `left_open`.

        Raises:
            SchemaRefused: the question's schema is beyond the bounds of core/forms.py.
        """
        wording = word(question, line.revision, line.modes)
        if wording is None:
            return NO_WORDS
        asked = Asked(own_id=own_id(self.chance(ID_BYTES)), ref=ref, call_id=line.call_id)
        if self._is_draining:
            return None
        if not self.correlation.ask(line.seat, asked):
            return NO_WORDS
        arrived: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(line=line, asked=asked, wording=wording, arrived=arrived, afterwards=afterwards)
        self._waiting[asked.own_id] = waiting
        alarm = self.clock.alarm(until, lambda: _give_up(arrived))
        has_it = False
        try:
            if not await line.write(write_create(wording, asked.own_id)):
                return None
            await asyncio.wait({arrived})
            has_it = True
            if not arrived.cancelled():
                return arrived.result()
            await line.write(write_cancelled(asked.own_id, "the call is over"))
            return None
        finally:
            alarm.cancel()
            self._leave(waiting, has_it=has_it)

    def _leave(self, waiting: _Waiting, *, has_it: bool) -> None:
        """The asker goes away; an answer that it has not taken with it is late."""
        waiting.is_left = True
        arrived = waiting.arrived
        if arrived.done() and not arrived.cancelled():
            if not has_it:
                self._came_late(waiting, arrived.result())
        elif waiting.afterwards is not None and waiting.asked.own_id in self._waiting:
            ref, seat = waiting.asked.ref, waiting.line.seat
            waiting.end = self.clock.alarm(waiting.afterwards.until, lambda: self.settle(seat, ref))

    def _came_late(self, waiting: _Waiting, reply: Reply) -> None:
        if waiting.afterwards is not None:
            waiting.afterwards.take(reply)
        else:
            self.late(waiting.line.seat, waiting.asked, reply)

    def is_asking(self, seat: Seat, ref: str) -> bool:
        """Whether somebody waits for the answer to this question at this seat now."""
        return any(
            not waiting.is_left and waiting.line.seat == seat and waiting.asked.ref == ref
            for waiting in self._waiting.values()
        )

    def left_open(self, seat: Seat, call_id: RequestId) -> tuple[str, ...]:
        """Ids of the questions that a call has left at its client: to be cancelled there, when the call was."""
        found = []
        for own, waiting in self._waiting.items():
            if waiting.line.seat == seat and waiting.asked.call_id == call_id and waiting.is_left:
                found.append(own)
        self.correlation.detach_call(seat, call_id)
        return tuple(found)

    def settle(self, seat: Seat, ref: str) -> None:
        """The question is over, however; a later answer to it no longer counts, and nobody waits for one."""
        for asked in self.correlation.settle(seat, ref):
            self._end(asked.own_id)

    def close(self, seat: Seat) -> None:
        """The client's session is over: whoever still waits for an answer of it waits in vain."""
        for ended in self.correlation.close(seat):
            for asked in ended.asked:
                self._end(asked.own_id)

    def drain(self) -> None:
        """The sidecar stops: nobody waits for an answer any longer, and nothing more is asked."""
        self._is_draining = True
        for waiting in self._waiting.values():
            _give_up(waiting.arrived)

    def _end(self, own: str) -> None:
        _give_up(self._forget(own).arrived)

    def _forget(self, own: str) -> _Waiting:
        waiting = self._waiting.pop(own)
        if waiting.end is not None:
            waiting.end.cancel()
        return waiting

    def overhear(self, seat: Seat, request_id: RequestId) -> None:
        """A request of the server passes to the client; if another sidecar has put it, its answer has to find back."""
        self.correlation.overhear(seat, request_id)

    def take(self, seat: Seat, response: Response) -> Verdict | None:
        """A response from a client: None when it was an answer that counts, else what has to become of it."""
        found = self.correlation.answer(seat, response.id)
        if isinstance(found, Verdict):
            return found
        for other in found.others:
            self._end(other.own_id)
        waiting = self._forget(found.asked.own_id)
        reply = read_answer(waiting.wording, response)
        if waiting.is_left or waiting.arrived.done():
            self._came_late(waiting, reply)
        else:
            waiting.arrived.set_result(reply)
        return None


def _give_up(arrived: "asyncio.Future[Reply]") -> None:
    arrived.cancel()
