"""One property of an elicitation form: which keywords it may have, and the check of its value.

The tables below are the whole profile; a keyword that is not in them, or whose value has another shape,
puts the schema outside it.

Source: PROTOCOL.md 1.3; MCP 2025-11-25 and 2026-07-28, `PrimitiveSchemaDefinition` in schema.ts.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeGuard

from proxy.core.formats import FORMATS
from proxy.core.mismatch import MAX_TEXT_CHARS, Mismatch, clip, describe, place, quote

Keywords = Mapping[str, Callable[[object], bool]]


def _is_within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def _span(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"{low} to {high}"


def _is_number(value: object) -> TypeGuard[int | float]:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Text:
    """A string; lengths count code points."""

    min_length: int | None
    max_length: int | None
    format: str | None

    def check(self, path: str, value: object) -> Mismatch | None:
        """Judge one value."""
        if not isinstance(value, str):
            return Mismatch(path, "a string", describe(value))
        if not _is_within(len(value), self.min_length, self.max_length):
            return Mismatch(path, f"{_span(self.min_length, self.max_length)} characters", str(len(value)))
        if self.format is not None and not FORMATS[self.format](value):
            return Mismatch(path, f"a string of format {self.format}", describe(value))
        return None


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number; a boolean is none."""

    is_whole: bool
    """Whether 3.5 is refused; 3 and 3.0 are both whole."""
    minimum: float | None
    maximum: float | None

    def check(self, path: str, value: object) -> Mismatch | None:
        """Judge one value.

        Source: JSON Schema 2020-12 validation, section 6.1.1: a number without fraction is an integer.
        """
        is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if not _is_number(value) or (self.is_whole and not is_whole):
            return Mismatch(path, "a whole number" if self.is_whole else "a number", describe(value))
        if not _is_within(value, self.minimum, self.maximum):
            return Mismatch(path, f"a number, {_span(self.minimum, self.maximum)}", describe(value))
        return None


@dataclass(frozen=True, slots=True)
class Flag:
    """A boolean."""

    def check(self, path: str, value: object) -> Mismatch | None:
        """Judge one value."""
        return None if isinstance(value, bool) else Mismatch(path, "true or false", describe(value))


@dataclass(frozen=True, slots=True)
class Choice:
    """One of some strings."""

    options: Mapping[str, None]
    """The strings in the order they were offered."""

    def check(self, path: str, value: object) -> Mismatch | None:
        """Judge one value."""
        if isinstance(value, str) and value in self.options:
            return None
        offered = ", ".join(quote(option) for option in list(self.options)[:MAX_TEXT_CHARS])
        return Mismatch(path, clip(f"one of {offered}"), describe(value))


@dataclass(frozen=True, slots=True)
class Choices:
    """Some of some strings; the same one may come twice, as the profile has no `uniqueItems`."""

    choice: Choice
    min_items: int | None
    max_items: int | None

    def check(self, path: str, value: object) -> Mismatch | None:
        """Judge one value; the first bad item is the one reported."""
        if not isinstance(value, list):
            return Mismatch(path, "an array", describe(value))
        if not _is_within(len(value), self.min_items, self.max_items):
            return Mismatch(path, f"{_span(self.min_items, self.max_items)} items", str(len(value)))
        found = (self.choice.check(place(path, index), item) for index, item in enumerate(value))
        return next((mismatch for mismatch in found if mismatch is not None), None)


Rule = Text | Number | Flag | Choice | Choices


def is_text(value: object) -> bool:
    """Tell whether this is a string."""
    return isinstance(value, str)


def is_flag(value: object) -> bool:
    """Tell whether this is a boolean."""
    return isinstance(value, bool)


