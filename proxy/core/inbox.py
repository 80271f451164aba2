"""Copies of the messages on their way to each agent, kept until the agent shows that it has them.

The Bridge's log is where messages live. These copies are for the day it loses them: what was read here is then still
delivered, in order and under the numbers it had, and only what was never read is lost. An agent shows what it has by
the cursor of its next wait. Numbers are the agents' own (core/sequences.py).

Bounds: 1,000 messages and 4 MiB for one agent, 64 MiB for all, 10,000 agents. Beyond them the oldest copies go, of one
agent its own, of all those of the agent that was served longest ago; the Bridge still has them.

Source: ARCHITECTURE.md 2.2 (Sequences) and 2.6.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from proxy.core.ids import AgentId
from proxy.core.journal import (
    MAX_CURSORS,
    Change,
    CopiesDropped,
    CursorShown,
    MessageKept,
    Recovered,
    Write,
    write_nothing,
)

MAX_PER_AGENT: Final = 1_000
"""Most copies for one agent. Source: ours, a hundred replies."""

MAX_BYTES_PER_AGENT: Final = 4 << 20
"""Most bytes of one agent's copies. Source: ours, four messages of the Bridge's largest text (BRIDGE.md 2.2)."""

MAX_BYTES: Final = 64 << 20
"""Most bytes of all copies. Source: ours."""

MAX_SPANS: Final = 16
"""Most stretches of numbers that are remembered as read. Source: ours; one for each log that an agent was late in."""


@dataclass(slots=True)
class _Shelf:
    """One agent's copies."""

    cursor: int = 0
    """The agent has everything up to here."""
    dropped: int = 0
    """Copies up to here went for want of room."""
    copies: dict[int, MessageKept] = field(default_factory=dict)
    """By number, ascending."""
    spans: list[tuple[int, int]] = field(default_factory=list)
    """Stretches that were read: everything after the first number up to the second, ascending."""
    size: int = 0
    """Bytes of the copies."""
    told: int = 0
    """The end of the logs whose loss was reported last."""

    def last(self) -> int:
        return max(self.cursor, self.spans[-1][1] if self.spans else 0)

    def read(self, since: int, upto: int) -> None:
        """Everything after `since` up to `upto` was read."""
        if self.spans and since <= self.spans[-1][1]:
            since = self.spans.pop()[0]
        self.spans.append((since, upto))
        del self.spans[:-MAX_SPANS]

    def forget(self, upto: int) -> int:
        """Take the copies up to a number away; how many bytes that were."""
        gone = [number for number in self.copies if number <= upto]
        freed = sum(len(self.copies.pop(number).body) for number in gone)
        self.spans = [(max(since, upto), end) for since, end in self.spans if end > upto]
        self.size -= freed
        return freed


