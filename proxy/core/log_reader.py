"""From where a log is read that answers ten events at a time and cannot say where it ends.

First the end is found, by longer and longer steps and then by halving. From there the log is read on as it grows, and
back as far as what stands there may still matter, the latest first. Each look at the end begins one event before it:
the Bridge then answers at once, and an event that is another one tells that the log is another one, as a Bridge that
has lost its log numbers from 1 again.

Looks may be under way at the same time and come back in any order; each carries what it was made for.

Source: BRIDGE.md 2.2 (sequences) and 2.3 (ten in one answer, a wait without news takes its whole time).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from proxy.core.bus import MAX_LIFE_S
from proxy.core.legacy import ITEMS_PER_REPLY, Message

Mark = tuple[int, str]
"""Sequence and time stamp of an event: by these it is known again."""


class Aim(Enum):
    """What a look is for."""

    FIND = "find"
    ON = "on"
    BACK = "back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One question to the log: what comes after `since`."""

    aim: Aim
    since: int
    log: int
    expected: Mark | None = None
    """The event that must come first."""
    is_guess: bool = False
    """`since` is somebody's word for where the log ends."""


@dataclass(slots=True)
class _Search:
    """Where the end of the log is looked for: above `floor`, and below `ceiling` where there is one."""

    floor: int = 0
    floor_mark: Mark | None = None
    floor_since: int = 0
    """All events from here up to `floor` have been read."""
    ceiling: int | None = None
    step: int = ITEMS_PER_REPLY
    guess: int = 0
    is_misled: bool = False
    """A guess was wrong: no other is followed, as a wrong one costs a second."""

    def since(self) -> int:
        if self.ceiling is None:
            return self.floor + self.step if self.floor else 0
        if self.ceiling - self.floor <= ITEMS_PER_REPLY:
            return self.floor
        return (self.floor + self.ceiling) // 2

    def found_nothing(self, since: int) -> None:
        if self.ceiling is None or since < self.ceiling:
            self.ceiling = since

    def found_more(self, look: Look, last: Message) -> None:
        if last.sequence <= self.floor:
            return
        self.floor, self.floor_mark, self.floor_since = last.sequence, mark_of(last), look.since
        # The end is close behind a guess that was right: read on from there.
        self.step = 0 if look.is_guess else max(ITEMS_PER_REPLY, self.step * 2)
        if self.ceiling is not None and self.ceiling <= self.floor:  # the log has grown meanwhile
            self.ceiling, self.step = None, ITEMS_PER_REPLY


class LogReader:
    """Where one log has been read, and where to look next."""

    __slots__ = ("_back", "_first", "_has_history", "_high", "_is_full", "_low", "_search", "log")

    def __init__(self) -> None:
        self.log = 0
        """Number of the log: one more after each that was lost."""
        self._first: Mark | None = None
        self._begin()

    def _begin(self) -> None:
        self._search: _Search | None = _Search()
        self._high: Mark | None = None
        self._low = 0
        self._is_full = False
        self._back: int | None = None
        self._has_history = False

    @property
    def is_behind(self) -> bool:
        """Whether the log is known to go on beyond what was read, or may."""
        return self._search is not None or self._is_full

    @property
    def has_history(self) -> bool:
        """Whether everything up to the present end that may still matter has been read."""
        return self._has_history

    @property
    def reached(self) -> int:
        """Sequence up to which the log has been read on; 0 until its end is found."""
        return 0 if self._search is not None or self._high is None else self._high[0]

    def next_on(self) -> Look:
        """The next look at what is new."""
        search = self._search
        if search is None:
            since = max(0, self._high[0] - 1) if self._high else 0
            return Look(aim=Aim.ON, since=since, log=self.log, expected=self._high)
        guess = search.guess - 1
        if guess > search.floor and not search.is_misled:
            return Look(aim=Aim.FIND, since=guess, log=self.log, is_guess=True)
        return Look(aim=Aim.FIND, since=search.since(), log=self.log)

    def next_back(self) -> Look | None:
        """The next look at what is older; None where there is nothing left to look for."""
        if self._search is not None or self._has_history:
            return None
        since = self._chunk() if self._back is None else self._back
        return Look(aim=Aim.BACK, since=since, log=self.log)

    def _chunk(self) -> int:
        return max(0, self._low - ITEMS_PER_REPLY)

    def told(self, since: int) -> None:
        """Somebody says that the log goes at least up to here."""
        search = self._search
        if search is not None:
            search.guess = max(search.guess, since)

    def heard(self, since: int, messages: Sequence[Message]) -> None:
        """Somebody else read what comes after `since`."""
        if not messages:
            return
        if since == 0:
            self._recognise(mark_of(messages[0]))
        self.told(messages[-1].sequence)

    def _recognise(self, first: Mark) -> bool:
        """Compare the log's first event with the one known; True when the log is another one."""
        is_other = self._first not in {None, first}
        if is_other:
            self._restart()
        self._first = first
        return is_other

    def _restart(self) -> None:
        self.log += 1
        self._first = None
        self._begin()

    def took(self, look: Look, messages: Sequence[Message], *, wall: float) -> None:
        """A look came back with these events, ascending; `wall` in seconds since the epoch."""
        if look.log != self.log:
            return
        if look.since == 0 and messages and self._recognise(mark_of(messages[0])):
            return
        if look.aim is Aim.FIND:
            self._took_find(look, messages)
        elif look.aim is Aim.ON:
            self._took_on(look, messages)
        else:
            self._took_back(look, messages, wall=wall)

    def _took_find(self, look: Look, messages: Sequence[Message]) -> None:
        search = self._search
        if search is None:
            return
        if look.is_guess and not messages:
            search.is_misled = True
        elif len(messages) >= ITEMS_PER_REPLY:
            search.found_more(look, messages[-1])
        elif messages:
            self._found(mark_of(messages[-1]), low=look.since)
        elif look.since == search.floor:
            self._found(search.floor_mark, low=search.floor_since)
        else:
            search.found_nothing(look.since)

    def _found(self, high: Mark | None, *, low: int) -> None:
        self._search = None
        self._high, self._low = high, low
        self._has_history = low == 0

    def _took_on(self, look: Look, messages: Sequence[Message]) -> None:
        if look.expected is not None and (not messages or mark_of(messages[0]) != look.expected):
            self._restart()
            return
        if messages and (self._high is None or messages[-1].sequence >= self._high[0]):
            self._high = mark_of(messages[-1])
            self._is_full = len(messages) >= ITEMS_PER_REPLY

    def _took_back(self, look: Look, messages: Sequence[Message], *, wall: float) -> None:
        if self.next_back() != look:  # the same look by two callers counts once
            return
        reached = messages[-1].sequence if messages else self._low
        if reached < self._low:  # fewer came than there are: the rest of this part is next
            self._back = reached
            return
        self._low, self._back = self._chunk(), None
        oldest = messages[0].created_at if messages else None
        self._has_history = self._low == 0 or (oldest is not None and oldest < wall - MAX_LIFE_S)


def mark_of(message: Message) -> Mark:
    """By what an event is known again."""
    return message.sequence, message.timestamp
