"""What stands on a bus, in whatever order its log is read."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core import bus_book
from proxy.core.bookkeeping import Marked, NoteKind, asks, is_for_others, read_note
from proxy.core.bus import answer_data, question_data, withdrawal_data
from proxy.core.bus_book import BusBook, fits
from proxy.core.elicitation import Answer, AnswerKind, BridgeStatus
from proxy.core.ids import AgentId
from proxy.core.legacy import Message
from tests.support.bus_log import WALL, Log, answer, bus_id, message, question

pytestmark = pytest.mark.requirement("bus.first_answer")

ALICE, BOB, CAROL = AgentId("alice"), AgentId("bob"), AgentId("carol")


class Bus:
    """A log and a book that reads along."""

    def __init__(self) -> None:
        self.log, self.book = Log(), BusBook()

    def take(self, stored: Message, *, log: int = 0, wall: float = WALL) -> Message:
        return self.book.take(stored, log=log, wall=wall)

    def store(self, data: object, *, source: str = "bob", at: float = WALL) -> Message:
        return self.take(self.log.store(data, source=source, at=at), wall=at)

    def ask(self, number: int = 1, *, life_s: float = 60.0, to_agent: str = "bob") -> Message:
        return self.store(question_data(question(number, life_s=life_s, to_agent=to_agent)), source="alice")

    def answer(self, colour: str = "red", *, at: float = WALL, number: int = 1) -> Message:
        return self.store(answer_data(answer(colour, number=number), question(number)), at=at)

    def status(self, *, wall: float = WALL) -> BridgeStatus | None:
        return self.book.status(bus_id(), wall=wall)


def _kind(taken: Message) -> NoteKind | None:
    note = read_note(taken)
    return note.kind if note else None


def test_a_question_is_open_until_its_time_is_over() -> None:
    bus = Bus()
    taken = bus.ask()
    assert bus.book.open_for(BOB, wall=WALL + 59) == (question(),)
    assert bus.book.get(bus_id()) == question()
    assert (bus.status(wall=WALL + 59), bus.status(wall=WALL + 60)) == (BridgeStatus.PENDING, BridgeStatus.EXPIRED)
    assert bus.book.open_for(BOB, wall=WALL + 60) == ()
    assert bus.book.open_for(ALICE, wall=WALL) == ()
    assert (bus.book.has_open(wall=WALL), bus.book.has_open(wall=WALL + 60)) == (True, False)
    assert (asks(taken, BOB), asks(taken, CAROL)) == (True, False)


def test_a_message_keeps_the_bytes_that_came() -> None:
    stored = message(question_data(question()))
    taken = BusBook().take(stored, log=0, wall=WALL)
    assert isinstance(taken, Marked)
    assert all(getattr(taken, name) == getattr(stored, name) for name in Message.__slots__)


def test_other_messages_come_back_as_they_are() -> None:
    stored = message({"word": "hello"})
    assert BusBook().take(stored, log=0, wall=WALL) is stored


@pytest.mark.parametrize("kind", AnswerKind)
def test_an_answer_ends_its_question_and_is_for_the_asker(kind: AnswerKind) -> None:
    bus = Bus()
    bus.ask()
    given_answer = Answer(elicitation_id=bus_id(), kind=kind, content={"colour": "red"} if kind == "accept" else None)
    taken = bus.store(answer_data(given_answer, question()))
    note = read_note(taken)
    assert note is not None
    assert (note.kind, note.elicitation_id, note.answer_kind) == (NoteKind.ANSWER, bus_id(), kind)
    assert (is_for_others(note, ALICE), is_for_others(note, BOB), is_for_others(note, CAROL)) == (False, True, True)
    end = bus.book.end_of(bus_id())
    assert end is not None
    assert (end.order, end.digest) == ((0, 2), given_answer.digest())
    assert (bus.book.open_for(BOB, wall=WALL), bus.book.has_open(wall=WALL)) == ((), False)
    assert not asks(bus.take(bus.log.events[0]), BOB)


def test_a_legacy_event_answers_too() -> None:
    bus = Bus()
    bus.ask()
    assert _kind(bus.store({"in_reply_to": bus_id(), "colour": "red"})) is NoteKind.ANSWER
    assert bus.status() is BridgeStatus.ACCEPTED


@pytest.mark.requirement("bus.only_the_addressee")
@pytest.mark.parametrize(
    ("data", "source"),
    [
        ({"in_reply_to": bus_id(), "colour": "red"}, "mallory"),
        (answer_data(answer(), question()), "mallory"),
        (answer_data(answer(), question(asker="mallory")), "bob"),
        ({"in_reply_to": bus_id(), "size": 1}, "bob"),
        ({"in_reply_to": bus_id(), "colour": 1}, "bob"),
        (withdrawal_data(question(asker="mallory")), "mallory"),
        (withdrawal_data(question()), "mallory"),
    ],
    ids=["another agent", "a forged sender", "another asker", "no fit", "a wrong type", "not its asker", "not in name"],
)
def test_what_does_not_count_stays_an_ordinary_message(data: object, source: str) -> None:
    bus = Bus()
    bus.ask()
    taken = bus.store(data, source=source)
    assert not isinstance(taken, Marked)
    assert (bus.status(), bus.book.end_of(bus_id())) == (BridgeStatus.PENDING, None)


def test_the_first_answer_counts_and_a_different_one_stays_a_message() -> None:
    bus = Bus()
    bus.ask()
    bus.answer("red")
    assert not isinstance(bus.answer("blue"), Marked)
    assert bus.status() is BridgeStatus.ACCEPTED
    assert _kind(bus.take(bus.log.events[1])) is NoteKind.ANSWER, "read again it is the same"


def test_the_same_answer_again_is_left_out() -> None:
    bus = Bus()
    bus.ask()
    assert _kind(bus.answer("red")) is NoteKind.ANSWER
    assert _kind(bus.answer("red", at=WALL + 1)) is NoteKind.OTHER


def test_an_answer_after_the_deadline_stays_a_message() -> None:
    bus = Bus()
    bus.ask()
    assert not isinstance(bus.answer(at=WALL + 61), Marked)
    assert bus.status(wall=WALL + 61) is BridgeStatus.EXPIRED
    late_without_a_stamp = message(answer_data(answer(), question()), source="bob", sequence=9, at=None)
    assert _kind(bus.take(late_without_a_stamp)) is NoteKind.ANSWER


def test_an_answer_before_its_question_is_none() -> None:
    bus = Bus()
    bus.answer()
    bus.ask()
    assert bus.status() is BridgeStatus.PENDING


def test_a_question_taken_back_is_over_and_no_answer_counts_any_more() -> None:
    bus = Bus()
    bus.ask()
    assert _kind(bus.store(withdrawal_data(question()), source="alice")) is NoteKind.OTHER
    assert bus.status() is BridgeStatus.CANCELLED
    assert not isinstance(bus.answer(), Marked)
    assert bus.status() is BridgeStatus.CANCELLED


def test_a_question_that_is_answered_cannot_be_taken_back() -> None:
    bus = Bus()
    bus.ask()
    bus.answer()
    assert _kind(bus.store(withdrawal_data(question()), source="alice")) is NoteKind.OTHER
    assert bus.status() is BridgeStatus.ACCEPTED


def test_an_id_that_is_used_again_is_the_first_ones() -> None:
    bus = Bus()
    bus.ask()
    again = bus.store(question_data(question(to_agent="carol", asker="mallory")), source="mallory")
    assert not isinstance(again, Marked)
    assert bus.book.open_for(CAROL, wall=WALL) == ()
    later = BusBook()
    later.take(bus.log.events[1], log=0, wall=WALL)
    assert later.open_for(CAROL, wall=WALL)
    later.take(bus.log.events[0], log=0, wall=WALL)
    assert (later.open_for(CAROL, wall=WALL), later.open_for(BOB, wall=WALL)) == ((), (question(),))


def test_a_question_that_was_just_stored_takes_the_bridges_time_when_it_is_read() -> None:
    bus = Bus()
    bus.book.put(question(), log=0, sequence=1, size=100, wall=WALL)
    assert bus.book.open_for(BOB, wall=WALL) == (question(),)
    bus.store(question_data(question()), source="alice", at=WALL + 3)
    [found] = bus.book.open_for(BOB, wall=WALL)
    assert (found.created_at, len(bus.book)) == (WALL + 3, 1)


@pytest.mark.requirement("bus.bridge_restart")
def test_a_question_outlives_the_log_it_stood_in() -> None:
    bus = Bus()
    for _ in range(5):
        bus.store({"word": "before"})
    bus.ask()
    answered = message(answer_data(answer(), question()), source="bob", sequence=2, at=WALL + 9)
    assert not isinstance(bus.take(answered), Marked), "before its number in that log"
    assert _kind(bus.take(answered, log=1)) is NoteKind.ANSWER
    assert bus.status() is BridgeStatus.ACCEPTED


@pytest.mark.requirement("bus.bridge_restart")
def test_a_log_that_was_taken_for_another_tells_nothing_new() -> None:
    bus = Bus()
    bus.ask()
    bus.answer()
    assert isinstance(bus.take(bus.log.events[0], log=1), Marked)
    assert _kind(bus.take(bus.log.events[1], log=1)) is NoteKind.ANSWER


def test_what_cannot_be_judged_does_not_fit() -> None:
    hostile = replace(question(), schema={"$ref": "https://example.org/schema"})
    assert not fits(hostile, answer())
    assert fits(hostile, Answer(elicitation_id=bus_id(), kind=AnswerKind.DECLINE))
    assert fits(question(), answer())


def _conversation() -> Log:
    bus = Bus()
    bus.ask(1)
    bus.ask(2)
    bus.answer("late", at=WALL + 100, number=1)
    bus.store({"in_reply_to": bus_id(1), "colour": 7})
    bus.answer("blue", number=1)
    bus.store(withdrawal_data(question(2)), source="alice")
    bus.answer("red", number=1)
    bus.answer("red", number=2)
    bus.answer("blue", number=1)
    return bus.log


@settings(deadline=None)
@given(st.permutations(range(9)), st.lists(st.integers(0, 8), max_size=5))
def test_the_order_in_which_a_log_is_read_makes_no_difference(order: list[int], again: list[int]) -> None:
    log, book = _conversation(), BusBook()
    for place in (*order, *again):
        book.take(log.events[place], log=0, wall=WALL)
    first, second = book.end_of(bus_id(1)), book.end_of(bus_id(2))
    assert first is not None
    assert second is not None
    assert (first.order, first.status, first.digest) == ((0, 5), BridgeStatus.ACCEPTED, answer("blue").digest())
    assert (second.order, second.status) == ((0, 6), BridgeStatus.CANCELLED)
    assert book.open_for(BOB, wall=WALL) == ()


class TestBounds:
    """Nobody can fill the memory of a sidecar, nor push out what is open."""

    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bus_book, "MAX_QUESTIONS", 4)
        monkeypatch.setattr(bus_book, "MAX_PER_AGENT", 3)
        monkeypatch.setattr(bus_book, "MAX_STRAYS", 3)

    def test_a_full_book_gives_up_what_is_over_and_then_takes_no_more(self) -> None:
        bus = Bus()
        for number in range(1, 5):
            bus.ask(number, to_agent=f"agent-{number}")
        assert not isinstance(bus.ask(5), Marked), "better an ordinary message than lost"
        assert len(bus.book) == 4
        withdrawn = question(2, to_agent="agent-2")
        bus.store(withdrawal_data(withdrawn), source="alice")
        assert isinstance(bus.ask(6), Marked)
        assert (bus.book.get(bus_id(2)), len(bus.book)) == (None, 4)

    def test_one_agent_has_a_share_and_no_more(self) -> None:
        bus = Bus()
        for number in range(1, 4):
            bus.ask(number, life_s=60.0 if number == 1 else 600.0)
        assert not isinstance(bus.ask(4), Marked)
        later = bus.log.store(question_data(question(5, life_s=600)), source="alice", at=WALL + 61)
        assert isinstance(bus.take(later, wall=WALL + 61), Marked)
        assert [known.elicitation_id for known in bus.book.open_for(BOB, wall=WALL + 61)] == [
            bus_id(2),
            bus_id(3),
            bus_id(5),
        ]

    def test_bytes_are_bounded_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        bus = Bus()
        bus.ask(1)
        bus.ask(2)
        monkeypatch.setattr(bus_book, "MAX_BYTES", 2 * len(bus.log.events[0].data) + 10)
        assert not isinstance(bus.ask(3), Marked)
        longer = replace(question(4), message="?" * len(bus.log.events[0].data))
        later = bus.log.store(question_data(longer), source="alice", at=WALL + 61)
        assert isinstance(bus.take(later, wall=WALL + 61), Marked)
        assert len(bus.book) == 1

    def test_answers_without_a_question_are_kept_within_bounds(self) -> None:
        bus = Bus()
        for number in range(1, 6):
            bus.answer(number=number)
            bus.take(bus.log.events[-1])
        for number in (2, 3, 4):
            bus.take(message(question_data(question(number)), sequence=0))
        assert [bool(bus.book.end_of(bus_id(number))) for number in (2, 3, 4)] == [False, True, True]

    def test_their_bytes_are_bounded_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bus_book, "MAX_STRAY_BYTES", 10)
        bus = Bus()
        bus.answer()
        bus.take(message(question_data(question()), sequence=0))
        assert bus.status() is BridgeStatus.PENDING


def test_a_question_that_is_over_before_it_is_read_is_nobodys_to_answer() -> None:
    bus = Bus()
    stored = bus.log.store(question_data(question()), source="alice")
    taken = bus.take(stored, wall=WALL + 100)
    assert _kind(taken) is NoteKind.OTHER
    assert bus.book.open_for(BOB, wall=WALL) == ()
    assert bus.book.status(bus_id(7), wall=WALL) is None
    assert bus.book.get(bus_id(7)) is None
    assert bus.book.end_of(bus_id(7)) is None
