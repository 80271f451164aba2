"""How we say that a value from a peer does not match: the place, what was expected, what came.

Texts repeat at most 80 characters of a peer's value, with control characters escaped, so they are safe to print.
"""

import re
from dataclasses import dataclass
from typing import Final

MAX_TEXT_CHARS: Final = 80
"""Longest part of a peer's value that a text repeats. Source: ours; one line of a terminal."""

_PLAIN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,79}")


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One failing place of a content."""

    path: str
    """`$` for the whole, `$.build` for a member, `$.tags[1]` for an item, `$['a b']` for odd names."""
    expected: str
    got: str

    def __str__(self) -> str:
        """The mismatch as one sentence part."""
        return f"at {self.path}: expected {self.expected}, got {self.got}"


def clip(text: str) -> str:
    """Cut `text` to 80 characters; a cut shows as an ellipsis."""
    return text if len(text) <= MAX_TEXT_CHARS else text[: MAX_TEXT_CHARS - 1] + "…"


def quote(text: str) -> str:
    """Put `text` in quotes with control characters escaped, in at most 80 characters."""
    return clip(repr(text[:MAX_TEXT_CHARS]))


def describe(value: object) -> str:
    """Say in at most 80 characters what a value is."""
    match value:
        case None | bool():
            return {None: "null", True: "true"}.get(value, "false")
        case str():
            return quote(value)
        case int() | float():
            return _describe_number(value)
        case dict():
            return f"an object with {len(value)} members"
        case list():
            return f"an array with {len(value)} items"
        case _:
            return clip(f"a {type(value).__name__}")


def _describe_number(value: float) -> str:
    is_huge = isinstance(value, int) and value.bit_length() > 64
    return "a whole number beyond 64 bits" if is_huge else repr(value)


def place(parent: str, step: str | int) -> str:
    """Path of a member (text) or an item (number) below `parent`."""
    if isinstance(step, int):
        return f"{parent}[{step}]"
    return f"{parent}.{step}" if _PLAIN_NAME.fullmatch(step) else f"{parent}[{quote(step)}]"


def missing(path: str) -> Mismatch:
    """Say that a required property did not come."""
    return Mismatch(path, "a value, as it is required", "nothing")


def unexpected(path: str) -> Mismatch:
    """Say that a property came which the schema does not allow."""
    return Mismatch(path, "only properties of the schema", "an additional property")
