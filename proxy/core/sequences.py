"""Sequence numbers across restarts of the Bridge.

A Bridge that loses its log numbers from 1 again, so an agent's old cursor would hide everything new. This map
keeps what agents see growing: an agent's number is the Bridge's number plus an offset, and each restart that
renumbers raises the offset to the highest number in use. What an agent had not yet read of the old log is
gone with it; the map says how much, so that it is reported instead of hidden.

Source: BRIDGE.md 2.2 (sequence restarts at 1); ARCHITECTURE.md 2.2 (Sequences).
"""

from dataclasses import dataclass
from typing import Final

LogMark = tuple[int, float | None]
"""Sequence and wall-clock time of the first message in the Bridge's log: the fingerprint of one log."""


MAX_NUMBER: Final = 2**53 - 1
"""Largest number reckoned with. Source: RFC 8259 section 6 (integers that every JSON reader keeps exact)."""

MAX_HELD: Final = 2**52
"""Largest cursor believed: it leaves as many exact numbers for messages to come. Source: ours."""


@dataclass(slots=True)
class SequenceMap:
    """The numbering of one Bridge as its agents see it."""

    offset: int = 0
    """Added to the Bridge's number to get the agent's."""
    highest: int = 0
    """Highest agent-side number of a message read here."""
    taken: int = 0
    """Highest cursor that an agent came with."""
    mark: LogMark | None = None
    """The present log's fingerprint, once known."""

    def to_bridge(self, since: int) -> int:
        """The Bridge's cursor for an agent's cursor; 0 when the agent stopped in a log that is gone."""
        return max(0, since - self.offset)

    def to_agent(self, sequence: int) -> int:
        """The agent's number for a message of the present log."""
        return sequence + self.offset

    def saw(self, sequence: int) -> None:
        """A message of the present log was read, with the Bridge's number."""
        self.highest = max(self.highest, min(sequence + self.offset, MAX_NUMBER))

    def held(self, since: int) -> None:
        """An agent came with this cursor: numbers below it are taken, even if we never saw them.

        A cursor is only an agent's word. It is kept apart from what was read, counts when the log changes and not
        before, and is ignored where no honest agent can be, so that one agent cannot spoil the numbering of all.
        """
        if since <= MAX_HELD:
            self.taken = max(self.taken, since)

    def recognise(self, mark: LogMark) -> bool:
        """Compare the log's first message with the one remembered; True when the log is another one."""
        if self.mark is None or self.mark == mark:
            self.mark = mark
            return False
        self.mark = mark
        self.offset = max(self.highest, self.taken)
        return True

    def unread(self, since: int) -> int:
        """How many numbers of logs that are gone an agent with this cursor had not read."""
        return max(0, self.offset - since)
