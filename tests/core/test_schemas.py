"""One check for all schemas: forms, nested schemas by the library, and what hostile ones and contents meet."""

import math
import socket

import jsonschema
import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import InvalidInput, SchemaRefused
from proxy.core.formats import FORMATS
from proxy.core.forms import Form
from proxy.core.mismatch import Mismatch
from proxy.core.schemas import MAX_EXPLAINED_WORK, MAX_WORK, General, _build, check_content_bounds, compile_schema

NESTED = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$id": "https://bridge.example/review.json",
    "type": "object",
    "definitions": {"line": {"type": "integer", "minimum": 1}},
    "properties": {
        "file": {"type": "string", "pattern": "^[a-z/]+$"},
        "places": {"type": "array", "items": {"$ref": "#/definitions/line"}, "uniqueItems": True},
        "verdict": {"anyOf": [{"const": "ok"}, {"type": "object", "required": ["why"]}]},
        "when": {"type": "string", "format": "date-time"},
        "nested": {"type": "object", "additionalProperties": False, "required": ["a"], "properties": {"a": {}}},
    },
    "required": ["file"],
}


def test_a_flat_schema_is_checked_as_a_form() -> None:
    schema = compile_schema({"properties": {"a": {"type": "integer"}}})
    assert isinstance(schema.rules, Form)
    assert schema.check({"a": 3}) is None
    assert schema.check({"a": "x"}) == Mismatch("$.a", "a whole number", "'x'")


def test_a_nested_schema_takes_its_answer() -> None:
    schema = compile_schema(NESTED)
    assert isinstance(schema.rules, General)
    content = {"file": "a/b", "places": [1, 2.0], "verdict": {"why": "x"}, "when": "2026-07-28T10:11:12Z"}
    assert schema.check(content) is None


@pytest.mark.parametrize(
    ("content", "path", "expected", "got"),
    [
        ([], "$", "an object", "an array with 0 items"),
        ({}, "$.file", "a value, as it is required", "nothing"),
        ({"file": 3}, "$.file", 'a value that satisfies type ["string"]', "3"),
        ({"file": "A"}, "$.file", 'a value that satisfies pattern "^[a-z/]+$"', "'A'"),
        ({"file": "a", "places": [1, 0]}, "$.places[1]", "a value that satisfies minimum 1", "0"),
        ({"file": "a", "places": [1, 1]}, "$.places", "a value that satisfies uniqueItems", "an array with 2 items"),
        ({"file": "a", "verdict": "no"}, "$.verdict", "a value that satisfies anyOf", "'no'"),
        ({"file": "a", "when": "now"}, "$.when", 'a value that satisfies format "date-time"', "'now'"),
        ({"file": "a", "nested": {}}, "$.nested.a", "a value, as it is required", "nothing"),
        (
            {"file": "a", "nested": {"a": 1, "b c": 2}},
            "$.nested['b c']",
            "only properties of the schema",
            "an additional property",
        ),
    ],
)
def test_a_content_that_does_not_match_a_nested_schema_is_told_where_and_why(
    content: object, path: str, expected: str, got: str
) -> None:
    assert compile_schema(NESTED).check(content) == Mismatch(path, expected, got)


def test_a_content_is_an_object_even_where_the_schema_would_take_more() -> None:
    assert compile_schema({"anyOf": [{"type": "string"}]}).check("text") == Mismatch("$", "an object", "'text'")


def test_a_long_expectation_and_a_long_value_are_clipped() -> None:
    schema = compile_schema({"properties": {"a": {"enum": [*range(500), None]}}})
    mismatch = schema.check({"a": "y" * 400})
    assert mismatch is not None
    assert (len(mismatch.expected), len(mismatch.got)) == (80, 80)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_formats_mean_the_same_inside_and_outside_the_profile(name: str) -> None:
    flat = compile_schema({"properties": {"a": {"type": "string", "format": name}}})
    nested = compile_schema({"properties": {"a": {"type": "string", "format": name}}, "minProperties": 0})
    assert isinstance(nested.rules, General)
    for text in ["a@b", '"a b"@c.d', "x:", "2026-07-28", "2026-07-28t10:11:12z", "a@[127.0.0.1]", ""]:
        assert (flat.check({"a": text}) is None) == (nested.check({"a": text}) is None)


