"""Every bound at its edge and one beyond, and values that JSON cannot carry."""

import math
from collections.abc import Callable

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.bounds import Bounds, Excess, measure

WIDE = Bounds(size_bytes=10_000, depth=20, nodes=2_000, members=1_000, items=1_000)
NARROW = Bounds(size_bytes=40, depth=3, nodes=8, members=2, items=4)


def _nest(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [None, True, 1, 1.5, "x" * 38, _nest(3), {"a": 1, "b": 2}, [1, 2, 3, 4], [[1, 2, 3, 4], 5, 6], 2**64 - 1],
)
def test_a_value_at_the_bounds_is_measured_in_bytes(value: object) -> None:
    assert measure(value, NARROW) == len(orjson.dumps(value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("x" * 39, "40 bytes"),
        (_nest(4), "3 levels"),
        ({"a": 1, "b": 2, "c": 3}, "2 members"),
        ([1, 2, 3, 4, 5], "4 items"),
        ([[1, 2, 3, 4], 5, 6, 7], "8 values"),
    ],
)
def test_a_value_one_beyond_a_bound_names_that_bound(value: object, expected: str) -> None:
    excess = measure(value, NARROW)
    assert isinstance(excess, Excess)
    assert expected in excess.expected


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        [math.nan],
        {1: 2},
        {None: 1},
        2**64,
        -(2**63) - 1,
        "\ud800",
        {"\ud800": 1},
        (1,),
        b"x",
    ],
)
def test_a_value_that_json_cannot_carry_is_an_excess(value: object) -> None:
    assert isinstance(measure(value, WIDE), Excess)


def _self_holding() -> object:
    value: list[object] = []
    value.append(value)
    return value


def _widening() -> object:
    value: list[object] = [1]
    for _ in range(15):
        value = [value] * 1_000
    return value


@pytest.mark.parametrize("build", [_self_holding, _widening, lambda: _nest(100_000)])
def test_the_walk_ends_on_values_without_end(build: Callable[[], object]) -> None:
    assert isinstance(measure(build(), WIDE), Excess)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(json_values)
def test_whatever_is_measured_can_be_written_in_that_many_bytes(value: object) -> None:
    size = measure(value, NARROW)
    assert isinstance(size, Excess) or size == len(orjson.dumps(value)) <= NARROW.size_bytes
