"""A rate as operators write it: so many per period, with a burst on top.

`10/min+3` grants 13 at once and is refilled at 10 per minute; `2MiB/s+8MiB` does the same with bytes.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from proxy.core.errors import InvalidInput

MAX_RATE_COUNT: Final = 1_000_000
"""Largest count and largest burst. Source: ours; far beyond what one sidecar serves in a second."""

MAX_RATE_BYTES: Final = 1 << 36
"""The same for bytes, 64 GiB. Source: ours; far beyond what one sidecar relays in a second."""

PS_PER_S: Final = 1_000_000_000_000
"""Picoseconds in a second. Source: SI; fine enough that rounding up makes no rate slower by a tenth of a percent."""

_COUNTED: Final = re.compile(r"([0-9]{1,7})/(s|sec|min|h|hour)(?:\+([0-9]{1,7}))?")
_MEASURED: Final = re.compile(
    r"([0-9]{1,11})(B|KiB|MiB|GiB)/(s|sec|min|h|hour)(?:\+([0-9]{1,11})(B|KiB|MiB|GiB))?",
)

_PERIODS_S: Final = {"s": 1, "m": 60, "h": 3600}
_SIZES: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class Unit(StrEnum):
    """What a rate counts. Source: draft-ietf-httpapi-ratelimit-headers-11 section 3.1.2."""

    CALLS = "requests"
    BYTES = "content-bytes"


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` per `period_s` seconds, and `burst` more at once."""

    count: int
    period_s: int
    burst: int
    unit: Unit = Unit.CALLS
    interval_ps: int = field(init=False, repr=False, compare=False)
    """In which one is granted again, picoseconds: whole ones, rounded up, so that a rate is never faster than it says.

    Kept here, as it is needed for each call that is limited.
    """

    def __post_init__(self) -> None:
        object.__setattr__(self, "interval_ps", -(-self.period_s * PS_PER_S // self.count))

    @property
    def capacity(self) -> int:
        """What a rested allowance grants at once."""
        return self.count + self.burst

    def __str__(self) -> str:
        period = {1: "s", 60: "min", 3600: "h"}.get(self.period_s, f"{self.period_s}s")
        return f"{self._amount(self.count)}/{period}" + (f"+{self._amount(self.burst)}" if self.burst else "")

    def _amount(self, value: int) -> str:
        if self.unit is Unit.CALLS:
            return str(value)
        return next(f"{value // size}{name}" for name, size in reversed(_SIZES.items()) if value % size == 0)


def parse_rate(text: str) -> Rate:
    """Read `N/(s|sec|min|h|hour)[+BURST]`.

    Raises:
        InvalidInput: another form, a count of 0, or a number beyond 1,000,000.
    """
    match = _COUNTED.fullmatch(text)
    if match is None:
        raise InvalidInput("write a rate as N/s, N/min or N/h, with +BURST if wanted, for example 10/min+3")
    count, unit, burst = int(match[1]), match[2], int(match[3] or "0")
    if not 1 <= count <= MAX_RATE_COUNT or burst > MAX_RATE_COUNT:
        raise InvalidInput(f"a rate has a count of 1 to {MAX_RATE_COUNT} and a burst of 0 to {MAX_RATE_COUNT}")
    return Rate(count=count, period_s=_PERIODS_S[unit[0]], burst=burst)


def parse_byte_rate(text: str) -> Rate:
    """Read `N(B|KiB|MiB|GiB)/(s|sec|min|h|hour)[+BURST(B|KiB|MiB|GiB)]`.

    Raises:
        InvalidInput: another form, a count of 0, or a number beyond 64 GiB.
    """
    match = _MEASURED.fullmatch(text)
    if match is None:
        raise InvalidInput("write a rate of bytes as NKiB/s, NMiB/min or NGiB/h, for example 2MiB/s+8MiB")
    count, period_s = int(match[1]) * _SIZES[match[2]], _PERIODS_S[match[3][0]]
    burst = int(match[4] or "0") * _SIZES[match[5] or "B"]
    if not 1 <= count <= MAX_RATE_BYTES or burst > MAX_RATE_BYTES:
        raise InvalidInput("a rate of bytes has a count of 1B to 64GiB and a burst of 0B to 64GiB")
    return Rate(count=count, period_s=period_s, burst=burst, unit=Unit.BYTES)
