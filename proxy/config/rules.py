"""The kinds of value a key may have, each able to read a TOML value and a text from outside.

A rule stands in the annotation of its field (`schema.py`), so that type, range and message never part.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from proxy.config.problems import Unfit, show
from proxy.core.errors import InvalidInput

_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(?:[eE][+-]?[0-9]{1,3})?")


class Rule(Protocol):
    """What a key accepts; both readers raise `Unfit`."""

    @property
    def expected(self) -> str:
        """The accepted values in words, to follow "expected"."""
        ...

    def from_value(self, value: object) -> object:
        """Narrow a value as TOML gives it."""
        ...

    def from_text(self, text: str) -> object:
        """Narrow a text from the environment or the command line."""
        ...


def _no_number(value: object) -> Unfit:
    if isinstance(value, bool):
        return Unfit("true and false are not numbers")
    return Unfit("write the number without quotes" if isinstance(value, str) else "")


@dataclass(frozen=True, slots=True)
class Switch:
    """True or false."""

    @property
    def expected(self) -> str:
        """The accepted values in words."""
        return "true or false"

    def from_value(self, value: object) -> object:
        """Narrow a TOML value."""
        if isinstance(value, bool):
            return value
        raise Unfit("write it without quotes" if isinstance(value, str) else "")

    def from_text(self, text: str) -> object:
        """Read `true`, `false`, `1` or `0`."""
        known = {"true": True, "1": True, "false": False, "0": False}
        word = text.strip().lower()
        if word not in known:
            raise Unfit
        return known[word]


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int

    @property
    def expected(self) -> str:
        """The accepted values in words."""
        return f"a whole number from {self.low} to {self.high}"

    def from_value(self, value: object) -> object:
        """Narrow a TOML value; a boolean is not a number."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise _no_number(value)
        if not self.low <= value <= self.high:
            raise Unfit
        return value

    def from_text(self, text: str) -> object:
        """Read decimal digits with an optional sign."""
        if _WHOLE.fullmatch(text.strip()) is None:
            raise Unfit
        return self.from_value(int(text))


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number from `low` to `high`, both included, with at most `decimals` decimals if given."""

    low: float
    high: float
    decimals: int | None = None

    @property
    def expected(self) -> str:
        """The accepted values in words."""
        return f"a number from {self.low:g} to {self.high:g}"

    def from_value(self, value: object) -> object:
        """Narrow a TOML value; whole numbers are fine, booleans are not."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _no_number(value)
        if isinstance(value, float) and not math.isfinite(value):
            raise Unfit("the number must be finite")
        if not self.low <= value <= self.high:
            raise Unfit
        if self.decimals is not None and round(value, self.decimals) != value:
            raise Unfit(f"at most {self.decimals} decimals count")
        return float(value)

    def from_text(self, text: str) -> object:
        """Read a decimal number, with an exponent if wanted."""
        if _NUMBER.fullmatch(text.strip()) is None:
            raise Unfit
        return self.from_value(float(text))


@dataclass(frozen=True, slots=True)
class Choice:
    """One of `options`; `later` are names of the documented interface that this release does not have."""

    options: tuple[str, ...]
    later: tuple[str, ...] = ()

    @property
    def expected(self) -> str:
        """The accepted values in words."""
        *head, last = self.options
        return f"{', '.join(head)} or {last}" if head else last

    def from_value(self, value: object) -> object:
        """Narrow a TOML value."""
        if isinstance(value, str):
            return self.from_text(value)
        raise Unfit("write it as text in quotes")

    def from_text(self, text: str) -> object:
        """Compare with the options, letter by letter."""
        if text in self.later:
            raise Unfit(f"not available in this release; use {self.expected}")
        if text not in self.options:
            raise Unfit
        return text


@dataclass(frozen=True, slots=True)
class Text:
    """A text that `read` turns into its value or refuses (`Unfit`, `InvalidInput`)."""

    read: Callable[[str], object]
    expected: str

    def from_value(self, value: object) -> object:
        """Narrow a TOML value."""
        if isinstance(value, str):
            return self.from_text(value)
        raise Unfit("write it as text in quotes")

    def from_text(self, text: str) -> object:
        """Read the text as it is."""
        try:
            return self.read(text)
        except InvalidInput as error:
            raise Unfit(error.detail) from error


@dataclass(frozen=True, slots=True)
class TextList:
    """A list of texts, each read by `read`; outside TOML they are separated by commas."""

    read: Callable[[str], object]
    expected: str
    most: int = 10_000
    """Longest list. Source: ours, as `proxy.core.flags.MAX_LIST_ENTRIES`."""

    def from_value(self, value: object) -> object:
        """Narrow a TOML value."""
        if not isinstance(value, list):
            raise Unfit("write it as a list in square brackets")
        if len(value) > self.most:
            raise Unfit(f"at most {self.most} items")
        return tuple(self._item(index, item) for index, item in enumerate(value, start=1))

    def from_text(self, text: str) -> object:
        """Split at commas; an empty text is an empty list."""
        if not text.strip():
            return ()
        return self.from_value([piece.strip() for piece in text.split(",")])

    def _item(self, index: int, item: object) -> object:
        got = f"{show(item)} as item {index}"
        if not isinstance(item, str):
            raise Unfit("every item is text in quotes", got=got)
        try:
            return self.read(item)
        except InvalidInput as error:
            raise Unfit(error.detail, got=got) from error
        except Unfit as error:
            raise Unfit(error.hint, got=got) from error
