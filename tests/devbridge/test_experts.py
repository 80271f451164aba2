"""Experts, tasks and collaborations."""

import pytest

from proxy.devbridge.experts import ExpertBook
from proxy.devbridge.wire import WireError


def test_an_expert_takes_one_task_and_is_busy_then() -> None:
    book = ExpertBook()
    assert book.register("expert_carl", "alice")["success"] is True
    assert book.dispatch("expert_carl")["message"] == "Command delegated to expert_carl"
    with pytest.raises(WireError, match="400: Target expert expert_carl is not available"):
        book.dispatch("expert_carl")


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (None, "argument of type 'NoneType' is not iterable"),
        ("nobody_here", "400: Target expert nobody_here not found"),
    ],
)
def test_a_task_without_an_expert_is_refused(target: object, text: str) -> None:
    with pytest.raises(WireError, match=text):
        ExpertBook().dispatch(target)


def test_only_a_registered_agent_starts_a_collaboration() -> None:
    book = ExpertBook()
    with pytest.raises(WireError, match="400: Coordinator authentication failed"):
        book.collaborate("alice", [])
    book.register("bob", "alice")
    assert book.collaborate("alice", ["bob"])["message"] == "Session created with 1 participants"
    assert book.collaborate("alice", None)["participants"] == []
