"""Sticky buckets: the golden vectors, an even spread, and that a growing share only adds agents."""

import json
import math
import statistics
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.cohort import BUCKETS, Cohort, bucket_of, cohort_of
from proxy.core.flags import FlagSet

VECTORS = json.loads(Path(__file__).with_name("bucket_vectors.json").read_text(encoding="utf-8"))
PERCENTAGES = (0, 5, 25, 50, 75, 100)
STYLES = {
    "numbered": "agent-{n}",
    "padded": "agent_{n:04d}",
    "role": "{role}-{number}",
    "placed": "{role}-{number:05d}@host-{place}",
}
"""Names as teams give them."""
ROLES = ("planner", "builder", "reviewer", "tester", "expert_db", "triage", "\u4ee3\u7406", "docs-writer")


def _agents(style: str, count: int) -> list[str]:
    name = STYLES[style]
    return [name.format(n=n, role=ROLES[n % 8], number=n // 8, place=n % 97) for n in range(count)]


def _share(buckets: list[int], percentage: float) -> float:
    """Percent of the agents with these buckets that are in the elicitation cohort."""
    threshold = FlagSet(elicitation_enabled=True, elicitation_percentage=percentage).threshold
    return 100 * sum(cohort_of(bucket, threshold) is Cohort.ELICITATION for bucket in buckets) / len(buckets)


@pytest.mark.requirement("cohort.formula")
def test_the_vectors_are_many_and_name_scripts_lengths_and_salts_that_break_naive_code() -> None:
    names = {row["agent_id"] for row in VECTORS}
    assert len(VECTORS) >= 240
    assert len({(row["salt"], row["agent_id"]) for row in VECTORS}) == len(VECTORS)
    assert any(not row["salt"] for row in VECTORS)
    assert {"caf\u00e9", "cafe\u0301", "a:b", "\U0001f916"} <= names
    assert max(len(name) for name in names) == 300
    assert any(" " in name for name in names)


@pytest.mark.requirement("cohort.formula")
def test_every_golden_vector_falls_into_its_bucket() -> None:
    wrong = [row for row in VECTORS if bucket_of(row["salt"], row["agent_id"]) != row["bucket"]]
    assert wrong == []


@pytest.mark.requirement("cohort.formula")
def test_names_that_look_alike_but_are_written_otherwise_are_other_agents() -> None:
    assert bucket_of("s", "caf\u00e9") != bucket_of("s", "cafe\u0301")
    assert bucket_of("s", "alice") != bucket_of("s", "Alice")
    assert bucket_of("s", "alice") != bucket_of("s", "alice ")


def test_salt_and_name_do_not_run_into_each_other() -> None:
    assert bucket_of("ab", "c") != bucket_of("a", "bc")


@given(salt=st.text(st.characters()), agent=st.text(st.characters()))
def test_every_text_has_one_bucket_in_range(salt: str, agent: str) -> None:
    assert 0 <= bucket_of(salt, agent) < BUCKETS
    assert bucket_of(salt, agent) == bucket_of(salt, agent)


@pytest.mark.parametrize("agent", ["\ud800", "a\udfffb"])
def test_even_a_lone_surrogate_has_a_bucket(agent: str) -> None:
    assert 0 <= bucket_of(agent, agent) < BUCKETS


@given(bucket=st.integers(0, BUCKETS - 1), threshold=st.integers(0, BUCKETS))
def test_a_bucket_is_in_when_it_is_strictly_below_the_threshold(bucket: int, threshold: int) -> None:
    assert (cohort_of(bucket, threshold) is Cohort.ELICITATION) == (bucket < threshold)


@pytest.mark.requirement("cohort.share")
@pytest.mark.parametrize(
    ("salt", "style"),
    [
        ("", "numbered"),
        ("", "role"),
        ("rollout", "numbered"),
        ("2026-q1", "placed"),
        ("elicitation", "padded"),
        ("\U0001f9c2", "placed"),
    ],
)
def test_over_ten_thousand_agents_the_share_is_within_half_a_point_of_each_percentage(salt: str, style: str) -> None:
    """Fixed samples: one standard deviation of 10,000 draws at 50 percent is half a point, so others lie beyond.

    Whether chance does no more than it must is what the next test looks at.
    """
    buckets = [bucket_of(salt, agent) for agent in _agents(style, 10_000)]
    shares = {percentage: _share(buckets, percentage) for percentage in PERCENTAGES}
    assert shares == {percentage: pytest.approx(percentage, abs=0.5) for percentage in PERCENTAGES}
    assert (shares[0], shares[100]) == (0, 100)


@pytest.mark.requirement("cohort.share")
@pytest.mark.parametrize("percentage", [5, 25, 50, 75])
def test_over_many_salts_the_share_is_exact_on_average_and_strays_no_more_than_chance(percentage: int) -> None:
    agents, salts = _agents("role", 2_000), [f"salt {number}" for number in range(100)]
    shares = [_share([bucket_of(salt, agent) for agent in agents], percentage) for salt in salts]
    deviation = math.sqrt(percentage * (100 - percentage) / len(agents))
    assert statistics.fmean(shares) == pytest.approx(percentage, abs=4 * deviation / math.sqrt(len(salts)))
    assert statistics.pstdev(shares) == pytest.approx(deviation, rel=0.3)


@pytest.mark.requirement("cohort.share")
def test_buckets_are_spread_evenly() -> None:
    counts = Counter(bucket_of("2026-q1", agent) // 1000 for agent in _agents("padded", 100_000))
    chi_squared = sum((counts[cell] - 1000) ** 2 / 1000 for cell in range(100))
    assert chi_squared < 99 + 4 * math.sqrt(2 * 99)


@pytest.mark.requirement("cohort.share")
def test_another_salt_draws_another_cohort() -> None:
    agents = _agents("numbered", 10_000)
    both = sum(bucket_of("first", agent) < 50_000 and bucket_of("second", agent) < 50_000 for agent in agents)
    assert abs(both / len(agents) - 0.25) < 0.02


@pytest.mark.requirement("cohort.sticky")
def test_of_a_million_agents_nobody_leaves_the_cohort_as_the_percentage_grows() -> None:
    """Each bucket is computed once, as the flags have no part in it; the cohorts then only have to be nested."""
    salt = "rollout of week 5"
    counts = Counter(bucket_of(salt, f"agent-{number}") for number in range(1_000_000))
    assert counts.keys() <= set(range(BUCKETS))
    before: set[int] = set()
    for percentage in (0, 0.001, 0.01, 0.1, 1, 5, 12.345, 25, 33.333, 50, 66.667, 75, 99, 99.999, 100):
        threshold = FlagSet(elicitation_percentage=percentage).threshold
        inside = {bucket for bucket in counts if cohort_of(bucket, threshold) is Cohort.ELICITATION}
        assert before <= inside, percentage
        share = sum(counts[bucket] for bucket in inside) / 10_000
        assert abs(share - percentage) < 0.2, percentage
        before = inside
    assert sum(counts[bucket] for bucket in before) == 1_000_000


@pytest.mark.requirement("cohort.sticky")
@given(agent=st.text(max_size=40), low=st.integers(0, BUCKETS), high=st.integers(0, BUCKETS))
def test_an_agent_that_is_in_at_a_percentage_is_in_at_every_higher_one(agent: str, low: int, high: int) -> None:
    low, high = sorted((low, high))
    bucket = bucket_of("salt", agent)
    assert cohort_of(bucket, low) is Cohort.LEGACY or cohort_of(bucket, high) is Cohort.ELICITATION
