"""What the event store refuses to store, and how often one agent may do something in a minute.

Times are seconds since the epoch and come in as arguments.
"""

import re
from collections import deque
from dataclasses import dataclass
from typing import Final

from proxy.devbridge.wire import WireError

MAX_STRING: Final = 1024 * 1024
"""Characters in one text. Source: BRIDGE.md 2.2, limit 1048576."""

MAX_AGENT_CHARS: Final = 64
"""Characters in the agent id of a stored event. Source: BRIDGE.md 2.2."""

MAX_DEPTH: Final = 10
"""Objects and lists inside each other. Source: the public Bridge, event_store/validation.py."""

DANGEROUS: Final = (
    r"<script[^>]*>",
    r"javascript:",
    r"on\w+\s*=",
    r"eval\s*\(",
    r"setTimeout\s*\(",
    r"\\x[0-9a-f]{2}",
)
"""Patterns in any text of an event. Source: BRIDGE.md 2.2."""

WINDOW_S: Final = 60.0
"""Seconds over which an allowance counts. Source: BRIDGE.md 2.2 and 2.5, limits per minute."""

MAX_AGENTS: Final = 100_000
"""Source: ours; bounds the memory of an allowance, as agent ids come from outside."""


def security_error(text: str) -> WireError:
    """The refusal of the event store, as the endpoints pass it on."""
    return WireError(500, f"Security validation failed: {text}")


def check_content(value: object, place: str = "event.data", depth: int = 0) -> None:
    """Look through one JSON value for what the event store refuses.

    Raises:
        WireError: 500, naming the first place and the pattern or limit.
    """
    if depth > MAX_DEPTH:
        raise security_error(f"Dictionary nesting too deep in {place}: {depth}")
    if isinstance(value, str):
        _check_text(value, place)
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check_text(key, f"{place}.key")
            check_content(inner, f"{place}.{key}", depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            check_content(inner, f"{place}[{index}]", depth + 1)


def _check_text(text: str, place: str) -> None:
    if len(text) > MAX_STRING:
        raise security_error(f"{place} length {len(text)} exceeds limit {MAX_STRING}")
    for pattern in DANGEROUS:
        if re.search(pattern, text, re.IGNORECASE):
            raise security_error(f"Dangerous pattern detected in {place}: {pattern}")


@dataclass(slots=True)
class Allowance:
    """So many uses of one thing in the last minute, for each agent by itself."""

    per_minute: int
    _uses: dict[str, deque[float]]

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._uses = {}

    def take(self, agent_id: str, now: float) -> bool:
        """Use it once; False, and not counted as a use, when the minute is full."""
        if agent_id not in self._uses and len(self._uses) >= MAX_AGENTS:
            del self._uses[next(iter(self._uses))]
        uses = self._uses.setdefault(agent_id, deque())
        while uses and now - uses[0] >= WINDOW_S:
            uses.popleft()
        if len(uses) >= self.per_minute:
            return False
        uses.append(now)
        return True
