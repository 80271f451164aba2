"""Copies on their way to agents: kept until a cursor passes them, bounded, and what is missing is known."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from proxy.core import inbox as inbox_module
from proxy.core.ids import AgentId
from proxy.core.inbox import MAX_SPANS, Inbox
from proxy.core.journal import Change, CopiesDropped, CursorShown, MessageKept
from proxy.core.replay import replay

ALICE, BOB = AgentId("alice"), AgentId("bob")


def copies(agent_id: AgentId, *numbers: int, size: int = 1) -> list[MessageKept]:
    """Messages with these numbers."""
    return [MessageKept(agent_id, number, bytes(size), None) for number in numbers]


def numbers_of(found: list[MessageKept]) -> list[int]:
    """Their numbers."""
    return [copy.number for copy in found]


@pytest.mark.requirement("inbox.copies")
class TestCopies:
    def test_what_was_read_is_found_until_the_agent_shows_that_it_has_it(self) -> None:
        inbox = Inbox()
        inbox.keep(BOB, 0, copies(BOB, 1, 2, 3))
        assert numbers_of(inbox.after(BOB, 0, 9)) == [1, 2, 3]
        assert numbers_of(inbox.after(BOB, 1, 2)) == [2]
        inbox.shown(BOB, 2)
        assert (numbers_of(inbox.after(BOB, 0, 9)), inbox.size_bytes) == ([3], 1)
        assert inbox.after(ALICE, 0, 9) == []

    def test_a_lower_cursor_of_another_wait_brings_nothing_back(self) -> None:
        inbox, journal = Inbox(), list[Change]()
        inbox.write = journal.append
        inbox.keep(BOB, 0, copies(BOB, 1, 2))
        for cursor in (2, 1, 2):
            inbox.shown(BOB, cursor)
        inbox.keep(BOB, 0, copies(BOB, 1, 2))
        assert inbox.after(BOB, 0, 9) == []
        assert journal == [*copies(BOB, 1, 2), CursorShown(BOB, 2)]

    def test_what_is_read_twice_is_kept_once(self) -> None:
        inbox, journal = Inbox(), list[Change]()
        inbox.write = journal.append
        inbox.keep(BOB, 0, copies(BOB, 1, 2))
        inbox.keep(BOB, 0, copies(BOB, 1, 2))
        inbox.keep(BOB, 1, copies(BOB, 2, 3))
        assert numbers_of(inbox.after(BOB, 0, 9)) == [1, 2, 3]
        assert journal == copies(BOB, 1, 2, 3)


@pytest.mark.requirement("inbox.loss")
class TestLost:
    def test_what_was_never_read_is_counted_and_nothing_else(self) -> None:
        inbox = Inbox()
        inbox.keep(BOB, 10, copies(BOB, 12, 15))
        assert inbox.lost(BOB, 10, 15) == 0  # numbers between are other agents' messages
        assert inbox.lost(BOB, 10, 18) == 3
        assert inbox.lost(BOB, 4, 15) == 6
        assert inbox.lost(BOB, 15, 15) == 0
        assert inbox.lost(ALICE, 4, 15) == 11

    def test_a_hole_between_two_logs_is_counted(self) -> None:
        inbox = Inbox()
        inbox.keep(BOB, 0, copies(BOB, 5))
        inbox.keep(BOB, 20, copies(BOB, 25))
        assert inbox.lost(BOB, 0, 25) == 15
        assert inbox.lost(BOB, 2, 22) == 15

    def test_only_so_many_stretches_are_remembered(self) -> None:
        inbox = Inbox()
        for number in range(MAX_SPANS + 3):
            inbox.keep(BOB, 10 * number, copies(BOB, 10 * number + 1))
        assert inbox.lost(BOB, 0, 10 * MAX_SPANS + 30) == 10 * MAX_SPANS + 30 - MAX_SPANS

    def test_it_is_told_once_for_each_end(self) -> None:
        inbox = Inbox()
        assert [inbox.tell_once(BOB, ended) for ended in (5, 5, 9)] == [True, False, True]


@pytest.mark.requirement("inbox.bounds")
class TestBounds:
    def test_the_oldest_copies_of_an_agent_go_by_number_and_are_known_to_be_gone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inbox_module, "MAX_PER_AGENT", 2)
        journal: list[Change] = []
        inbox = Inbox(write=journal.append)
        inbox.keep(BOB, 0, copies(BOB, 1, 2, 3, 4))
        assert numbers_of(inbox.after(BOB, 0, 9)) == [3, 4]
        assert (inbox.dropped, inbox.size_bytes, inbox.lost(BOB, 0, 4)) == (2, 2, 2)
        assert journal[-1] == CopiesDropped(BOB, 2)

    def test_they_go_by_bytes_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(inbox_module, "MAX_BYTES_PER_AGENT", 10)
        inbox = Inbox()
        inbox.keep(BOB, 0, copies(BOB, 1, 2, 3, size=5))
        assert (numbers_of(inbox.after(BOB, 0, 9)), inbox.size_bytes) == ([2, 3], 10)
        inbox.keep(BOB, 3, copies(BOB, 4, size=11))
        assert (inbox.after(BOB, 0, 9), inbox.size_bytes, inbox.lost(BOB, 3, 4)) == ([], 0, 1)

    def test_of_all_copies_those_of_the_agent_go_first_that_was_served_longest_ago(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(inbox_module, "MAX_BYTES", 4)
        inbox = Inbox()
        inbox.keep(BOB, 0, copies(BOB, 1, 2))
        inbox.keep(ALICE, 0, copies(ALICE, 1, 2))
        inbox.shown(BOB, 0)
        inbox.keep(BOB, 2, copies(BOB, 3))
        assert numbers_of(inbox.after(ALICE, 0, 9)) == [2]
        assert numbers_of(inbox.after(BOB, 0, 9)) == [1, 2, 3]
        assert inbox.size_bytes == 4

    def test_only_so_many_agents_are_remembered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(inbox_module, "MAX_CURSORS", 1)
        journal: list[Change] = []
        inbox = Inbox(write=journal.append)
        inbox.keep(BOB, 0, copies(BOB, 1, 2))
        inbox.shown(ALICE, 7)
        assert (inbox.after(BOB, 0, 9), inbox.size_bytes) == ([], 0)
        assert CopiesDropped(BOB, 2) in journal
        assert list(inbox.snapshot()) == [CursorShown(ALICE, 7)]


class InboxWalk(RuleBasedStateMachine):
    """Reads, cursors and crashes; the model is what was read and not shown yet."""

    def __init__(self) -> None:
        super().__init__()
        self.journal: list[Change] = []
        self.inbox = Inbox(write=self.journal.append)
        self.upto = dict.fromkeys((ALICE, BOB), 0)
        self.kept: dict[AgentId, list[MessageKept]] = {ALICE: [], BOB: []}

    @rule(agent=st.sampled_from([ALICE, BOB]), gaps=st.lists(st.integers(1, 3), min_size=1, max_size=5))
    def read(self, agent: AgentId, gaps: list[int]) -> None:
        since = number = self.upto[agent]
        batch: list[MessageKept] = []
        for gap in gaps:
            number += gap
            batch.append(MessageKept(agent, number, b"x" * gap, None))
        self.inbox.keep(agent, since, batch)
        self.kept[agent] = [*self.kept[agent], *batch][-4:]
        self.upto[agent] = number

    @rule(agent=st.sampled_from([ALICE, BOB]), share=st.floats(0, 1))
    def show(self, agent: AgentId, share: float) -> None:
        cursor = round(self.upto[agent] * share)
        self.inbox.shown(agent, cursor)
        self.kept[agent] = [copy for copy in self.kept[agent] if copy.number > cursor]

    @rule(is_from_snapshot=st.booleans())
    def crash(self, *, is_from_snapshot: bool) -> None:
        if is_from_snapshot:
            self.journal[:] = self.inbox.snapshot()
        again = Inbox(write=self.journal.append)
        again.restore(replay(self.journal))
        self.inbox = again

    @invariant()
    def everything_read_and_not_shown_is_there_and_what_went_is_known(self) -> None:
        for agent, kept in self.kept.items():
            assert self.inbox.after(agent, 0, 10**9) == kept
            if kept:
                assert self.inbox.lost(agent, kept[0].number - 1, self.upto[agent]) == 0
        assert self.inbox.size_bytes == sum(len(copy.body) for kept in self.kept.values() for copy in kept)
        assert sorted(map(repr, self._state(self.inbox.snapshot()))) == sorted(map(repr, self._state(self.journal)))

    @staticmethod
    def _state(changes: object) -> list[object]:
        found = replay(changes)  # type: ignore[arg-type]  # an iterable of changes
        return [*found.cursors, *found.messages, *found.dropped]


@pytest.mark.requirement("inbox.copies")
@pytest.mark.requirement("inbox.bounds")
def test_on_any_walk_and_over_any_crash_it_holds_what_was_read_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "MAX_PER_AGENT", 4)
    run_state_machine_as_test(InboxWalk, settings=settings(max_examples=100, stateful_step_count=30, deadline=None))


@given(cursor=st.integers(0, 50), numbers=st.sets(st.integers(1, 50), min_size=1), upto=st.integers(0, 60))
def test_what_is_lost_is_never_more_than_what_lies_between(cursor: int, numbers: set[int], upto: int) -> None:
    inbox = Inbox()
    inbox.keep(BOB, 0, copies(BOB, *sorted(numbers)))
    assert 0 <= inbox.lost(BOB, cursor, upto) <= max(0, upto - cursor)


def test_the_cursor_is_known_of_an_agent_that_came_with_one_and_of_no_other() -> None:
    inbox = Inbox()
    assert inbox.cursor_of(BOB) is None
    inbox.keep(BOB, 0, copies(BOB, 1))
    assert inbox.cursor_of(BOB) is None
    inbox.shown(BOB, 1)
    assert inbox.cursor_of(BOB) == 1
