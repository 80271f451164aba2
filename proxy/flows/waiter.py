"""One parked wait: its cursor, the messages that came for it, and the events its machine has to see."""

import asyncio
from collections import deque
from dataclasses import dataclass
from itertools import takewhile

from proxy.core.exchange import DeadlinePassed, Event, Stirred
from proxy.core.ids import ElicitationId
from proxy.core.legacy import WaitAsk
from proxy.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One message, ready to be put into a reply."""

    sequence: int
    """As the agent numbers it."""
    body: bytes
    created_at: float | None
    elicitation_id: ElicitationId | None = None
    """Of the question that it is; None for a message."""
    note_key: bytes | None = None
    """Of the question that it is the Bridge's note of, where that is what its agent is told; see `told_questions`."""


class Waiter:
    """What a feed knows of one wait. Lives as long as the agent's call; owned by its driver."""

    __slots__ = ("_arrived", "_events", "ask", "empty_wakes", "on_elicitation", "parcels", "scan")

    def __init__(self, ask: WaitAsk, *, on_elicitation: bool) -> None:
        self.ask = ask
        self.scan: int = ask.since
        """Highest message looked at for this wait; at least the agent's cursor."""
        self.on_elicitation = on_elicitation
        self.parcels: list[Parcel] = []
        self.empty_wakes = 0
        self._events: deque[Event] = deque()
        self._arrived: asyncio.Future[None] | None = None

    def post(self, event: Event) -> None:
        """Put an event before the machine; repeated stirring counts once."""
        if isinstance(event, Stirred) and any(isinstance(waiting, Stirred) for waiting in self._events):
            return
        self._events.append(event)
        self._wake()

    def take(self, parcels: list[Parcel], upto: int) -> None:
        """Messages up to number `upto` were read for this wait; keep those that are new to it."""
        fresh = [parcel for parcel in parcels if parcel.sequence > self.scan]
        if upto > self.scan:
            self.scan = upto
            self.empty_wakes += not fresh
        if fresh:
            self.parcels.extend(fresh)
            self.post(Stirred())

    def first_parcels(self, room: int) -> list[Parcel]:
        """What the next reply holds, so many at most: up to the first question behind a message, as they come first."""
        asked = list(takewhile(lambda parcel: parcel.elicitation_id is not None, self.parcels))
        told = takewhile(lambda parcel: parcel.elicitation_id is None, self.parcels[len(asked) :])
        return [*asked, *told][:room]

    def start_over(self) -> bool:
        """Read again from the agent's cursor, as the other way shows what this one left out; False when nothing was."""
        had_read = self.scan > self.ask.since
        self.scan = self.ask.since
        self.parcels.clear()
        return had_read

    async def next_event(self, until: float, clock: Clock) -> Event:
        """The next event, or DeadlinePassed at monotonic time `until`."""
        if not self._events:
            self._arrived = asyncio.get_running_loop().create_future()
            alarm = clock.alarm(until, self._wake)
            try:
                await self._arrived
            finally:
                alarm.cancel()
                self._arrived = None
        return self._events.popleft() if self._events else DeadlinePassed()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)
