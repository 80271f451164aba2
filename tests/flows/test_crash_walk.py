"""Exchange book, inbox and numbering over any walk with crashes between any two writes, on the flows themselves."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.crash_walk import CrashWalk


@pytest.mark.requirement("restart.messages")
@pytest.mark.requirement("restart.answers")
@pytest.mark.requirement("journal.numbering")
def test_over_crashes_between_any_two_writes_nothing_is_lost_doubled_or_renumbered() -> None:
    run_state_machine_as_test(CrashWalk, settings=settings(max_examples=60, stateful_step_count=20, deadline=None))


@contextmanager
def _walk() -> Iterator[CrashWalk]:
    """One walk by hand, which is judged at its end as any other."""
    walk = CrashWalk()
    walk.begin()
    try:
        yield walk
    finally:
        walk.teardown()


@pytest.mark.requirement("journal.numbering")
def test_a_number_that_was_shown_is_not_given_again_after_a_crash_that_takes_all_along_and_a_new_log() -> None:
    with _walk() as walk:
        walk.messages_are_stored(count=3)
        walk.the_agent_waits(arrives=True)
        walk.both_die(lost=10**6, count=3)
        walk.the_agent_waits(arrives=True)


@pytest.mark.requirement("restart.answers")
@pytest.mark.parametrize("fate", ["killed after", "killed before", "cut after", "cut before"])
def test_an_answer_that_was_on_its_way_at_a_crash_is_a_success_when_it_comes_again(fate: str) -> None:
    with _walk() as walk:
        walk.somebody_asks()
        walk.the_agent_waits(arrives=True)
        (question,) = walk.asked.values()
        walk.run(walk.answer(question, fate))
