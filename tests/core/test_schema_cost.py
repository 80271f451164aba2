"""What schemas unfold to, and those that are refused before anything compiles them."""

import pytest

from proxy.core.errors import SchemaRefused
from proxy.core.schema_cost import (
    MAX_CHECKS,
    MAX_COMBINATORS,
    MAX_REFERENCES,
    MAX_UNFOLDED_DEPTH,
    MULTIPLE_CHECKS,
    PATTERN_CHECKS,
    UNEVALUATED_FACTOR,
    UNIQUE_CHECKS,
    count_checks,
)

REF_A = {"$ref": "#/$defs/a"}


def doubling(levels: int, keyword: str = "anyOf") -> dict[str, object]:
    """A schema of 2**levels checks, by references that each point twice to the next."""
    definitions: dict[str, object] = {
        f"a{n}": {keyword: [{"$ref": f"#/$defs/a{n + 1}"}, {"$ref": f"#/$defs/a{n + 1}"}]} for n in range(levels)
    }
    definitions[f"a{levels}"] = {"type": "integer"}
    return {"$defs": definitions, "$ref": "#/$defs/a0"}


@pytest.mark.parametrize(
    ("schema", "checks"),
    [
        ({}, 1),
        ({"type": "object", "title": "T", "x-unknown": {"$ref": "http://x/"}}, 1),
        ({"properties": {"a": {}, "b": True, "$ref": {}}}, 4),
        ({"properties": 3, "allOf": 3, "$defs": 3, "patternProperties": 3}, 1),
        ({"allOf": [{}, {"not": {}}], "if": {}, "then": False, "else": {}}, 7),
        ({"items": {"items": {}}, "contains": {}}, 4),
        ({"items": [{}, {}], "additionalItems": {}}, 4),
        ({"prefixItems": [{}, {}], "propertyNames": {}}, 4),
        ({"dependentSchemas": {"a": {}}, "dependencies": {"a": ["b"], "c": {}}}, 7),
        ({"enum": [1, [2], {"a": 3}]}, 7),
        ({"const": {"$ref": "http://x/"}, "required": ["a", "b"]}, 6),
        ({"pattern": "a"}, 1 + PATTERN_CHECKS),
        ({"patternProperties": {"a": {}, "b": {}}}, 3 + 2 * PATTERN_CHECKS),
        ({"multipleOf": 3}, 1 + MULTIPLE_CHECKS),
        ({"uniqueItems": True}, 1 + UNIQUE_CHECKS),
        ({"allOf": [{}], "unevaluatedProperties": False}, 3 * UNEVALUATED_FACTOR),
        ({"$defs": {"a": {"items": {}}, "b": {}}}, 1),
        ({"$defs": {"a": {"items": {}}}, "properties": {"x": REF_A, "y": REF_A}}, 1 + 2 * 3),
        ({"$ref": "#/definitions/a~1b~0c", "definitions": {"a/b~c": True}}, 2),
        ({"$ref": "#/x-unknown/", "x-unknown": {"": {"not": {}}}}, 3),
        (doubling(3), 1 + 7 + 2 * 7 + 8),
    ],
)
def test_a_schema_counts_itself_and_all_it_applies(schema: dict[str, object], checks: int) -> None:
    assert count_checks(schema) == checks


def _wide(count: int) -> dict[str, object]:
    return {"$defs": {"a": {}}, "properties": {str(n): dict(REF_A) for n in range(count)}}


def _combined(count: int) -> dict[str, object]:
    return {"properties": {str(n): {"not": {}} for n in range(count)}}


def _chained(count: int) -> dict[str, object]:
    last = {"type": "string"}
    links: dict[str, object] = {f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(count)}
    return {"$ref": "#/$defs/a0", "$defs": {**links, f"a{count}": last}}


def test_a_schema_at_the_limits_is_counted() -> None:
    assert count_checks(_wide(MAX_REFERENCES)) == 1 + 2 * MAX_REFERENCES
    assert count_checks(_combined(MAX_COMBINATORS)) == 1 + 2 * MAX_COMBINATORS
    assert count_checks({"$defs": {"a": {"enum": [0] * 998}}, "allOf": [REF_A] * 9}) < MAX_CHECKS


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (_wide(MAX_REFERENCES + 1), "256 references"),
        (_combined(MAX_COMBINATORS + 1), "256 combinators"),
        (_chained(MAX_UNFOLDED_DEPTH), "64 deep"),
        ({"$defs": {"a": {"enum": [0] * 998}}, "allOf": [REF_A] * 10}, "10000 checks"),
        ({"allOf": [{"pattern": "a"}] * 40}, "10000 checks"),
        (doubling(13), "10000 checks"),
        (doubling(24), "10000 checks"),
        (doubling(30, "oneOf"), "10000 checks"),
        ({"$ref": "#"}, "refer to itself"),
        ({"properties": {"a": {"$ref": "#"}}}, "refer to itself"),
        ({"$defs": {"a": REF_A}}, "refer to itself"),
        ({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"not": REF_A}}}, "refer to itself"),
        ({"$ref": "http://127.0.0.1:1/"}, "inside its schema"),
        ({"$ref": "file:///etc/passwd"}, "inside its schema"),
        ({"$ref": "other.json#/a"}, "inside its schema"),
        ({"$ref": "#name"}, "inside its schema"),
        ({"$ref": "#/$defs/%61"}, "inside its schema"),
        ({"$ref": "#/~2"}, "inside its schema"),
        ({"$ref": 3}, "inside its schema"),
        ({"$ref": "#/$defs/a"}, "member of its schema"),
        ({"$ref": "#/allOf/0", "allOf": [{}]}, "member of its schema"),
        ({"$ref": "#/title", "title": "T"}, "object or a boolean"),
        ({"properties": {"a": 3}}, "object or a boolean"),
        ({"$defs": {"a": {"$ref": "http://127.0.0.1:1/"}}}, "inside its schema"),
        ({"properties": {"a": {"$id": "http://127.0.0.1:1/"}}}, "only, got $id"),
        ({"$dynamicRef": "#a"}, "only, got $dynamicRef"),
        ({"$recursiveRef": "#"}, "only, got $recursiveRef"),
        ({"$anchor": "a"}, "only, got $anchor"),
        ({"$ref": "#/x", "x": {"$ref": "http://127.0.0.1:1/"}}, "inside its schema"),
    ],
)
def test_a_schema_beyond_a_limit_or_with_a_reference_we_do_not_follow_is_refused(
    schema: dict[str, object], reason: str
) -> None:
    with pytest.raises(SchemaRefused) as refusal:
        count_checks(schema)
    assert reason in refusal.value.detail


def test_nested_unevaluated_keywords_multiply_and_are_refused() -> None:
    schema: dict[str, object] = {"properties": {"k": {}}}
    for _ in range(9):
        schema = {"allOf": [schema], "unevaluatedProperties": False}
    with pytest.raises(SchemaRefused, match="10000 checks"):
        count_checks(schema)