def test_a_format_that_forms_do_not_know_is_checked_by_the_library() -> None:
    schema = compile_schema({"properties": {"a": {"type": "string", "format": "uuid"}}})
    assert schema.check({"a": "8c3f4e3e-9d8f-4d39-b2a6-c5f4f0ab0bd4"}) is None
    assert schema.check({"a": "x"}) is not None


@pytest.mark.parametrize(
    "dialect", ["https://json-schema.org/draft/2019-09/schema", "http://json-schema.org/draft-07/schema#"]
)
def test_an_older_dialect_is_read_as_such(dialect: str) -> None:
    schema = {"$schema": dialect, "properties": {"a": {"items": [{"type": "integer"}]}}}
    assert compile_schema(schema).check({"a": [1, "x"]}) is None
    assert compile_schema(schema).check({"a": ["x"]}) is not None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "text"},
        {"properties": {"a": {"type": "object", "required": "b"}}},
        {"properties": {"a": {"minimum": "1"}}},
        {"$schema": "http://127.0.0.1:1/dialect", "not": {}},
        {"$schema": "http://json-schema.org/draft-04/schema#", "not": {}},
        {"$schema": 3, "not": {}},
        {"properties": {"a": {"pattern": "(?=a)b"}}},
        {"properties": {"a": {"pattern": r"(a)\1"}}},
        {"properties": {"a": {"pattern": "("}}},
        {"properties": {"a": {"pattern": ".{5000}"}}},
        {"patternProperties": {"(?!a)": {}}},
    ],
)
def test_a_schema_that_is_not_valid_or_has_a_pattern_without_bound_is_refused(schema: object) -> None:
    with pytest.raises(SchemaRefused, match="expected "):
        compile_schema(schema)


@pytest.mark.parametrize(
    "content",
    [
        {"a": math.nan},
        {"a": "x" * 262_144},
        {"a": [0] * 20_000},
        {"a": 2**64},
        {"a": b"x"},
        {1: 2},
    ],
)
@pytest.mark.parametrize("schema", [{}, {"minProperties": 0}])
def test_a_content_beyond_the_bounds_is_invalid_input(schema: object, content: object) -> None:
    with pytest.raises(InvalidInput, match="an answer must have"):
        compile_schema(schema).check(content)


def test_a_content_nested_deeper_than_32_is_invalid_input() -> None:
    content: object = {}
    for _ in range(31):
        content = {"a": content}
    assert check_content_bounds(content) == 31 * 6 + 2
    with pytest.raises(InvalidInput, match="32 levels"):
        check_content_bounds({"a": content})


def test_patterns_that_hang_other_engines_get_a_verdict() -> None:
    schema = compile_schema({"properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}})
    assert schema.check({"a": "a" * 50_000}) is None
    assert schema.check({"a": "a" * 50_000 + "!"}) == Mismatch(
        "$", "a value that matches the requested schema", "an object with 1 members"
    )


def test_thousands_of_unique_objects_get_a_verdict() -> None:
    schema = compile_schema({"properties": {"a": {"type": "array", "uniqueItems": True}}})
    items: list[object] = [{"n": n} for n in range(5_000)]
    assert schema.check({"a": items}) is None
    assert schema.check({"a": [*items, {"n": 0}]}) is not None


def test_an_answer_too_large_for_a_costly_schema_is_refused_and_told_its_bound() -> None:
    schema = compile_schema({"properties": {"a": {"enum": [*range(900), None]}}})
    assert isinstance(schema.rules, General)
    most = MAX_WORK // schema.rules.checks
    fits = {"b": "x" * (most - 8)}
    assert schema.check(fits) is None
    with pytest.raises(InvalidInput, match=f"at most {most} bytes, got {most + 1}"):
        schema.check({"b": fits["b"] + "x"})


def test_a_mismatch_is_explained_only_as_long_as_that_is_cheap() -> None:
    schema = compile_schema({"properties": {"a": {"anyOf": [{"type": "integer"}] * 100}}})
    assert isinstance(schema.rules, General)
    most = MAX_EXPLAINED_WORK // schema.rules.checks
    cheap = schema.check({"a": "x" * (most - 8)})
    costly = schema.check({"a": "x" * (most - 7)})
    assert cheap is not None
    assert costly is not None
    assert (cheap.path, costly.path) == ("$.a", "$")


def _deep(levels: int) -> dict[str, object]:
    schema: dict[str, object] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        _deep(2_000),
        {"properties": {"a": {"enum": list(range(1_001))}}, "not": {"type": "string"}},
        {"properties": {"a": {"enum": list(range(100_000))}}},
        {"properties": {"a": {"minimum": math.nan}}},
        {"$ref": "#"},
        {"$defs": {f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(24)} | {"a24": {}}},
    ],
)
def test_a_schema_made_to_exhaust_is_refused(schema: object) -> None:
    with pytest.raises(SchemaRefused):
        compile_schema(schema)


