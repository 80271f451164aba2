"""The flag set: defaults, validation, patches and versions of the eight feature flags.

A flag set is one immutable, versioned value. A change is a patch that is validated whole: an unknown key or an
impossible value refuses the patch, names the key and leaves the set as it was. Percentages run from 0 to 100
with at most three decimals, because a bucket is a thousandth of a percent.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Final

from proxy.core.errors import InvalidFlags
from proxy.core.mismatch import describe

MAX_LIST_ENTRIES: Final = 10_000
"""Most agents or groups in a whitelist or denylist. Source: ours; a patch must fit one admin request."""

MAX_ENTRY_CHARS: Final = 300
"""Longest agent or group name. Source: ours, as `proxy.core.ids.MAX_AGENT_ID_CHARS`."""

MAX_REASON_CHARS: Final = 500
"""Longest reason of a change. Source: ours; it goes into the history and log lines."""

MILLI: Final = 1000
"""Buckets per percent. Source: ours, as `proxy.core.cohort.BUCKETS`."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagSet:
    """All feature flags as one versioned value. Source: the runbooks' names, ARCHITECTURE.md 2.1."""

    elicitation_enabled: bool = False
    """Master switch: off sends every wait the legacy way."""
    elicitation_percentage: float = 0.0
    """Share of agents in the elicitation cohort, 0 to 100."""
    elicitation_whitelist: tuple[str, ...] = ()
    """Agents or groups that are always in the elicitation cohort."""
    elicitation_denylist: tuple[str, ...] = ()
    """Agents or groups that are always in the legacy cohort."""
    ab_testing_enabled: bool = False
    """Compare the cohorts."""
    legacy_fallback: bool = True
    """A call that elicitation cannot serve ends the legacy way."""
    legacy_support: bool = True
    """Off answers the legacy wait with 410."""
    deprecation_warnings: bool = False
    """Legacy replies carry deprecation headers."""
    version: int = 1
    """Grows by one with each change."""

    @property
    def threshold(self) -> int:
        """First bucket that is outside of the elicitation cohort, 0 to 100_000."""
        return round(self.elicitation_percentage * MILLI)

    def as_json(self) -> dict[str, object]:
        """The flags and their version, as the admin port shows them."""
        shown: dict[str, object] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            shown[field.name] = list(value) if isinstance(value, tuple) else value
        return shown

    def patched(self, patch: "Patch") -> "FlagSet":
        """This set with the patch applied and the next version."""
        return replace(self, **patch.changes, version=self.version + 1)  # type: ignore[arg-type]  # values were checked by parse_patch


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A validated change: flag name to new value, and why."""

    changes: Mapping[str, bool | float | tuple[str, ...]]
    reason: str = ""
    force: bool = False
    """Apply to whatever version is current (the runbooks' emergency switch)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagChange:
    """One entry of the history: what a change made of the flags, by whom and why."""

    version: int
    at: float
    """Wall clock, seconds since the epoch."""
    author: str
    reason: str
    changes: Mapping[str, object]
    """Flag name to `[old, new]`."""

    def as_json(self) -> dict[str, object]:
        """This entry as the admin port shows it."""
        return {
            "version": self.version,
            "at": self.at,
            "author": self.author,
            "reason": self.reason,
            "changes": dict(self.changes),
        }


def _parse_bool(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidFlags(f"{key}: expected true or false, got {describe(value)}", key=key)
    return value


def _parse_percentage(key: str, value: object) -> float:
    # The comparison also refuses NaN, both infinities and whole numbers no float can hold.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise InvalidFlags(f"{key}: expected a number from 0 to 100, got {describe(value)}", key=key)
    threshold = round(value * MILLI)
    if abs(value * MILLI - threshold) > 1e-6:
        raise InvalidFlags(f"{key}: expected at most three decimals, got {value}", key=key)
    return threshold / MILLI


def _parse_names(key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(entry, str) for entry in value):
        raise InvalidFlags(f"{key}: expected a list of agent or group names, got {describe(value)}", key=key)
    if len(value) > MAX_LIST_ENTRIES:
        raise InvalidFlags(f"{key}: expected at most {MAX_LIST_ENTRIES} names, got {len(value)}", key=key)
    for entry in value:
        if not 0 < len(entry) <= MAX_ENTRY_CHARS or not entry.isprintable():
            raise InvalidFlags(
                f"{key}: expected names of 1 to {MAX_ENTRY_CHARS} printable characters, got {describe(entry)}",
                key=key,
            )
    return tuple(dict.fromkeys(value))


FLAG_PARSERS: Final[Mapping[str, Callable[[str, object], bool | float | tuple[str, ...]]]] = MappingProxyType(
    {
        "elicitation_enabled": _parse_bool,
        "elicitation_percentage": _parse_percentage,
        "elicitation_whitelist": _parse_names,
        "elicitation_denylist": _parse_names,
        "ab_testing_enabled": _parse_bool,
        "legacy_fallback": _parse_bool,
        "legacy_support": _parse_bool,
        "deprecation_warnings": _parse_bool,
    }
)
"""Every flag that a patch may name, and how its value is read."""


def _parse_reason(value: object) -> str:
    # Lone surrogates are no text: neither the history nor a log line could be written with them.
    if not isinstance(value, str) or len(value) > MAX_REASON_CHARS or _SURROGATE.search(value):
        raise InvalidFlags(f"reason: expected text of at most {MAX_REASON_CHARS} characters", key="reason")
    return value


def _unknown(key: object) -> InvalidFlags:
    near = difflib.get_close_matches(key[:MAX_ENTRY_CHARS], FLAG_PARSERS, n=1) if isinstance(key, str) else []
    hint = f"; did you mean {near[0]}?" if near else ""
    return InvalidFlags(f"unknown flag {describe(key)}{hint}", key=key[:80] if isinstance(key, str) else describe(key))


def parse_patch(body: object) -> Patch:
    """Read a change of flags: `{"elicitation_percentage": 25, "reason": "week 5"}`.

    Raises:
        InvalidFlags: not an object, no flag named, an unknown key, or an impossible value; names the key.
    """
    if not isinstance(body, dict):
        raise InvalidFlags(f"expected an object of flags, got {type(body).__name__}")
    reason = _parse_reason(body.get("reason", ""))
    force = _parse_bool("force", body.get("force", False))
    changes: dict[str, bool | float | tuple[str, ...]] = {}
    for key, value in body.items():
        if key in {"reason", "force"}:
            continue
        parser = FLAG_PARSERS.get(key)
        if parser is None:
            raise _unknown(key)
        changes[key] = parser(key, value)
    if not changes:
        raise InvalidFlags(f"expected at least one of {', '.join(FLAG_PARSERS)}")
    return Patch(changes=MappingProxyType(changes), reason=reason, force=force)


def describe_change(before: FlagSet, after: FlagSet, *, at: float, author: str, reason: str) -> FlagChange:
    """The history entry for a change from one set to the next; only flags that really differ are listed."""
    old, new = before.as_json(), after.as_json()
    differing = {key: [old[key], new[key]] for key in FLAG_PARSERS if old[key] != new[key]}
    return FlagChange(version=after.version, at=at, author=author, reason=reason, changes=MappingProxyType(differing))
