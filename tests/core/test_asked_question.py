"""Questions before they are put: what is judged, what is left to the Bridge, and where a schema fails."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.asked_question import AskedQuestion, check_askable, read_asked
from proxy.core.errors import SchemaRefused
from proxy.core.ids import AgentId

pytestmark = pytest.mark.requirement("questions.askable")


def test_addressee_and_schema_are_read() -> None:
    body = orjson.dumps({"from_agent": "alice", "to_agent": "bob", "message": "?", "schema": [1]})
    assert read_asked(body) == AskedQuestion(AgentId("bob"), [1])
    assert read_asked(b'{"to_agent":"bob","schema":null}') == AskedQuestion(AgentId("bob"), None)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b'{"to_agent":"bob"}', b'{"schema":{}}', b'{"to_agent":"","schema":{}}'],
)
def test_what_is_no_question_yet_is_the_bridges_to_refuse(body: bytes) -> None:
    assert read_asked(body) is None


@given(st.binary(max_size=50))
def test_any_bytes_are_read_without_an_error(body: bytes) -> None:
    assert read_asked(body) is None or b"schema" in body


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"type": ["object", "null"]},
        {"type": "object", "properties": {"colour": {"type": "string"}, "any": True}, "required": ["colour"]},
        {"properties": {"deep": {"type": "object", "properties": {"list": {"type": "array"}}}}},
        {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    ],
)
def test_a_schema_that_an_object_can_fit_may_be_asked_with(schema: object) -> None:
    check_askable(schema)


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        (None, "$"),
        ("x", "$"),
        ([], "$"),
        (7, "$"),
        ({"type": "nonsense"}, "$.type"),
        ({"type": "string"}, "$.type"),
        ({"type": ["string", "null"]}, "$.type"),
        ({"type": 7}, "$.type"),
        ({"properties": [1]}, "$.properties"),
        ({"properties": {"a": 5}}, "$.properties.a"),
        ({"properties": {"a b": "string"}}, "$.properties['a b']"),
        ({"type": "object", "properties": {"a": {"type": "colour"}}}, "$.properties.a.type"),
        ({"properties": {"a": {"enum": "x"}}}, "$.properties.a.enum"),
        ({"properties": {"a": {"type": "string", "pattern": "("}}}, "$.properties.a.pattern"),
        ({"required": "a"}, "$.required"),
        ({"anyOf": [{}, {"type": "colour"}]}, "$.anyOf[1].type"),
        ({"$schema": "https://example.org/mine", "not": {}}, "$['$schema']"),
        ({"$ref": "#/$defs/none"}, "$"),
        ({"properties": {"a": {"description": "x" * 70_000}}}, "$"),
    ],
)
def test_a_schema_that_no_answer_can_be_held_to_is_refused_with_the_failing_path(schema: object, path: str) -> None:
    with pytest.raises(SchemaRefused) as refused:
        check_askable(schema)
    assert refused.value.problem()["path"] == path
    assert refused.value.status == 422
