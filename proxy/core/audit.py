"""The audit trail: a chain of entries in which none can be altered, taken out, put in or moved without a trace.

Each entry holds the SHA-256 of the one before. The digest of an entry is that of its canonical form: JSON with sorted
members and without blanks, of everything but the digest itself. The head, which is the number and the digest of the
last entry, is kept apart: by it a tail that was cut off is found, and whoever can write the trail but not the head
cannot write it anew. An exported line is the canonical form with the digest as one more member.

The oldest entries may be taken out. The entry that says so holds number and digest of the last one of them, and the
entry behind that one goes on from there: the trail begins where the chain itself says that it begins.

Source: FIPS 180-4 (SHA-256), RFC 8785 (order of members); Haber and Stornetta 1991, "How to Time-Stamp a Digital
Document", section 5.1 (linking). The rest is ours.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import orjson

from proxy.core.deeds import Deed, TrailLost, TrailRotated, Word, details_of
from proxy.core.errors import InvalidInput

DIGEST_BYTES: Final = 32

MAX_NAME_CHARS: Final = 300
"""Longest name of whoever did it, or had it done to them. Source: as an agent id."""

MAX_TIME_S: Final = 1e12
"""Latest time, seconds since the epoch. Source: ours; milliseconds of it are whole in every reader of JSON."""

SIDECAR: Final = "sidecar"
"""Who has done what nobody else did."""


@dataclass(frozen=True, slots=True)
class Head:
    """The last entry of a chain, or the one before its first; a chain of nothing begins at number 0."""

    number: int = 0
    digest: bytes = bytes(DIGEST_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry as it was stored; whether it is what it was, `is_true` says."""

    number: int
    """From 1 on, without a gap."""
    at_ms: int
    """Milliseconds since the epoch."""
    who: str
    """An agent, an operator, or the sidecar itself."""
    what: str
    """The kind of the deed."""
    subject: str
    """To whom or what it was done; may be empty."""
    details: str
    """The fields of the deed, as canonical JSON."""
    previous: bytes
    """Digest of the entry before."""
    digest: bytes

    @property
    def head(self) -> Head:
        """A chain that ends here."""
        return Head(self.number, self.digest)

    @property
    def is_true(self) -> bool:
        """Whether the digest is that of this entry."""
        form = canonical(self)
        return form is not None and hashlib.sha256(form).digest() == self.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """All entries that are kept, and the head, as they stood at one moment."""

    entries: Sequence[Entry]
    head: Head


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditBounds:
    """How many entries are kept, and how many of the oldest are taken out at once when there are more.

    Source: ours; a hundred a day for the twelve weeks of a migration make 8,400, some 20 MB at most.
    """

    entries: int = 50_000
    at_once: int = 1_000

    def __post_init__(self) -> None:
        if not 2 <= self.at_once <= self.entries - 2:
            raise ValueError("expected at least 2 entries to be taken out at once, and 2 to be left")

    def rotates_upto(self, *, first: int, last: int) -> int | None:
        """The last entry to be taken out before one more is written; None where there is room for it."""
        return first + self.at_once - 1 if last - first + 1 >= self.entries else None


DEFAULT_BOUNDS: Final = AuditBounds()


def canonical(entry: Entry) -> bytes | None:
    """The bytes that the digest is made of; None for an entry that nobody can have written."""
    try:
        details = orjson.dumps(orjson.loads(entry.details), option=orjson.OPT_SORT_KEYS)
        return _form(entry) if details == entry.details.encode() else None
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, UnicodeEncodeError):
        return None


def _form(entry: Entry) -> bytes:
    form = {
        "number": entry.number,
        "at_ms": entry.at_ms,
        "who": entry.who,
        "what": entry.what,
        "subject": entry.subject,
        "details": orjson.Fragment(entry.details),
        "previous": entry.previous.hex(),
    }
    return orjson.dumps(form, option=orjson.OPT_SORT_KEYS)


def entry_after(head: Head, deed: Deed, *, who: str, subject: str, at: float) -> Entry:
    """The entry that follows a chain with this head; `at` in seconds since the epoch.

    Raises:
        InvalidInput: a deed, a name or a time that cannot be written down.
    """
    if not who or not all(len(name) <= MAX_NAME_CHARS and name.isprintable() for name in (who, subject)):
        raise InvalidInput(f"a name in the audit trail has at most {MAX_NAME_CHARS} printable characters")
    if not abs(at) < MAX_TIME_S:  # which is true of no number (NaN), too
        raise InvalidInput("a time in the audit trail is in seconds since the epoch")
    entry = Entry(
        number=head.number + 1,
        at_ms=round(at * 1000),
        who=who,
        what=deed.what,
        subject=subject,
        details=details_of(deed),
        previous=head.digest,
        digest=b"",
    )
    return replace(entry, digest=hashlib.sha256(_form(entry)).digest())


def rotation_after(head: Head, last_out: Head, *, at: float) -> Entry:
    """The entry that says that the oldest entries were taken out, up to and with `last_out`."""
    deed = TrailRotated(upto=last_out.number, digest=Word(last_out.digest.hex()))
    return entry_after(head, deed, who=SIDECAR, subject="", at=at)


def loss_after(head: Head, *, at: float) -> Entry:
    """The entry that a chain goes on with whose entries up to its head are lost."""
    deed = TrailLost(upto=head.number, digest=Word(head.digest.hex()))
    return entry_after(head, deed, who=SIDECAR, subject="", at=at)


def anchor_of(entry: Entry) -> Head | None:
    """The last of the entries that this one, which is true, says are gone; None where it says nothing like that."""
    if entry.what not in {TrailRotated.what, TrailLost.what}:
        return None
    match orjson.loads(entry.details):
        case {"upto": int(upto), "digest": str(digest)}:
            return Head(upto, _octets(digest))
        case _:
            return None


def line_of(entry: Entry) -> bytes:
    """An entry as one line of JSON, without its line end; one that nobody can have written says only that."""
    form = canonical(entry) or orjson.dumps({"unreadable": entry.number % (1 << 53)})
    return b'%b,"digest":"%b"}' % (form[:-1], entry.digest.hex().encode())


def lines_of(entries: Iterable[Entry]) -> Iterator[bytes]:
    """An export: each entry as a line with its line end."""
    return (line_of(entry) + b"\n" for entry in entries)


def read_lines(export: bytes) -> list[Entry | None]:
    """The entries of an export; None for a line that is none, as no writer would have written it."""
    lines = export.split(b"\n")
    return [_read_line(line) for line in (lines if lines[-1] else lines[:-1])]


def _read_line(line: bytes) -> Entry | None:
    try:
        parsed = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    match parsed:
        case {
            "number": int(number),
            "at_ms": int(at_ms),
            "who": str(who),
            "what": str(what),
            "subject": str(subject),
            "details": dict(details),
            "previous": str(previous),
            "digest": str(digest),
        } if bool not in {type(number), type(at_ms)}:
            entry = Entry(
                number=number,
                at_ms=at_ms,
                who=who,
                what=what,
                subject=subject,
                details=orjson.dumps(details, option=orjson.OPT_SORT_KEYS).decode(),
                previous=_octets(previous),
                digest=_octets(digest),
            )
            return entry if line_of(entry) == line else None
        case _:
            return None


def _octets(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
