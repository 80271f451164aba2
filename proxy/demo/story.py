"""What the demo is told to do, and what it has to tell: plain values."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from proxy.config.shapes import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to start, and where."""

    folder: Path
    """Holds state, token file and logs; absolute."""
    config: Path | None
    """The sidecar's configuration file."""
    listen: Address
    admin: Address
    bridge: Address
    is_once: bool
    """End after the story instead of serving on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One question and its answer; times in milliseconds from the moment alice began to ask."""

    cohort: str
    seen_ms: float
    """Until bob had read the question."""
    answer_ms: float
    """Until alice had read the answer."""
    arrived_as: str
    """The type of the message in which bob found the question."""
    content: object
    """What bob answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where everything can be reached."""

    bridge: str
    data: str
    admin: str
    token_file: Path

    def flags_line(self) -> str:
        """A shell line that changes the flags; the token itself is not in it."""
        return (
            f"curl -sS -X POST {self.admin}/feature_flags "
            f"""-H "Authorization: Bearer $(cut -d' ' -f2 {shlex.quote(str(self.token_file))})" """
            """-d '{"elicitation_percentage": 50, "reason": "try it"}'"""
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tale:
    """The outcome: one exchange in each cohort."""

    legacy: Exchange
    elicitation: Exchange
    places: Places

    def seen_ratio(self) -> float:
        """How many times sooner the question was seen."""
        return self.legacy.seen_ms / self.elicitation.seen_ms

    def answer_ratio(self) -> float:
        """How many times sooner the answer was read."""
        return self.legacy.answer_ms / self.elicitation.answer_ms

    def as_json(self) -> Mapping[str, object]:
        """The numbers and places for a program to read."""
        return {
            "legacy": _as_json(self.legacy),
            "elicitation": _as_json(self.elicitation),
            "ratio": {"seen": round(self.seen_ratio(), 1), "answer": round(self.answer_ratio(), 1)},
            "places": {
                "bridge": self.places.bridge,
                "data": self.places.data,
                "admin": self.places.admin,
                "metrics": f"{self.places.admin}/metrics",
                "token_file": str(self.places.token_file),
            },
        }


class Show(Protocol):
    """Where the demo tells its story."""

    def say(self, text: str) -> None:
        """One line of the story."""
        ...

    def result(self, tale: Tale) -> None:
        """The numbers at its end."""
        ...

    def serving(self, places: Places) -> None:
        """The very last lines: everything runs on."""
        ...


def _as_json(exchange: Exchange) -> Mapping[str, object]:
    return {
        "seen_ms": round(exchange.seen_ms, 1),
        "answer_ms": round(exchange.answer_ms, 1),
        "arrived_as": exchange.arrived_as,
        "content": exchange.content,
    }
