"""Tokens that the Bridge has accepted."""

import pytest

from proxy.core.ids import AgentId
from proxy.core.proven_tokens import MAX_AGENTS, MAX_TOKENS, ProvenTokens

pytestmark = pytest.mark.requirement("admission.tokens")

ALICE = AgentId("alice")


def test_a_token_is_proven_for_its_own_agent() -> None:
    tokens = ProvenTokens()
    assert not tokens.is_proven(ALICE, b"1")
    tokens.prove(ALICE, b"1")
    assert tokens.is_proven(ALICE, b"1")
    assert not tokens.is_proven(ALICE, b"2")
    assert not tokens.is_proven(AgentId("bob"), b"1")


def test_as_many_are_known_as_may_live_at_the_bridge() -> None:
    tokens = ProvenTokens()
    for mark in (b"1", b"2", b"1", b"3", b"4"):
        tokens.prove(ALICE, mark)
    assert [mark for mark in (b"1", b"2", b"3", b"4") if tokens.is_proven(ALICE, mark)] == [b"1", b"3", b"4"]
    assert MAX_TOKENS == 3


def test_of_too_many_agents_the_one_that_was_proven_longest_ago_is_forgotten() -> None:
    tokens = ProvenTokens()
    for number in range(MAX_AGENTS):
        tokens.prove(AgentId(f"n{number}"), b"x")
    tokens.prove(AgentId("n0"), b"y")
    tokens.prove(ALICE, b"z")
    assert len(tokens) == MAX_AGENTS
    assert tokens.is_proven(AgentId("n0"), b"x")
    assert not tokens.is_proven(AgentId("n1"), b"x")