def test_the_longest_chain_of_references_is_followed() -> None:
    links: dict[str, object] = {f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in reversed(range(200))}
    schema = compile_schema({"$defs": {"a200": {"type": "integer"}, **links}, "properties": {"x": links["a0"]}})
    assert schema.check({"x": 1}) is None
    assert schema.check({"x": "1"}) == Mismatch("$.x", 'a value that satisfies type ["integer"]', "'1'")


@pytest.mark.parametrize("where", ["$ref", "$defs", "$id", "$schema"])
def test_no_schema_makes_us_connect(where: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/schema.json"
        schemas: dict[str, dict[str, object]] = {
            "$ref": {"$ref": address},
            "$defs": {"$defs": {"a": {"$ref": f"{address}#/a"}}},
            "$id": {"$id": address, "$ref": "other.json"},
            "$schema": {"$schema": address, "not": {}},
        }
        with pytest.raises(SchemaRefused):
            compile_schema(schemas[where])
        with pytest.raises(SchemaRefused):
            _build(schemas[where])
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_no_schema_makes_us_open_a_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    target = tmp_path_factory.mktemp("schemas") / "open.json"
    target.write_text("{}")
    schema: dict[str, object] = {"$ref": target.as_uri()}
    with pytest.raises(SchemaRefused, match="inside its schema"):
        compile_schema(schema)
    with pytest.raises(SchemaRefused, match="expected a valid JSON Schema"):
        _build(schema)


leaves = st.sampled_from(
    [{}, True, False, {"type": "integer"}, {"type": ["string", "null"]}, {"minLength": 2}, {"$ref": "#/$defs/d"}]
)
subschemas = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(
            lambda key, each: {key: each},
            st.sampled_from(["anyOf", "oneOf", "allOf"]),
            st.lists(inner, min_size=1, max_size=3),
        ),
        st.builds(lambda key, one: {key: one}, st.sampled_from(["not", "items", "contains", "propertyNames"]), inner),
        st.builds(lambda one: {"properties": {"a": one}, "unevaluatedProperties": False}, inner),
        st.builds(lambda one, two: {"if": one, "then": two}, inner, inner),
    ),
    max_leaves=6,
)
values = st.recursive(
    st.none() | st.integers(-2, 2) | st.sampled_from(["", "ab", 1.0, True]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=250, deadline=None)
@given(subschemas, st.dictionaries(st.sampled_from(["a", "b"]), values, max_size=2))
def test_nested_schemas_get_the_verdict_of_the_other_library(inner: object, content: dict[str, object]) -> None:
    schema = {"$defs": {"d": {"enum": [1, "ab", None]}}, "properties": {"a": inner}}
    mismatch = compile_schema(schema).check(content)
    assert (mismatch is None) == jsonschema.Draft202012Validator(schema).is_valid(content)


def test_the_library_still_has_the_options_that_keep_it_offline_and_bounded() -> None:
    options = jsonschema_rs.RegexOptions(size_limit=1_000, dfa_size_limit=1_000)
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.Draft202012Validator({"pattern": "a{1000}"}, pattern_options=options, offline=True)
