"""Checks an audit trail: whether it is whole, and otherwise where it is not.

A chain is proved from its end: the head, which is kept apart, proves the last entry, and each entry proves the one
before it by its digest. Read from its beginning, the first place that does not fit is told, and where two neighbours
do not fit to one another the one that the rest of the chain does not prove. Of a run of entries that were all written
anew the last one is told: it is proved to be another one, and what came before is proved by nothing any more.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from proxy.core.audit import Entry, Head, anchor_of
from proxy.core.deeds import TrailLost


class Damage(StrEnum):
    """What was done to a trail."""

    ALTERED = "altered"
    """The entry is not what it was."""
    MISSING = "missing"
    """The entry was taken out."""
    INSERTED = "inserted"
    """The entry was put in."""
    MOVED = "moved"
    """The entry stands further behind."""
    CUT_OFF = "cut_off"
    """The trail ends before the entry."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The first place at which a trail is not whole."""

    damage: Damage
    number: int
    """Number of the entry that this is about: the one that belongs there, or the one that does not."""
    place: int
    """Where in what was read, from 0 on; line `place` + 1 of an export."""


@dataclass(frozen=True, slots=True)
class Intact:
    """A trail that is whole."""

    begins: Head
    """What the first entry follows: an entry that was taken out by the rule, or nothing."""
    head: Head
    """What the last entry ends with."""
    losses: tuple[int, ...]
    """Entries before which others were lost with a state file, as the trail itself says."""


_DONE: Final = {
    Damage.ALTERED: "entry {} is not what it was",
    Damage.MISSING: "entry {} was taken out",
    Damage.INSERTED: "entry {} was put in",
    Damage.MOVED: "entry {} stands further behind",
    Damage.CUT_OFF: "the trail ends before entry {}",
}


def describe(found: Intact | Broken) -> str:
    """One line about a trail that was checked."""
    if isinstance(found, Broken):
        done = _DONE[found.damage].format(found.number)
        return f"broken ({found.damage.value}): {done}; line {found.place + 1} of what was read"
    begins, head, losses = found.begins, found.head, found.losses
    kept = f"entries {begins.number + 1} to {head.number}" if head != begins else "no entries"
    lost = f"; lost with a state file: what was before {', '.join(map(str, losses))}" if losses else ""
    return f"intact: {kept}, head {head.number}:{head.digest.hex()}{lost}"


def holds(entries: Iterable[Entry], found: Intact, noted: Head) -> bool | None:
    """Whether a whole trail goes on from a head that was noted earlier; None where that went, by the rule or a loss."""
    if noted == found.begins:
        return True
    digest = next((entry.digest for entry in entries if entry.number == noted.number), None)
    if digest is None:
        return None if noted.number <= max(found.begins.number, *found.losses, 0) else False
    return digest == noted.digest


def verify(entries: Iterable[Entry | None], head: Head | None) -> Intact | Broken:
    """Check a trail, whose entries are None where they cannot be read, against the head that was kept apart.

    Without a head (None) nobody can tell whether something is missing at the end, or was put there.
    """
    return _Check(list(entries), head).run()


class _Check:
    """One check, over everything that was read."""

    __slots__ = ("_begins", "_entries", "_head", "_losses", "_true")

    def __init__(self, entries: list[Entry | None], head: Head | None) -> None:
        self._entries = entries
        self._true = [entry is not None and entry.is_true for entry in entries]
        self._head = head
        self._losses: list[int] = []
        self._begins = self._beginning()

    def run(self) -> Intact | Broken:
        before = self._begins
        for place, entry in enumerate(self._entries):
            if entry is None or not self._true[place]:
                return Broken(Damage.ALTERED, before.number + 1, place)
            damage = self._damage_at(place, entry, before)
            if damage is not None:
                return damage
            before = entry.head
        return self._damage_at_end(before) or Intact(self._begins, before, tuple(self._losses))

    def _beginning(self) -> Head:
        """What the first entry has to follow: what it says, where the chain says the same, and else what that says."""
        anchors = [
            anchor
            for entry, is_true in zip(self._entries, self._true, strict=True)
            if entry is not None and is_true and (anchor := anchor_of(entry)) is not None
        ]
        first = self._entries[0] if self._entries else None
        if first is not None and Head(first.number - 1, first.previous) in {*anchors, Head()}:
            return Head(first.number - 1, first.previous)
        return anchors[-1] if anchors else Head()

    def _damage_at(self, place: int, entry: Entry, before: Head) -> Broken | None:
        if entry.what == TrailLost.what and anchor_of(entry) == Head(entry.number - 1, entry.previous):
            self._losses.append(entry.number)
            before = before if entry.number <= before.number else Head(entry.number - 1, entry.previous)
        if entry.number <= before.number:
            return self._inserted(place, entry)
        if entry.number > before.number + 1:
            return self._absent(place, before.number + 1)
        if entry.previous != before.digest:
            is_other = place > 0 and self._is_proved(place, entry)
            return Broken(Damage.ALTERED, entry.number - is_other, place - is_other)
        if self._head is not None and entry.number > self._head.number:
            return Broken(Damage.INSERTED, entry.number, place)
        return None

    def _inserted(self, place: int, entry: Entry) -> Broken:
        """A number for the second time: the one that the rest of the chain does not prove is the other one."""
        twin = self._entries[place - 1] if place else None
        is_other = twin is not None and twin.number == entry.number and self._is_proved(place, entry)
        return Broken(Damage.INSERTED, entry.number, place - is_other)

    def _absent(self, place: int, number: int) -> Broken:
        is_later = any(entry is not None and entry.number == number for entry in self._entries[place:])
        return Broken(Damage.MOVED if is_later else Damage.MISSING, number, place)

    def _is_proved(self, place: int, entry: Entry) -> bool:
        """Whether the entry behind this one, or the head, says that it is what it was."""
        behind = self._entries[place + 1] if place + 1 < len(self._entries) else None
        if behind is None:
            return self._head == entry.head
        return self._true[place + 1] and Head(behind.number - 1, behind.previous) == entry.head

    def _damage_at_end(self, last: Head) -> Broken | None:
        if self._head is None or last == self._head:
            return None
        if last.number < self._head.number:
            return Broken(Damage.CUT_OFF, last.number + 1, len(self._entries))
        return Broken(Damage.ALTERED, last.number, max(0, len(self._entries) - 1))
