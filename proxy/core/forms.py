"""The schema subset an elicitation may ask with, and the check of an answer's content against it.

The profile is closed: a flat object of strings, numbers, booleans and enums, as MCP forms define it.
A schema with one keyword more is no form and goes to the general checker; an oversized one is refused.
Verdicts are those of JSON Schema 2020-12 with formats asserted. Defaults are never filled in.

Source: PROTOCOL.md 1.3; MCP 2025-11-25 and 2026-07-28, `requestedSchema` in schema.ts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from proxy.core.bounds import Bounds, Excess, measure
from proxy.core.errors import SchemaRefused
from proxy.core.form_fields import Keywords, Rule, fits, is_flag, is_text, is_texts, parse_rule
from proxy.core.mismatch import Mismatch, describe, missing, place, unexpected

SCHEMA_BOUNDS: Final = Bounds(size_bytes=65_536, depth=16, nodes=2_000, members=256, items=1_000)
"""Source: ours; a form for people or models is far smaller, and a schema beyond this costs more than it asks."""


_TOP: Final[Keywords] = MappingProxyType(
    {
        "$schema": is_text,
        "type": lambda value: value == "object",
        "title": is_text,
        "description": is_text,
        "properties": lambda value: isinstance(value, dict),
        "required": lambda value: is_texts(value) and len(set(value)) == len(value),
        "additionalProperties": is_flag,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormField:
    """One property of a form."""

    name: str
    path: str
    rule: Rule
    is_required: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """A schema in the closed profile, ready to check contents."""

    fields: tuple[FormField, ...]
    names: frozenset[str]
    unlisted: tuple[str, ...]
    """Names that are required without being among the properties."""
    is_closed: bool
    """Whether other properties are refused (`additionalProperties` is false)."""

    def check(self, content: object) -> Mismatch | None:
        """Judge an accepted answer's content: None when it matches, else the first mismatch.

        Properties outside the form may hold anything unless it is closed, as in JSON Schema.
        """
        if not isinstance(content, dict):
            return Mismatch("$", "an object", describe(content))
        for field in self.fields:
            if field.name in content:
                mismatch = field.rule.check(field.path, content[field.name])
                if mismatch is not None:
                    return mismatch
            elif field.is_required:
                return missing(field.path)
        for name in self.unlisted:
            if name not in content:
                return missing(place("$", name))
        return self._check_others(content) if self.is_closed else None

    def _check_others(self, content: Iterable[str]) -> Mismatch | None:
        other = next((name for name in content if name not in self.names), None)
        return None if other is None else unexpected(place("$", other))


def bounded_schema(schema: object) -> dict[str, object]:
    """Take a schema from a peer if it is an object within `SCHEMA_BOUNDS`.

    Raises:
        SchemaRefused: otherwise.
    """
    if not isinstance(schema, dict):
        raise SchemaRefused(f"a schema must be a JSON object, got {describe(schema)}")
    size = measure(schema, SCHEMA_BOUNDS)
    if isinstance(size, Excess):
        raise SchemaRefused(f"a schema must have {size.expected}, got {size.got}; ask for less at once")
    return schema


def compile_form(schema: object) -> Form | None:
    """Read a schema as a form; None when it lies outside the closed profile.

    `{}` is a form that takes any object: the Bridge lets agents ask with it.

    Raises:
        SchemaRefused: not an object, or beyond `SCHEMA_BOUNDS`.
    """
    return parse_form(bounded_schema(schema))


def parse_form(schema: Mapping[str, object]) -> Form | None:
    """Do what `compile_form` does, for a schema whose bounds are already checked."""
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not (fits(schema, _TOP) and isinstance(properties, dict) and isinstance(required, list)):
        return None
    fields: list[FormField] = []
    for name, described in properties.items():
        rule = parse_rule(described)
        if rule is None:
            return None
        fields.append(FormField(name=name, path=place("$", name), rule=rule, is_required=name in required))
    return Form(
        fields=tuple(fields),
        names=frozenset(properties),
        unlisted=tuple(name for name in required if name not in properties),
        is_closed=schema.get("additionalProperties") is False,
    )
