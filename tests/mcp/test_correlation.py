"""Who may answer what: questions in flight, calls in flight, and who cancels which."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from proxy.core.errors import InvalidInput
from proxy.mcp import correlation
from proxy.mcp.correlation import (
    Asked,
    Correlation,
    Ended,
    Seat,
    Taken,
    Verdict,
    is_own_id,
    own_id,
    read_cancelled,
    write_cancelled,
)
from proxy.mcp.jsonrpc import Notification, parse

pytestmark = pytest.mark.requirement("mcp.correlation")

ALICE = Seat("alice", "s1")
NOTHING = Ended(None, ())


def own(number: int) -> str:
    return own_id(number.to_bytes(16))


def put(number: int, ref: str, call_id: str | int | None = None, carried: str | int | None = None) -> Asked:
    return Asked(own_id=own(number), ref=ref, call_id=call_id, carried=carried)


def test_an_own_id_is_known_by_its_shape() -> None:
    assert own_id(bytes(range(16))) == "esc-000102030405060708090a0b0c0d0e0f"
    assert is_own_id(own(7))
    for other in ("esc-1", own(7).upper(), own(7) + "\n", own(7) + "0", "", 7, None):
        assert not is_own_id(other)


@pytest.mark.parametrize("size", [0, 8, 15, 17])
def test_an_own_id_takes_all_its_chance(size: int) -> None:
    with pytest.raises(InvalidInput, match="expected 16 bytes of chance"):
        own_id(bytes(size))


@pytest.mark.requirement("mcp.correlation.first")
def test_the_first_answer_counts_and_later_ones_end_here() -> None:
    table = Correlation()
    asked = put(1, "q")
    assert table.ask(ALICE, asked)
    assert len(table) == 1
    assert table.answer(ALICE, own(1)) == Taken(asked, ())
    assert table.answer(ALICE, own(1)) is Verdict.LATE
    assert len(table) == 0


@pytest.mark.requirement("mcp.correlation.first")
def test_a_question_put_again_is_answered_under_either_id_once() -> None:
    table = Correlation()
    first, second, other = put(1, "q"), put(2, "q"), put(3, "r")
    assert all(table.ask(ALICE, asked) for asked in (first, second, other))
    assert table.answer(ALICE, own(1)) == Taken(first, (second,))
    assert table.answer(ALICE, own(2)) is Verdict.LATE
    assert table.answer(ALICE, own(3)) == Taken(other, ())


@pytest.mark.parametrize("request_id", [0, 1, "1", "esc-1", None, ""])
def test_an_answer_to_somebody_else_is_forwarded(request_id: str | int | None) -> None:
    table = Correlation()
    table.ask(ALICE, put(1, "q"))
    assert table.answer(ALICE, request_id) is Verdict.FORWARD


def test_an_id_nobody_asked_with_ends_here() -> None:
    table = Correlation()
    assert table.answer(ALICE, own(9)) is Verdict.LATE
    table.ask(ALICE, put(1, "q"))
    assert table.answer(ALICE, own(9)) is Verdict.LATE


@pytest.mark.parametrize("stranger", [Seat("mallory", "s1"), Seat("alice", "s2"), Seat("s1", "alice")])
@pytest.mark.requirement("mcp.correlation.seat")
def test_an_answer_from_another_seat_is_a_stranger_s_and_changes_nothing(stranger: Seat) -> None:
    table = Correlation()
    asked = put(1, "q")
    table.ask(ALICE, asked)
    assert table.answer(stranger, own(1)) is Verdict.STRANGER
    assert table.answer(ALICE, own(1)) == Taken(asked, ())


def test_the_same_reference_at_two_seats_is_two_questions() -> None:
    table, bob = Correlation(), Seat("bob", "s2")
    table.ask(ALICE, put(1, "q"))
    table.ask(bob, put(2, "q"))
    assert table.settle(ALICE, "q") == (put(1, "q"),)
    assert table.answer(bob, own(2)) == Taken(put(2, "q"), ())


def test_a_question_of_another_sidecar_behind_us_is_answered_there_once() -> None:
    table = Correlation()
    table.overhear(ALICE, own(5))
    table.overhear(ALICE, 5)
    assert table.answer(Seat("mallory", "s1"), own(5)) is Verdict.LATE
    assert table.answer(ALICE, own(5)) is Verdict.FORWARD
    assert table.answer(ALICE, own(5)) is Verdict.LATE


@pytest.mark.requirement("mcp.correlation.cancel")
def test_a_cancelled_call_names_its_questions_and_its_id_upstream() -> None:
    table = Correlation()
    assert table.open_call(ALICE, 1, "up-1")
    assert table.open_call(ALICE, "1")
    mine, same, other = put(1, "q", 1), put(2, "r", 1), put(3, "s", "1")
    assert all(table.ask(ALICE, asked) for asked in (mine, same, other))
    assert table.end_call(ALICE, 1) == Ended("up-1", (mine, same))
    assert table.answer(ALICE, own(1)) is Verdict.LATE
    assert table.end_call(ALICE, 1) == NOTHING
    assert table.end_call(ALICE, "1") == Ended(None, (other,))
    assert table.end_call(ALICE, "1") == NOTHING


@pytest.mark.requirement("mcp.correlation.cancel")
def test_upstream_takes_its_request_back_under_our_id() -> None:
    table = Correlation()
    asked = [put(1, "q", 1, 7), put(2, "q", 1, 7), put(3, "r", 1, "7")]
    assert all(table.ask(ALICE, each) for each in asked)
    assert table.upstream_cancelled(ALICE, 7) == tuple(asked[:2])
    assert table.upstream_cancelled(ALICE, 7) == ()
    assert table.answer(ALICE, own(3)) == Taken(asked[2], ())
    assert table.upstream_cancelled(Seat("bob", "s"), 7) == ()


def test_a_call_is_found_by_its_id_upstream() -> None:
    table = Correlation()
    table.open_call(ALICE, 1, "up-1")
    table.open_call(ALICE, 2, "up-2")
    assert table.call_of(ALICE, "up-2") == 2
    assert table.call_of(ALICE, "up-3") is None
    assert table.call_of(Seat("bob", "s"), "up-2") is None


def test_a_call_id_in_flight_is_not_taken_twice_in_one_direction() -> None:
    table = Correlation()
    assert table.open_call(ALICE, 1)
    assert not table.open_call(ALICE, 1)
    assert table.open_call(Seat("alice", "s2"), 1)
    table.end_call(ALICE, 1)
    assert table.open_call(ALICE, 1)


def test_a_lost_connection_leaves_its_questions_open() -> None:
    table = Correlation()
    table.open_call(ALICE, 1)
    table.open_call(ALICE, 2)
    for asked in (put(1, "q", 1), put(2, "r", 2)):
        table.ask(ALICE, asked)
    table.detach_call(ALICE, 1)
    assert table.end_call(ALICE, 1) == NOTHING
    assert table.answer(ALICE, own(1)) == Taken(put(1, "q"), ())
    assert table.answer(ALICE, own(2)) == Taken(put(2, "r", 2), ())
    table.detach_call(ALICE, 2)
    table.detach_call(ALICE, 3)


def test_a_closed_session_gives_everything_back() -> None:
    table = Correlation()
    table.open_call(ALICE, 1, "up-1")
    for asked in (put(1, "q", 1), put(2, "r")):
        table.ask(ALICE, asked)
    table.overhear(ALICE, own(5))
    assert table.close(ALICE) == (Ended("up-1", (put(1, "q", 1),)), Ended(None, (put(2, "r"),)))
    assert table.close(ALICE) == ()
    assert table.answer(ALICE, own(2)) is Verdict.LATE
    assert table.answer(ALICE, own(5)) is Verdict.LATE
    table.overhear(ALICE, own(5))
    assert table.close(ALICE) == ()


@pytest.mark.parametrize(
    "asked",
    [
        Asked(own_id="esc-1", ref="q", call_id=1),
        put(1, "q", "x" * 1001),
        put(1, "q", 1, "x" * 1001),
        put(1, "q", 10**1000),
        put(1, "q", None, -(10**1000)),
    ],
)
def test_a_question_with_an_id_that_cannot_be_kept_must_not_be_put(asked: Asked) -> None:
    table = Correlation()
    assert not table.ask(ALICE, asked)
    assert table._books == {}


def test_an_id_of_ours_is_not_used_twice() -> None:
    table = Correlation()
    assert table.ask(ALICE, put(1, "q"))
    assert not table.ask(Seat("bob", "s"), put(1, "r"))


@pytest.mark.parametrize(("call_id", "upstream_id"), [("x" * 1001, None), (1, "x" * 1001), (10**1000, None)])
def test_a_call_with_an_id_that_cannot_be_kept_is_not_asked_in(call_id: str | int, upstream_id: str | None) -> None:
    table = Correlation()
    assert not table.open_call(ALICE, call_id, upstream_id)
    assert table._books == {}
    assert table.open_call(ALICE, "x" * 1000, 10**1000 - 1)


@pytest.mark.requirement("mcp.correlation.bound")
def test_what_is_beyond_a_bound_is_refused_and_nothing_open_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(correlation, "MAX_QUESTIONS_PER_SEAT", 2)
    monkeypatch.setattr(correlation, "MAX_CALLS_PER_SEAT", 2)
    monkeypatch.setattr(correlation, "MAX_OVERHEARD_PER_SEAT", 2)
    monkeypatch.setattr(correlation, "MAX_SEATS", 2)
    table, bob, carol = Correlation(), Seat("bob", "s"), Seat("carol", "s")
    assert [table.ask(ALICE, put(number, "q")) for number in (1, 2, 3)] == [True, True, False]
    assert [table.open_call(ALICE, number) for number in (1, 2, 3)] == [True, True, False]
    assert table.ask(bob, put(4, "q"))
    assert not table.ask(carol, put(5, "q"))
    assert not table.open_call(carol, 1)
    table.overhear(carol, own(6))
    assert table.answer(carol, own(6)) is Verdict.LATE
    for number in (7, 8, 9):
        table.overhear(bob, own(number))
    answers = [table.answer(bob, own(number)) for number in (4, 7, 8, 9)]
    assert answers == [Taken(put(4, "q"), ()), Verdict.LATE, Verdict.FORWARD, Verdict.FORWARD]
    assert table.open_call(carol, 1)


def test_a_cancellation_is_written_and_read() -> None:
    body = write_cancelled(own(1), "the call was cancelled")
    found = parse(body)
    assert isinstance(found, Notification)
    assert found.method == "notifications/cancelled"
    assert orjson.loads(found.params or b"") == {"requestId": own(1), "reason": "the call was cancelled"}
    assert read_cancelled(found.params) == own(1)


@pytest.mark.parametrize(
    ("params", "request_id"),
    [
        (b'{"requestId":7}', 7),
        (b'{"requestId":"7"}', "7"),
        (b'{"requestId":%d}' % 2**70, 2**70),
        (b'{"requestId":true}', None),
        (b'{"requestId":7.0}', None),
        (b'{"requestId":1,"requestId":2}', None),
        (b"{}", None),
        (b"[7]", None),
        (None, None),
    ],
)
def test_a_cancellation_names_a_request_or_nothing(params: bytes | None, request_id: str | int | None) -> None:
    assert read_cancelled(params) == request_id


@given(st.binary(max_size=60))
def test_no_cancellation_makes_the_reader_raise(params: bytes) -> None:
    read_cancelled(params)


SEATS = [Seat(principal, session) for principal in ("alice", "bob") for session in ("s1", "s2")]
PICK_SEAT, PICK_NUMBER = st.sampled_from(SEATS), st.integers(0, 5)


class AnyOrder(RuleBasedStateMachine):
    """Whatever happens in whatever order: a question has one counted answer at most, from its own seat."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Correlation()
        self.open: dict[str, tuple[Seat, Asked]] = {}

    def forget(self, seat: Seat, over: tuple[Asked, ...]) -> None:
        for asked in over:
            assert self.open.pop(asked.own_id)[0] == seat

    @rule(seat=PICK_SEAT, number=PICK_NUMBER, ref=PICK_NUMBER, call=PICK_NUMBER, carried=PICK_NUMBER)
    def ask(self, *, seat: Seat, number: int, ref: int, call: int, carried: int) -> None:
        asked = put(number, str(ref), call, carried)
        assert self.table.ask(seat, asked) == (asked.own_id not in self.open)
        self.open.setdefault(asked.own_id, (seat, asked))

    @rule(seat=PICK_SEAT, number=PICK_NUMBER)
    def answer(self, seat: Seat, number: int) -> None:
        owner = self.open.get(own(number))
        found = self.table.answer(seat, own(number))
        if owner is None or owner[0] != seat:
            assert found is (Verdict.STRANGER if owner else Verdict.LATE)
            return
        assert isinstance(found, Taken)
        assert {each.ref for each in found.others} <= {found.asked.ref}
        self.forget(seat, (found.asked, *found.others))

    @rule(seat=PICK_SEAT, call=PICK_NUMBER)
    def end_call(self, seat: Seat, call: int) -> None:
        self.forget(seat, self.table.end_call(seat, call).asked)

    @rule(seat=PICK_SEAT, call=PICK_NUMBER)
    def open_or_detach(self, seat: Seat, call: int) -> None:
        if not self.table.open_call(seat, call):
            self.table.detach_call(seat, call)

    @rule(seat=PICK_SEAT, ref=PICK_NUMBER)
    def settle(self, seat: Seat, ref: int) -> None:
        self.forget(seat, self.table.settle(seat, str(ref)))

    @rule(seat=PICK_SEAT, carried=PICK_NUMBER)
    def take_back(self, seat: Seat, carried: int) -> None:
        self.forget(seat, self.table.upstream_cancelled(seat, carried))

    @rule(seat=PICK_SEAT)
    def close(self, seat: Seat) -> None:
        for ended in self.table.close(seat):
            self.forget(seat, ended.asked)
        assert all(owner != seat for owner, _ in self.open.values())

    @invariant()
    def nothing_is_kept_that_is_over(self) -> None:
        assert len(self.table) == len(self.open)
        assert all(not book.is_empty() for book in self.table._books.values())


TestAnyOrder = AnyOrder.TestCase
