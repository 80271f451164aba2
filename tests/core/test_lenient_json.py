"""JSON as lenient servers read it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.lenient_json import Members, objects_in, parse_lenient

pytestmark = pytest.mark.requirement("admission.tools")

TWINS = b'{"name": "one", "n": NaN, "name": "two"}'


@pytest.mark.parametrize("body", [TWINS, TWINS.decode().encode("utf-16"), TWINS.decode().encode("utf-8-sig")])
def test_twins_are_kept_in_every_encoding(body: bytes) -> None:
    value = parse_lenient(body)
    assert isinstance(value, Members)
    assert value.all("name") == ["one", "two"]
    assert value.all("other") == []


def test_an_integer_of_any_length_is_read() -> None:
    (value,) = objects_in(parse_lenient(b'[{"id": %s, "name": "x"}, 7, [{}]]' % (b"9" * 5_000)))
    assert value.all("name") == ["x"]
    assert list(objects_in(parse_lenient(b"7"))) == []
    assert [one.all("a") for one in objects_in(parse_lenient(b'{"a": {"b": 1}}'))] == [[[("b", 1.0)]]]


@given(st.binary(max_size=60))
def test_what_cannot_be_read_says_so_in_one_of_two_ways(body: bytes) -> None:
    try:
        parse_lenient(body)
    except (ValueError, RecursionError):
        return


def test_what_is_nested_too_deep_is_told_apart() -> None:
    with pytest.raises(RecursionError):
        parse_lenient(b"[" * 100_000)
