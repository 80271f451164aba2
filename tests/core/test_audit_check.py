"""A trail is whole, or the check says where it is not."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.audit import Entry, Head, entry_after, lines_of, loss_after, read_lines, rotation_after
from proxy.core.audit_check import Broken, Damage, Intact, describe, holds, verify
from tests.support.audit_chain import AT, DEEDS, chain, signed

pytestmark = pytest.mark.requirement("audit.tamper_located")

TEN = chain(10)
HEAD = TEN[-1].head


def whole(entries: list[Entry], begins: Head | None = None, losses: tuple[int, ...] = ()) -> Intact:
    return Intact(begins or Head(), entries[-1].head if entries else Head(), losses)


def rotated() -> list[Entry]:
    """Numbers 4 to 11, of which 11 says that those up to 3 were taken out."""
    return [*TEN[3:], rotation_after(HEAD, TEN[2].head, at=AT)]


def test_a_chain_that_nobody_touched_is_whole() -> None:
    assert verify(TEN, HEAD) == whole(TEN)
    assert verify(TEN, None) == whole(TEN)
    assert verify([], Head()) == whole([])
    assert verify([], None) == whole([])


@pytest.mark.parametrize("place", range(10))
class TestOneEntry:
    """Whatever is done to one entry, wherever it stands."""

    def test_it_was_altered(self, place: int) -> None:
        forged = [*TEN[:place], replace(TEN[place], who="mallory"), *TEN[place + 1 :]]
        assert verify(forged, HEAD) == Broken(Damage.ALTERED, place + 1, place)

    def test_it_was_altered_by_somebody_who_knows_the_rule(self, place: int) -> None:
        forged = [*TEN[:place], signed(replace(TEN[place], who="mallory")), *TEN[place + 1 :]]
        assert verify(forged, HEAD) == Broken(Damage.ALTERED, place + 1, place)

    def test_it_cannot_be_read(self, place: int) -> None:
        assert verify([*TEN[:place], None, *TEN[place + 1 :]], HEAD) == Broken(Damage.ALTERED, place + 1, place)

    def test_it_was_taken_out(self, place: int) -> None:
        damage = Damage.CUT_OFF if place == 9 else Damage.MISSING
        assert verify([*TEN[:place], *TEN[place + 1 :]], HEAD) == Broken(damage, place + 1, place)

    def test_it_was_doubled(self, place: int) -> None:
        found = verify([*TEN[: place + 1], *TEN[place:]], HEAD)
        assert found == Broken(Damage.INSERTED, place + 1, place)

    def test_another_was_put_in_before_it(self, place: int) -> None:
        forged = signed(replace(TEN[place], subject="mallory"))
        assert verify([*TEN[:place], forged, *TEN[place:]], HEAD) == Broken(Damage.INSERTED, place + 1, place)

    def test_another_was_put_in_behind_it(self, place: int) -> None:
        forged = entry_after(TEN[place].head, DEEDS[0], who="mallory", subject="", at=AT)
        damage = verify([*TEN[: place + 1], forged, *TEN[place + 1 :]], HEAD)
        assert damage == Broken(Damage.INSERTED, place + 2, place + 1)

    def test_it_was_moved_to_the_front(self, place: int) -> None:
        moved = [TEN[place], *TEN[:place], *TEN[place + 1 :]]
        assert verify(moved, HEAD) == (Broken(Damage.MOVED, 1, 0) if place else whole(TEN))

    def test_it_was_moved_to_the_end(self, place: int) -> None:
        moved = [*TEN[:place], *TEN[place + 1 :], TEN[place]]
        assert verify(moved, HEAD) == (whole(TEN) if place == 9 else Broken(Damage.MOVED, place + 1, place))

    def test_everything_behind_it_was_cut_off(self, place: int) -> None:
        found = verify(TEN[: place + 1], HEAD)
        assert found == (whole(TEN) if place == 9 else Broken(Damage.CUT_OFF, place + 2, place + 1))

    def test_everything_before_it_was_cut_off(self, place: int) -> None:
        assert verify(TEN[place:], HEAD) == (Broken(Damage.MISSING, 1, 0) if place else whole(TEN))


@pytest.mark.parametrize("place", range(9))
def test_everything_from_one_entry_on_was_written_anew(place: int) -> None:
    """Nothing but the head can tell, and it proves only that the last one is another."""
    forged = signed(replace(TEN[place], who="mallory"))
    anew = [*TEN[:place], forged, *chain(9 - place, head=forged.head)]
    assert verify(anew, HEAD) == Broken(Damage.ALTERED, 10, 9)
    assert verify(anew, None) == whole(anew)


def test_of_two_neighbours_the_one_is_told_that_the_rest_does_not_prove() -> None:
    other = signed(replace(TEN[5], previous=b"\1" * 32))
    assert verify([*TEN[:5], other, *TEN[6:]], HEAD) == Broken(Damage.ALTERED, 6, 5)
    last = signed(replace(TEN[9], previous=b"\1" * 32))
    assert verify([*TEN[:9], last], HEAD) == Broken(Damage.ALTERED, 10, 9)
    assert verify([*TEN[:4], other, None], HEAD) == Broken(Damage.MISSING, 5, 4)
    assert verify([*TEN[:5], other, None], HEAD) == Broken(Damage.ALTERED, 6, 5)
    assert verify([*TEN[:6], other, None, *TEN[7:]], HEAD) == Broken(Damage.INSERTED, 6, 6)


def test_a_first_entry_that_follows_something_else_is_another() -> None:
    first = signed(replace(TEN[0], previous=b"\1" * 32))
    assert verify([first, *TEN[1:]], HEAD) == Broken(Damage.ALTERED, 1, 0)
    alone = entry_after(Head(0, b"\1" * 32), DEEDS[0], who="x", subject="", at=AT)
    assert verify([alone], alone.head) == Broken(Damage.ALTERED, 1, 0)
    below = entry_after(Head(-3), DEEDS[0], who="x", subject="", at=AT)
    assert verify([below, *TEN], HEAD) == Broken(Damage.INSERTED, -2, 0)


def test_nothing_is_left_or_the_head_is_of_another_chain() -> None:
    assert verify([], HEAD) == Broken(Damage.CUT_OFF, 1, 0)
    assert verify([], Head(0, b"\1" * 32)) == Broken(Damage.ALTERED, 0, 0)
    assert verify(TEN, Head(10, b"\1" * 32)) == Broken(Damage.ALTERED, 10, 9)


class TestRotated:
    """The oldest entries were taken out by the rule."""

    def test_the_trail_begins_where_it_says(self) -> None:
        entries = rotated()
        assert verify(entries, entries[-1].head) == whole(entries, TEN[2].head)

    def test_what_was_taken_out_still_fits_from_an_export(self) -> None:
        entries = [*TEN[:3], *rotated()]
        assert verify(entries, entries[-1].head) == whole(entries)
        assert verify(entries[1:], entries[-1].head) == Broken(Damage.INSERTED, 2, 0)

    def test_a_later_rotation_counts(self) -> None:
        first = rotated()
        second = [*first[4:], rotation_after(first[-1].head, first[3].head, at=AT)]
        assert verify(second, second[-1].head) == whole(second, first[3].head)
        assert verify(first[4:], first[-1].head) == Broken(Damage.MISSING, 4, 0)

    def test_more_was_taken_out_than_it_says(self) -> None:
        entries = rotated()
        assert verify(entries[2:], entries[-1].head) == Broken(Damage.MISSING, 4, 0)

    def test_the_entry_that_says_so_was_forged(self) -> None:
        entries = rotated()
        forged = rotation_after(entries[-2].head, TEN[4].head, at=AT)
        assert verify([*entries[2:-1], forged], entries[-1].head) == Broken(Damage.ALTERED, 11, 8 - 3)

    def test_the_first_entry_cannot_be_read(self) -> None:
        entries = rotated()
        assert verify([None, *entries[1:]], entries[-1].head) == Broken(Damage.ALTERED, 4, 0)


class TestLost:
    """The state file was lost while the sidecar ran, and the trail says so."""

    def test_it_goes_on_alone_or_behind_what_was_saved(self) -> None:
        loss = loss_after(HEAD, at=AT)
        behind = chain(3, head=loss.head)
        assert verify([loss, *behind], behind[-1].head) == whole(behind, HEAD, (11,))
        assert verify([*TEN[:6], loss, *behind], behind[-1].head) == whole(behind, None, (11,))
        assert verify([*TEN, loss, *behind], behind[-1].head) == whole(behind, None, (11,))

    def test_it_is_no_way_to_take_entries_out(self) -> None:
        forged = signed(replace(loss_after(TEN[6].head, at=AT), who="sidecar"))
        assert verify([*TEN[:3], forged, *TEN[8:]], HEAD) == Broken(Damage.ALTERED, 8, 3)
        assert verify([*TEN[:3], forged, *TEN[7:]], HEAD) == Broken(Damage.INSERTED, 8, 3)
        other = signed(replace(loss_after(TEN[4].head, at=AT), number=8))
        assert verify([*TEN[:7], other, *TEN[8:]], HEAD) == Broken(Damage.ALTERED, 8, 7)
        odd = signed(replace(loss_after(TEN[6].head, at=AT), details=loss_after(TEN[5].head, at=AT).details))
        behind = chain(2, head=odd.head)
        assert verify([*TEN[:3], odd, *behind], behind[-1].head) == Broken(Damage.MISSING, 4, 3)
        assert verify([*TEN, loss_after(HEAD, at=AT)], HEAD) == Broken(Damage.INSERTED, 11, 10)


EXPORT = b"".join(lines_of(chain(40)))
LINES = EXPORT.split(b"\n")


@given(st.integers(0, len(EXPORT) - 1), st.integers(1, 255))
@settings(deadline=None, max_examples=600)
def test_any_byte_of_an_export_that_is_another_is_found_in_its_line(at: int, flip: int) -> None:
    head = chain(40)[-1].head
    spoiled = EXPORT[:at] + bytes([EXPORT[at] ^ flip]) + EXPORT[at + 1 :]
    line = EXPORT.count(b"\n", 0, at)
    assert verify(read_lines(spoiled), head) == Broken(Damage.ALTERED, line + 1, line)


@given(st.integers(0, len(EXPORT) - 1))
@settings(deadline=None, max_examples=200)
def test_an_export_that_ends_early_is_found_where_it_ends(size: int) -> None:
    found = verify(read_lines(EXPORT[:size]), chain(40)[-1].head)
    line = EXPORT.count(b"\n", 0, size)
    is_at_an_end = size == 0 or EXPORT[size - 1 : size] == b"\n"
    is_whole_line = EXPORT[size : size + 1] == b"\n"
    if size == len(EXPORT) - 1:
        assert isinstance(found, Intact), "only the last line end is missing"
    elif is_whole_line:
        assert found == Broken(Damage.CUT_OFF, line + 2, line + 1)
    else:
        assert found == Broken(Damage.CUT_OFF if is_at_an_end else Damage.ALTERED, line + 1, line)


@given(st.permutations(range(8)))
@settings(deadline=None)
def test_any_other_order_is_found(order: list[int]) -> None:
    found = verify([TEN[place] for place in order], TEN[7].head)
    first = next((place for place, here in enumerate(order) if place != here), None)
    assert found == (whole(TEN[:8]) if first is None else Broken(Damage.MOVED, first + 1, first))


@given(st.sets(st.integers(0, 9), min_size=1))
@settings(deadline=None)
def test_any_entries_taken_out_are_found_from_the_first_on(gone: set[int]) -> None:
    left = [entry for place, entry in enumerate(TEN) if place not in gone]
    found = verify(left, HEAD)
    assert isinstance(found, Broken)
    assert (found.number, found.place) == (min(gone) + 1, min(gone))
    assert found.damage is (Damage.MISSING if min(gone) < len(left) else Damage.CUT_OFF)


@pytest.mark.parametrize("damage", Damage)
def test_each_damage_is_told_with_its_place(damage: Damage) -> None:
    told = describe(Broken(damage, 7, 3))
    assert told.startswith(f"broken ({damage.value}): ")
    assert "entry 7" in told
    assert told.endswith("line 4 of what was read")


def test_a_whole_trail_is_told_with_what_is_kept_and_what_was_lost() -> None:
    assert describe(whole(TEN)) == f"intact: entries 1 to 10, head 10:{HEAD.digest.hex()}"
    assert describe(whole([])) == f"intact: no entries, head 0:{'00' * 32}"
    assert describe(whole(TEN, losses=(3, 5))).endswith("; lost with a state file: what was before 3, 5")


def test_a_noted_head_is_in_the_trail_or_is_not_or_went_with_what_was_taken_out() -> None:
    found = verify(TEN, HEAD)
    assert isinstance(found, Intact)
    assert holds(TEN, found, Head()) is True
    assert all(holds(TEN, found, entry.head) for entry in TEN)
    assert holds(TEN, found, Head(4, TEN[4].digest)) is False
    assert holds(TEN, found, Head(11, HEAD.digest)) is False
    shorter = rotated()
    cut = verify(shorter, shorter[-1].head)
    assert isinstance(cut, Intact)
    assert holds(shorter, cut, TEN[2].head) is True, "which the trail itself names"
    assert holds(shorter, cut, TEN[1].head) is None
    assert holds(shorter, cut, TEN[3].head) is True
