"""Which way a wait goes: every row of the decision table, in its fixed order, and what follows from a change of it."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.cohort import BUCKETS, Cohort, bucket_of
from proxy.core.flags import FlagSet
from proxy.core.routing import Decision, Membership, Owner, Reason, Route, Way, assign, decide, membership, owner_of

WAIT_PATHS = ("/event/wait", "/wait_for_messages")

flag_sets = st.builds(
    FlagSet,
    elicitation_enabled=st.booleans(),
    elicitation_percentage=st.integers(0, BUCKETS).map(lambda thousandths: thousandths / 1000),
    elicitation_whitelist=st.lists(st.sampled_from(["alice", "bob", "team"]), max_size=2).map(tuple),
    elicitation_denylist=st.lists(st.sampled_from(["alice", "bob", "team"]), max_size=2).map(tuple),
    legacy_fallback=st.booleans(),
    legacy_support=st.booleans(),
)
members = st.builds(
    Membership,
    agent_id=st.sampled_from(["alice", "bob", "carol"]),
    bucket=st.integers(0, BUCKETS - 1),
    groups=st.sampled_from([frozenset[str](), frozenset({"team"}), frozenset({"team", "other"})]),
    forced=st.sampled_from([None, Cohort.ELICITATION, Cohort.LEGACY]),
)
ways = st.sampled_from(Way)

ON = FlagSet(elicitation_enabled=True, elicitation_percentage=50)
INSIDE = Membership(agent_id="alice", bucket=49_999, groups=frozenset({"team"}))
OUTSIDE = replace(INSIDE, bucket=50_000)
FORCED_IN = replace(OUTSIDE, forced=Cohort.ELICITATION)
FORCED_OUT = replace(INSIDE, forced=Cohort.LEGACY)
LISTED = replace(ON, elicitation_whitelist=("alice",))
GROUP_LISTED = replace(ON, elicitation_whitelist=("other", "team"))
DENIED = replace(ON, elicitation_denylist=("alice",))
GROUP_DENIED = replace(ON, elicitation_denylist=("team",))
BOTH = replace(ON, elicitation_whitelist=("team",), elicitation_denylist=("alice",))
OFF = replace(BOTH, elicitation_enabled=False)
REMOVED = replace(LISTED, legacy_support=False)
NO_FALLBACK = replace(ON, legacy_fallback=False)

TABLE = [
    (REMOVED, INSIDE, Way.OPEN, Route.REMOVED, Reason.REMOVED),
    (REMOVED, FORCED_IN, Way.OPEN, Route.REMOVED, Reason.REMOVED),
    (REMOVED, INSIDE, Way.INCAPABLE, Route.REMOVED, Reason.REMOVED),
    (replace(OFF, legacy_support=False), OUTSIDE, Way.OPEN, Route.REMOVED, Reason.REMOVED),
    (OFF, FORCED_IN, Way.OPEN, Route.ELICITATION, Reason.FORCED),
    (LISTED, FORCED_OUT, Way.OPEN, Route.LEGACY, Reason.FORCED),
    (OFF, INSIDE, Way.OPEN, Route.LEGACY, Reason.DISABLED),
    (LISTED, OUTSIDE, Way.OPEN, Route.ELICITATION, Reason.WHITELIST),
    (GROUP_LISTED, OUTSIDE, Way.OPEN, Route.ELICITATION, Reason.WHITELIST),
    (BOTH, OUTSIDE, Way.OPEN, Route.ELICITATION, Reason.WHITELIST),
    (DENIED, INSIDE, Way.OPEN, Route.LEGACY, Reason.DENIED),
    (GROUP_DENIED, INSIDE, Way.OPEN, Route.LEGACY, Reason.DENIED),
    (ON, INSIDE, Way.OPEN, Route.ELICITATION, Reason.SPLIT),
    (ON, OUTSIDE, Way.OPEN, Route.LEGACY, Reason.SPLIT),
    (ON, INSIDE, Way.INCAPABLE, Route.LEGACY, Reason.INCAPABLE),
    (ON, INSIDE, Way.BREAKER_OPEN, Route.LEGACY, Reason.BREAKER_OPEN),
    (LISTED, OUTSIDE, Way.INCAPABLE, Route.LEGACY, Reason.INCAPABLE),
    (OFF, FORCED_IN, Way.BREAKER_OPEN, Route.LEGACY, Reason.BREAKER_OPEN),
    (ON, OUTSIDE, Way.INCAPABLE, Route.LEGACY, Reason.SPLIT),
    (OFF, INSIDE, Way.BREAKER_OPEN, Route.LEGACY, Reason.DISABLED),
    (NO_FALLBACK, INSIDE, Way.INCAPABLE, Route.ELICITATION, Reason.SPLIT),
    (NO_FALLBACK, INSIDE, Way.BREAKER_OPEN, Route.ELICITATION, Reason.SPLIT),
]


@pytest.mark.requirement("routing.order")
@pytest.mark.parametrize(("flags", "member", "way", "route", "reason"), TABLE)
def test_the_first_rule_that_holds_decides_and_lends_its_name(
    *, flags: FlagSet, member: Membership, way: Way, route: Route, reason: Reason
) -> None:
    decision = decide(flags, member, way)
    assert (decision.route, decision.reason) == (route, reason)


@pytest.mark.requirement("routing.order")
def test_every_reason_but_a_failure_within_a_wait_is_a_row_of_the_table() -> None:
    assert {reason for *_, reason in TABLE} == set(Reason) - {Reason.FALLBACK}


@pytest.mark.requirement("routing.reason")
@given(flags=flag_sets, member=members, way=ways)
def test_the_reason_always_fits_the_route(flags: FlagSet, member: Membership, way: Way) -> None:
    decision = decide(flags, member, way)
    possible = {
        Reason.REMOVED: {Route.REMOVED},
        Reason.FORCED: {Route.ELICITATION, Route.LEGACY},
        Reason.DISABLED: {Route.LEGACY},
        Reason.WHITELIST: {Route.ELICITATION},
        Reason.DENIED: {Route.LEGACY},
        Reason.SPLIT: {Route.ELICITATION, Route.LEGACY},
        Reason.INCAPABLE: {Route.LEGACY},
        Reason.BREAKER_OPEN: {Route.LEGACY},
    }
    assert decision.route in possible[decision.reason]
    assert (decision.route is Route.REMOVED) is not flags.legacy_support
    if decision.route is Route.ELICITATION:
        assert decision.cohort is Cohort.ELICITATION
        assert way is Way.OPEN or not flags.legacy_fallback


@given(flags=flag_sets, member=members, way=ways)
def test_a_call_that_falls_back_leaves_its_agent_in_the_cohort(flags: FlagSet, member: Membership, way: Way) -> None:
    cohort, _ = assign(flags, member)
    decision = decide(flags, member, way)
    assert decision.cohort is cohort
    assert decision.bucket == member.bucket


@pytest.mark.requirement("routing.monotonic")
@given(flags=flag_sets, member=members, way=ways, low=st.integers(0, BUCKETS), high=st.integers(0, BUCKETS))
def test_a_higher_percentage_moves_nobody_from_elicitation_to_legacy(
    *, flags: FlagSet, member: Membership, way: Way, low: int, high: int
) -> None:
    low, high = sorted((low, high))
    before = decide(replace(flags, elicitation_percentage=low / 1000), member, way)
    after = decide(replace(flags, elicitation_percentage=high / 1000), member, way)
    assert before.route is not Route.ELICITATION or after.route is Route.ELICITATION
    assert before.cohort is not Cohort.ELICITATION or after.cohort is Cohort.ELICITATION


@pytest.mark.requirement("routing.lists")
@given(flags=flag_sets, member=members)
def test_a_name_on_the_whitelist_moves_nobody_else(flags: FlagSet, member: Membership) -> None:
    listed = replace(flags, elicitation_whitelist=(*flags.elicitation_whitelist, "dora"))
    assert decide(listed, member, Way.OPEN) == decide(flags, member, Way.OPEN)


@pytest.mark.requirement("routing.lists")
@given(flags=flag_sets, member=members.filter(lambda member: member.forced is None))
def test_the_whitelist_only_brings_in_and_the_denylist_only_sends_out(flags: FlagSet, member: Membership) -> None:
    plain, _ = assign(replace(flags, elicitation_whitelist=(), elicitation_denylist=()), member)
    listed, _ = assign(replace(flags, elicitation_whitelist=(member.agent_id,)), member)
    denied, _ = assign(replace(flags, elicitation_whitelist=(), elicitation_denylist=(member.agent_id,)), member)
    assert (listed is Cohort.ELICITATION) is flags.elicitation_enabled
    assert denied is Cohort.LEGACY
    assert plain is Cohort.LEGACY or flags.elicitation_enabled


@pytest.mark.requirement("routing.forced")
@given(flags=flag_sets, member=members, cohort=st.sampled_from(Cohort))
def test_an_operators_word_beats_every_flag_but_the_removal(flags: FlagSet, member: Membership, cohort: Cohort) -> None:
    decision = decide(flags, replace(member, forced=cohort), Way.OPEN)
    assert decision.cohort is cohort
    assert decision.route is (Route(cohort.value) if flags.legacy_support else Route.REMOVED)


def test_a_look_up_finds_bucket_groups_and_override() -> None:
    groups = {"team": frozenset({"alice", "bob"}), "night": frozenset({"alice"}), "other": frozenset({"carol"})}
    found = membership("alice", salt="s", groups=groups, forced=Cohort.LEGACY)
    assert found == Membership(
        agent_id="alice", bucket=bucket_of("s", "alice"), groups=frozenset({"team", "night"}), forced=Cohort.LEGACY
    )
    assert membership("dora", salt="s", groups=groups).groups == frozenset()


def test_a_group_of_the_agents_own_name_is_no_membership() -> None:
    alone = membership("team", salt="", groups={"team": frozenset({"alice"})})
    assert alone.groups == frozenset()
    assert alone.is_listed(("team",))
    assert not alone.is_listed(())


@pytest.mark.requirement("routing.owner")
@pytest.mark.parametrize(
    ("method", "path", "owner"),
    [
        ("GET", "/event/wait", Owner.WAIT),
        ("GET", "/wait_for_messages", Owner.WAIT),
        ("HEAD", "/event/wait", Owner.RELAY),
        ("POST", "/event/wait", Owner.RELAY),
        ("get", "/event/wait", Owner.RELAY),
        ("GET", "/event/wait/", Owner.RELAY),
        ("GET", "//event/wait", Owner.RELAY),
        ("GET", "/event/%77ait", Owner.RELAY),
        ("GET", "/event/wai", Owner.RELAY),
        ("POST", "/event/store", Owner.STORE),
        ("PUT", "/event/store", Owner.RELAY),
        ("POST", "/elicitation/create", Owner.CREATE),
        ("POST", "/elicitation/respond", Owner.RESPOND),
        ("GET", "/elicitation/pending", Owner.RELAY),
        ("POST", "/elicitation/other", Owner.RELAY),
        ("OPTIONS", "*", Owner.RELAY),
        ("GET", "", Owner.RELAY),
    ],
)
def test_only_the_calls_we_speak_have_a_door_and_the_rest_is_relayed(method: str, path: str, owner: Owner) -> None:
    assert owner_of(method, path, WAIT_PATHS) is owner


@pytest.mark.requirement("routing.owner")
@given(method=st.text(max_size=8), path=st.text(st.characters(), max_size=30))
def test_whatever_else_comes_is_relayed(method: str, path: str) -> None:
    spoken = [("GET", *WAIT_PATHS), ("POST", "/event/store", "/elicitation/create", "/elicitation/respond")]
    if not any(method == verb and path in paths for verb, *paths in spoken):
        assert owner_of(method, path, WAIT_PATHS) is Owner.RELAY


def test_all_flags_and_ways_together_give_a_decision() -> None:
    choices = itertools.product((False, True), repeat=3)
    for (enabled, fallback, support), way in itertools.product(choices, Way):
        flags = FlagSet(elicitation_enabled=enabled, legacy_fallback=fallback, legacy_support=support)
        assert isinstance(decide(flags, INSIDE, way), Decision)
