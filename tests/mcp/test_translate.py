"""A schema in the words of each revision, and the answer turned back."""

from collections.abc import Mapping

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import SchemaRefused
from proxy.core.forms import compile_form
from proxy.core.mismatch import Mismatch
from proxy.mcp.revisions import R2025_06_18, R2025_11_25, R2026_07_28, Revision
from proxy.mcp.translate import MAX_JSON_BYTES, MAX_SWITCHES, WordedSchema, translate

pytestmark = pytest.mark.requirement("mcp.translate")

Schema = dict[str, object]

TITLED = [{"const": "1", "title": "Low"}, {"const": "2", "title": "High"}]
NEWER = [R2025_11_25, R2026_07_28]


def form(*required: str, **properties: object) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def plain(worded: WordedSchema) -> object:
    return orjson.loads(orjson.dumps(worded.schema))


FULL = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Build",
    **form(
        "sev",
        build={"type": "string", "title": "B", "minLength": 1, "format": "email", "default": "b@c.d"},
        n={"type": "integer", "minimum": 0, "maximum": 9, "default": 3},
        force={"type": "boolean", "default": False},
        sev={"type": "string", "oneOf": TITLED, "default": "1", "description": "how bad"},
        lvl={"type": "string", "enum": ["lo", "hi"], "enumNames": ["Low", "High"], "default": "lo"},
        tags={"type": "array", "items": {"type": "string", "enum": ["a", "b"]}, "default": ["a"]},
    ),
}


@pytest.mark.parametrize("revision", NEWER, ids=lambda revision: revision.name)
def test_newer_revisions_say_a_form_as_it_is(revision: Revision) -> None:
    worded = translate(FULL, revision)
    assert plain(worded) == FULL
    assert not worded.takes_json


def test_the_first_revision_with_forms_gets_what_it_knows() -> None:
    assert plain(translate(FULL, R2025_06_18)) == {
        "title": "Build",
        "type": "object",
        "properties": {
            "build": {"type": "string", "title": "B", "minLength": 1, "format": "email"},
            "n": {"type": "integer", "minimum": 0, "maximum": 9},
            "force": {"type": "boolean", "default": False},
            "sev": {"type": "string", "enum": ["1", "2"], "enumNames": ["Low", "High"], "description": "how bad"},
            "lvl": {"type": "string", "enum": ["lo", "hi"], "enumNames": ["Low", "High"]},
            "tags__a": {"type": "boolean", "title": "tags: a", "default": True},
            "tags__b": {"type": "boolean", "title": "tags: b", "default": False},
        },
        "required": ["sev"],
    }


def test_what_a_requested_schema_may_not_have_is_left_out() -> None:
    schema = {"description": "d", "additionalProperties": False, "properties": {"a": {"type": "string"}}}
    for revision in (R2025_06_18, *NEWER):
        assert plain(translate(schema, revision)) == form(a={"type": "string"})


def test_a_form_without_fields_stays_one() -> None:
    assert plain(translate(form(), R2025_06_18)) == form()
    assert translate(form(), R2025_06_18).content_of({}) == {}


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({}, "Pick."),
        ({"minItems": 0}, "Pick."),
        ({"minItems": 1}, "Pick. Choose at least 1."),
        ({"maxItems": 2}, "Pick. Choose at most 2."),
        ({"minItems": 1, "maxItems": 2}, "Pick. Choose 1 to 2."),
    ],
)
def test_switches_tell_title_option_and_limits(limits: Schema, words: str) -> None:
    field = {"type": "array", "title": "Tag", "description": "Pick.", "items": {"anyOf": TITLED}, **limits}
    assert plain(translate(form("t", t=field), R2025_06_18)) == form(
        t__1={"type": "boolean", "title": "Tag: Low", "description": words},
        t__2={"type": "boolean", "title": "Tag: High", "description": words},
    )


def multi(*options: str, **limits: object) -> Schema:
    return {"type": "array", "items": {"type": "string", "enum": list(options)}, **limits}


