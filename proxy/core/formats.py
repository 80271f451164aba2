"""The four string formats an elicitation form may ask for: email, uri, date and date-time.

Each check is one pass over the text: no pattern here can backtrack more than a bounded number of steps.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

MAX_EMAIL_CHARS: Final = 254
"""Source: RFC 5321 section 4.5.3.1.3, the path of 256 octets less its two angle brackets."""

MAX_EMAIL_LOCAL_CHARS: Final = 64
"""Source: RFC 5321 section 4.5.3.1.1."""

_DAYS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MINUTES_PER_DAY: Final = 1_440

_DATE: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_TIME: Final = re.compile(r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]++)?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))")
_LOCAL_PART: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++)*+")
_DOMAIN: Final = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*+")
_URI_TAIL: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*+")
_USER: Final = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*+")
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]++)\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*+)(?::[0-9]*+)?")


def _days_in_month(year: int, month: int) -> int:
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 29 if month == 2 and is_leap else _DAYS[month - 1]


def is_date(text: str) -> bool:
    """Tell whether this is a calendar date such as 2026-07-28; the year 0000 counts.

    Source: RFC 3339 section 5.6 `full-date` and appendix C for leap years.
    """
    match = _DATE.fullmatch(text)
    if match is None:
        return False
    year, month, day = (int(part) for part in match.groups())
    return 1 <= month <= 12 and 1 <= day <= _days_in_month(year, month)


def is_date_time(text: str) -> bool:
    """Tell whether this is a date with time and offset; second 60 only in the last minute of a UTC day.

    Source: RFC 3339 sections 5.6 and 5.7 (`T` and `Z` in either case; no space in place of `T`).
    """
    match = _TIME.fullmatch(text, 11)
    if match is None or text[10] not in "Tt" or not is_date(text[:10]):
        return False
    hour, minute, second = (int(part) for part in match.group(1, 2, 3))
    offset_hour, offset_minute = (int(part) for part in match.group(5, 6)) if match[4] else (0, 0)
    if max(hour, offset_hour) > 23 or max(minute, offset_minute) > 59:
        return False
    if second != 60:
        return second < 60
    offset = offset_hour * 60 + offset_minute
    in_utc = hour * 60 + minute + (offset if match[4] == "-" else -offset)
    return in_utc % _MINUTES_PER_DAY == _MINUTES_PER_DAY - 1


def is_email(text: str) -> bool:
    """Tell whether this is an ASCII mail address; quoted local parts and address literals are not taken.

    Source: RFC 5321 section 4.1.2 `Mailbox`, narrowed to `Dot-string "@" Domain`: the rest is never meant.
    """
    if len(text) > MAX_EMAIL_CHARS:
        return False
    local, _, domain = text.rpartition("@")
    return (
        len(local) <= MAX_EMAIL_LOCAL_CHARS
        and _LOCAL_PART.fullmatch(local) is not None
        and _DOMAIN.fullmatch(domain) is not None
    )


def is_uri(text: str) -> bool:
    """Tell whether this is an absolute URI in ASCII, with its scheme.

    Source: RFC 3986 appendix A `URI`, without IPvFuture hosts.
    """
    scheme, colon, rest = text.partition(":")
    if not colon or _SCHEME.fullmatch(scheme) is None:
        return False
    rest, _, fragment = rest.partition("#")
    if rest.startswith("//"):
        end = min((place for mark in "/?" if (place := rest.find(mark, 2)) >= 0), default=len(rest))
        if not _is_authority(rest[2:end]):
            return False
        rest = rest[end:]
    return _URI_TAIL.fullmatch(rest) is not None and _URI_TAIL.fullmatch(fragment) is not None


def _is_authority(text: str) -> bool:
    user, _, host = text.rpartition("@")
    match = _HOST.fullmatch(host)
    if match is None or _USER.fullmatch(user) is None:
        return False
    return match[1] is None or _is_ipv6(match[1])


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


FORMATS: Final[Mapping[str, Callable[[str], bool]]] = MappingProxyType(
    {
        "date": is_date,
        "date-time": is_date_time,
        "email": is_email,
        "uri": is_uri,
    }
)
"""Source: PROTOCOL.md 1.3, `format` of a string; MCP 2025-06-18 `StringSchema`."""
