"""Numbers across restarts of the Bridge: what agents see only grows, and what is lost is counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.journal import Change, NumberingChanged
from proxy.core.sequences import AHEAD, MAX_HELD, MAX_NUMBER, SequenceMap

OLD, NEW = (1, 1000.0), (1, 2000.0)


def _restarted(last: int = 21) -> SequenceMap:
    sequences = SequenceMap()
    sequences.recognise(OLD)
    sequences.saw(last)
    assert sequences.recognise(NEW)
    return sequences


def test_with_one_log_the_numbers_are_the_bridges_own() -> None:
    sequences = SequenceMap()
    sequences.saw(21)
    assert (sequences.to_agent(22), sequences.to_bridge(21), sequences.highest) == (22, 21, 21)
    assert sequences.unread(0) == 0


@pytest.mark.requirement("sequences.restart")
def test_the_first_mark_is_taken_and_the_same_mark_is_the_same_log() -> None:
    sequences = SequenceMap()
    assert not sequences.recognise(OLD)
    sequences.saw(21)
    assert not sequences.recognise(OLD)
    assert sequences.offset == 0


@pytest.mark.requirement("sequences.restart")
@pytest.mark.parametrize("mark", [NEW, (2, 1000.0), (1, None)])
def test_another_first_message_is_another_log_whose_numbers_go_on_above_the_old(mark: tuple[int, float | None]) -> None:
    sequences = SequenceMap()
    sequences.recognise(OLD)
    sequences.saw(21)
    assert sequences.recognise(mark)
    assert not sequences.recognise(mark)
    assert (sequences.to_agent(1), sequences.to_agent(2)) == (22, 23)


@pytest.mark.requirement("sequences.restart")
@pytest.mark.parametrize(("cursor", "since"), [(21, 0), (10, 0), (0, 0), (22, 1), (30, 9)])
def test_an_old_cursor_reads_the_new_log_from_its_beginning(cursor: int, since: int) -> None:
    assert _restarted(21).to_bridge(cursor) == since


@pytest.mark.requirement("sequences.data_loss")
@pytest.mark.parametrize(("cursor", "lost"), [(0, 21), (10, 11), (21, 0), (30, 0)])
def test_what_an_agent_had_not_read_of_the_old_log_is_counted(cursor: int, lost: int) -> None:
    assert _restarted(21).unread(cursor) == lost


@pytest.mark.requirement("sequences.restart")
def test_a_cursor_from_before_our_own_start_counts_when_the_log_changes() -> None:
    sequences = SequenceMap()
    sequences.recognise(OLD)
    sequences.held(500)
    sequences.saw(21)
    assert sequences.recognise(NEW)
    assert sequences.to_agent(1) == 501


@pytest.mark.requirement("sequences.hostile_cursor")
def test_a_cursor_is_only_a_word_and_does_not_raise_the_highest_number_read() -> None:
    sequences = SequenceMap()
    sequences.saw(21)
    sequences.held(5_000)
    assert sequences.highest == 21


@pytest.mark.requirement("sequences.hostile_cursor")
@pytest.mark.parametrize("cursor", [MAX_HELD + 1, MAX_NUMBER, 2**63 - 1])
def test_a_cursor_that_no_honest_agent_can_have_is_ignored(cursor: int) -> None:
    sequences = SequenceMap()
    sequences.recognise(OLD)
    sequences.held(cursor)
    sequences.recognise(NEW)
    assert sequences.offset == 0


@pytest.mark.requirement("sequences.hostile_cursor")
def test_even_the_largest_cursor_believed_leaves_exact_numbers_for_messages_to_come() -> None:
    sequences = SequenceMap()
    for restart in range(100):
        sequences.recognise((1, float(restart)))
        sequences.held(MAX_HELD)
        sequences.saw(1_000_000)
    assert sequences.to_agent(1_000_000) < MAX_NUMBER


def test_a_number_beyond_what_every_reader_keeps_exact_is_not_reckoned_with() -> None:
    sequences = SequenceMap()
    sequences.saw(2**63 - 1)
    assert sequences.highest == MAX_NUMBER == 9_007_199_254_740_991


@pytest.mark.requirement("sequences.restart")
@given(logs=st.lists(st.integers(0, 1_000), min_size=1, max_size=10), cursor=st.integers(0, 20_000))
def test_over_any_restarts_the_numbers_an_agent_sees_grow_strictly(logs: list[int], cursor: int) -> None:
    sequences, shown = SequenceMap(), [0]
    for number, length in enumerate(logs):
        sequences.recognise((1, float(number)))
        for sequence in range(1, length + 1):
            sequences.saw(sequence)
            shown.append(sequences.to_agent(sequence))
            assert sequences.to_bridge(shown[-1]) == sequence
    assert shown == sorted(set(shown))
    assert sequences.highest == shown[-1]
    assert sequences.to_agent(sequences.to_bridge(cursor)) >= cursor


@pytest.mark.requirement("journal.numbering")
@given(
    read=st.lists(st.integers(1, 5_000), max_size=20),
    cursors=st.lists(st.integers(0, 5_000), max_size=5),
    lost=st.integers(0, 3),
)
def test_after_a_crash_and_a_renumbering_no_new_message_has_a_number_that_was_shown(
    read: list[int], cursors: list[int], lost: int
) -> None:
    journal: list[Change] = []
    sequences = SequenceMap(write=journal.append)
    sequences.recognise(OLD)
    for number in read:
        sequences.saw(number)
    for cursor in cursors:
        sequences.held(cursor)
    on_record = [change for change in journal[: len(journal) - lost] if isinstance(change, NumberingChanged)]
    again = SequenceMap()
    if not on_record:
        return
    again.restore(on_record[-1])
    assert again.recognise(NEW)
    jump = max([0, *read, *cursors]) - max(on_record[-1].highest, 0)
    if jump <= AHEAD // 2:  # what the journal is given the time of
        assert again.to_agent(1) > max([0, *read, *cursors])
    assert again.unread(on_record[-1].highest) == 0


@pytest.mark.requirement("journal.numbering")
def test_a_crash_alone_changes_no_number() -> None:
    journal: list[Change] = []
    sequences = SequenceMap(write=journal.append)
    sequences.recognise(OLD)
    sequences.saw(21)
    again = SequenceMap()
    assert isinstance(journal[-1], NumberingChanged)
    again.restore(journal[-1])
    assert not again.recognise(OLD)
    assert (again.to_agent(22), again.highest, again.unread(0)) == (22, 21, 0)


@pytest.mark.requirement("journal.numbering")
def test_a_log_that_was_never_told_apart_is_restored_without_a_mark() -> None:
    again = SequenceMap()
    again.restore(
        NumberingChanged(offset=0, ended=0, highest=7, reserved=1_000, first_sequence=None, first_created_at=None)
    )
    assert again.mark is None
    assert not again.recognise(NEW)


def _restored(*, highest: int, reserved: int) -> SequenceMap:
    again = SequenceMap()
    again.restore(
        NumberingChanged(
            offset=0,
            ended=0,
            highest=highest,
            reserved=reserved,
            first_sequence=OLD[0],
            first_created_at=OLD[1],
        )
    )
    return again


@pytest.mark.requirement("sequences.no_waste")
def test_only_the_first_renumbering_after_a_crash_leaps_over_what_was_reserved() -> None:
    again = _restored(highest=21, reserved=1_021)
    again.recognise(NEW)
    assert again.to_agent(1) == 1_022
    again.saw(5)
    again.recognise((1, 3000.0))
    assert again.to_agent(1) == 1_027


@pytest.mark.requirement("journal.numbering")
def test_a_log_that_nobody_read_gives_back_nothing_of_the_leap() -> None:
    again = _restored(highest=21, reserved=1_021)
    again.recognise(NEW)
    again.recognise((1, 3000.0))
    assert again.to_agent(1) == 1_022


@pytest.mark.requirement("sequences.no_waste")
def test_a_crash_after_which_more_was_read_than_was_reserved_wastes_no_number() -> None:
    again = _restored(highest=21, reserved=1_021)
    again.saw(1_050)
    again.recognise(NEW)
    assert again.to_agent(1) == 1_051


@pytest.mark.requirement("sequences.no_waste")
@given(lives=st.lists(st.lists(st.integers(0, 3), max_size=5), min_size=1, max_size=5), crash=st.integers(0, 2))
def test_over_crashes_and_renumberings_numbers_grow_strictly_and_are_wasted_once_for_each_life_at_most(
    lives: list[list[int]], crash: int
) -> None:
    """Each life of the sidecar reads some logs, so many messages of each; what it shows is on record before."""
    shown, leaps, kept, mark = [0], 0, None, 0
    for life, logs in enumerate(lives):
        journal: list[Change] = []
        sequences = SequenceMap(write=journal.append)
        if kept is not None:
            sequences.restore(kept)
        for length in logs:
            before, mark = sequences.offset, mark + 1
            is_first = sequences.mark is None
            sequences.recognise((1, float(mark)))
            leap = sequences.offset - max(before, shown[-1])
            leaps += leap > 0
            assert leap <= (AHEAD if life and not is_first else 0)
            for sequence in range(1, length + 1):
                sequences.saw(sequence)
                shown.append(sequences.to_agent(sequence))
        on_record = [change for change in journal if isinstance(change, NumberingChanged)]
        # What was read last may not have been written, but nothing is shown whose number is not covered.
        covering = [at for at, change in enumerate(on_record) if change.reserved >= shown[-1]]
        kept = on_record[max(covering[0], len(on_record) - 1 - crash)] if covering else kept
    assert shown == sorted(set(shown))
    assert leaps < len(lives)


def test_numbers_on_record_are_ahead_of_those_in_use() -> None:
    sequences = SequenceMap()
    for number in range(1, 3 * AHEAD, 7):
        sequences.saw(number)
        assert sequences.reserved >= number + AHEAD // 2 - 1
    sequences.held(10 * AHEAD)
    assert sequences.reserved == 11 * AHEAD
    sequences.held(10 * AHEAD + 1)
    assert sequences.reserved == 11 * AHEAD


@pytest.mark.requirement("journal.numbering")
def test_a_number_may_be_shown_when_what_is_durable_covers_it() -> None:
    sequences = SequenceMap()
    sequences.recognise(OLD)
    assert not sequences.is_on_record(1)
    sequences.on_record = sequences.numbering()
    assert sequences.is_on_record(AHEAD)
    assert not sequences.is_on_record(AHEAD + 1)
    sequences.saw(21)
    assert sequences.is_on_record(21)  # how far was read is no part of it
    sequences.recognise(NEW)
    assert not sequences.is_on_record(22)
    sequences.on_record = sequences.numbering()
    assert sequences.is_on_record(22)
    again = SequenceMap()
    again.restore(sequences.numbering())
    assert again.is_on_record(22)
