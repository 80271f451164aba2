"""Entries of the audit trail: what they are made of, and how they are exported."""

import hashlib
import math
from dataclasses import replace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.audit import (
    SIDECAR,
    AuditBounds,
    Entry,
    Head,
    anchor_of,
    canonical,
    entry_after,
    line_of,
    lines_of,
    loss_after,
    read_lines,
    rotation_after,
)
from proxy.core.deeds import OperatorActed, Word
from proxy.core.errors import InvalidInput
from tests.support.audit_chain import AT, DEEDS, chain, signed

pytestmark = pytest.mark.requirement("audit.chain")


def test_an_entry_is_one_line_of_sorted_json_with_the_digest_of_the_rest_at_its_end() -> None:
    entry = entry_after(Head(4, b"\x01" * 32), DEEDS[3], who="operator", subject="", at=12.3456)
    form = (
        b'{"at_ms":12346,"details":{"action":"cache_cleared"},"number":5,"previous":"' + b"01" * 32 + b'",'
        b'"subject":"","what":"operator_acted","who":"operator"}'
    )
    assert canonical(entry) == form
    assert entry.digest == hashlib.sha256(form).digest()
    assert line_of(entry) == form[:-1] + b',"digest":"' + entry.digest.hex().encode() + b'"}'
    assert entry.head == Head(5, entry.digest)
    assert entry.is_true


def test_the_first_entry_follows_nothing() -> None:
    entry = chain(1)[0]
    assert (entry.number, entry.previous) == (1, bytes(32))


@pytest.mark.parametrize("name", ["", "x" * 301, "a\nb", "\x1b[31m", "\ud800", "a\u202eb"])
def test_a_name_that_could_not_be_shown_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="printable"):
        entry_after(Head(), DEEDS[0], who=name, subject="x", at=AT)
    if name:
        with pytest.raises(InvalidInput, match="printable"):
            entry_after(Head(), DEEDS[0], who="x", subject=name, at=AT)


@pytest.mark.parametrize("at", [math.nan, math.inf, -1e12, 1e300])
def test_a_time_that_is_none_is_refused(at: float) -> None:
    with pytest.raises(InvalidInput, match="seconds since the epoch"):
        entry_after(Head(), DEEDS[0], who="x", subject="", at=at)


@pytest.mark.parametrize(
    "change",
    [
        {"number": 9},
        {"number": 2**70},
        {"at_ms": 0},
        {"who": "Operator"},
        {"who": "\udcff"},
        {"what": ""},
        {"subject": "bob"},
        {"details": '{"action": "cache_cleared"}'},
        {"details": '{"action":"a","action":"cache_cleared"}'},
        {"details": ""},
        {"details": "\udcff"},
        {"details": "[" * 2_000},
        {"details": "[" * 300 + "]" * 300},
        {"previous": b""},
        {"digest": b""},
    ],
)
def test_no_field_can_be_another_unseen(change: dict[str, object]) -> None:
    entry = entry_after(Head(), OperatorActed(action=Word("cache_cleared")), who="operator", subject="alice", at=AT)
    other = replace(entry, **change)  # type: ignore[arg-type]  # each is of its field's type
    assert not other.is_true
    assert line_of(other) != line_of(entry)
    assert b"\n" not in line_of(other)
    assert not any(read is not None and read.is_true for read in read_lines(line_of(other) + b"\n"))


def test_what_stands_in_one_field_cannot_pass_for_two() -> None:
    """`details` is put into the canonical form as it stands, so it has to be one value, and exactly that."""
    entry = entry_after(Head(), DEEDS[3], who="x", subject="", at=AT)
    forged = replace(entry, details='{"action":"cache_cleared"},"number":1')
    assert canonical(forged) is None


def test_bounds_take_the_oldest_out_when_there_is_no_room_for_one_more() -> None:
    bounds = AuditBounds(entries=10, at_once=3)
    assert bounds.rotates_upto(first=1, last=9) is None
    assert bounds.rotates_upto(first=1, last=10) == 3
    assert bounds.rotates_upto(first=4, last=13) == 6
    for entries, at_once in ((10, 1), (3, 2), (10, 9)):
        with pytest.raises(ValueError, match="at least 2"):
            AuditBounds(entries=entries, at_once=at_once)


def test_entries_that_stand_for_others_say_which() -> None:
    entries = chain(3)
    rotation = rotation_after(entries[-1].head, entries[0].head, at=AT)
    loss = loss_after(entries[-1].head, at=AT)
    assert (rotation.who, rotation.what, rotation.number, loss.number) == (SIDECAR, "trail_rotated", 4, 4)
    assert anchor_of(rotation) == entries[0].head
    assert anchor_of(loss) == entries[-1].head
    assert anchor_of(entries[0]) is None
    assert anchor_of(signed(replace(rotation, details='{"upto":"x"}'))) is None
    assert anchor_of(signed(replace(rotation, details='{"digest":"no hex","upto":3}'))) == Head(3, b"")


@given(st.integers(0, 12))
def test_an_export_is_read_as_it_was_written(length: int) -> None:
    entries = chain(length)
    assert read_lines(b"".join(lines_of(entries))) == entries


@pytest.mark.parametrize("line", [b"", b"{}", b"null", b"[1]", b"\xff", b'{"number":1}', b"{" * 2_000])
def test_a_line_that_is_no_entry_is_none(line: bytes) -> None:
    assert read_lines(line + b"\n") == [None]


def test_a_line_in_any_other_spelling_is_none() -> None:
    (entry,) = chain(1)
    line = line_of(entry)
    parsed = orjson.loads(line)
    others = [
        b" " + line,
        line.replace(b'":', b'": ', 1),
        line + b"\r",
        line.replace(entry.digest.hex().encode(), entry.digest.hex().upper().encode()),
        line.replace(b'"who":"operator"', b'"who":"\\u006fperator"'),
        orjson.dumps(parsed | {"more": 1}),
        orjson.dumps(parsed | {"number": True}),
        orjson.dumps(parsed | {"digest": "x"}),
    ]
    assert [read_lines(other + b"\n") for other in others] == [[None]] * len(others)


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_whatever_is_read_was_written_like_that(export: bytes) -> None:
    for entry in read_lines(export):
        assert entry is None or isinstance(entry, Entry)
