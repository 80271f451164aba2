"""Refused calls on their way to the audit trail: few entries, and every call in their counts."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.deeds import CallLetThrough, CallRefused, Refusal, Word
from proxy.core.refusals import BUDGET, INTERVAL_S, MAX_SUBJECTS, Kind, RefusalBook, kind_of
from proxy.core.suspicion import Breach, Suspicion

ALICE = Kind(subject="alice", why=Refusal.IMPERSONATION, rule=Word("claim"))
BOB = replace(ALICE, subject="bob")

pytestmark = pytest.mark.requirement("audit.refusals")


def _taken(book: RefusalBook, now: float) -> dict[Kind, int]:
    taken: dict[Kind, int] = {}
    while found := book.take(now):
        assert found[0] not in taken
        taken[found[0]] = found[1]
    return taken


@pytest.mark.parametrize("breach", Breach)
def test_every_breach_has_a_name_in_the_trail(breach: Breach) -> None:
    suspicion = Suspicion(breach=breach, rule="", agent_id="x", is_enforced=True)
    assert kind_of(suspicion, subject="x") == Kind(subject="x", why=Refusal(breach.value))


def test_what_was_refused_and_what_was_let_through_are_told_apart() -> None:
    suspicion = Suspicion(breach=Breach.SIGNATURE, rule="absent", agent_id="x", is_enforced=False)
    observed = kind_of(suspicion, subject="x")
    assert observed.deed(2) == CallLetThrough(why=Refusal.SIGNATURE, rule=Word("absent"), calls=2)
    enforced = kind_of(replace(suspicion, is_enforced=True), subject="x")
    assert enforced.deed(3) == CallRefused(why=Refusal.SIGNATURE, rule=Word("absent"), calls=3)


def test_a_rule_that_is_no_word_is_left_out() -> None:
    suspicion = Suspicion(breach=Breach.LIMIT, rule="no word\n", agent_id="x", is_enforced=True)
    assert kind_of(suspicion, subject="x").rule is None


def test_the_first_call_is_told_at_once_and_what_follows_at_the_end_of_the_interval() -> None:
    book = RefusalBook()
    assert book.due_at() is None
    assert book.note(ALICE, 0.0)
    assert _taken(book, 0.0) == {ALICE: 1}
    assert not any(book.note(ALICE, 1.0) for _ in range(1_000))
    assert book.due_at() == INTERVAL_S
    assert _taken(book, INTERVAL_S - 0.1) == {}
    assert book.note(BOB, 2.0)
    assert not book.note(BOB, 2.0), "whoever writes was told of bob already"
    assert len(book) == 2
    assert _taken(book, INTERVAL_S) == {ALICE: 1_000, BOB: 2}


def test_entries_keep_to_their_budget_and_calls_wait_meanwhile() -> None:
    book, now, written, noted = RefusalBook(), 0.0, 0, 0
    for _ in range(2 * 24 * 60):
        for n in range(20):
            book.note(replace(ALICE, subject=f"agent{n}"), now)
            noted += 1
        written += len(_taken(book, now))
        now += 60.0
    assert BUDGET.capacity + 2 * BUDGET.count - 1 <= written <= BUDGET.capacity + 2 * BUDGET.count
    assert book.due_at() is not None


def test_names_go_before_counts_do() -> None:
    book = RefusalBook()
    for n in range(MAX_SUBJECTS + 50):
        book.note(replace(ALICE, subject=f"agent{n}"), 0.0)
    book.note(replace(ALICE, subject="agent0"), 0.0)
    taken = _taken(book, 0.0)
    assert len(taken) == MAX_SUBJECTS + 1
    assert taken[replace(ALICE, subject="")] == 50
    assert taken[replace(ALICE, subject="agent0")] == 2


def test_what_could_not_be_written_is_due_again_with_what_came_since() -> None:
    book = RefusalBook()
    book.note(ALICE, 0.0, 3)
    found = book.take(0.0)
    assert found == (ALICE, 3)
    book.note(BOB, 0.0)
    book.note(ALICE, 0.0, 2)
    book.put_back(*found)
    assert book.take(0.0) == (ALICE, 5)


def test_at_the_end_everything_is_written_and_few_names_stay() -> None:
    book = RefusalBook()
    book.note(ALICE, 0.0)
    book.take(0.0)
    book.note(ALICE, 1.0, 7)
    assert book.take_last() == (ALICE, 7)
    assert book.take_last() is None
    for n in range(MAX_SUBJECTS):
        book.note(replace(ALICE, subject=f"agent{n}"), 1.0)
    assert book.take_last() == (replace(ALICE, subject=""), MAX_SUBJECTS)
    assert book.take_last() is None


@given(
    st.lists(
        st.tuples(st.integers(0, 400), st.sampled_from(Refusal), st.integers(1, 9), st.floats(0, 100)), max_size=300
    )
)
def test_no_call_is_ever_left_out_of_the_counts(calls: list[tuple[int, Refusal, int, float]]) -> None:
    book, now, told = RefusalBook(), 0.0, 0
    for subject, why, count, pause in calls:
        book.note(Kind(subject=str(subject), why=why), now, count)
        now += pause
        told += sum(_taken(book, now).values()) if subject % 3 else 0
    while found := book.take_last():
        told += found[1]
    assert told == sum(count for _, _, count, _ in calls)
    assert len(book) == 0
