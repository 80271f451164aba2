"""Texts about values from peers: short, safe to print, and telling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.mismatch import MAX_TEXT_CHARS, Mismatch, clip, describe, missing, place, unexpected


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        ("b42", "'b42'"),
        ("\x1b[2J\u202e", r"'\x1b[2J\u202e'"),
        ("\ud800", r"'\ud800'"),
        (3, "3"),
        (3.5, "3.5"),
        (2**64, "a whole number beyond 64 bits"),
        pytest.param(10**5_000, "a whole number beyond 64 bits", id="5001 digits"),
        ({"a": 1}, "an object with 1 members"),
        ([1, 2], "an array with 2 items"),
        (b"x", "a bytes"),
    ],
)
def test_a_value_is_described_by_kind_and_content(value: object, text: str) -> None:
    assert describe(value) == text


@given(st.text() | st.integers() | st.floats() | st.lists(st.integers()))
def test_a_description_is_short_and_printable(value: object) -> None:
    text = describe(value)
    assert len(text) <= MAX_TEXT_CHARS
    assert text.isprintable()


def test_a_long_text_is_cut_with_an_ellipsis() -> None:
    assert clip("x" * 80) == "x" * 80
    assert clip("x" * 81) == "x" * 79 + "…"


@pytest.mark.parametrize(
    ("step", "path"),
    [
        ("build", "$.build"),
        ("user-id", "$.user-id"),
        (1, "$[1]"),
        ("a b", "$['a b']"),
        ("", "$['']"),
        ("1a", "$['1a']"),
        ("a\n", r"$['a\n']"),
        ("x" * 81, "$['" + "x" * 78 + "…]"),
    ],
)
def test_a_path_names_members_and_items(step: str | int, path: str) -> None:
    assert place("$", step) == path


def test_a_mismatch_reads_as_part_of_a_sentence() -> None:
    assert str(Mismatch("$.a", "a string", "3")) == "at $.a: expected a string, got 3"
    assert str(missing("$.a")) == "at $.a: expected a value, as it is required, got nothing"
    assert str(unexpected("$.a")) == "at $.a: expected only properties of the schema, got an additional property"
