"""One wait at an MCP server that asks by itself: it may be held up by questions, and outlive whoever began it."""

import asyncio
from dataclasses import dataclass, field

from proxy.core.errors import BridgeFault
from proxy.core.legacy import Message
from proxy.ports import Alarm
from proxy.upstream.parked_questions import Line


class Joined:
    """One wait of ours that takes part in a call."""

    __slots__ = ("_bell", "is_late", "since")

    def __init__(self, since: int) -> None:
        self.since = since
        self.is_late = False
        """Its time is up."""
        self._bell = asyncio.Event()

    def ring(self) -> None:
        """Something happened to the call."""
        self._bell.set()

    def ring_late(self) -> None:
        """The time of the wait is up."""
        self.is_late = True
        self._bell.set()

    async def stirred(self) -> None:
        """Wait until something happens."""
        await self._bell.wait()
        self._bell.clear()


@dataclass(slots=True, kw_only=True, eq=False)
class WaitCall:
    """One call of the wait tool."""

    line: Line
    since: int
    hold_s: float
    """How long the server was told to wait, in seconds."""
    outcome: tuple[Message, ...] | BridgeFault | None = None
    """None while the server has not answered."""
    has_asked: bool = False
    open_questions: int = 0
    joined: set[Joined] = field(default_factory=set)
    due: Alarm | None = None
    """When the server must have answered, unless a question of its own is open."""
    task: "asyncio.Task[None] | None" = None

    def is_held_for(self, joined: Joined) -> bool:
        """Whether a wait has to go on waiting: a call that has asked may take much longer than the wait."""
        return self.outcome is None and not (self.has_asked and joined.is_late)

    def stir(self) -> None:
        """Wake all who take part."""
        for joined in self.joined:
            joined.ring()

    def news_after(self, since: int) -> tuple[Message, ...]:
        """What the call brought that is new to this cursor; nothing for one below its own, which would miss some."""
        if not isinstance(self.outcome, tuple) or since < self.since:
            return ()
        return tuple(message for message in self.outcome if message.sequence > since)

    def asks(self) -> None:
        """The server asks something: until that is over the call takes as long as it takes."""
        self.has_asked = True
        self.open_questions += 1
        self._cancel_due()
        self.stir()

    def end(self, outcome: tuple[Message, ...] | BridgeFault) -> None:
        """The call has ended so, unless it has ended already."""
        self._cancel_due()
        if self.outcome is None:
            self.outcome = outcome

    def _cancel_due(self) -> None:
        if self.due is not None:
            self.due.cancel()

    def give_up(self, fault: BridgeFault) -> None:
        """End the call before the server does."""
        self.end(fault)
        if self.task is not None:
            self.task.cancel()
