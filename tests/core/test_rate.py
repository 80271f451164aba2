import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import InvalidInput
from proxy.core.rate import MAX_RATE_BYTES, MAX_RATE_COUNT, PS_PER_S, Rate, Unit, parse_byte_rate, parse_rate


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


@pytest.mark.requirement("limits.grant")
@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1B/s", Rate(1, 1, 0, Unit.BYTES)),
        ("2MiB/sec+8KiB", Rate(2 << 20, 1, 8 << 10, Unit.BYTES)),
        ("64GiB/h+64GiB", Rate(1 << 36, 3600, 1 << 36, Unit.BYTES)),
    ],
)
def test_a_rate_of_bytes_is_read_with_its_sizes(text: str, rate: Rate) -> None:
    assert parse_byte_rate(text) == rate


@pytest.mark.parametrize("text", ["", "10/s", "10MB/s", "1KiB/s+1", "1KiB/s+", "1.5KiB/s", "1KiB/day", "1 KiB/s"])
def test_another_form_of_a_rate_of_bytes_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"2MiB/s\+8MiB"):
        parse_byte_rate(text)


@pytest.mark.parametrize("text", ["0KiB/s", "65GiB/s", "1B/s+65GiB"])
def test_an_impossible_number_of_bytes_is_refused_with_the_range(text: str) -> None:
    with pytest.raises(InvalidInput, match="1B to 64GiB"):
        parse_byte_rate(text)


def test_a_rate_of_calls_takes_no_bytes() -> None:
    with pytest.raises(InvalidInput):
        parse_rate("10KiB/s")


@given(st.integers(1, MAX_RATE_BYTES), st.sampled_from([1, 60, 3600]), st.integers(0, MAX_RATE_BYTES))
def test_what_is_shown_of_a_rate_of_bytes_can_be_read_again(count: int, period_s: int, burst: int) -> None:
    rate = Rate(count, period_s, burst, Unit.BYTES)
    assert parse_byte_rate(str(rate)) == rate


@pytest.mark.requirement("limits.grant")
@given(st.integers(1, MAX_RATE_BYTES), st.sampled_from([1, 60, 3600]))
def test_an_interval_is_never_shorter_than_the_rate_says(count: int, period_s: int) -> None:
    interval_ps = Rate(count, period_s, 0).interval_ps
    assert (interval_ps - 1) * count < period_s * PS_PER_S <= interval_ps * count


@given(st.text(max_size=20))
def test_any_text_is_read_as_a_rate_of_bytes_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        assert parse_byte_rate(text).capacity >= 1
