"""Sequence numbers across restarts of the Bridge.

A Bridge that loses its log numbers from 1 again, so an agent's old cursor would hide everything new. This map
keeps what agents see growing: an agent's number is the Bridge's number plus an offset, and each restart that
renumbers raises the offset to the highest number in use; once after a crash of ours, to the highest that may be.
What an agent had not yet read of the old log is gone with it; the map says how much that is at most, so that it is
reported instead of hidden.

Source: BRIDGE.md 2.2 (sequence restarts at 1); ARCHITECTURE.md 2.2 (Sequences).
"""

from dataclasses import dataclass
from typing import Final

from proxy.core.journal import NumberingChanged, Write, write_nothing

LogMark = tuple[int, float | None]
"""Sequence and wall-clock time of the first message in the Bridge's log: the fingerprint of one log."""

MAX_NUMBER: Final = 2**53 - 1
"""Largest number reckoned with. Source: RFC 8259 section 6 (integers that every JSON reader keeps exact)."""

MAX_HELD: Final = 2**52
"""Largest cursor believed: it leaves as many exact numbers for messages to come. Source: ours."""

AHEAD: Final = 1_000
"""How far ahead numbers are written down, so that a crash never leaves one in use that is not on record. Source: ours;
the reservation is renewed when half of it is used up, which gives the journal the time of 500 messages."""


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
    reserved: int = 0
    """On record: no agent has seen a number above this one."""
    ended: int = 0
    """The last number of the logs that are gone; what lies between it and the offset was never a message."""
    floor: int = 0
    """Up to here an earlier process may have shown numbers that it did not live to write down.

    It stays for good, as the first new log may end before anybody reads it, and costs once: numbers given out here
    are known, and the next log begins above those, or here, whichever is higher.
    """
    write: Write = write_nothing
    """Hears of every change that has to outlive us."""
    on_record: NumberingChanged | None = None
    """What is known to be durable; no message is shown whose number it does not cover."""

    def restore(self, kept: NumberingChanged) -> None:
        """Begin with what an earlier process wrote down: every number up to its reservation may be in use."""
        self.offset, self.ended = kept.offset, kept.ended
        self.highest, self.reserved = kept.highest, kept.reserved
        self.floor, self.on_record = kept.reserved, kept
        self.mark = None if kept.first_sequence is None else (kept.first_sequence, kept.first_created_at)

    def _reserve(self) -> None:
        used = max(self.highest, self.taken)
        if used + AHEAD // 2 > self.reserved:
            self.reserved = min(used + AHEAD, MAX_NUMBER)

    def _write_down(self) -> None:
        self.write(self.numbering())

    def numbering(self) -> NumberingChanged:
        """What has to outlive us, as it is now."""
        first_sequence, first_created_at = self.mark or (None, None)
        return NumberingChanged(
            offset=self.offset,
            ended=self.ended,
            highest=self.highest,
            reserved=self.reserved,
            first_sequence=first_sequence,
            first_created_at=first_created_at,
        )

    def is_on_record(self, number: int) -> bool:
        """Whether a message may be shown under this number: a crash would not give it to another one."""
        known = self.on_record
        if known is None or number > known.reserved:
            return False
        return (known.offset, known.first_sequence, known.first_created_at) == (
            self.offset,
            *(self.mark or (None, None)),
        )

    def to_bridge(self, since: int) -> int:
        """The Bridge's cursor for an agent's cursor; 0 when the agent stopped in a log that is gone."""
        return max(0, since - self.offset)

    def to_agent(self, sequence: int) -> int:
        """The agent's number for a message of the present log."""
        return sequence + self.offset

    def saw(self, sequence: int) -> None:
        """A message of the present log was read, with the Bridge's number."""
        number = min(sequence + self.offset, MAX_NUMBER)
        if number > self.highest:
            self.highest = number
            self._reserve()
            self._write_down()

    def held(self, since: int) -> None:
        """An agent came with this cursor: numbers below it are taken, even if we never saw them.

        A cursor is only an agent's word. It is kept apart from what was read, counts when the log changes and not
        before, and is ignored where no honest agent can be, so that one agent cannot spoil the numbering of all.
        """
        if self.taken < since <= MAX_HELD:
            self.taken = since
            if since > self.reserved:
                self._reserve()
                self._write_down()

    def recognise(self, mark: LogMark) -> bool:
        """Compare the log's first message with the one remembered; True when the log is another one."""
        is_other = self.mark is not None and self.mark != mark
        is_news = self.mark != mark
        self.mark = mark
        if is_other:
            self.ended = max(self.highest, self.taken)
            self.offset = max(self.ended, self.floor)
        if is_news:
            self._reserve()
            self._write_down()
        return is_other

    def unread(self, since: int) -> int:
        """How many numbers of logs that are gone an agent with this cursor had not read."""
        return max(0, self.ended - since)
