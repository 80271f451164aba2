"""Canonical JSON: the vectors of RFC 8785, another implementation, and what has more than one reading."""

import json
import math
import struct

import orjson
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.bounds import Bounds
from proxy.core.canonical_json import MAX_DEPTH, canonical, number, parse_strict
from proxy.core.errors import InvalidInput

pytestmark = pytest.mark.requirement("signatures.canonical_json")

NUMBERS = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]
"""RFC 8785 appendix B, the finite ones."""

EXAMPLE = rb"""{
  "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
  "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
  "literals": [null, true, false]
}"""
EXAMPLE_BYTES = """
7b 22 6c 69 74 65 72 61 6c 73 22 3a 5b 6e 75 6c 6c 2c 74 72 75 65 2c 66 61 6c 73 65 5d 2c 22 6e 75 6d 62 65 72 73 22 3a
5b 33 33 33 33 33 33 33 33 33 2e 33 33 33 33 33 33 33 2c 31 65 2b 33 30 2c 34 2e 35 2c 30 2e 30 30 32 2c 31 65 2d 32 37
5d 2c 22 73 74 72 69 6e 67 22 3a 22 e2 82 ac 24 5c 75 30 30 30 66 5c 6e 41 27 42 5c 22 5c 5c 5c 5c 5c 22 2f 22 7d
"""
"""RFC 8785 section 3.2.4."""

SORTED = [
    "Carriage Return",
    "One",
    "Control",
    "Latin Small Letter O With Diaeresis",
    "Euro Sign",
    "Emoji: Grinning Face",
    "Hebrew Letter Dalet With Dagesh",
]
UNSORTED = rb"""{
  "\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
  "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"
}"""
"""RFC 8785 section 3.2.3."""

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize(("bits", "text"), NUMBERS)
def test_numbers_are_written_as_in_the_table_of_the_rfc(bits: str, text: str) -> None:
    value = _double(bits)
    assert number(value) == text
    assert canonical(value) == text.encode()
    assert canonical(parse_strict(text.encode())) == text.encode()


@pytest.mark.parametrize("bits", ["7fffffffffffffff", "7ff0000000000000", "fff0000000000000"])
def test_numbers_that_json_has_no_word_for_are_refused(bits: str) -> None:
    with pytest.raises(InvalidInput, match="finite"):
        canonical(_double(bits))


def test_the_example_of_the_rfc_is_byte_exact() -> None:
    assert canonical(parse_strict(EXAMPLE)) == bytes.fromhex(EXAMPLE_BYTES)


def test_members_are_in_the_order_of_utf_16() -> None:
    written = canonical(parse_strict(UNSORTED))
    assert list(json.loads(written).values()) == SORTED


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_as_the_double_that_it_was(value: float) -> None:
    assert float(number(value)) == value


@given(values)
def test_another_implementation_writes_the_same(value: object) -> None:
    known = _narrowed(value)
    assert canonical(known) == rfc8785.dumps(known)  # type: ignore[arg-type] # any JSON


@given(values)
def test_the_canonical_text_reads_as_what_it_is_the_text_of(value: object) -> None:
    text = canonical(value)
    assert canonical(parse_strict(text)) == text
    assert canonical(parse_strict(json.dumps(value, indent=1).encode())) == text


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff",
        b"\xef\xbb\xbf1",
        b"NaN",
        b"Infinity",
        b"1e400",
        b'{"a":1,"a":2}',
        b'[{"b":{"a":1,"a":1}}]',
        rb'{"a":1,"\u0061":2}',
        rb'"\ud800"',
        rb'{"\udc00":1}',
        b"9007199254740993",
        b"-9007199254740993",
        b"10000000000000000000000",
        b"1" + b"0" * 5_000,
    ],
)
def test_a_text_with_two_readings_or_none_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        parse_strict(text)


def test_a_whole_number_that_a_double_holds_is_taken_from_any_writer() -> None:
    assert parse_strict(b"9007199254740992") == 2**53
    assert parse_strict(b"9007199254740994") == float(2**53 + 2)
    assert parse_strict(b"295147905179352830000") == 2.0**68
    assert parse_strict(b"-0") == 0


@pytest.mark.parametrize("bound", ["size_bytes", "depth", "nodes", "members", "items"])
def test_a_text_beyond_a_bound_is_refused(bound: str) -> None:
    wide = {"size_bytes": 100, "depth": 3, "nodes": 20, "members": 3, "items": 4}
    text = b'{"a":[[1,2,3,4]],"b":2,"c":3}'
    assert parse_strict(text, Bounds(**wide))
    with pytest.raises(InvalidInput, match="expected at most"):
        parse_strict(text, Bounds(**{**wide, bound: 2}))


def test_blanks_count_as_bytes() -> None:
    with pytest.raises(InvalidInput, match="at most 10 bytes"):
        parse_strict(b"[" + b" " * 20 + b"]", Bounds(size_bytes=10, depth=3, nodes=20, members=3, items=4))


def test_nesting_that_would_exhaust_a_stack_is_refused() -> None:
    for depth in (MAX_DEPTH, 1_000, 100_000):
        with pytest.raises(InvalidInput):
            parse_strict(b"[" * depth + b"]" * depth)
    deep: object = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]
    assert canonical(deep)
    with pytest.raises(InvalidInput, match="levels of nesting"):
        canonical({"a": deep})


@pytest.mark.parametrize(
    "value",
    [object(), b"bytes", {1: 2}, "\ud800", {"\ud800": 1}, [{1}], 2**53 + 1, -(2**53) - 1, 10**400, math.nan],
)
def test_a_value_that_json_cannot_carry_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        canonical(value)


def test_tuples_are_arrays_and_large_whole_numbers_that_a_double_holds_are_numbers() -> None:
    assert canonical((1, (2, 2**53 + 2), {})) == b"[1,[2,9007199254740994],{}]"


@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_read_as_by_everybody_or_refused(text: bytes) -> None:
    try:
        value = parse_strict(text)
    except InvalidInput:
        return
    assert value == orjson.loads(text)
    assert orjson.loads(canonical(value)) == value


def _double(bits: str) -> float:
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert isinstance(value, float)
    return value


def _narrowed(value: object) -> object:
    """Without the whole numbers that the other implementation does not take."""
    if isinstance(value, dict):
        return {name: _narrowed(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_narrowed(item) for item in value]
    return 0 if isinstance(value, int) and abs(value) == 2**53 else value