@pytest.mark.parametrize(
    ("schema", "given", "content"),
    [
        (form("t", t=multi("a", "b")), {"t__b": True, "t__a": True, "x": 1}, {"x": 1, "t": ["a", "b"]}),
        (form("t", t=multi("a", "b")), {"t__a": False, "t__b": None}, {"t": []}),
        (form("t", t=multi("a")), {}, {"t": []}),
        (form(t=multi("a")), {}, {}),
        (form(t=multi("a")), {"t__a": False}, {"t": []}),
        (form(t=multi("a", minItems=1)), {"t__a": False}, {}),
        (form(t=multi("a", minItems=1)), {"t__a": True}, {"t": ["a"]}),
        (form("t", t=multi("a", minItems=1)), {"t__a": False}, {"t": []}),
        (form("t", t=multi("a", "b")), {"t": ["b"], "t__a": True}, {"t": ["b"]}),
    ],
)
def test_an_array_is_put_together_from_its_switches(schema: Schema, given: Schema, content: Schema) -> None:
    assert translate(schema, R2025_06_18).content_of(given) == content


def test_a_switch_that_is_no_boolean_is_named() -> None:
    found = translate(form(t=multi("a", "b")), R2025_06_18).content_of({"t__a": True, "t__b": "yes"})
    assert found == Mismatch("$.t__b", "true or false", "'yes'")


def test_switches_never_take_a_name_that_is_there() -> None:
    schema = form(t=multi("a", "a_", "a"), t__a={"type": "string"}, t__=multi("a"), u=multi("x"))
    worded = translate(schema, R2025_06_18)
    assert [group.options for group in worded.switches] == [
        {"t__a_": "a", "t__a__": "a_"},
        {"t____a": "a"},
        {"u__x": "x"},
    ]
    given = {"t__a": "text", "t__a__": True, "t____a": True}
    assert worded.content_of(given) == {"t__a": "text", "t": ["a_"], "t__": ["a"]}


def test_null_is_a_field_left_empty() -> None:
    worded = translate(form("a", a={"type": "string"}, b={"type": "number"}), R2025_11_25)
    assert worded.content_of({"a": "x", "b": None}) == {"a": "x"}


NESTED = {"type": "object", "properties": {"a": {"type": "object", "properties": {}}}}


@pytest.mark.parametrize("revision", [R2025_06_18, *NEWER], ids=lambda revision: revision.name)
@pytest.mark.parametrize(
    "schema",
    [
        NESTED,
        {},
        {"type": "object"},
        {"properties": {}, "required": ["a"]},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}},
        {"oneOf": [{}]},
    ],
)
@pytest.mark.requirement("mcp.translate.json")
def test_what_is_no_form_is_asked_for_as_json(schema: Schema, revision: Revision) -> None:
    worded = translate(schema, revision)
    text = orjson.dumps(schema).decode()
    assert worded.takes_json
    assert plain(worded) == form(
        "response_json",
        response_json={
            "type": "string",
            "title": "Answer as JSON",
            "description": f"One JSON object as text. It has to match this JSON Schema: {text}",
            "minLength": 2,
        },
    )
    assert worded.content_of({"response_json": ' {"a": {"b": [1, null]}} '}) == {"a": {"b": [1, None]}}


@pytest.mark.parametrize(
    ("given", "expected", "got"),
    [
        ({}, "a value, as it is required", "nothing"),
        ({"response_json": None}, "a value, as it is required", "nothing"),
        (
            {"response_json": {"a": 1}},
            f"JSON as text of at most {MAX_JSON_BYTES} characters",
            "an object with 1 members",
        ),
        ({"response_json": "{"}, "a JSON object as text", "'{'"),
        ({"response_json": "[1]"}, "a JSON object as text", "an array with 1 items"),
        ({"response_json": "[" * 5000}, "a JSON object as text", "'" + "[" * 78 + "…"),
        (
            {"response_json": " " * MAX_JSON_BYTES + "{}"},
            f"JSON as text of at most {MAX_JSON_BYTES} characters",
            "'" + " " * 78 + "…",
        ),
    ],
)
def test_text_that_is_no_json_object_is_named(given: Schema, expected: str, got: str) -> None:
    found = translate(NESTED, R2025_11_25).content_of(given)
    assert found == Mismatch("$.response_json", expected, got)


