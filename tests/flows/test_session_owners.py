"""Whose MCP sessions are."""

import pytest

from proxy.core.ids import AgentId
from proxy.flows.session_owners import MAX_SESSIONS, SessionOwners

pytestmark = pytest.mark.requirement("admission.sessions")

ALICE, BOB = AgentId("alice"), AgentId("bob")


def test_a_session_is_of_whom_it_was_first() -> None:
    owners = SessionOwners()
    assert owners.owner("s") is None
    owners.seen("s", ALICE)
    owners.seen("s", BOB)
    owners.seen("", BOB)
    assert (owners.owner("s"), owners.owner(""), len(owners)) == (ALICE, None, 1)
    owners.closed("s")
    owners.closed("s")
    assert owners.owner("s") is None


def test_a_session_in_use_is_not_forgotten_for_new_ones() -> None:
    owners = SessionOwners()
    owners.seen("s", ALICE)
    for number in range(3 * MAX_SESSIONS):
        owners.seen(f"n{number}", BOB)
        if number % 1_000 == 0:
            assert owners.owner("s") == ALICE
    assert len(owners) == MAX_SESSIONS
    assert owners.owner("s") == ALICE
    assert owners.owner("n0") is None
