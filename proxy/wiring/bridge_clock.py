"""Dates as the Bridge has them, carried on the machine's monotonic clock from one of its replies to the next.

The deadline of a question is a date on the Bridge's clock. So the wall clock of this machine counts only until the
Bridge was heard first: when it is set forward or back nothing here ends early, comes again or lives longer.

A reply tells when it was written, and may have been long on its way: what is later than expected is taken at its word,
what is earlier only when several replies in a row agree.

Source: RFC 9110 section 6.6.1 (Date).
"""

from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Final

from proxy.observe.logs import logger
from proxy.ports import Alarm, Clock

TOLERANCE_S: Final = 5.0
"""Clocks that differ by no more count as one. Source: ours; a Date has whole seconds, and a reply takes its time."""

HALF_S: Final = 0.5
"""A Date is cut down to whole seconds: in the mean it is so much later."""

AGREE: Final = 3
"""So many replies in a row have to say that it is earlier. Source: ours; a delay does not last for three of them."""

_LOG: Final = logger("proxy.wiring.bridge_clock")


class BridgeClock:
    """The Clock port with the Bridge's dates."""

    __slots__ = ("_ahead_s", "_clock", "_earlier", "_latest")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead_s = clock.wall() - clock.now()
        """From the monotonic clock to the date."""
        self._latest = ""
        """The Date field that was heard last."""
        self._earlier: list[float] = []
        """By how much the last replies were earlier than expected."""

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock.now()

    def wall(self) -> float:
        """Seconds since the epoch, as the Bridge counts them."""
        return self._clock.now() + self._ahead_s

    def alarm(self, at: float, ring: Callable[[], None]) -> Alarm:
        """Call `ring` at monotonic time `at`."""
        return self._clock.alarm(at, ring)

    def ahead_of_machine(self) -> float:
        """Seconds that the dates here are ahead of this machine's clock."""
        return self.wall() - self._clock.wall()

    def heard(self, date: str) -> None:
        """Take note of the Date field of one of the Bridge's replies; one for each second counts."""
        if date == self._latest:
            return
        is_first, self._latest = not self._latest, date
        try:
            written_at = parsedate_to_datetime(date).timestamp()
        except (ValueError, OverflowError):  # no date, as far as we can read it
            return
        off_s = written_at + HALF_S - self.wall()
        if abs(off_s) <= TOLERANCE_S:
            self._earlier.clear()
        elif off_s > 0 or is_first:
            self._follow(off_s)
        else:
            self._earlier.append(off_s)
            if len(self._earlier) >= AGREE:
                self._follow(max(self._earlier))

    def _follow(self, off_s: float) -> None:
        self._ahead_s += off_s
        self._earlier.clear()
        _LOG.warning("the Bridge has another time; dates are the Bridge's", seconds=round(off_s, 1))
