"""The list of agents that called lately."""

from dataclasses import dataclass, replace

import pytest

from proxy.core.cohort import Cohort
from proxy.core.outcome import Door, Outcome, Result
from proxy.core.routing import Reason, Route
from proxy.observe.agents import MEMORY_S, AgentList
from proxy.ports import Alarm


@dataclass
class _Clock:
    at: float = 0.0

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return 1_000_000.0 + self.at

    def alarm(self, at: float, ring: object) -> Alarm:
        raise NotImplementedError(at, ring)


WAIT = Outcome(
    door=Door.WAIT,
    result=Result.DELIVERED,
    seconds=0.1,
    agent_id="a",
    route=Route.ELICITATION,
    reason=Reason.SPLIT,
    cohort=Cohort.ELICITATION,
)


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def agents(clock: _Clock) -> AgentList:
    return AgentList(clock, limit=3)


def test_an_agent_is_shown_with_its_last_wait_and_its_calls(agents: AgentList, clock: _Clock) -> None:
    agents.note(WAIT)
    clock.at = 5.0
    agents.note(Outcome(door=Door.RESPOND, result=Result.ANSWERED, seconds=0.1, agent_id="a"))
    assert agents.one("a") == {
        "agent_id": "a",
        "cohort": "elicitation",
        "route": "elicitation",
        "reason": "split",
        "last_seen": 1_000_005.0,
        "calls": 2,
    }


def test_an_agent_counts_in_the_cohort_of_its_last_wait_only(agents: AgentList) -> None:
    agents.note(WAIT)
    agents.note(replace(WAIT, agent_id="b"))
    assert agents.per_cohort() == {"elicitation": 2.0, "legacy": 0.0}
    agents.note(replace(WAIT, cohort=Cohort.LEGACY))
    assert agents.per_cohort() == {"elicitation": 1.0, "legacy": 1.0}
    assert agents.cohort_of("a") is Cohort.LEGACY
    assert agents.cohort_of("unknown") is None


def test_calls_without_an_agent_are_not_listed_and_calls_without_a_wait_have_no_cohort(agents: AgentList) -> None:
    agents.note(replace(WAIT, agent_id=""))
    agents.note(Outcome(door=Door.STORE, result=Result.RELAYED, seconds=0.1, agent_id="sender"))
    assert len(agents) == 1
    assert agents.per_cohort() == {"elicitation": 0.0, "legacy": 0.0}


def test_the_latest_come_first(agents: AgentList) -> None:
    for name in ("a", "b", "c", "a"):
        agents.note(replace(WAIT, agent_id=name))
    assert [seen["agent_id"] for seen in agents.latest(2)] == ["a", "c"]


def test_a_full_list_forgets_who_called_longest_ago(agents: AgentList) -> None:
    for name in ("a", "b", "c", "a", "d"):
        agents.note(replace(WAIT, agent_id=name))
    assert agents.one("b") is None
    assert agents.per_cohort()["elicitation"] == len(agents) == 3


def test_an_agent_is_forgotten_a_day_after_its_last_call(agents: AgentList, clock: _Clock) -> None:
    agents.note(WAIT)
    clock.at = MEMORY_S
    agents.note(replace(WAIT, agent_id="b"))
    assert len(agents) == 2
    clock.at += 1.0
    assert agents.per_cohort()["elicitation"] == 1.0
    assert agents.one("a") is None
    assert [seen["agent_id"] for seen in agents.latest(10)] == ["b"]
