"""Flags: defaults, patches that are taken whole or not at all, versions, and what the history says."""

import contextlib
import dataclasses
import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import InvalidFlags
from proxy.core.flags import (
    FLAG_PARSERS,
    MAX_ENTRY_CHARS,
    MAX_LIST_ENTRIES,
    MAX_REASON_CHARS,
    FlagSet,
    describe_change,
    parse_patch,
)

DEEP = orjson.loads(b"[" * 1000 + b"]" * 1000)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
bodies = st.dictionaries(
    st.sampled_from([*FLAG_PARSERS, "reason", "force", "version"]) | st.text(st.characters(), max_size=30), values
)
percentages = st.integers(0, 100_000).map(lambda thousandths: thousandths / 1000)
names = st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20), max_size=5)
patches = st.fixed_dictionaries(
    {},
    optional={
        "elicitation_enabled": st.booleans(),
        "elicitation_percentage": percentages,
        "elicitation_whitelist": names,
        "elicitation_denylist": names,
        "ab_testing_enabled": st.booleans(),
        "legacy_fallback": st.booleans(),
        "legacy_support": st.booleans(),
        "deprecation_warnings": st.booleans(),
    },
).filter(bool)


@pytest.mark.requirement("flags.defaults")
def test_a_fresh_set_sends_everybody_the_legacy_way_with_fallback_and_support_on() -> None:
    assert FlagSet().as_json() == {
        "elicitation_enabled": False,
        "elicitation_percentage": 0.0,
        "elicitation_whitelist": [],
        "elicitation_denylist": [],
        "ab_testing_enabled": False,
        "legacy_fallback": True,
        "legacy_support": True,
        "deprecation_warnings": False,
        "version": 1,
    }


@pytest.mark.requirement("flags.defaults")
def test_a_patch_may_name_every_flag_and_nothing_but_flags() -> None:
    assert {*FLAG_PARSERS, "version"} == {field.name for field in dataclasses.fields(FlagSet)}


@pytest.mark.requirement("flags.percentage")
@pytest.mark.parametrize(
    ("percentage", "threshold"),
    [(0, 0), (100, 100_000), (5, 5_000), (0.001, 1), (99.999, 99_999), (33.333, 33_333), (0.29, 290), (57.001, 57_001)],
)
def test_a_percentage_of_three_decimals_is_an_exact_number_of_buckets(percentage: float, threshold: int) -> None:
    assert FlagSet(elicitation_percentage=percentage).threshold == threshold


@pytest.mark.requirement("flags.percentage")
@given(thousandths=st.integers(0, 100_000))
def test_every_thousandth_of_a_percent_is_taken_as_it_is(thousandths: int) -> None:
    patched = FlagSet().patched(parse_patch({"elicitation_percentage": thousandths / 1000}))
    assert patched.elicitation_percentage == thousandths / 1000
    assert patched.threshold == thousandths


@pytest.mark.requirement("flags.percentage")
@pytest.mark.parametrize(
    "value",
    [-0.001, 100.001, -1, 101, 1e300, 10**400, math.nan, math.inf, -math.inf, True, "25", None, [25], DEEP],
    ids=lambda _: "",
)
def test_what_is_no_number_from_0_to_100_is_refused(value: object) -> None:
    with pytest.raises(InvalidFlags, match="elicitation_percentage: expected a number from 0 to 100, got") as refused:
        parse_patch({"elicitation_percentage": value})
    assert refused.value.extra["key"] == "elicitation_percentage"


@pytest.mark.requirement("flags.percentage")
@pytest.mark.parametrize("value", [0.0001, 33.33333, 99.9999])
def test_a_fourth_decimal_is_refused(value: float) -> None:
    with pytest.raises(InvalidFlags, match=f"at most three decimals, got {value}"):
        parse_patch({"elicitation_percentage": value})


@pytest.mark.parametrize(("value", "kept"), [(-0.0, 0.0), (25.0000000001, 25.0), (0.1 + 0.2, 0.3)])
def test_the_dust_of_binary_fractions_is_swept_away(value: float, kept: float) -> None:
    patch = parse_patch({"elicitation_percentage": value})
    assert repr(patch.changes["elicitation_percentage"]) == repr(kept)


@pytest.mark.requirement("flags.validated_patch")
@pytest.mark.parametrize("key", [key for key, parser in FLAG_PARSERS.items() if "bool" in parser.__name__] + ["force"])
@pytest.mark.parametrize("value", [0, 1, "true", None, [], DEEP], ids=lambda _: "")
def test_a_switch_takes_true_and_false_only(key: str, value: object) -> None:
    assert parse_patch({"elicitation_enabled": True, key: False}).changes["elicitation_enabled"] is (
        key != "elicitation_enabled"
    )
    with pytest.raises(InvalidFlags, match=f"{key}: expected true or false, got"):
        parse_patch({"elicitation_enabled": True, key: value})


@pytest.mark.requirement("flags.validated_patch")
@pytest.mark.parametrize(
    "value",
    [
        "alice",
        None,
        {"alice": True},
        ["alice", 7],
        [""],
        ["x" * (MAX_ENTRY_CHARS + 1)],
        ["line\nbreak"],
        ["\ud800"],
        [["alice"]],
        DEEP,
        ["a"] * (MAX_LIST_ENTRIES + 1),
    ],
    ids=lambda _: "",
)
@pytest.mark.parametrize("key", ["elicitation_whitelist", "elicitation_denylist"])
def test_a_list_takes_a_bounded_number_of_bounded_printable_names_only(key: str, value: object) -> None:
    with pytest.raises(InvalidFlags, match=f"{key}: expected") as refused:
        parse_patch({key: value})
    assert refused.value.extra["key"] == key
    assert len(refused.value.detail) < 250


