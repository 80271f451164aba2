"""Forms: what compiles, what is left to the general checker, what is refused, and the verdict on contents."""

import math

import jsonschema
import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.errors import SchemaRefused
from proxy.core.forms import Form, compile_form
from proxy.core.mismatch import Mismatch

BUILD = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "title": "Which build?",
    "description": "For the release",
    "properties": {
        "build": {"type": "string", "title": "Build", "minLength": 1},
        "force": {"type": "boolean", "default": False},
        "lvl": {"type": "string", "enum": ["lo", "hi"], "enumNames": ["Low", "High"]},
        "tags": {"type": "array", "minItems": 1, "items": {"type": "string", "enum": ["a", "b"]}},
    },
    "required": ["build"],
    "additionalProperties": False,
}


def _form(schema: object) -> Form:
    form = compile_form(schema)
    assert form is not None
    return form


def test_the_worked_example_of_the_protocol_compiles_and_takes_its_answer() -> None:
    assert _form(BUILD).check({"build": "b42", "force": True, "lvl": "hi"}) is None


@pytest.mark.parametrize(
    ("content", "mismatch"),
    [
        ([], Mismatch("$", "an object", "an array with 0 items")),
        (None, Mismatch("$", "an object", "null")),
        ({}, Mismatch("$.build", "a value, as it is required", "nothing")),
        ({"build": ""}, Mismatch("$.build", "at least 1 characters", "0")),
        ({"build": "b", "force": None}, Mismatch("$.force", "true or false", "null")),
        ({"build": "b", "tags": ["a", "z"]}, Mismatch("$.tags[1]", "one of 'a', 'b'", "'z'")),
        (
            {"build": "b", "more of it": 1},
            Mismatch("$['more of it']", "only properties of the schema", "an additional property"),
        ),
    ],
)
def test_a_content_that_does_not_match_is_told_where_and_why(content: object, mismatch: Mismatch) -> None:
    assert _form(BUILD).check(content) == mismatch


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"properties": {}}, {"type": "object", "required": []}])
def test_a_schema_without_properties_takes_any_object_and_only_objects(schema: object) -> None:
    assert _form(schema).check({"anything": {"at": [None]}}) is None
    assert _form(schema).check({}) is None
    assert _form(schema).check("text") is not None


def test_a_required_name_without_property_must_still_come() -> None:
    form = _form({"required": ["why"]})
    assert form.check({"why": None}) is None
    assert form.check({}) == Mismatch("$.why", "a value, as it is required", "nothing")


def test_a_default_is_not_filled_in() -> None:
    form = _form({"properties": {"n": {"type": "integer", "default": 3}}, "required": ["n"]})
    assert form.check({}) is not None


def test_other_properties_are_taken_unless_the_form_is_closed() -> None:
    properties = {"a": {"type": "boolean"}}
    assert _form({"properties": properties, "additionalProperties": True}).check({"b": None}) is None
    assert _form({"properties": properties}).check({"b": None}) is None
    assert _form({"properties": properties, "additionalProperties": False}).check({"b": None}) is not None
    assert _form({"properties": properties, "additionalProperties": False}).check({"a": True}) is None


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"type": ["object"]},
        {"title": 3},
        {"$schema": 3},
        {"properties": []},
        {"properties": {"a": True}},
        {"properties": {"a": {"type": "object"}}},
        {"required": "a"},
        {"required": ["a", "a"]},
        {"required": [1]},
        {"additionalProperties": {}},
        {"additionalProperties": None},
        {"minProperties": 1},
        {"$defs": {}},
        {"$ref": "#"},
    ],
)
def test_a_schema_outside_the_flat_profile_is_no_form(schema: object) -> None:
    assert compile_form(schema) is None


