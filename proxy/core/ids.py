"""Validated names: what an agent, an elicitation and a sequence number may look like.

Ids come from peers, so each `parse_` function bounds length and alphabet before anything is kept under them.
Printable is what Python's `str.isprintable` says: no control and format characters, no lone surrogates, and no
white space but the plain space.
"""

from typing import Final, NewType

from proxy.core.errors import InvalidInput
from proxy.core.mismatch import describe

AgentId = NewType("AgentId", str)
"""Name of an agent, as it appears in `agent_id`."""

ElicitationId = NewType("ElicitationId", str)
"""Id of one elicitation, chosen by the Bridge."""

Sequence = NewType("Sequence", int)
"""The Bridge's increasing number of a message; 0 means "from the beginning"."""

MAX_AGENT_ID_CHARS: Final = 300
"""Source: ours; the Bridge opens sessions for ids of 300 characters."""

MAX_ELICITATION_ID_CHARS: Final = 200
"""Source: ours; the Bridge's own ids have 23 characters."""

MAX_SEQUENCE: Final = 2**63 - 1
"""Source: ours; the largest value SQLite stores as an integer."""


def _bounded_name(value: object, what: str, max_chars: int) -> str:
    expected = f"{what} must be text of 1 to {max_chars} printable characters"
    if not isinstance(value, str):
        raise InvalidInput(f"{expected}, got {describe(value)}")
    if not 0 < len(value) <= max_chars:
        raise InvalidInput(f"{expected}, got {len(value)}")
    if not value.isprintable():
        raise InvalidInput(f"{expected}, got {describe(value)}")
    return value


def parse_agent_id(value: object) -> AgentId:
    """Check one agent id; the empty id is refused, as nobody can be addressed by it.

    Raises:
        InvalidInput: not text, empty, longer than 300 characters, or with a character that is not printable.
    """
    return AgentId(_bounded_name(value, "agent_id", MAX_AGENT_ID_CHARS))


def parse_elicitation_id(value: object) -> ElicitationId:
    """Check one elicitation id.

    Raises:
        InvalidInput: not text, empty, longer than 200 characters, or with a character that is not printable.
    """
    return ElicitationId(_bounded_name(value, "elicitation_id", MAX_ELICITATION_ID_CHARS))


def parse_sequence(value: object) -> Sequence:
    """Check one sequence number, 0 to 2**63 - 1.

    Raises:
        InvalidInput: not a whole number, a boolean, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_SEQUENCE:
        raise InvalidInput(f"sequence must be a whole number from 0 to {MAX_SEQUENCE}, got {describe(value)}")
    return Sequence(value)
