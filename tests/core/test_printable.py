"""Text of peers, made harmless to print."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.printable import printable, printable_json, printable_lines

pytestmark = pytest.mark.requirement("texts.printable")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Frage: Größe 5 €?", "Frage: Größe 5 €?"),
        ("\x1b[2J\x1b]0;root\x07", r"\x1b[2J\x1b]0;root\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("a\r\nb\tc\x7f", r"a\r\nb\tc\x7f"),
        ("\u202etxt.exe", r"\u202etxt.exe"),
        ("a\u2028b\u2029c\u00a0d\u200be\ufeff", r"a\u2028b\u2029c\xa0d\u200be\ufeff"),
        ("\udcff", r"\udcff"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_could_drive_a_terminal_is_shown_instead(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text(st.characters()))
def test_no_text_keeps_anything_that_is_not_printable(text: str) -> None:
    assert printable(text).isprintable()
    assert printable(printable(text)) == printable(text)


def test_a_text_of_lines_keeps_its_line_feeds_alone() -> None:
    assert printable_lines("a\nb\x1b[1m\r\nc") == "a\nb\\x1b[1m\\r\nc"


@given(JSON)
def test_json_is_one_printable_line_that_means_the_same(value: object) -> None:
    line = printable_json(value)
    assert line.isprintable()
    assert json.loads(line) == value


@pytest.mark.parametrize("value", ["\x1b\x9b\u202e\u2028\U000e0041", {"\x9b": ["\U000e0041"]}])
def test_json_readers_read_the_escapes_back(value: object) -> None:
    line = printable_json(value)
    assert line.isascii()
    assert orjson.loads(line) == value


def test_no_value_is_refused() -> None:
    assert printable_json({"big": 2**70, "odd": "\udcff\x9b"}) == '{"big": 1180591620717411303424, "odd": "?\\u009b"}'
    assert printable_json({1: object}) == '{"1":"<class \'object\'>"}'