def test_a_long_schema_is_cut_and_says_so() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "object", "description": "x" * 9000}}}
    size = len(orjson.dumps(schema))
    text = str(plain(translate(schema, R2025_11_25)))
    assert f"x… (cut, {size} characters in all)" in text
    assert len(text) < 4300


def test_too_many_switches_become_json_only_where_there_are_no_arrays() -> None:
    half = [f"o{number}" for number in range(MAX_SWITCHES // 2)]
    fits, over = form(a=multi(*half), b=multi(*half)), form(a=multi(*half), b=multi(*half), c=multi("x"))
    assert not translate(fits, R2025_06_18).takes_json
    assert translate(over, R2025_06_18).takes_json
    assert not translate(over, R2025_11_25).takes_json


def test_a_schema_beyond_the_bounds_is_refused() -> None:
    with pytest.raises(SchemaRefused):
        translate({"description": "x" * 70_000}, R2025_11_25)


NAMES = st.text(alphabet="ab_", min_size=1, max_size=4)
OPTIONS = st.lists(NAMES, min_size=1, max_size=4)
UNIQUE = st.lists(NAMES, min_size=1, max_size=4, unique=True)


def titled(options: list[str]) -> list[Schema]:
    return [{"const": option, "title": option.upper()} for option in options]


FIELDS = st.one_of(
    st.just({"type": "string", "default": "x"}),
    st.just({"type": "number", "default": 1.5}),
    st.just({"type": "boolean", "default": True}),
    OPTIONS.map(lambda options: {"type": "string", "enum": options, "default": options[0]}),
    OPTIONS.map(lambda options: {"type": "string", "enum": options, "enumNames": options}),
    UNIQUE.map(lambda options: {"type": "string", "oneOf": titled(options)}),
    OPTIONS.map(lambda options: {"type": "array", "items": {"type": "string", "enum": options}, "default": []}),
    UNIQUE.map(lambda options: {"type": "array", "items": {"anyOf": titled(options)}, "title": "T"}),
)
OLD_KEYWORDS = {"type", "title", "description", "minLength", "maxLength", "format", "minimum", "maximum", "enum"}


def answer_of(field: Mapping[str, object], pick: st.DataObject) -> object:
    enum = field.get("enum")
    if isinstance(enum, list):
        return pick.draw(st.sampled_from(enum))
    one_of = field.get("oneOf")
    if isinstance(one_of, list):
        return pick.draw(st.sampled_from([option["const"] for option in one_of]))
    items = field.get("items")
    if isinstance(items, dict):
        options = items.get("enum") or [option["const"] for option in items["anyOf"]]
        return pick.draw(st.lists(st.sampled_from(options), max_size=3))
    kinds: dict[object, st.SearchStrategy[object]] = {
        "string": st.text(max_size=3),
        "number": st.floats(allow_nan=False, allow_infinity=False),
        "boolean": st.booleans(),
    }
    return pick.draw(kinds[field["type"]])


@given(st.dictionaries(NAMES, FIELDS, max_size=5), st.data(), st.sampled_from([R2025_06_18, *NEWER]))
@pytest.mark.requirement("mcp.translate.round_trip")
def test_an_answer_in_a_revision_s_words_fits_the_schema_asked_with(
    properties: dict[str, Schema], pick: st.DataObject, revision: Revision
) -> None:
    required = pick.draw(st.lists(st.sampled_from(sorted(properties)), unique=True)) if properties else []
    schema = form(*required, **properties)
    worded = plain(translate(schema, revision))
    assert isinstance(worded, dict)
    assert compile_form(worded) is not None
    if revision is R2025_06_18:
        for field in worded["properties"].values():
            extra = {"boolean": {"default"}, "string": {"enumNames"}}.get(field["type"], set())
            assert field.keys() <= OLD_KEYWORDS | extra
    given = {
        name: answer_of(field, pick)
        for name, field in worded["properties"].items()
        if name in worded.get("required", ()) or pick.draw(st.booleans())
    }
    content = translate(schema, revision).content_of(given)
    asked = compile_form(schema)
    assert asked is not None
    assert not isinstance(content, Mismatch)
    assert asked.check(dict(content)) is None
