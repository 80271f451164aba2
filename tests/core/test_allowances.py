"""How often each of many agents may do something."""

import pytest

from proxy.core.allowances import MAX_AGENTS, Allowances
from proxy.core.ids import AgentId
from proxy.core.rate import Rate

ALICE, BOB = AgentId("alice"), AgentId("bob")


@pytest.mark.requirement("dual.limit")
def test_each_agent_has_the_burst_at_once_and_then_the_rate() -> None:
    allowances = Allowances(Rate(count=10, period_s=60, burst=3))
    assert [allowances.take(ALICE, 0.0) for _ in range(14)] == [True] * 13 + [False]
    assert allowances.take(BOB, 0.0)
    assert not allowances.take(ALICE, 5.0)
    assert allowances.take(ALICE, 6.1)


@pytest.mark.requirement("limits.bound")
def test_too_many_agents_are_refused_and_make_nobody_elses_allowance_new() -> None:
    allowances = Allowances(Rate(count=1, period_s=3600, burst=0))
    assert allowances.take(ALICE, 0.0)
    taken = [allowances.take(AgentId(f"agent-{number}"), 0.0) for number in range(MAX_AGENTS)]
    assert taken == [True] * (MAX_AGENTS - 1) + [False]
    assert not allowances.take(ALICE, 0.0)
    assert allowances.take(BOB, 3600.0), "by then all are at rest"
