"""What became of every item that was sent: when it was sent, accepted and received, how often, and what went wrong.

Times are seconds of `time.perf_counter`.
"""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Item:
    """One item on its way from its sender to its receiver."""

    number: int
    sent_at: float = 0.0
    """Its sender wrote the request."""
    accepted_at: float = 0.0
    """Its sender had the reply; 0 until then."""
    received_at: float = 0.0
    """The last byte was with its receiver for the first time; 0 until then."""
    copies: int = 0


@dataclass(slots=True)
class Ledger:
    """All items of one turn."""

    items: dict[int, Item] = field(default_factory=dict)
    answers: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    tolerated: Counter[str] = field(default_factory=Counter)
    """Calls that went wrong while they were expected to."""
    is_outage: bool = False
    """The Bridge is being restarted: calls may fail."""

    def open(self, number: int) -> Item:
        """Note an item that is about to be sent."""
        item = self.items[number] = Item(number=number)
        return item

    def received(self, number: int, at: float) -> bool:
        """Note an arrival; True for the first one of an item of this turn."""
        item = self.items.get(number)
        if item is None:
            return False
        item.copies += 1
        if item.copies == 1:
            item.received_at = at
        return item.copies == 1

    def failed(self, what: str) -> None:
        """Note a call that went wrong."""
        (self.tolerated if self.is_outage else self.errors)[what] += 1

    def accepted(self) -> list[Item]:
        """The items whose sender was told that they are accepted."""
        return [item for item in self.items.values() if item.accepted_at]

    def missing(self) -> int:
        """Accepted items that have not arrived."""
        return sum(not item.copies for item in self.accepted())

    def duplicated(self) -> int:
        """Arrivals beyond the first."""
        return sum(max(0, item.copies - 1) for item in self.items.values())

    def latencies_ms(self, *, from_sent: bool) -> list[float]:
        """Milliseconds to arrival, from the moment of sending or of acceptance."""
        return [
            (item.received_at - (item.sent_at if from_sent else item.accepted_at)) * 1000
            for item in self.accepted()
            if item.copies
        ]
