"""Switches, patched and read from the command line."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.devbridge.settings import MAX_SLOW_MS, Switches, parse_switch


def test_a_patch_changes_only_the_switches_it_names() -> None:
    patched = Switches().patched({"slow_ms": 20, "elicitation": False})
    assert patched.as_json() == Switches().as_json() | {"slow_ms": 20, "elicitation": False}


@pytest.mark.parametrize(
    ("patch", "text"),
    [
        ({"slow": 1}, "did you mean slow_ms"),
        ({"zzzzzz": 1}, "known are elicitation"),
        ({"elicitation": 1}, "true or false"),
        ({"slow_ms": True}, "whole number"),
        ({"slow_ms": -1}, "from 0 to"),
        ({"slow_ms": MAX_SLOW_MS + 1}, "from 0 to"),
        ({"fail_next": 1.5}, "whole number"),
    ],
)
def test_an_impossible_patch_names_the_switch_and_what_was_expected(patch: dict[str, object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Switches().patched(patch)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("slow_ms=250", ("slow_ms", 250)),
        ("fail_next=0", ("fail_next", 0)),
        ("shipped_wait=on", ("shipped_wait", True)),
        ("abuse_rule=False", ("abuse_rule", False)),
    ],
)
def test_a_switch_is_read_from_the_command_line(text: str, expected: tuple[str, object]) -> None:
    assert parse_switch(text) == expected


@pytest.mark.parametrize("text", ["", "slow_ms", "slow_ms=x", "elicitation=perhaps", "nothing=on", "=on"])
def test_a_switch_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected KEY=VALUE|must be|there is no switch"):
        parse_switch(text)


@given(st.text())
def test_any_text_is_a_switch_or_a_clear_refusal(text: str) -> None:
    with suppress(ValueError):
        name, _ = parse_switch(text)
        assert name in Switches().as_json()