def _deep(levels: int) -> dict[str, object]:
    schema: dict[str, object] = {}
    for _ in range(levels - 1):
        schema = {"not": schema}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        None,
        [],
        "x",
        True,
        _deep(17),
        {"description": "x" * 65_536},
        {"properties": {f"p{n}": {"type": "boolean"} for n in range(257)}},
        {"properties": {"a": {"type": "string", "enum": [str(n) for n in range(1_001)]}}},
        {"required": [str(n) for n in range(900)], "x": [str(n) for n in range(900)], "y": list(range(300))},
        {"properties": {"a": {"type": "number", "minimum": math.nan}}},
        {"properties": {"a": {"type": "number", "minimum": 2**64}}},
        {1: 2},
    ],
)
def test_a_schema_that_is_no_object_or_beyond_the_bounds_is_refused(schema: object) -> None:
    with pytest.raises(SchemaRefused, match="a schema must"):
        compile_form(schema)


def test_a_schema_at_the_bounds_is_taken() -> None:
    assert compile_form(_deep(16)) is None
    assert compile_form({"properties": {f"p{n}": {"type": "boolean"} for n in range(256)}}) is not None
    assert compile_form({"properties": {"a": {"type": "string", "enum": [str(n) for n in range(1_000)]}}}) is not None


NAMES = ["a", "b", "c"]
words = st.sampled_from(["", "x", "lo", "hi", "é🚀", "long text"])
numbers = st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3) | st.sampled_from([2**53 + 1, -0.0, 3.0, 1.5, 1e300])
counts = st.integers(0, 3)


def _object(kind: str, **optional: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries({"type": st.just(kind)}, optional=optional)


def _option(text: str) -> dict[str, str]:
    return {"const": text, "title": text.upper()}


enums = st.lists(words, min_size=1, max_size=3, unique=True)
fields = st.one_of(
    _object("string", minLength=counts, maxLength=counts, title=words, default=words),
    _object("number", minimum=numbers, maximum=numbers, default=numbers),
    _object("integer", minimum=numbers, maximum=numbers),
    _object("boolean", default=st.booleans()),
    enums.map(lambda texts: {"type": "string", "enum": texts, "enumNames": texts}),
    enums.map(lambda texts: {"type": "string", "oneOf": [_option(text) for text in texts]}),
    st.builds(
        lambda array, texts: {**array, "items": {"type": "string", "enum": texts}},
        _object("array", minItems=counts, maxItems=counts),
        enums,
    ),
    enums.map(lambda texts: {"type": "array", "items": {"anyOf": [_option(text) for text in texts]}}),
)


def _plausible(field: dict[str, object]) -> st.SearchStrategy[object]:
    """Values that the field takes about every other time."""
    return {
        "string": words,
        "number": numbers | st.floats(-4, 4),
        "integer": st.integers(-3, 3) | numbers,
        "boolean": st.booleans(),
        "array": st.lists(words, max_size=3),
    }[str(field["type"])]


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, object], object]:
    """A form, and a content made for it with a spoiled value now and then."""
    properties = draw(st.dictionaries(st.sampled_from(NAMES), fields, min_size=1))
    schema = {
        "type": "object",
        "properties": properties,
        "required": draw(st.lists(st.sampled_from([*properties, "d"]), unique=True, max_size=2)),
        "additionalProperties": draw(st.booleans()),
    }
    values = {name: _plausible(field) for name, field in properties.items()} | {"d": anything}
    names = draw(st.lists(st.sampled_from(sorted(values)), unique=True, min_size=1))
    content = draw(st.fixed_dictionaries({name: values[name] for name in names}))
    spoil = draw(st.sampled_from([None, None, None, *names, "all"]))
    if spoil == "all":
        return schema, draw(anything)
    return schema, content if spoil is None else {**content, spoil: draw(anything)}


anything = st.none() | st.booleans() | words | numbers | st.lists(words | st.integers(0, 1), max_size=3)


@settings(max_examples=300, deadline=None)
@given(cases())
def test_the_verdict_is_that_of_two_libraries(case: tuple[dict[str, object], object]) -> None:
    schema, content = case
    verdict = _form(schema).check(content) is None
    assert verdict == jsonschema.Draft202012Validator(schema).is_valid(content)
    assert verdict == jsonschema_rs.Draft202012Validator(schema, offline=True).is_valid(content)
