import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.problems import MAX_PROBLEMS, ConfigError, Problem, escape, escape_whole, redact, show


def test_a_problem_reads_as_place_key_expected_got_and_hint() -> None:
    problem = Problem(
        key="flags.elicitation_percentage",
        source="config.toml:12",
        line=12,
        expected="a number from 0 to 100",
        got="101",
        hint="at most three decimals count",
    )
    assert str(problem) == (
        "config.toml:12: flags.elicitation_percentage: expected a number from 0 to 100, got 101; "
        "at most three decimals count"
    )


def test_a_problem_of_the_whole_file_names_no_key() -> None:
    assert str(Problem(key="", source="x.toml:1:2", expected="a", got="b")) == "x.toml:1:2: expected a, got b"


def test_an_error_holds_every_problem_one_per_line() -> None:
    one, two = (Problem(key=key, source="f:1", expected="a", got="b") for key in ("x.y", "x.z"))
    error = ConfigError([one, two])
    assert error.problems == (one, two)
    assert str(error) == f"{one}\n{two}"


def test_problems_beyond_the_bound_are_only_counted() -> None:
    problem = Problem(key="x.y", source="f:1", expected="a", got="b")
    error = ConfigError([problem] * (MAX_PROBLEMS + 7))
    assert len(error.problems) == MAX_PROBLEMS + 1
    assert str(error.problems[-1]) == "and: expected no more problems, got 7 more not shown"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (True, "true"),
        (False, "false"),
        (101, "101"),
        (1.5, "1.5"),
        (float("inf"), "inf"),
        pytest.param(16**5000, "a whole number of 20001 bits", id="huge"),
        ("text", "'text'"),
        ("a\nb\x1b[31m\udc80", "'a\\nb\\x1b[31m\\udc80'"),
        ("x" * 100, "'" + "x" * 57 + "...'"),
        ([1, 2], "a list of 2"),
        ({"password": "geheim"}, "a table"),
        (dt.date(2026, 1, 1), "a date or time"),
        (dt.time(1, 2), "a date or time"),
    ],
)
def test_a_refused_value_is_shown_in_words(value: object, words: str) -> None:
    assert show(value) == words


@pytest.mark.parametrize(
    "text",
    [
        "redis://:geheim@host:6379/0",
        "redis://user:geheim@host/0",
        "redis://user:ge/h@geheim@host",
        "redis:user:geheim@host",
        "redis+unix:///run/x.sock?password=geheim&db=0",
        "http://geheim@host",
        "http://user:ge\nheimgeheim@host",
        "http://host/?access_token=geheim",
    ],
)
def test_a_password_is_never_shown(text: str) -> None:
    assert "geheim" not in show(text)
    assert "***" in show(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:pw@host:1/x", "http://***@host:1/x"),
        ("https://host/x?token=abc&y=1", "https://host/x?token=***&y=1"),
        ("https://host/@user/guide", "https://host/@user/guide"),
        ("agent:one@host", "agent:one@host"),
    ],
)
def test_an_accepted_value_loses_only_the_secrets_of_a_url(text: str, shown: str) -> None:
    assert redact(text) == shown


def test_a_problem_of_a_variable_names_it_once() -> None:
    problem = Problem(key="ELICIT_SIDECAR_X", source="environment ELICIT_SIDECAR_X", expected="a", got="b")
    assert str(problem) == "environment ELICIT_SIDECAR_X: expected a, got b"


def test_a_path_is_escaped_but_never_clipped() -> None:
    assert escape_whole("/long" * 50 + "\n") == "/long" * 50 + "\\n"


@given(st.text(st.characters(exclude_categories=[]), max_size=200))
def test_an_escaped_text_is_short_printable_and_one_line(text: str) -> None:
    escaped = escape(text)
    assert escaped.isprintable()
    assert len(escaped) <= 60 * 10