@dataclass(slots=True)
class Inbox:
    """The copies of all agents."""

    write: Write = write_nothing
    """Hears of every change."""
    size_bytes: int = 0
    """Of all copies."""
    dropped: int = 0
    """Copies that went for want of room, since the start."""
    _shelves: dict[AgentId, _Shelf] = field(default_factory=dict)
    """The agent that was served last comes last."""

    def restore(self, kept: Recovered) -> None:
        """Begin with what an earlier process kept."""
        for shown in kept.cursors:
            self._shelf(shown.agent_id).cursor = shown.cursor
        for gone in kept.dropped:
            self._shelf(gone.agent_id).dropped = gone.upto
        for copy in kept.messages:
            shelf = self._shelf(copy.agent_id)
            shelf.copies[copy.number] = copy
            shelf.size += len(copy.body)
            self.size_bytes += len(copy.body)
            # Between copies nothing is missing, or it was reported by the process before.
            begin = shelf.spans[0][0] if shelf.spans else max(shelf.cursor, shelf.dropped)
            shelf.spans = [(begin, copy.number)]

    def snapshot(self) -> Iterator[Change]:
        """Changes that would bring about what is kept now."""
        for agent_id, shelf in self._shelves.items():
            if shelf.cursor:
                yield CursorShown(agent_id, shelf.cursor)
            if shelf.dropped > shelf.cursor:
                yield CopiesDropped(agent_id, shelf.dropped)
            yield from shelf.copies.values()

    def shown(self, agent_id: AgentId, cursor: int) -> None:
        """The agent has everything up to this number; the highest that any of its waits came with counts."""
        shelf = self._shelf(agent_id)
        if cursor > shelf.cursor:
            shelf.cursor = cursor
            self.size_bytes -= shelf.forget(cursor)
            self.write(CursorShown(agent_id, cursor))

    def keep(self, agent_id: AgentId, since: int, messages: Sequence[MessageKept]) -> None:
        """Keep what one read after the number `since` brought, where it is new: at least one message, ascending."""
        shelf, upto = self._shelf(agent_id), messages[-1].number
        last = shelf.last()
        if upto <= last:
            return
        for message in messages:
            if message.number > last:
                shelf.copies[message.number] = message
                shelf.size += len(message.body)
                self.size_bytes += len(message.body)
                self.write(message)
        shelf.read(max(since, shelf.cursor), upto)
        self._drop_over(agent_id, shelf)
        while self.size_bytes > MAX_BYTES:
            oldest = next(each for each, other in self._shelves.items() if other.copies)
            self._drop(oldest, self._shelves[oldest], 1)

    def after(self, agent_id: AgentId, since: int, upto: int) -> list[MessageKept]:
        """The copies after one number up to another, ascending."""
        shelf = self._shelves.get(agent_id)
        return [] if shelf is None else [copy for copy in shelf.copies.values() if since < copy.number <= upto]

    def lost(self, agent_id: AgentId, since: int, upto: int) -> int:
        """How many numbers after `since` up to `upto` were never read for the agent, or their copies went.

        An upper bound of the messages that are lost with these numbers: the Bridge numbers all events in one row and
        leaves out the agent's own and some of its books (BRIDGE.md 2.2), and what was never read cannot be told apart.
        """
        shelf = self._shelves.get(agent_id)
        covered = 0
        for begin, end in shelf.spans if shelf else ():
            covered += max(0, min(end, upto) - max(begin, since))
        return max(0, upto - since - covered)

    def cursor_of(self, agent_id: AgentId) -> int | None:
        """The highest cursor that the agent came with, as far as it is known."""
        shelf = self._shelves.get(agent_id)
        return None if shelf is None else shelf.cursor or None

    def tell_once(self, agent_id: AgentId, ended: int) -> bool:
        """Whether the loss with the logs up to this number is still to be reported; it counts as reported from here."""
        shelf = self._shelf(agent_id)
        is_news, shelf.told = shelf.told != ended, ended
        return is_news

    def _shelf(self, agent_id: AgentId) -> _Shelf:
        shelf = self._shelves.pop(agent_id, None) or _Shelf()
        self._shelves[agent_id] = shelf
        if len(self._shelves) > MAX_CURSORS:
            oldest = next(iter(self._shelves))
            self._drop(oldest, self._shelves[oldest], len(self._shelves[oldest].copies))
            del self._shelves[oldest]
        return shelf

    def _drop_over(self, agent_id: AgentId, shelf: _Shelf) -> None:
        count, size = max(0, len(shelf.copies) - MAX_PER_AGENT), shelf.size
        for place, copy in enumerate(shelf.copies.values()):
            if place >= count and size <= MAX_BYTES_PER_AGENT:
                break
            size -= len(copy.body)
            count = max(count, place + 1)
        self._drop(agent_id, shelf, count)

    def _drop(self, agent_id: AgentId, shelf: _Shelf, count: int) -> None:
        """Let the oldest copies of one agent go."""
        if count:
            shelf.dropped = next(islice(shelf.copies, count - 1, None))
            self.size_bytes -= shelf.forget(shelf.dropped)
            self.dropped += count
            self.write(CopiesDropped(agent_id, shelf.dropped))
