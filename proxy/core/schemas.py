"""Every schema an elicitation may ask with, behind one check: forms by our own profile, the rest by a library.

The library keeps the interpreter lock while it compiles and checks, so nothing reaches it whose cost we have
not bounded before: no remote or recursive `$ref`, a limit on the checks a schema unfolds to, and a limit on
the product of those checks and the bytes of a content. Nothing here opens a file or a connection.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import jsonschema_rs
import orjson

from proxy.core.bounds import Bounds, Excess, measure
from proxy.core.errors import InvalidInput, SchemaRefused
from proxy.core.formats import FORMATS
from proxy.core.forms import Form, bounded_schema, parse_form
from proxy.core.mismatch import Mismatch, clip, describe, missing, place, unexpected
from proxy.core.schema_cost import count_checks

CONTENT_BOUNDS: Final = Bounds(size_bytes=262_144, depth=32, nodes=20_000, members=20_000, items=20_000)
"""Source: ours; an answer is a handful of values, and the Bridge keeps it in memory as it came."""

MAX_WORK: Final = 20_000_000
"""Checks of a schema times bytes of a content. Source: ours; one unit took at most 10 ns, so 0.2 s at worst."""

MAX_EXPLAINED_WORK: Final = 1_000_000
"""Work up to which the failing place is looked up. Source: ours; the library copies the value into every error."""

_REGEX: Final = jsonschema_rs.RegexOptions(size_limit=65_536, dfa_size_limit=65_536)
"""Bytes of one compiled pattern. This engine has no look-around and no back-references, so it is linear.

Source: ours; the worst pattern of this size took 0.5 s for 200 kB, which `MAX_WORK` divides by 25 and more.
"""

_DEFAULT_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
"""Source: MCP 2025-11-25, basic, "JSON Schema usage": the dialect of a schema without `$schema`."""

_DIALECTS: Final = MappingProxyType(
    {
        _DEFAULT_DIALECT: jsonschema_rs.Draft202012Validator,
        "https://json-schema.org/draft/2019-09/schema": jsonschema_rs.Draft201909Validator,
        "http://json-schema.org/draft-07/schema": jsonschema_rs.Draft7Validator,
    }
)

_TELLING: Final = frozenset(
    {
        "type",
        "enum",
        "const",
        "format",
        "pattern",
        "multipleOf",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
    }
)
"""Keywords whose value says what was expected; others carry nested errors, which cost and tell nothing."""


@dataclass(frozen=True, slots=True)
class General:
    """A schema outside the flat profile."""

    validator: jsonschema_rs.Validator
    checks: int
    """How many checks the schema unfolds to, as `count_checks` says."""

    def check(self, content: object, size_bytes: int) -> Mismatch | None:
        """Judge a content of that many bytes of JSON.

        Raises:
            InvalidInput: the content is too large for a schema this costly.
        """
        if not isinstance(content, dict):
            return Mismatch("$", "an object", describe(content))
        work = self.checks * size_bytes
        if work > MAX_WORK:
            most = MAX_WORK // self.checks
            raise InvalidInput(f"an answer to this schema must have at most {most} bytes, got {size_bytes}")
        if self.validator.is_valid(content):
            return None
        if work > MAX_EXPLAINED_WORK:
            return Mismatch("$", "a value that matches the requested schema", describe(content))
        return next(_explain(error) for error in self.validator.iter_errors(content))


@dataclass(frozen=True, slots=True)
class AnswerSchema:
    """What an elicitation wants to know, ready to check answers."""

    rules: Form | General
    """A form when the schema lies in the flat profile, so that MCP clients can show it."""

    def check(self, content: object) -> Mismatch | None:
        """Judge an accepted answer's content: None when it matches, else the first mismatch found.

        A content is an object whatever the schema says, as MCP and the Bridge carry nothing else.

        Raises:
            InvalidInput: the content is beyond `CONTENT_BOUNDS`, or too large for a schema this costly.
        """
        size_bytes = check_content_bounds(content)
        if isinstance(self.rules, Form):
            return self.rules.check(content)
        return self.rules.check(content, size_bytes)


def compile_schema(schema: object) -> AnswerSchema:
    """Read the schema of an elicitation.

    Raises:
        SchemaRefused: no schema, beyond a bound, or with a reference, pattern or dialect we do not take.
    """
    known = bounded_schema(schema)
    form = parse_form(known)
    if form is not None:
        return AnswerSchema(form)
    # A `$id` at the root would only be a base for remote references, and those are refused.
    local = {key: value for key, value in known.items() if key != "$id"}
    checks = count_checks(local)
    return AnswerSchema(General(_build(local), checks))


def check_content_bounds(content: object) -> int:
    """Size of a content in bytes of compact JSON.

    Raises:
        InvalidInput: beyond `CONTENT_BOUNDS`, or nothing that JSON can carry.
    """
    size = measure(content, CONTENT_BOUNDS)
    if isinstance(size, Excess):
        raise InvalidInput(f"an answer must have {size.expected}, got {size.got}")
    return size


def _build(schema: dict[str, object]) -> jsonschema_rs.Validator:
    dialect = schema.get("$schema", _DEFAULT_DIALECT)
    known = _DIALECTS.get(dialect.removesuffix("#")) if isinstance(dialect, str) else None
    if known is None:
        expected = f"expected $schema to be one of {', '.join(_DIALECTS)}, got {describe(dialect)}"
        raise SchemaRefused(expected, path=place("$", "$schema"))
    try:
        return known(schema, formats=dict(FORMATS), validate_formats=True, pattern_options=_REGEX, offline=True)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        reason = error.message if isinstance(error, jsonschema_rs.ValidationError) else str(error)
        path = _path_of(error) if isinstance(error, jsonschema_rs.ValidationError) else "$"
        raise SchemaRefused(f"expected a valid JSON Schema, got one where {clip(reason)}", path=path) from error


def _path_of(error: jsonschema_rs.ValidationError) -> str:
    path = "$"
    for step in error.instance_path:
        path = place(path, step)
    return path


def _explain(error: jsonschema_rs.ValidationError) -> Mismatch:
    path, kind = _path_of(error), error.kind
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.Required):
        return missing(place(path, kind.property))
    if isinstance(kind, jsonschema_rs.ValidationErrorKind.AdditionalProperties):
        return unexpected(place(path, kind.unexpected[0]))
    expected = f"a value that satisfies {kind.name}"
    if kind.name in _TELLING:
        expected = f"{expected} {orjson.dumps(kind.value, default=str).decode()}"
    return Mismatch(path, clip(expected), describe(error.instance))
