"""Nonces count once for as long as a signature could be accepted, and nothing that counts makes room."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from proxy.core.nonces import MARK_BYTES, SPARE_ENDS, NonceBook, NonceBounds, NonceClaim, mark_of

NOW = 1_800_000_000.0
END = NOW + 300
SMALL = NonceBounds(per_key=2, total=3, longest_s=600)

CLAIMED, REPLAYED, EXPIRED = NonceClaim.CLAIMED, NonceClaim.REPLAYED, NonceClaim.EXPIRED


@pytest.mark.requirement("nonces.once")
def test_a_nonce_is_claimed_once_for_each_key() -> None:
    book = NonceBook()
    assert book.claim("k1", "n", expires=END, now=NOW) is CLAIMED
    assert book.claim("k1", "n", expires=END, now=NOW) is REPLAYED
    assert book.claim("k1", "n", expires=END + 5, now=NOW) is REPLAYED, "under a later signature, too"
    assert book.claim("k2", "n", expires=END, now=NOW) is CLAIMED
    assert book.claim("k1", "N", expires=END, now=NOW) is CLAIMED
    assert book.claim("k1n", "", expires=END, now=NOW) is CLAIMED, "key and nonce do not run into one another"


@pytest.mark.requirement("nonces.window")
def test_it_counts_until_its_very_end_and_is_refused_for_its_age_from_there_on() -> None:
    book = NonceBook()
    assert book.claim("k", "n", expires=END, now=NOW) is CLAIMED
    assert book.claim("k", "n", expires=END, now=math.nextafter(END, 0)) is REPLAYED
    assert book.claim("k", "n", expires=END, now=END) is EXPIRED
    assert book.claim("k", "other", expires=END, now=END) is EXPIRED
    assert book.claim("k", "n", expires=END + 1, now=END) is CLAIMED, "the nonce itself may be used again"


@pytest.mark.requirement("nonces.window")
def test_an_end_that_is_no_time_or_too_far_away_is_refused() -> None:
    book = NonceBook(SMALL)
    assert book.claim("k", "n", expires=math.nan, now=NOW) is EXPIRED
    assert book.claim("k", "n", expires=math.inf, now=NOW) is NonceClaim.TOO_LONG
    assert book.claim("k", "n", expires=NOW + 601, now=NOW) is NonceClaim.TOO_LONG
    assert book.claim("k", "n", expires=NOW + 600, now=NOW) is CLAIMED


@pytest.mark.requirement("nonces.window")
def test_a_clock_that_is_set_back_opens_nothing() -> None:
    book = NonceBook()
    assert book.claim("k", "old", expires=END, now=NOW) is CLAIMED
    assert book.claim("k", "next", expires=END + 300, now=END) is CLAIMED
    assert len(book) == 1
    assert book.claim("k", "old", expires=END, now=NOW) is EXPIRED
    assert book.claim("k", "next", expires=END + 300, now=NOW) is REPLAYED


@pytest.mark.requirement("nonces.bound")
def test_a_full_key_takes_no_place_from_another_and_a_full_book_gives_up_nothing() -> None:
    book = NonceBook(SMALL)
    for nonce in ("1", "2"):
        assert book.claim("k1", nonce, expires=END, now=NOW) is CLAIMED
    assert book.claim("k1", "3", expires=END, now=NOW) is NonceClaim.KEY_FULL
    assert book.claim("k2", "3", expires=END + 9, now=NOW) is CLAIMED
    assert book.claim("k2", "4", expires=END, now=NOW) is NonceClaim.FULL
    assert book.claim("k1", "1", expires=END, now=NOW) is REPLAYED
    assert book.claim("k2", "4", expires=END + 9, now=END) is CLAIMED, "what has expired has made room"
    assert len(book) == 2


@pytest.mark.requirement("nonces.durable")
def test_a_claim_whose_call_was_not_let_through_can_be_taken_back() -> None:
    book = NonceBook()
    assert book.claim("k", "n", expires=END, now=NOW) is CLAIMED
    book.release("k", "n")
    book.release("k", "n")
    assert len(book) == 0
    assert book.claim("k", "n", expires=END, now=NOW) is CLAIMED
    assert book.claim("k", "m", expires=END + 5, now=END) is CLAIMED
    assert (len(book), book.forgotten_upto) == (1, END)


@pytest.mark.requirement("nonces.bound")
def test_claims_that_are_taken_back_without_end_leave_nothing_behind() -> None:
    book = NonceBook()
    book.claim("k", "kept", expires=END, now=NOW)
    for number in range(5 * SPARE_ENDS):
        book.claim("k", str(number), expires=END + number, now=NOW)
        book.release("k", str(number))
    assert len(book._ends) <= SPARE_ENDS + 3
    assert book.claim("k", "kept", expires=END, now=NOW) is REPLAYED
    assert book.claim("k", "new", expires=END + 9, now=END) is CLAIMED
    assert len(book) == 1


@pytest.mark.requirement("nonces.durable")
def test_what_was_claimed_before_is_taken_up_beyond_all_bounds() -> None:
    book = NonceBook(SMALL)
    for nonce in "abcde":
        book.restore(("k", mark_of(nonce)), END)
        book.restore(("k", mark_of(nonce)), END)
    assert book.copy() == {("k", mark_of(nonce)): END for nonce in "abcde"}
    assert book.claim("k", "e", expires=END, now=NOW) is REPLAYED
    assert book.claim("k", "f", expires=END, now=NOW) is NonceClaim.KEY_FULL
    book.raise_forgotten(END + 1)
    book.raise_forgotten(END)
    assert book.claim("k2", "f", expires=END + 1, now=NOW) is EXPIRED


@given(st.text(), st.text())
def test_a_mark_has_one_length_and_tells_nonces_apart(one: str, other: str) -> None:
    assert len(mark_of(one)) == MARK_BYTES
    assert (mark_of(one) == mark_of(other)) == (one == other)


def test_even_text_that_is_no_unicode_has_a_mark() -> None:
    assert mark_of("\udc80") != mark_of("\udc81")


class Claims(RuleBasedStateMachine):
    """A book against the plainest thing that could be right: everything ever accepted, never forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.book = NonceBook(NonceBounds(per_key=4, total=6, longest_s=50))
        self.accepted: dict[tuple[str, str], float] = {}
        self.clock = 1_000.0

    @rule(seconds=st.sampled_from([-40.0, -1.0, 0.5, 1.0, 10.0, 49.5, 60.0]))
    def time_passes_or_is_set_back(self, seconds: float) -> None:
        self.clock += seconds

    @rule(
        keyid=st.sampled_from(["k1", "k2"]),
        nonce=st.sampled_from("abcdefgh"),
        left_s=st.sampled_from([0, 0.5, 1, 25, 50, 51]),
    )
    def somebody_claims(self, keyid: str, nonce: str, left_s: float) -> None:
        expires = self.clock + left_s
        claimed = self.book.claim(keyid, nonce, expires=expires, now=self.clock)
        before = self.accepted.get((keyid, nonce))
        if claimed is CLAIMED:
            assert 0 < left_s <= 50
            assert before is None or before < expires, "the signature that was accepted is never accepted again"
            self.accepted[keyid, nonce] = expires
        elif claimed is REPLAYED:
            assert before is not None
            assert before > self.clock

    @rule(data=st.data())
    def somebody_replays(self, data: st.DataObject) -> None:
        if self.accepted:
            (keyid, nonce), expires = data.draw(st.sampled_from(sorted(self.accepted.items())))
            assert self.book.claim(keyid, nonce, expires=expires, now=self.clock) is not CLAIMED

    @invariant()
    def bounds_hold(self) -> None:
        assert len(self.book) <= 6
        assert all(sum(key == keyid for key, _ in self.book.copy()) <= 4 for keyid in ("k1", "k2"))


@pytest.mark.requirement("nonces.once")
def test_whatever_happens_a_signature_is_accepted_once() -> None:
    run_state_machine_as_test(Claims, settings=settings(deadline=None, max_examples=60, stateful_step_count=40))
