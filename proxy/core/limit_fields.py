"""How rate limits are told to a peer: header fields of a reply, and members of an error.

A limit is one policy: its quota `q` is what a rested allowance grants at once, its window `w` the time in which that
much is granted again, so that q / w is the rate and `r` is never above `q`. While calls pass, `r` and `t` have the
same ratio; a refusal says that nothing is left until the call may be repeated.

What upstream said stays as it is: our policies are put behind its own, under names that it does not use, and a client
keeps to all of them. So a reply is never more permissive than upstream's. A field of upstream that cannot be read
gets nothing added, as that would spoil both.

Source: draft-ietf-httpapi-ratelimit-headers-11 sections 3, 4, 6 and 7.2; RFC 9651 section 3; RFC 9110 section 10.2.3.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from proxy.core.limits import Decision, LimitName
from proxy.core.rate import PS_PER_S, Unit

POLICY: Final = "RateLimit-Policy"
LIMIT: Final = "RateLimit"
RETRY_AFTER: Final = "Retry-After"

MAX_FIELD_CHARS: Final = 8_192
"""Longest field of upstream that ours are added to. Source: ours; a head may have 8 times as much in all."""

OURS: Final = "sidecar-"
"""Put before the name of a policy that upstream uses, too."""

_STRING: Final = r'"((?:[ !#-\[\]-~]|\\["\\])*)"'
_BARE: Final = (
    r"(?:-?[0-9]{1,15}(?![0-9.])|-?[0-9]{1,12}\.[0-9]{1,3}(?![0-9.])|"
    r'"(?:[ !#-\[\]-~]|\\["\\])*"|[A-Za-z*][A-Za-z0-9!#$%&\'*+.^_`|~:/-]*|:[A-Za-z0-9+/]*={0,2}:|\?[01]|@-?[0-9]{1,15})'
)
_ITEM: Final = re.compile(rf"{_STRING}(?:; *[a-z*][a-z0-9_.*-]*(?:={_BARE})?)*[ \t]*(,[ \t]*|$)")
"""One member of a list whose members are strings with parameters, and what separates it from the next one."""

_SECONDS: Final = re.compile(r"[0-9]{1,15}")


def limit_fields(
    decisions: Sequence[Decision], upstream: Mapping[str, Sequence[str]], *, wall: float
) -> dict[str, str]:
    """The fields `RateLimit-Policy`, `RateLimit` and `Retry-After` of a reply, as they replace those of upstream.

    `upstream` has the lines of upstream's fields by their names in lower case, and is empty where the reply is our
    own. A name that is missing in the result stays what upstream made of it. `wall` is seconds since the epoch.
    """
    if not decisions:
        return {}
    before = {name: ", ".join(upstream.get(name.lower(), ())) for name in (POLICY, LIMIT)}
    taken = {name: _names(text) for name, text in before.items()}
    known = {used for names in taken.values() for used in names or ()}
    fields: dict[str, str] = {}
    for name, item in ((POLICY, _policy), (LIMIT, _service_limit)):
        if taken[name] is not None:
            ours = [item(decision, _free_name(decision.name, known)) for decision in decisions]
            fields[name] = ", ".join([*([before[name].strip(" \t")] if taken[name] else []), *ours])
    wait_s = _later(_wait_s(decisions), " ".join(upstream.get(RETRY_AFTER.lower(), ())), wall=wall)
    if wait_s is not None:
        fields[RETRY_AFTER] = str(wait_s)
    return fields


def old_limit_fields(decisions: Sequence[Decision], upstream: Collection[str]) -> dict[str, str]:
    """The fields `X-RateLimit-Limit`, `-Remaining` and `-Reset` of a reply, for clients that know no others.

    They tell of one limit: the one that refuses, or else the one with the smallest part left. Where upstream has sent
    a field of that kind (`upstream` has all names of its fields, in lower case) there are none of ours.

    Source: ours; nobody has written them down. `Reset` is in seconds from now, as most have it.
    """
    if not decisions or any(name.startswith("x-ratelimit-") for name in upstream):
        return {}
    tightest = min(decisions, key=lambda one: (one.allowed, one.remaining / one.limit))
    return {
        "X-RateLimit-Limit": str(tightest.limit),
        "X-RateLimit-Remaining": str(tightest.remaining),
        "X-RateLimit-Reset": str(math.ceil(tightest.reset_s)),
    }


def refused_by(decisions: Sequence[Decision]) -> list[LimitName]:
    """The limits that refuse a call; none where it may pass."""
    return [decision.name for decision in decisions if not decision.allowed]


def retry_after_s(decisions: Sequence[Decision]) -> float | None:
    """When a refused call may pass under all limits, rounded up to a millisecond; None where it never will.

    0 for one that may pass now.
    """
    waits = [decision.retry_after_s for decision in decisions]
    return None if None in waits else max((math.ceil(wait * 1000) / 1000 for wait in waits if wait), default=0.0)


def error_members(decisions: Sequence[Decision]) -> dict[str, object]:
    """What an error tells besides its text: members of a problem document, and of `data` of a JSON-RPC error.

    Source: the draft above, section 5.1.
    """
    return {"violated-policies": list(refused_by(decisions))}


def rpc_data(decisions: Sequence[Decision]) -> dict[str, object]:
    """`data` of the JSON-RPC error of a refused call; without `retryAfterMs` where it will never pass.

    Source: ARCHITECTURE.md 3.5.
    """
    wait_s = retry_after_s(decisions)
    return error_members(decisions) | ({} if wait_s is None else {"retryAfterMs": round(wait_s * 1000)})


def refusal_text(decisions: Sequence[Decision]) -> str:
    """What was expected, what came and what to do, for whoever is refused."""
    refusing = [decision for decision in decisions if not decision.allowed]
    limits = ", ".join(f"{decision.name} ({decision.rate})" for decision in refusing)
    wait_s = retry_after_s(decisions)
    if any(decision.is_full for decision in refusing):
        return f"more agents call than can be counted under the limit {limits}; retry in {math.ceil(wait_s or 0)} s"
    if wait_s is None:
        return f"this call is larger than the limit {limits} ever grants; make it smaller"
    return f"the limit {limits} is reached; retry in {math.ceil(wait_s)} s"


def _policy(decision: Decision, name: str) -> str:
    window_s = -(-decision.limit * decision.rate.interval_ps // PS_PER_S)
    unit = "" if decision.rate.unit is Unit.CALLS else f';qu="{decision.rate.unit}"'
    return f"{_string(name)};q={decision.limit}{unit};w={window_s}"


def _service_limit(decision: Decision, name: str) -> str:
    if decision.allowed or decision.retry_after_s is None:
        return f"{_string(name)};r={decision.remaining};t={math.ceil(decision.window_s)}"
    return f"{_string(name)};r=0;t={_whole(decision.retry_after_s)}"


def _string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _names(text: str) -> set[str] | None:
    """Names of the policies in a field; None for one that is not a list of strings with parameters."""
    names: set[str] = set()
    text = text.strip(" \t")
    if len(text) > MAX_FIELD_CHARS or text.endswith(","):
        return None
    place = 0
    while place < len(text):
        found = _ITEM.match(text, place)
        if found is None:
            return None
        names.add(re.sub(r"\\(.)", r"\1", found[1]))
        place = found.end()
    return names


def _free_name(name: LimitName, known: Collection[str]) -> str:
    free: str = name
    while free in known:
        free = OURS + free
    return free


def _whole(seconds: float) -> int:
    """Whole seconds, rounded up, as a refused call must not come again at once."""
    return max(1, math.ceil(seconds))


def _wait_s(decisions: Sequence[Decision]) -> int | None:
    """What `Retry-After` says on our side: nothing for a call that may pass, or never will."""
    wait_s = retry_after_s(decisions)
    return _whole(wait_s) if wait_s else None


def _later(ours_s: int | None, theirs: str, *, wall: float) -> int | None:
    """The later one of both; None to leave the field as it is."""
    if ours_s is None:
        return None
    theirs_s = int(theirs) if _SECONDS.fullmatch(theirs) else math.ceil(_date(theirs) - wall)
    return max(ours_s, theirs_s)


def _date(text: str) -> float:
    """Seconds since the epoch; 0 for what is no date."""
    try:
        found = parsedate_to_datetime(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0
