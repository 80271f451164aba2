"""What the trail tells of refused calls, as far as it can be believed."""

from dataclasses import replace
from datetime import date

import pytest

from proxy.core.audit import Entry
from proxy.core.deeds import OperatorActed, Refusal, Word
from proxy.reports.facts import Guarded, Refused, refused_in
from tests.support.audit_chain import signed
from tests.support.security_facts import NOW, refused, trail


def test_refused_and_let_through_calls_are_told_apart_and_other_deeds_left_out() -> None:
    entries = trail(
        (OperatorActed(action=Word("shutdown")), "", 3),
        (refused(Refusal.LIMIT, 4, rule="questions"), "alice", 2),
        (refused(Refusal.SIGNATURE, 5, rule="absent", is_enforced=False), "bob", 1),
        (refused(Refusal.HOST, 1), "", 0),
    )
    first, second, third = refused_in(entries)
    assert first == Refused(
        at_s=NOW - 2 * 86_400, subject="alice", why="limit", rule="questions", calls=4, is_enforced=True
    )
    assert (second.is_enforced, second.rule, third.rule) == (False, "absent", "")
    assert third.day == date(2027, 1, 15)


def _altered(entry: Entry, **changes: object) -> Entry:
    return replace(entry, **changes)  # type: ignore[arg-type]  # names and values of its fields


def test_an_entry_that_is_not_what_it_was_tells_nothing() -> None:
    (entry,) = trail((refused(Refusal.LIMIT, 4), "alice", 0))
    assert list(refused_in([_altered(entry, subject="bob"), _altered(entry, details="{")])) == []


def test_an_entry_of_another_shape_is_left_out() -> None:
    (entry,) = trail((refused(Refusal.LIMIT, 4), "alice", 0))
    assert list(refused_in([signed(_altered(entry, details='{"calls":"many"}'))])) == []


def test_a_day_beyond_the_calendar_is_its_last() -> None:
    (entry,) = trail((refused(Refusal.LIMIT, 4), "alice", -10_000_000))
    (found,) = refused_in([entry])
    assert found.day == date.max


@pytest.mark.parametrize(
    ("mode", "allowed", "is_open"),
    [(0o600, 0o600, False), (0o400, 0o600, False), (0o640, 0o600, True), (0o604, 0o640, True), (None, 0o600, False),
     (0o1755, 0o755, False), (0o700, 0o600, True)],
)  # fmt: skip
def test_a_file_is_open_when_its_mode_has_more_than_it_may(mode: int | None, allowed: int, *, is_open: bool) -> None:
    assert Guarded(what="x", path="/x", mode=mode, allowed=allowed).is_open is is_open
