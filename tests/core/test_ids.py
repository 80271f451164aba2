"""Names and numbers of peers: what passes, what is refused, and that nothing else ever comes of it."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import InvalidInput
from proxy.core.ids import (
    MAX_AGENT_ID_CHARS,
    MAX_ELICITATION_ID_CHARS,
    MAX_SEQUENCE,
    parse_agent_id,
    parse_elicitation_id,
    parse_sequence,
)

NAMES = ["a", "alice", "agent with spaces", "a:b:c", "caf\u00e9", "\u4ee3\u7406", "\U0001f916", "%41", "'; --", " "]
NO_NAMES = [
    "",
    "line\nbreak",
    "nul\x00",
    "tab\t",
    "esc\x1b[31m",
    "\u202eevil",
    "\ud800",
    "a\u00a0b",
    None,
    b"alice",
    7,
    1.5,
    True,
    ["alice"],
    {"agent_id": "alice"},
]

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_printable_name_passes_unchanged(name: str) -> None:
    assert parse_agent_id(name) == name
    assert parse_elicitation_id(name) == name


@pytest.mark.requirement("ids.bounded")
@pytest.mark.parametrize("value", NO_NAMES, ids=repr)
def test_what_is_no_printable_name_is_refused(value: object) -> None:
    with pytest.raises(InvalidInput, match="agent_id must be text of 1 to 300 printable characters, got"):
        parse_agent_id(value)
    with pytest.raises(InvalidInput, match="elicitation_id must be text of 1 to 200 printable characters, got"):
        parse_elicitation_id(value)


@pytest.mark.requirement("ids.bounded")
def test_a_name_of_the_longest_length_passes_and_one_character_more_does_not() -> None:
    assert parse_agent_id("\u00fc" * MAX_AGENT_ID_CHARS)
    assert parse_elicitation_id("\u00fc" * MAX_ELICITATION_ID_CHARS)
    with pytest.raises(InvalidInput, match="got 301"):
        parse_agent_id("x" * (MAX_AGENT_ID_CHARS + 1))
    with pytest.raises(InvalidInput, match="got 201"):
        parse_elicitation_id("x" * (MAX_ELICITATION_ID_CHARS + 1))


def test_a_refusal_repeats_little_of_a_hostile_name_and_nothing_a_terminal_would_obey() -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_agent_id("\x1b[2J" + "x" * 200)
    assert "\x1b" not in refused.value.detail
    assert len(refused.value.detail) < 160


@pytest.mark.parametrize("number", [0, 1, 2**53, MAX_SEQUENCE])
def test_a_sequence_number_in_range_passes(number: int) -> None:
    assert parse_sequence(number) == number


@pytest.mark.parametrize(
    "value", [-1, MAX_SEQUENCE + 1, 10**5000, -(10**5000), True, False, 1.0, "1", None, [1]], ids=lambda _: ""
)
def test_anything_else_is_no_sequence_number(value: object) -> None:
    with pytest.raises(InvalidInput, match="sequence must be a whole number from 0 to 9223372036854775807"):
        parse_sequence(value)


@pytest.mark.requirement("parsers.documented_errors")
@given(value=values)
def test_no_value_raises_anything_but_the_documented_error(value: object) -> None:
    for parse in (parse_agent_id, parse_elicitation_id, parse_sequence):
        with contextlib.suppress(InvalidInput):
            assert parse(value) == value


@given(text=st.text(max_size=320))
def test_a_name_that_passes_can_be_kept_sent_and_hashed(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        assert parse_agent_id(text).encode().decode() == text