def test_a_list_at_its_bounds_is_taken_and_a_name_in_it_counts_once() -> None:
    longest = ["x" * 300, *map(str, range(9_999))]
    assert parse_patch({"elicitation_whitelist": longest}).changes["elicitation_whitelist"] == tuple(longest)
    patch = parse_patch({"elicitation_whitelist": ["bob", "alice", "bob"]})
    assert patch.changes["elicitation_whitelist"] == ("bob", "alice")


@pytest.mark.requirement("flags.unknown_key")
@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("elicitation_percent", "; did you mean elicitation_percentage?"),
        ("elicitation_enable", "; did you mean elicitation_enabled?"),
        ("legacy_suport", "; did you mean legacy_support?"),
        ("dual_mode_operation", ""),
        ("version", ""),
        ("", ""),
        ("\ud800", ""),
        ("q" * 100_000, ""),
    ],
    ids=lambda _: "",
)
def test_an_unknown_flag_is_refused_by_name_with_the_nearest_known_one(key: str, hint: str) -> None:
    with pytest.raises(InvalidFlags, match=r"^unknown flag ") as refused:
        parse_patch({"elicitation_enabled": True, key: 1})
    assert refused.value.detail.endswith(hint or "'" if len(key) < 80 else "…")
    assert refused.value.extra["key"] == key[:80]


def test_a_key_that_is_no_text_is_an_unknown_flag() -> None:
    with pytest.raises(InvalidFlags, match="unknown flag 7") as refused:
        parse_patch({7: True})
    assert refused.value.extra["key"] == "7"


@pytest.mark.requirement("flags.validated_patch")
@pytest.mark.parametrize("body", [None, [], "off", 7, True, DEEP], ids=lambda _: "")
def test_a_patch_is_an_object(body: object) -> None:
    with pytest.raises(InvalidFlags, match="expected an object of flags, got"):
        parse_patch(body)


@pytest.mark.parametrize("body", [{}, {"reason": "why"}, {"force": True}])
def test_a_patch_names_at_least_one_flag(body: object) -> None:
    with pytest.raises(InvalidFlags, match="expected at least one of elicitation_enabled, "):
        parse_patch(body)


@pytest.mark.parametrize("reason", [None, 7, ["why"], "x" * (MAX_REASON_CHARS + 1), "\udcff"])
def test_a_reason_is_bounded_text(reason: object) -> None:
    with pytest.raises(InvalidFlags, match="reason: expected text of at most 500 characters") as refused:
        parse_patch({"elicitation_enabled": False, "reason": reason})
    assert refused.value.extra["key"] == "reason"


def test_a_reason_of_the_longest_length_is_taken_and_nothing_is_forced_unasked() -> None:
    patch = parse_patch({"elicitation_enabled": False, "reason": "x" * 500})
    assert (len(patch.reason), patch.force) == (500, False)
    assert parse_patch({"elicitation_enabled": False}).reason == ""


def test_the_runbooks_emergency_patch_is_taken_with_a_reason_of_two_lines() -> None:
    patch = parse_patch({"elicitation_enabled": False, "force": True, "reason": "p99 is up\nsee the graph \U0001f4c8"})
    assert (dict(patch.changes), patch.force) == ({"elicitation_enabled": False}, True)
    assert patch.reason == "p99 is up\nsee the graph \U0001f4c8"


@pytest.mark.requirement("flags.validated_patch")
def test_one_bad_value_refuses_the_whole_patch() -> None:
    with pytest.raises(InvalidFlags, match="legacy_support"):
        parse_patch({"elicitation_percentage": 25, "legacy_support": "yes"})


@pytest.mark.requirement("flags.versions")
@given(patch=patches)
def test_a_patched_set_differs_where_the_patch_says_and_has_the_next_version(patch: dict[str, object]) -> None:
    before = FlagSet(version=41)
    after = before.patched(parse_patch(patch))
    assert after.version == 42
    assert before == FlagSet(version=41)
    unchanged = before.as_json().keys() - patch.keys() - {"version"}
    assert {key: after.as_json()[key] for key in unchanged} == {key: before.as_json()[key] for key in unchanged}


@pytest.mark.requirement("flags.versions")
@given(patch=patches)
def test_a_set_shown_as_json_and_read_again_is_the_same_set(patch: dict[str, object]) -> None:
    shown = FlagSet().patched(parse_patch(patch))
    body = orjson.loads(orjson.dumps(shown.as_json()))
    del body["version"]
    assert FlagSet().patched(parse_patch(body)) == shown


@pytest.mark.requirement("flags.history")
def test_the_history_lists_what_really_differs_with_old_and_new() -> None:
    before = FlagSet(elicitation_percentage=5.0)
    patch = parse_patch({"elicitation_percentage": 25, "elicitation_whitelist": ["bob"], "legacy_fallback": True})
    change = describe_change(before, before.patched(patch), at=1_800_000_000.5, author="ops", reason="week 5")
    assert orjson.loads(orjson.dumps(change.as_json())) == {
        "version": 2,
        "at": 1_800_000_000.5,
        "author": "ops",
        "reason": "week 5",
        "changes": {"elicitation_percentage": [5.0, 25.0], "elicitation_whitelist": [[], ["bob"]]},
    }


@pytest.mark.requirement("parsers.documented_errors")
@given(body=bodies | values)
def test_no_body_raises_anything_but_the_documented_error(body: object) -> None:
    with contextlib.suppress(InvalidFlags):
        patch = parse_patch(body)
        assert FlagSet().patched(patch).version == 2
        assert patch.reason.encode().decode() == patch.reason, "it can be written down"
        assert isinstance(body, dict)
