"""How a log is read whose end nobody tells, that grows, and that may be lost."""

import math
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.bus import MAX_LIFE_S
from proxy.core.log_reader import Aim, LogReader, Look
from tests.support.bus_log import WALL, Log

pytestmark = pytest.mark.requirement("bus.reader")


def _log(length: int, *, step_s: float = 1.0, begins_at: float = WALL) -> Log:
    log = Log()
    for number in range(length):
        log.store({"n": number}, at=begins_at + number * step_s)
    return log


class Reading:
    """A reader and what it has read of a log."""

    def __init__(self, log: Log) -> None:
        self.log, self.reader = log, LogReader()
        self.seen: set[int] = set()
        self.looks: list[Look] = []

    def look(self, look: Look, *, wall: float = WALL) -> None:
        found = self.log.after(look.since)
        self.looks.append(look)
        self.reader.took(look, found, wall=wall)
        self.seen.update(event.sequence for event in found)

    def find_end(self) -> None:
        while self.reader.is_behind:
            self.look(self.reader.next_on())

    def backwards(self, *, wall: float = WALL) -> Iterator[Look]:
        while (look := self.reader.next_back()) is not None:
            self.look(look, wall=wall)
            yield look

    def read_all(self) -> None:
        self.find_end()
        for _ in self.backwards():
            pass


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(0, 1500))
def test_the_end_is_found_in_few_looks_and_everything_before_it_is_read(length: int, guess: int) -> None:
    reading = Reading(_log(length))
    reading.reader.told(guess)
    reading.find_end()
    assert reading.reader.reached == length
    assert len(reading.looks) <= 4 + 2 * math.ceil(math.log2(length + 2))
    reading.read_all()
    assert reading.seen == set(range(1, length + 1))
    assert reading.reader.has_history


def test_the_latest_is_read_first() -> None:
    reading = Reading(_log(500))
    reading.find_end()
    ends = [look.since for look in reading.backwards()]
    assert ends == sorted(ends, reverse=True)
    assert max(ends) >= 470


def test_a_right_guess_finds_the_end_at_once() -> None:
    reading = Reading(_log(3000))
    reading.reader.told(2995)
    reading.look(reading.reader.next_on())
    assert (reading.looks[0].since, reading.reader.reached) == (2994, 3000)


def test_a_guess_a_little_short_is_followed_up() -> None:
    reading = Reading(_log(3000))
    reading.reader.told(2985)
    reading.find_end()
    assert [look.since for look in reading.looks] == [2984, 2994]


def test_a_wrong_guess_is_the_last_one_followed() -> None:
    reading = Reading(_log(40))
    reading.reader.told(2**50)
    reading.look(reading.reader.next_on())
    reading.reader.told(2**51)
    assert reading.reader.next_on() == Look(aim=Aim.FIND, since=0, log=0)
    reading.find_end()
    assert reading.reader.reached == 40


def test_what_others_read_tells_how_far_the_log_goes() -> None:
    reading = Reading(_log(3000))
    reading.reader.heard(2985, reading.log.after(2985))
    reading.reader.heard(2985, ())
    assert reading.reader.next_on().since == 2994
    reading.find_end()
    reading.reader.heard(2990, reading.log.after(2990))
    reading.reader.told(5000)
    assert reading.reader.reached == 3000


def test_nothing_old_is_looked_for_before_the_end_is_found() -> None:
    assert LogReader().next_back() is None


def test_a_look_at_the_end_begins_one_before_it_and_reads_on() -> None:
    reading = Reading(_log(5))
    reading.find_end()
    reading.look(reading.reader.next_on())
    assert reading.looks[-1] == Look(aim=Aim.ON, since=4, log=0, expected=(5, reading.log.events[4].timestamp))
    for number in range(25):
        reading.log.store({"more": number}, at=WALL + 100 + number)
    assert not reading.reader.is_behind
    reading.look(reading.reader.next_on())
    assert reading.reader.is_behind
    reading.find_end()
    assert (reading.reader.reached, len(reading.seen)) == (30, 30)


def test_an_empty_log_is_read_as_it_fills() -> None:
    reading = Reading(Log())
    reading.find_end()
    assert (reading.reader.reached, reading.reader.has_history) == (0, True)
    reading.look(reading.reader.next_on())
    reading.log.store({"n": 1})
    reading.look(reading.reader.next_on())
    assert reading.reader.reached == 1


