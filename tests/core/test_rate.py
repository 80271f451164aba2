import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import InvalidInput
from proxy.core.rate import MAX_RATE_COUNT, Rate, parse_rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10/min+3", Rate(10, 60, 3)),
        ("1/s", Rate(1, 1, 0)),
        ("5/sec+0", Rate(5, 1, 0)),
        ("100/h+20", Rate(100, 3600, 20)),
        ("100/hour", Rate(100, 3600, 0)),
        ("1000000/min+1000000", Rate(1_000_000, 60, 1_000_000)),
    ],
)
def test_a_rate_is_read(text: str, rate: Rate) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text",
    [
        "",
        "10",
        "10/",
        "/min",
        "10/day",
        "10/min+",
        "10/min-3",
        "10 / min",
        "-1/min",
        "1.5/s",
        "10/MIN",
        "1/s\n",
        "\u0661/s",
    ],
)
def test_another_form_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"10/min\+3"):
        parse_rate(text)


@pytest.mark.parametrize("text", ["0/min", "0/s+5", "1000001/s", "1/s+1000001"])
def test_an_impossible_count_is_refused_with_the_range(text: str) -> None:
    with pytest.raises(InvalidInput, match="count of 1 to 1000000"):
        parse_rate(text)


def test_burst_comes_on_top_of_the_count() -> None:
    assert parse_rate("10/min+3").capacity == 13


def test_a_rate_with_another_period_is_still_shown() -> None:
    assert str(Rate(10, 90, 0)) == "10/90s"


@given(
    st.integers(1, MAX_RATE_COUNT),
    st.sampled_from([("s", 1), ("sec", 1), ("min", 60), ("h", 3600), ("hour", 3600)]),
    st.integers(0, MAX_RATE_COUNT),
)
def test_what_is_shown_can_be_read_again(count: int, unit: tuple[str, int], burst: int) -> None:
    rate = parse_rate(f"{count}/{unit[0]}+{burst}")
    assert rate == Rate(count, unit[1], burst)
    assert parse_rate(str(rate)) == rate


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        assert parse_rate(text).capacity >= 1
