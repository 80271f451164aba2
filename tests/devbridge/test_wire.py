"""Reading bodies and queries, and the words of refusal."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.devbridge.wire import MAX_WHOLE, Fields, WireError, object_of, parse_json, wrapped

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def first_complaint(refused: pytest.ExceptionInfo[WireError]) -> dict[str, object]:
    assert refused.value.status == 422
    detail = refused.value.detail
    assert isinstance(detail, list)
    item = detail[0]
    assert isinstance(item, dict)
    return item


def test_a_wrapped_refusal_is_500_and_says_the_meant_status() -> None:
    refusal = wrapped(400, "no")
    assert (refusal.status, refusal.detail) == (500, "400: no")


def test_broken_json_is_refused_with_the_place() -> None:
    with pytest.raises(WireError) as refused:
        parse_json(b"{")
    item = first_complaint(refused)
    assert item["type"] == "json_invalid"
    assert item["loc"] == ["body", 1]


@pytest.mark.parametrize(
    ("body", "loose", "kind"),
    [
        (None, False, "missing"),
        ([], True, "dict_type"),
        ([], False, "model_attributes_type"),
        ("x", False, "model_attributes_type"),
    ],
)
def test_a_body_that_is_no_object_is_refused(body: object, loose: bool, kind: str) -> None:  # noqa: FBT001  (a table)
    with pytest.raises(WireError) as refused:
        object_of(body, loose=loose)
    assert first_complaint(refused)["type"] == kind


def test_all_missing_fields_are_named_at_once() -> None:
    fields = Fields("body", {"agent_id": "alice"})
    assert fields.text("agent_id") == "alice"
    fields.text("ip_address")
    fields.texts("capabilities")
    fields.mapping("tool_input")
    with pytest.raises(WireError) as refused:
        fields.done()
    detail = refused.value.detail
    assert isinstance(detail, list)
    assert [item["loc"][1] for item in detail] == ["ip_address", "capabilities", "tool_input"]
    assert detail[0]["input"] == {"agent_id": "alice"}


def test_a_missing_parameter_of_a_query_shows_null() -> None:
    fields = Fields("query", {"x": "1"})
    fields.text("agent_id")
    with pytest.raises(WireError) as refused:
        fields.done()
    assert first_complaint(refused)["input"] is None


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("1.5", "int_parsing"),
        ("abc", "int_parsing"),
        ("", "int_parsing"),
        (str(MAX_WHOLE + 1), "int_parsing_size"),
        (1.5, "int_type"),
        (None, "int_type"),
        ([], "int_type"),
    ],
)
def test_what_is_no_whole_number_is_refused(value: object, kind: str) -> None:
    fields = Fields("query", {"n": value})
    assert fields.whole("n", 7) == 7
    with pytest.raises(WireError) as refused:
        fields.done()
    assert first_complaint(refused)["type"] == kind


@pytest.mark.parametrize(("value", "expected"), [("5", 5), (" -3 ", -3), (4, 4), (2.0, 2)])
def test_whole_numbers_are_read_from_text_too(value: object, expected: int) -> None:
    assert Fields("query", {"n": value}).whole("n", 7) == expected


@pytest.mark.parametrize(
    ("read", "kind"),
    [
        (lambda fields: fields.text("x"), "string_type"),
        (lambda fields: fields.mapping("x"), "dict_type"),
        (lambda fields: fields.mapping_or("x", nullable=True), "dict_type"),
        (lambda fields: fields.texts("x"), "list_type"),
    ],
)
def test_a_field_of_the_wrong_type_is_refused(read: object, kind: str) -> None:
    fields = Fields("body", {"x": 5})
    assert callable(read)
    read(fields)
    with pytest.raises(WireError) as refused:
        fields.done()
    assert first_complaint(refused)["type"] == kind


def test_null_counts_as_absent_only_where_it_may() -> None:
    fields = Fields("body", {"x": None})
    assert fields.mapping_or("x", nullable=True) is None
    fields.done()
    fields.mapping_or("x")
    with pytest.raises(WireError):
        fields.done()


def status_of(read: Callable[[], object]) -> int:
    try:
        read()
    except WireError as refusal:
        return refusal.status
    return 200


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), JSON))
def test_any_body_is_read_or_refused_with_422(given_body: dict[str, object]) -> None:
    fields = Fields("body", given_body)
    fields.text("a")
    fields.whole("b", 1)
    fields.mapping("c")
    fields.texts("d")
    assert status_of(fields.done) == (422 if fields.complaints else 200)


@given(st.binary())
def test_any_bytes_are_json_or_refused_with_422(body: bytes) -> None:
    assert status_of(lambda: parse_json(body)) in {200, 422}
