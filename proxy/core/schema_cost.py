"""What a schema outside the flat profile may cost to check, judged before anything is compiled.

A schema of 2 kB can unfold to 2**24 checks by references that each point twice to the next. So every schema
is unfolded on paper first: each subschema counts what it needs itself plus all it applies, references included,
with every subschema looked at once. What cannot be counted (remote, recursive or dynamic references) is refused.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from proxy.core.errors import SchemaRefused
from proxy.core.mismatch import describe, quote

MAX_CHECKS: Final = 10_000
"""Checks that a schema may unfold to. Source: ours; real nested schemas stay in the hundreds."""

MAX_REFERENCES: Final = 256
"""Source: ours; as many as an object may have members."""

MAX_COMBINATORS: Final = 256
"""allOf, anyOf, oneOf, not and if in one schema. Source: ours; as many as an object may have members."""

MAX_UNFOLDED_DEPTH: Final = 64
"""Subschemas inside one another on the way to one not yet counted, references followed.

Source: ours; it only keeps the recursion here shallow, as `MAX_REFERENCES` bounds the library's."""

PATTERN_CHECKS: Final = 250
"""What one pattern counts for. Source: ours; the worst pattern allowed took 2.5 us per byte, a check 10 ns."""

MULTIPLE_CHECKS: Final = 400
"""What one multipleOf counts for. Source: ours; 25 us for 1e300 (6 bytes) against 1e-300, a check 10 ns per byte."""

UNIQUE_CHECKS: Final = 16
"""What one uniqueItems counts for. Source: ours; it sorts or hashes, 15 ns per byte at 19,000 items."""

UNEVALUATED_FACTOR: Final = 3
"""How often unevaluated* re-checks what it stands beside. Source: ours; 2.6 times per level was measured."""

_LOCAL_REFERENCE: Final = re.compile(r"#(?:/(?:[^~%/]|~[01])*+)*+")
"""A plain JSON pointer. Percent-encoding is not taken, so that no two readers can disagree on the target.

Source: RFC 6901 section 6."""

_MAPS: Final = frozenset({"properties", "patternProperties", "dependentSchemas", "dependencies"})
_DEFINITIONS: Final = frozenset({"$defs", "definitions"})
_LISTS: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
_SINGLES: Final = frozenset(
    {
        "additionalItems",
        "additionalProperties",
        "contains",
        "contentSchema",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
_COMPARED: Final = frozenset({"const", "dependencies", "dependentRequired", "enum", "required"})
_COMBINATORS: Final = frozenset({"allOf", "anyOf", "oneOf", "not", "if"})
_UNEVALUATED: Final = frozenset({"unevaluatedItems", "unevaluatedProperties"})
_REFUSED: Final = frozenset(
    {
        "$anchor",
        "$dynamicAnchor",
        "$dynamicRef",
        "$id",
        "$recursiveAnchor",
        "$recursiveRef",
    }
)


def count_checks(schema: Mapping[str, object]) -> int:
    """Upper bound of the checks that a schema unfolds to; at least 1.

    The schema is already bounded in size, so this visits at most 2,000 subschemas. A `$id` at the root has to be
    taken off before, as only there it is harmless.

    Raises:
        SchemaRefused: beyond a limit, or with a reference that is remote, recursive, dynamic or dangling.
    """
    return _Count(schema).of(schema)


@dataclass(slots=True)
class _Count:
    """One count in progress; subschemas are told apart by identity, as the root keeps them alive."""

    root: Mapping[str, object]
    known: dict[int, int] = field(default_factory=dict)
    open: list[int] = field(default_factory=list)
    references: int = 0
    combinators: int = 0

    def of(self, schema: object) -> int:
        """Checks of one subschema."""
        if isinstance(schema, bool):
            return 1
        if not isinstance(schema, dict):
            raise SchemaRefused(f"a subschema must be an object or a boolean, got {describe(schema)}")
        key = id(schema)
        if key not in self.known:
            self.known[key] = self._count(schema)
        return self.known[key]

    def _count(self, schema: Mapping[str, object]) -> int:
        key = id(schema)
        if key in self.open:
            raise SchemaRefused("a schema must not refer to itself; write the levels out that are needed")
        if len(self.open) >= MAX_UNFOLDED_DEPTH:
            raise SchemaRefused(f"a schema must nest at most {MAX_UNFOLDED_DEPTH} deep through its references")
        self._admit(schema)
        self.open.append(key)
        for definition in _definitions(schema):
            self.of(definition)
        total = _own_checks(schema) + sum(self.of(child) for child in _applied(schema))
        if "$ref" in schema:
            total += self.of(_resolve(self.root, schema["$ref"]))
        self.open.pop()
        total *= UNEVALUATED_FACTOR if schema.keys() & _UNEVALUATED else 1
        if total > MAX_CHECKS:
            raise SchemaRefused(f"a schema must unfold to at most {MAX_CHECKS} checks, got more")
        return total

    def _admit(self, schema: Mapping[str, object]) -> None:
        refused = sorted(schema.keys() & _REFUSED)
        if refused:
            raise SchemaRefused(f"a schema must refer by '#/...' only, got {refused[0]}")
        self.references += "$ref" in schema
        self.combinators += len(schema.keys() & _COMBINATORS)
        if self.references > MAX_REFERENCES or self.combinators > MAX_COMBINATORS:
            raise SchemaRefused(
                f"a schema must have at most {MAX_REFERENCES} references and {MAX_COMBINATORS} combinators, got more"
            )


def _definitions(schema: Mapping[str, object]) -> Iterator[object]:
    for keyword in schema.keys() & _DEFINITIONS:
        value = schema[keyword]
        if isinstance(value, dict):
            yield from value.values()


def _applied(schema: Mapping[str, object]) -> Iterator[object]:
    for keyword, value in schema.items():
        if keyword in _MAPS and isinstance(value, dict):
            yield from (child for child in value.values() if not isinstance(child, list))
        elif keyword in _LISTS and isinstance(value, list):
            yield from value
        elif keyword in _SINGLES:
            yield value


def _own_checks(schema: Mapping[str, object]) -> int:
    names = schema.get("patternProperties")
    return (
        1
        + sum(_values_in(schema[keyword]) for keyword in schema.keys() & _COMPARED)
        + PATTERN_CHECKS * (("pattern" in schema) + (len(names) if isinstance(names, dict) else 0))
        + MULTIPLE_CHECKS * ("multipleOf" in schema)
        + UNIQUE_CHECKS * ("uniqueItems" in schema)
    )


def _values_in(value: object) -> int:
    if isinstance(value, dict):
        return 1 + sum(_values_in(item) for item in value.values())
    return 1 + sum(_values_in(item) for item in value) if isinstance(value, list) else 1


def _resolve(root: object, reference: object) -> object:
    if not isinstance(reference, str) or _LOCAL_REFERENCE.fullmatch(reference) is None:
        raise SchemaRefused(f"a $ref must point inside its schema, as '#/$defs/name' does, got {describe(reference)}")
    target = root
    for token in reference.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if not isinstance(target, dict) or name not in target:
            raise SchemaRefused(f"a $ref must point to a member of its schema, got {quote(reference)}")
        target = target[name]
    return target
