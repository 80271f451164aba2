"""The mark by which every sidecar sees that a question was made from a legacy send, and from which one.

It is a keyword of the question's schema, because that is what a Bridge keeps and shows to everybody unchanged. It is
taken off before a schema is read as one, and put on again where it goes out.

Source: ARCHITECTURE.md 2.4; JSON Schema 2020-12, core 6.5 (unknown keywords are annotations).
"""

from collections.abc import Mapping
from typing import Final

from proxy.core.ids import MAX_SEQUENCE

MARK: Final = "x-elicit-sidecar"
"""The keyword; also a member of the contents and of the messages that belong to such a question."""

_SEQUENCE: Final = "sequence"


def marked(schema: Mapping[str, object], sequence: int) -> dict[str, object]:
    """The schema of a question that was made from the event with this number at the Bridge."""
    return {**schema, MARK: {_SEQUENCE: sequence}}


def unmarked(schema: Mapping[str, object]) -> tuple[Mapping[str, object], int | None]:
    """A schema without the mark, and the number that it held; what is no mark of ours stays where it is."""
    sequence = marked_sequence(schema.get(MARK))
    if sequence is None:
        return schema, None
    return {key: value for key, value in schema.items() if key != MARK}, sequence


def marked_sequence(mark: object) -> int | None:
    """The number of the event that a mark names; None where it is no mark."""
    sequence = mark.get(_SEQUENCE) if isinstance(mark, dict) else None
    if isinstance(sequence, bool) or not isinstance(sequence, int) or not 0 < sequence <= MAX_SEQUENCE:
        return None
    return sequence
