"""A rate as operators write it: so many per period, with a burst on top.

`10/min+3` grants 13 at once and is refilled at 10 per minute.
"""

import re
from dataclasses import dataclass
from typing import Final

from proxy.core.errors import InvalidInput

MAX_RATE_COUNT: Final = 1_000_000
"""Largest count and largest burst. Source: ours; far beyond what one sidecar serves in a second."""

_GRAMMAR: Final = re.compile(r"([0-9]{1,7})/(s|sec|min|h|hour)(?:\+([0-9]{1,7}))?")


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` per `period_s` seconds, and `burst` more at once."""

    count: int
    period_s: int
    burst: int

    @property
    def capacity(self) -> int:
        """What a rested allowance grants at once."""
        return self.count + self.burst

    def __str__(self) -> str:
        unit = {1: "s", 60: "min", 3600: "h"}.get(self.period_s, f"{self.period_s}s")
        return f"{self.count}/{unit}" + (f"+{self.burst}" if self.burst else "")


def parse_rate(text: str) -> Rate:
    """Read `N/(s|sec|min|h|hour)[+BURST]`.

    Raises:
        InvalidInput: another form, a count of 0, or a number beyond 1,000,000.
    """
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise InvalidInput("write a rate as N/s, N/min or N/h, with +BURST if wanted, for example 10/min+3")
    count, unit, burst = int(match[1]), match[2], int(match[3] or "0")
    if not 1 <= count <= MAX_RATE_COUNT or burst > MAX_RATE_COUNT:
        raise InvalidInput(f"a rate has a count of 1 to {MAX_RATE_COUNT} and a burst of 0 to {MAX_RATE_COUNT}")
    period_s = {"s": 1, "m": 60, "h": 3600}[unit[0]]
    return Rate(count=count, period_s=period_s, burst=burst)