@pytest.mark.parametrize("length", [0, 2, 5, 40])
def test_a_log_that_was_lost_is_noticed_and_read_from_its_beginning(length: int) -> None:
    reading = Reading(_log(5))
    reading.find_end()
    reading.log = _log(length, begins_at=WALL + 1000)
    reading.seen.clear()
    reading.look(reading.reader.next_on())
    assert (reading.reader.log, reading.reader.is_behind, reading.reader.reached) == (1, True, 0)
    reading.read_all()
    assert (reading.reader.reached, reading.seen) == (length, set(range(1, length + 1)))
    assert reading.reader.log == 1


def test_a_lost_log_is_noticed_by_what_others_read() -> None:
    reading = Reading(_log(5))
    reading.find_end()
    other = _log(5, begins_at=WALL + 1000)
    reading.reader.heard(0, other.after(0))
    assert (reading.reader.log, reading.reader.is_behind) == (1, True)
    reading.reader.heard(0, other.after(0))
    assert reading.reader.log == 1


def test_a_look_from_the_beginning_notices_a_lost_log_too() -> None:
    reading = Reading(_log(1))
    reading.find_end()
    reading.log = _log(40, begins_at=WALL + 1000)
    reading.look(reading.reader.next_on())
    assert reading.reader.log == 1
    reading.read_all()
    assert reading.reader.reached == 40


def test_a_look_of_a_log_that_is_lost_counts_for_nothing() -> None:
    reading = Reading(_log(5))
    reading.find_end()
    late = reading.reader.next_on()
    reading.reader.heard(0, _log(1, begins_at=WALL + 1000).after(0))
    reading.look(late)
    assert (reading.reader.log, reading.reader.reached) == (1, 0)


def test_looks_that_come_back_out_of_order_take_nothing_back() -> None:
    reading = Reading(_log(5))
    reading.find_end()
    early = reading.reader.next_on()
    early_found = reading.log.after(early.since)
    for number in range(3):
        reading.log.store({"more": number}, at=WALL + 100 + number)
    reading.look(reading.reader.next_on())
    assert reading.reader.reached == 8
    reading.reader.took(early, early_found, wall=WALL)
    assert reading.reader.reached == 8


def test_the_same_look_by_two_callers_counts_once() -> None:
    reading = Reading(_log(100))
    find = reading.reader.next_on()
    reading.look(find)
    reading.look(find)
    reading.find_end()
    reading.look(find)
    back = reading.reader.next_back()
    assert back is not None
    reading.look(back)
    further = reading.reader.next_back()
    reading.look(back)
    assert reading.reader.next_back() == further


def test_the_end_that_runs_away_while_it_is_looked_for_is_found_further_on() -> None:
    reading = Reading(_log(95))
    searching = iter(range(1000))
    while reading.reader.is_behind:
        look = reading.reader.next_on()
        if look.since >= 95 and next(searching) == 0:
            reading.look(look)  # nothing is there yet
            for number in range(200):
                reading.log.store({"more": number}, at=WALL + 100 + number)
            continue
        reading.look(look)
    assert reading.reader.reached == 295


def test_what_no_question_outlives_is_not_read() -> None:
    reading = Reading(_log(1000, step_s=200.0))
    reading.find_end()
    now = reading.log.events[-1].created_at
    assert now is not None
    backwards = [look.since for look in reading.backwards(wall=now)]
    oldest = reading.log.events[min(backwards)].created_at
    assert oldest is not None
    assert now - MAX_LIFE_S - 10 * 200 <= oldest < now - MAX_LIFE_S
    assert reading.reader.has_history


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(2, 9), st.integers(0, 250))
def test_a_bridge_that_hands_out_less_at_once_is_read_in_the_end(length: int, limit: int, guess: int) -> None:
    reading = Reading(_log(length))
    reading.log.limit = limit
    reading.reader.told(guess)
    for _ in range(2 * length + 10):
        reading.look(reading.reader.next_on())
    for _ in reading.backwards():
        pass
    assert reading.seen == set(range(1, length + 1))


def test_a_look_that_found_nothing_further_up_tells_nothing_new() -> None:
    reading = Reading(_log(100))
    reading.look(reading.reader.next_on())
    looks: list[Look] = []
    while len(looks) < 2:
        looks.append(reading.reader.next_on())
        reading.look(looks[-1])
        if reading.log.after(looks[-1].since):
            looks.pop()
    reading.look(looks[0])
    reading.find_end()
    assert reading.reader.reached == 100


def test_a_part_that_is_gone_when_it_is_read_back_ends_the_search_for_it() -> None:
    reading = Reading(_log(100))
    reading.find_end()
    look = reading.reader.next_back()
    assert look is not None
    reading.reader.took(look, (), wall=WALL)
    further = reading.reader.next_back()
    assert further is not None
    assert further.since < look.since
