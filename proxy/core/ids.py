"""Validated names: what an agent, an elicitation and a sequence number may look like.

Ids come from peers, so each `parse_` function bounds length and alphabet before anything is kept under them.
"""

from typing import Final, NewType

from proxy.core.errors import InvalidInput

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


def _is_printable(text: str) -> bool:
    return all(char.isprintable() for char in text)


def parse_agent_id(value: object) -> AgentId:
    """Check one agent id; the empty id is refused, as nobody can be addressed by it.

    Raises:
        InvalidInput: not text, empty, longer than 300 characters, or with control characters.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"agent_id must be text, got {type(value).__name__}")
    if not value or len(value) > MAX_AGENT_ID_CHARS or not _is_printable(value):
        raise InvalidInput(f"agent_id must have 1 to {MAX_AGENT_ID_CHARS} printable characters, got {len(value)}")
    return AgentId(value)


def parse_elicitation_id(value: object) -> ElicitationId:
    """Check one elicitation id.

    Raises:
        InvalidInput: not text, empty, longer than 200 characters, or with control characters.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"elicitation_id must be text, got {type(value).__name__}")
    if not value or len(value) > MAX_ELICITATION_ID_CHARS or not _is_printable(value):
        raise InvalidInput(
            f"elicitation_id must have 1 to {MAX_ELICITATION_ID_CHARS} printable characters, got {len(value)}"
        )
    return ElicitationId(value)


def parse_sequence(value: object) -> Sequence:
    """Check one sequence number, 0 to 2**63 - 1.

    Raises:
        InvalidInput: not a whole number, a boolean, or out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInput(f"sequence must be a whole number, got {type(value).__name__}")
    if not 0 <= value <= MAX_SEQUENCE:
        raise InvalidInput(f"sequence must be between 0 and {MAX_SEQUENCE}, got {value}")
    return Sequence(value)
