"""How big a JSON value from a peer may be: bytes, nesting, values, members of one object, items of one array.

The walk is iterative and stops at the first bound crossed, so a hostile value costs no more than a good one.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one JSON value may measure."""

    size_bytes: int
    """Bytes of its compact JSON text."""
    depth: int
    """Objects and arrays inside one another, the outermost included."""
    nodes: int
    """Values in all: objects, arrays and scalars."""
    members: int
    """Members of any one object."""
    items: int
    """Items of any one array."""


@dataclass(frozen=True, slots=True)
class Excess:
    """The bound that a value crosses: what was expected, and what came."""

    expected: str
    got: str


def measure(value: object, bounds: Bounds) -> int | Excess:
    """Bytes of the compact JSON text of `value`, or the first bound it crosses.

    A value that JSON cannot carry (NaN, a key that is not text, a whole number beyond 64 bits) is an excess too.
    """
    nodes = depth = 0
    level: list[object] = [value]
    while level:
        below: list[object] = []
        nodes += len(level)
        for item in level:
            children = _children(item, bounds)
            if isinstance(children, Excess):
                return children
            if nodes + len(below) + len(children) > bounds.nodes:
                return Excess(f"at most {bounds.nodes} values in all", "more")
            below.extend(children)
        depth += any(isinstance(item, dict | list) for item in level)
        if depth > bounds.depth:
            return Excess(f"at most {bounds.depth} levels of nesting", "more")
        level = below
    return _size(value, bounds)


def _children(item: object, bounds: Bounds) -> Collection[object] | Excess:
    if isinstance(item, list):
        is_long = len(item) > bounds.items
        return Excess(f"at most {bounds.items} items in one array", str(len(item))) if is_long else item
    if isinstance(item, dict):
        return _members(item, bounds)
    if isinstance(item, float) and not math.isfinite(item):
        return Excess("finite numbers", str(item))
    return () if isinstance(item, str | int | float | None) else Excess("a JSON value", type(item).__name__)


def _members(item: Mapping[object, object], bounds: Bounds) -> Collection[object] | Excess:
    if len(item) > bounds.members:
        return Excess(f"at most {bounds.members} members in one object", str(len(item)))
    if not all(isinstance(key, str) for key in item):
        return Excess("text as the name of every member", "another key")
    return item.values()


def _size(value: object, bounds: Bounds) -> int | Excess:
    try:
        size = len(orjson.dumps(value))
    except orjson.JSONEncodeError as error:
        return Excess("a value that JSON can carry", str(error))
    if size > bounds.size_bytes:
        return Excess(f"at most {bounds.size_bytes} bytes of JSON", str(size))
    return size
