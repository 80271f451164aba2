"""JSON as the most lenient server would read it: twins kept, NaN, UTF-16 and a byte order mark taken.

Servers differ in which of two twins they believe. Whoever judges a call by its contents has to see both.

Source: RFC 8259 section 4 (twins: behaviour is unpredictable) and section 8.1 (encodings); Python, module `json`.
"""

import json
from collections.abc import Iterator


class Members(list[tuple[str, object]]):
    """The members of an object in their order, twins included."""

    def all(self, name: str) -> list[object]:
        """All values under this name."""
        return [value for known, value in self if known == name]


def parse_lenient(body: bytes) -> object:
    """Read a text in which objects are `Members`.

    Raises:
        ValueError: nobody can read it.
        RecursionError: it is nested deeper than can be told.
    """
    # Integers may be longer than Python itself takes.
    value: object = json.loads(body, object_pairs_hook=Members, parse_int=float)
    return value


def objects_in(value: object) -> Iterator[Members]:
    """The object itself, or those of a batch."""
    if isinstance(value, Members):
        yield value
    elif isinstance(value, list):
        yield from (item for item in value if isinstance(item, Members))
