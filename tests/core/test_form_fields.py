"""One property of a form: what is inside the profile, and the verdict on its values."""

import math

import pytest

from proxy.core.form_fields import parse_rule
from proxy.core.mismatch import Mismatch

OPTIONS = [{"const": "1", "title": "Low"}, {"const": "2", "title": "High"}]
TEXT = {"type": "string", "minLength": 1, "maxLength": 3, "title": "T", "description": "D", "default": ""}
NUMBER = {"type": "number", "minimum": -1, "maximum": 9.5, "default": 3}
WHOLE = {"type": "integer", "minimum": 0}
FLAG = {"type": "boolean", "default": False}
ENUM = {"type": "string", "enum": ["lo", "hi", "lo"], "default": "lo"}
LEGACY = {"type": "string", "enum": ["lo", "hi"], "enumNames": ["Low", "High"]}
TITLED = {"type": "string", "oneOf": OPTIONS, "default": "1"}
MULTI = {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}, "minItems": 1, "maxItems": 2, "default": []}
MULTI_TITLED = {"type": "array", "items": {"anyOf": OPTIONS}}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (TEXT, "é"),
        (TEXT, "🚀🚀🚀"),
        ({"type": "string"}, ""),
        ({"type": "string", "minLength": 2}, "ab"),
        ({"type": "string", "format": "date"}, "2026-07-28"),
        (NUMBER, -1),
        (NUMBER, 9.5),
        (WHOLE, 3),
        (WHOLE, 3.0),
        ({"type": "integer", "maximum": 2**53}, 2**53),
        ({"type": "number"}, 10**400),
        (FLAG, True),
        (ENUM, "hi"),
        (LEGACY, "lo"),
        (TITLED, "2"),
        (MULTI, ["a"]),
        (MULTI, ["b", "b"]),
        (MULTI_TITLED, []),
        (MULTI_TITLED, ["1", "2"]),
    ],
)
def test_a_fitting_value_passes(schema: object, value: object) -> None:
    rule = parse_rule(schema)
    assert rule is not None
    assert rule.check("$.x", value) is None


@pytest.mark.parametrize(
    ("schema", "value", "expected", "got"),
    [
        (TEXT, 3, "a string", "3"),
        (TEXT, None, "a string", "null"),
        (TEXT, "", "1 to 3 characters", "0"),
        (TEXT, "abcd", "1 to 3 characters", "4"),
        ({"type": "string", "minLength": 2}, "a", "at least 2 characters", "1"),
        ({"type": "string", "maxLength": 2}, "abc", "at most 2 characters", "3"),
        ({"type": "string", "format": "email"}, "nobody", "a string of format email", "'nobody'"),
        (NUMBER, "3", "a number", "'3'"),
        (NUMBER, True, "a number", "true"),
        (NUMBER, math.nan, "a number", "nan"),
        (NUMBER, -1.5, "a number, -1 to 9.5", "-1.5"),
        (NUMBER, 10, "a number, -1 to 9.5", "10"),
        (WHOLE, 3.5, "a whole number", "3.5"),
        (WHOLE, math.inf, "a whole number", "inf"),
        (WHOLE, False, "a whole number", "false"),
        ({"type": "integer", "maximum": 2**53}, 2**53 + 1, f"a number, at most {2**53}", str(2**53 + 1)),
        (FLAG, 1, "true or false", "1"),
        (ENUM, "mid", "one of 'lo', 'hi'", "'mid'"),
        (ENUM, ["lo"], "one of 'lo', 'hi'", "an array with 1 items"),
        (LEGACY, "Low", "one of 'lo', 'hi'", "'Low'"),
        (TITLED, 1, "one of '1', '2'", "1"),
        (MULTI, "a", "an array", "'a'"),
        (MULTI, [], "1 to 2 items", "0"),
        (MULTI, ["a", "a", "a"], "1 to 2 items", "3"),
    ],
)
def test_a_value_that_does_not_fit_is_told_with_what_was_expected(
    schema: object, value: object, expected: str, got: str
) -> None:
    rule = parse_rule(schema)
    assert rule is not None
    assert rule.check("$.x", value) == Mismatch("$.x", expected, got)


def test_a_bad_item_of_a_selection_is_named_by_its_place() -> None:
    rule = parse_rule(MULTI)
    assert rule is not None
    assert rule.check("$.tags", ["a", "c"]) == Mismatch("$.tags[1]", "one of 'a', 'b'", "'c'")


def test_a_long_list_of_options_and_a_long_value_are_clipped() -> None:
    rule = parse_rule({"type": "string", "enum": [f"option {n}" * 50 for n in range(1_000)]})
    assert rule is not None
    mismatch = rule.check("$.x", "y" * 10_000)
    assert mismatch is not None
    assert (len(mismatch.expected), len(mismatch.got)) == (80, 80)


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {},
        {"type": "null"},
        {"type": "object"},
        {"type": ["string", "null"]},
        {"type": "string", "pattern": "a"},
        {"type": "string", "format": "uuid"},
        {"type": "string", "format": ["date"]},
        {"type": "string", "minLength": -1},
        {"type": "string", "minLength": True},
        {"type": "string", "maxLength": 2.0},
        {"type": "string", "default": 3},
        {"type": "string", "default": None},
        {"type": "string", "title": 3},
        {"type": "string", "enum": []},
        {"type": "string", "enum": ["a", 1]},
        {"type": "string", "enum": "a"},
        {"type": "string", "enum": ["a"], "minLength": 1},
        {"type": "string", "enum": ["a"], "enumNames": ["A", "B"]},
        {"type": "string", "enumNames": ["A"]},
        {"type": "string", "enum": ["a"], "oneOf": OPTIONS},
        {"type": "string", "oneOf": []},
        {"type": "string", "oneOf": [{"const": "a"}]},
        {"type": "string", "oneOf": [{"const": 1, "title": "A"}]},
        {"type": "string", "oneOf": [OPTIONS[0], OPTIONS[0]]},
        {"type": "number", "enum": [1]},
        {"enum": ["a"]},
        {"type": "number", "minimum": True},
        {"type": "number", "maximum": "3"},
        {"type": "integer", "exclusiveMinimum": 1},
        {"type": "boolean", "default": 0},
        {"type": "array"},
        {"type": "array", "items": {"type": "string"}},
        {"type": "array", "items": {"enum": ["a"]}},
        {"type": "array", "items": {}},
        {"type": "array", "items": {"type": "integer", "enum": ["a"]}},
        {"type": "array", "items": {"anyOf": OPTIONS, "type": "string"}},
        {"type": "array", "items": {"anyOf": OPTIONS}, "uniqueItems": True},
        {"type": "array", "items": {"anyOf": OPTIONS}, "default": "a"},
        {"type": "array", "items": [{"type": "string", "enum": ["a"]}]},
    ],
)
def test_a_property_outside_the_profile_is_no_form(schema: object) -> None:
    assert parse_rule(schema) is None
