"""The places of agents: the last word counts, and there is a bound."""

import pytest

from proxy.core.agent_places import AgentPlaces
from proxy.core.ids import AgentId
from proxy.core.journal import MAX_CURSORS

pytestmark = pytest.mark.requirement("answers.number")

ALICE, BOB = AgentId("alice"), AgentId("bob")


def test_the_last_word_on_a_place_counts_also_a_lower_one() -> None:
    places = AgentPlaces()
    assert places.of(BOB) is None
    places.stands(BOB, 30)
    places.stands(BOB, 20)
    places.stands(ALICE, 0)
    assert (places.of(BOB), places.of(ALICE)) == (20, 0)


def test_of_too_many_the_agent_goes_that_was_served_longest_ago() -> None:
    places = AgentPlaces()
    places.stands(ALICE, 1)
    places.stands(BOB, 2)
    places.stands(ALICE, 3)
    for number in range(MAX_CURSORS - 1):
        places.stands(AgentId(f"agent-{number}"), number)
    assert (places.of(BOB), places.of(ALICE)) == (None, 3)
