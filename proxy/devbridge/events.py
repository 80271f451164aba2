"""The event log: numbered from 1 without gaps, ascending, broadcast to everybody.

Times are seconds since the epoch and come in as arguments. The log only grows: it is for development, and whoever
runs it for weeks pays with memory.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import orjson

QUERY_CAP: Final = 1000
"""Most events `/event/query` returns, the oldest first. Source: BRIDGE.md 2.2."""

NODE_ID: Final = "lighthouse-01"
"""Source: BRIDGE.md 2.2, event_id.node_id."""

UNKNOWN_TYPE: Final = "system_started"
"""What an unknown event type is stored as. Source: BRIDGE.md 2.2."""

_KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "agent": ("registered", "disconnected", "heartbeat", "session_started", "session_ended"),
    "backup": ("created",),
    "command": ("received", "validated", "executed", "failed"),
    "degradation": ("triggered",),
    "directory": ("created", "deleted", "moved"),
    "expert_agent": ("summoned", "responded"),
    "file": ("created", "modified", "deleted", "moved", "copied"),
    "pair_session": ("started", "ended"),
    "pair_suggestion": ("made", "accepted", "rejected"),
    "project": ("initialized",),
    "recovery": ("completed",),
    "shadow": ("created", "updated", "deleted"),
    "shadow_annotation": ("created", "updated", "deleted"),
    "snapshot": ("created", "restored"),
    "system": ("started", "shutdown"),
    "validation": ("request_submitted", "policy_applied", "escalated_to_expert", "decision_made"),
}

EVENT_TYPES: Final = frozenset({"custom", *(f"{kind}_{what}" for kind, whats in _KINDS.items() for what in whats)})
"""The types the Bridge stores under their own name. Source: the public Bridge, event_store/models.py."""


def stored_type(asked: str) -> str:
    """The type an event is stored as, in any letter case; an unknown one becomes `system_started`."""
    lowered = asked.lower()
    return lowered if lowered in EVENT_TYPES else UNKNOWN_TYPE


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An event before it is stored."""

    event_type: str
    data: Mapping[str, object]
    source_agent: str | None
    source_component: str
    aggregate_id: str
    aggregate_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event with its number, the second since the epoch it was stored at, and its id's monotonic nanosecond."""

    sequence: int
    stored_at: float
    monotonic_ns: int
    draft: Draft

    def event_id(self) -> dict[str, object]:
        """The id as the wire shows it: an object."""
        return {"timestamp_ns": self.monotonic_ns, "sequence": 0, "node_id": NODE_ID}

    def wait_item(self) -> dict[str, object]:
        """The event as `/event/wait` shows it: without any id but the sequence."""
        return {
            "sequence": self.sequence,
            "event_type": self.draft.event_type,
            "source_agent": self.draft.source_agent,
            "timestamp": self._timestamp(),
            "data": self.draft.data,
        }

    def query_item(self) -> dict[str, object]:
        """The event as `/event/query` shows it."""
        return {
            "event_id": self.event_id(),
            "event_type": self.draft.event_type,
            "aggregate_id": self.draft.aggregate_id,
            "aggregate_type": self.draft.aggregate_type,
            "timestamp": self._timestamp(),
            "data": self.draft.data,
            "source_agent": self.draft.source_agent,
            "source_component": self.draft.source_component,
            "sequence": self.sequence,
        }

    def _timestamp(self) -> str:
        return datetime.fromtimestamp(self.stored_at, UTC).isoformat()


class EventLog:
    """The events of this process, after those an earlier process left in the state file."""

    __slots__ = ("_events",)

    def __init__(self, kept: Iterable[StoredEvent] = ()) -> None:
        self._events = list(kept)

    def __len__(self) -> int:
        return len(self._events)

    def append(self, draft: Draft, now: float, monotonic_ns: int = 0) -> StoredEvent:
        """Store one event under the next number."""
        event = StoredEvent(sequence=len(self._events) + 1, stored_at=now, monotonic_ns=monotonic_ns, draft=draft)
        self._events.append(event)
        return event

    def after(self, sequence: int, limit: int) -> list[StoredEvent]:
        """The first events with a higher number, ascending, at most `limit`."""
        # Numbers have no gaps, so a number is the place of the next event: a look costs nothing, unlike the real one.
        start = max(sequence, 0)
        return self._events[start : start + limit]

    def oldest(self, limit: int) -> list[StoredEvent]:
        """The first events of the log, at most `limit` and never more than 1000."""
        return self._events[: min(limit, QUERY_CAP)]

    def everything(self) -> list[StoredEvent]:
        """All events, to rebuild from."""
        return list(self._events)


def write_line(event: StoredEvent) -> bytes:
    """One event as a line of the state file."""
    return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)


def read_line(line: bytes, sequence: int) -> StoredEvent:
    """One line of the state file, which must hold the event of this number.

    Raises:
        ValueError: not JSON, or not an event that this program wrote.
    """
    try:
        kept = orjson.loads(line)
        event = StoredEvent(**{**kept, "draft": Draft(**kept["draft"])})
    except (orjson.JSONDecodeError, TypeError, KeyError) as error:
        raise ValueError(f"line {sequence} of the state file is not an event of this program") from error
    if event.sequence != sequence:
        raise ValueError(f"line {sequence} of the state file holds event {event.sequence}")
    return event