def _is_format(value: object) -> bool:
    return isinstance(value, str) and value in FORMATS


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def is_texts(value: object) -> TypeGuard[list[str]]:
    """Tell whether this is an array of strings; it may be empty."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_enum(value: object) -> TypeGuard[list[str]]:
    return is_texts(value) and bool(value)


def _is_titled(value: object) -> TypeGuard[list[dict[str, str]]]:
    return isinstance(value, list) and bool(value) and all(_is_option(item) for item in value)


def _is_option(value: object) -> bool:
    return isinstance(value, dict) and value.keys() == {"const", "title"} and is_texts(list(value.values()))


def _is_items(value: object) -> bool:
    return isinstance(value, dict) and any(
        value.keys() == keywords.keys() and fits(value, keywords) for keywords in (_UNTITLED_ITEMS, _TITLED_ITEMS)
    )


_SHARED: Final[Keywords] = MappingProxyType(
    {
        "type": is_text,
        "title": is_text,
        "description": is_text,
    }
)
_TEXT: Final[Keywords] = MappingProxyType(
    {
        **_SHARED,
        "default": is_text,
        "minLength": _is_count,
        "maxLength": _is_count,
        "format": _is_format,
    }
)
_NUMBER: Final[Keywords] = MappingProxyType(
    {
        **_SHARED,
        "default": _is_number,
        "minimum": _is_number,
        "maximum": _is_number,
    }
)
_FLAG: Final[Keywords] = MappingProxyType({**_SHARED, "default": is_flag})
_ENUM: Final[Keywords] = MappingProxyType(
    {
        **_SHARED,
        "default": is_text,
        "enum": _is_enum,
        "enumNames": is_texts,
    }
)
_TITLED: Final[Keywords] = MappingProxyType({**_SHARED, "default": is_text, "oneOf": _is_titled})
_ARRAY: Final[Keywords] = MappingProxyType(
    {
        **_SHARED,
        "default": is_texts,
        "items": _is_items,
        "minItems": _is_count,
        "maxItems": _is_count,
    }
)
_UNTITLED_ITEMS: Final[Keywords] = MappingProxyType({"type": lambda value: value == "string", "enum": _is_enum})
_TITLED_ITEMS: Final[Keywords] = MappingProxyType({"anyOf": _is_titled})


def fits(schema: Mapping[str, object], keywords: Keywords) -> bool:
    """Tell whether every keyword of `schema` is in the table and its value has the table's shape."""
    return all(key in keywords and keywords[key](value) for key, value in schema.items())


def parse_rule(schema: object) -> Rule | None:
    """Read one property of a form; None when it lies outside the profile."""
    if not isinstance(schema, dict):
        return None
    match schema.get("type"):
        case "string" if fits(schema, _TEXT):
            return Text(schema.get("minLength"), schema.get("maxLength"), schema.get("format"))
        case "number" | "integer" as kind if fits(schema, _NUMBER):
            return Number(kind == "integer", schema.get("minimum"), schema.get("maximum"))
        case "boolean" if fits(schema, _FLAG):
            return Flag()
        case "array" if fits(schema, _ARRAY) and "items" in schema:
            items = schema["items"]
            options = items["enum"] if "enum" in items else (option["const"] for option in items["anyOf"])
            return Choices(_choice(options), schema.get("minItems"), schema.get("maxItems"))
    return _parse_choice(schema)


def _choice(options: Iterable[str]) -> Choice:
    return Choice(MappingProxyType(dict.fromkeys(options)))


def _parse_choice(schema: Mapping[str, object]) -> Choice | None:
    options, names, titled = schema.get("enum"), schema.get("enumNames"), schema.get("oneOf")
    if schema.get("type") != "string":
        return None
    if fits(schema, _ENUM) and _is_enum(options):
        return _choice(options) if not is_texts(names) or len(names) == len(options) else None
    # `oneOf` wants exactly one match, so an option offered twice could never be chosen: not ours to repair.
    if fits(schema, _TITLED) and _is_titled(titled) and len({each["const"] for each in titled}) == len(titled):
        return _choice(option["const"] for option in titled)
    return None
