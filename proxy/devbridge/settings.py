"""What the development Bridge is told: fixed settings, and switches that may change while it runs.

Every defect that was observed on the real Bridge, and every fault a test needs, is one switch in one frozen value.
A change replaces the whole value, so a request sees either the old switches or the new ones.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Final

import msgspec

MAX_SLOW_MS: Final = 600_000
"""Longest delay of an elicitation reply, milliseconds. Source: ours; ten minutes outlast every time-out here."""

MAX_FAIL_NEXT: Final = 1_000_000
"""Source: ours; more planned failures than any test makes requests."""

_TRUE: Final = frozenset({"1", "true", "on", "yes"})
_FALSE: Final = frozenset({"0", "false", "off", "no"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """Defects and faults, each switched by its name on the command line or by `POST /dev/switches`."""

    elicitation: bool = True
    """Off: the older Bridge, every `/elicitation/*` answers 404."""
    slow_ms: int = 0
    """Delay before each `/elicitation/*` reply, milliseconds."""
    fail_elicitation: bool = False
    """Each `/elicitation/*` answers 500, as the Bridge was shipped."""
    fail_next: int = 0
    """So many of the next `/elicitation/*` requests answer 500; counts down."""
    hang_elicitation: bool = False
    """`/elicitation/*` never answers, until this switch is off again or the caller leaves."""
    lose_respond_reply: bool = False
    """`/elicitation/respond` is carried out, then the connection is cut without a reply."""
    anybody_answers: bool = False
    """An answer counts from whoever has a token, whoever was asked and whoever it says it comes from."""
    shipped_wait: bool = False
    """`/event/wait` never delivers, as the Bridge was shipped."""
    rate_limits: bool = True
    """13 creates, 23 responses and 1000 stores a minute for one agent."""
    abuse_rule: bool = True
    """Refuse a Bridge session with more than 100 requests a minute once it is older than 60 s."""

    def as_json(self) -> dict[str, object]:
        """All switches by name."""
        return asdict(self)

    def patched(self, patch: Mapping[str, object]) -> "Switches":
        """These switches with some of them set anew.

        Raises:
            ValueError: an unknown name, a value of the wrong type, or a number out of bounds.
        """
        changes = {name: _checked(name, value) for name, value in patch.items()}
        return msgspec.convert(self.as_json() | changes, Switches)


_BOUNDS: Final = {"slow_ms": MAX_SLOW_MS, "fail_next": MAX_FAIL_NEXT}
_NAMES: Final = tuple(item.name for item in fields(Switches))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the development Bridge is started with; times in seconds."""

    switches: Switches = field(default_factory=Switches)
    poll_s: float = 1.0
    """Pause between two looks of a parked wait. Source: BRIDGE.md 2.3, poll period 1 s."""
    wait_limit: int = 10
    """Most messages in one answer of a wait. Source: BRIDGE.md 2.3, limit 10 per answer."""
    wait_cap_s: float = 300.0
    """Longest wait, whatever was asked. Source: BRIDGE.md 2.3, 200 after 300.2 s."""
    sweep_s: float = 10.0
    """Pause between two sweeps for expired elicitations. Source: BRIDGE.md 2.5."""
    state_file: Path | None = None
    """Where the event log outlives the process; None keeps it in memory only."""


def parse_switch(text: str) -> tuple[str, bool | int]:
    """Read one `KEY=VALUE` of the command line.

    Raises:
        ValueError: no `=`, an unknown name, or a value that does not fit the switch.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"expected KEY=VALUE, got {text!r}")
    if name in _BOUNDS:
        if not value.isdecimal():
            raise ValueError(f"{name} must be a whole number, got {value!r}")
        return name, _checked(name, int(value))
    if value.lower() not in _TRUE | _FALSE:
        _known(name)
        raise ValueError(f"{name} must be on or off, got {value!r}")
    return name, _checked(name, value.lower() in _TRUE)


def _known(name: str) -> None:
    if name in _NAMES:
        return
    near = get_close_matches(name, _NAMES, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(_NAMES)}"
    raise ValueError(f"there is no switch {name!r}; {hint}")


def _checked(name: str, value: object) -> bool | int:
    _known(name)
    bound = _BOUNDS.get(name)
    if bound is None:
        if isinstance(value, bool):
            return value
        raise ValueError(f"{name} must be true or false, got {value!r}")
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= bound:
        return value
    raise ValueError(f"{name} must be a whole number from 0 to {bound}, got {value!r}")
