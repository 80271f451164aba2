"""What the flags are for one agent, in the words of OpenFeature remote evaluation."""

from collections.abc import Mapping
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.cohort import Cohort
from proxy.core.errors import EvaluationRefused, FlagNotFound
from proxy.core.flags import FLAG_PARSERS, FlagSet
from proxy.core.ofrep import KEYS, ErrorCode, evaluate, evaluate_all, parse_targeting_key, refusal
from proxy.core.routing import Membership

FLAGS = FlagSet(elicitation_enabled=True, elicitation_percentage=12.5, elicitation_whitelist=("pilots",), version=7)
MEMBER = Membership(agent_id="alice", bucket=12_499)

JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def _codes(error: EvaluationRefused | FlagNotFound) -> tuple[object, object]:
    document = error.problem()
    assert document["errorDetails"] == error.detail
    return document.get("key"), document["errorCode"]


def test_a_flag_of_the_set_is_the_same_for_everybody() -> None:
    assert evaluate("elicitation_enabled", FLAGS, MEMBER) == {
        "key": "elicitation_enabled",
        "value": True,
        "reason": "STATIC",
        "variant": "on",
        "metadata": {"version": 7, "bucket": 12_499, "reason": "split"},
    }


@pytest.mark.parametrize(
    ("key", "value", "variant"),
    [
        ("legacy_fallback", True, "on"),
        ("deprecation_warnings", False, "off"),
        ("elicitation_percentage", 12.5, "12.5"),
        ("elicitation_whitelist", {"names": ["pilots"]}, "listed"),
        ("elicitation_denylist", {"names": []}, "empty"),
    ],
)
def test_values_have_the_types_that_ofrep_knows(key: str, value: object, variant: str) -> None:
    told = evaluate(key, FLAGS, MEMBER)
    assert (told["value"], told["variant"], told["reason"]) == (value, variant, "STATIC")


@pytest.mark.parametrize(("percentage", "variant"), [(0.0, "0"), (0.001, "0.001"), (99.999, "99.999"), (100.0, "100")])
def test_the_variant_of_a_percentage_is_its_shortest_text(percentage: float, variant: str) -> None:
    told = evaluate("elicitation_percentage", replace(FLAGS, elicitation_percentage=percentage), MEMBER)
    assert told["variant"] == variant


@pytest.mark.parametrize(
    ("flags", "member", "value", "reasons"),
    [
        (FLAGS, MEMBER, True, ("SPLIT", "split")),
        (FLAGS, replace(MEMBER, bucket=12_500), False, ("SPLIT", "split")),
        (FLAGS, replace(MEMBER, bucket=99_999, groups=frozenset({"pilots"})), True, ("TARGETING_MATCH", "whitelist")),
        (replace(FLAGS, elicitation_denylist=("alice",)), MEMBER, False, ("TARGETING_MATCH", "denied")),
        (replace(FLAGS, elicitation_enabled=False), MEMBER, False, ("DISABLED", "disabled")),
        (FlagSet(), replace(MEMBER, forced=Cohort.ELICITATION), True, ("TARGETING_MATCH", "forced")),
        (FLAGS, replace(MEMBER, forced=Cohort.LEGACY), False, ("TARGETING_MATCH", "forced")),
    ],
)
def test_elicitation_tells_the_cohort_and_the_rule_that_decided(
    flags: FlagSet, member: Membership, value: object, reasons: tuple[str, str]
) -> None:
    told = evaluate("elicitation", flags, member)
    assert (told["value"], told["reason"]) == (value, reasons[0])
    assert told["variant"] == ("elicitation" if value else "legacy")
    assert told["metadata"] == {"version": flags.version, "bucket": member.bucket, "reason": reasons[1]}


def test_all_flags_are_told_as_each_of_them_alone() -> None:
    assert evaluate_all(FLAGS, MEMBER) == {"flags": [evaluate(key, FLAGS, MEMBER) for key in KEYS]}
    assert (*FLAG_PARSERS, "elicitation") == KEYS
    assert orjson.loads(orjson.dumps(evaluate_all(FLAGS, MEMBER))) == evaluate_all(FLAGS, MEMBER)


@pytest.mark.parametrize(
    ("key", "hint"),
    [("elicitation_percent", "did you mean elicitation_percentage?"), ("x", "known are"), ("version", "known are")],
)
def test_an_unknown_flag_is_named_with_a_hint(key: str, hint: str) -> None:
    with pytest.raises(FlagNotFound, match=hint) as caught:
        evaluate(key, FLAGS, MEMBER)
    assert _codes(caught.value) == (key, "FLAG_NOT_FOUND")


def test_the_targeting_key_is_the_agent_whatever_else_the_context_holds() -> None:
    context = {"targetingKey": "team/alice", "email": "a@example.org", "nested": {"deep": [1]}}
    assert parse_targeting_key({"context": context, "more": 1}) == "team/alice"


@pytest.mark.parametrize(
    "body",
    [{}, {"context": None}, {"context": {}}, {"context": {"targetingKey": None}}, {"context": {"targetingKey": ""}}],
)
def test_without_a_targeting_key_there_is_nobody_to_evaluate_for(body: Mapping[str, object]) -> None:
    with pytest.raises(EvaluationRefused) as caught:
        parse_targeting_key(body, key="elicitation")
    assert _codes(caught.value) == ("elicitation", "TARGETING_KEY_MISSING")


@pytest.mark.parametrize(
    "body",
    [
        {"context": "alice"},
        {"context": ["alice"]},
        {"context": False},
        {"context": {"targetingKey": 5}},
        {"context": {"targetingKey": ["alice"]}},
        {"context": {"targetingKey": {}}},
        {"context": {"targetingKey": "a\nb"}},
        {"context": {"targetingKey": "a" * 301}},
    ],
)
def test_a_context_that_names_no_agent_is_invalid(body: Mapping[str, object]) -> None:
    with pytest.raises(EvaluationRefused, match=r"expected an object|must be text") as caught:
        parse_targeting_key(body)
    assert _codes(caught.value) == (None, "INVALID_CONTEXT")


@given(st.dictionaries(st.sampled_from(["context", "x"]), JSON | st.fixed_dictionaries({"targetingKey": JSON})))
def test_any_body_names_an_agent_or_is_refused_with_a_known_code(body: dict[str, object]) -> None:
    try:
        outcome: object = parse_targeting_key(body)
    except EvaluationRefused as error:
        outcome = error.extra["errorCode"]
    context = body.get("context")
    named = context.get("targetingKey") if isinstance(context, dict) else None
    assert outcome in (named, ErrorCode.TARGETING_KEY_MISSING, ErrorCode.INVALID_CONTEXT)


def test_a_refusal_names_the_flag_only_where_one_was_asked_for() -> None:
    assert _codes(refusal(ErrorCode.PARSE_ERROR, "no", key="k")) == ("k", "PARSE_ERROR")
    assert "key" not in refusal(ErrorCode.PARSE_ERROR, "no").problem()
