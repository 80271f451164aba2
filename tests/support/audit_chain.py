"""Chains of audit entries, and ways to forge them."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from proxy.core.audit import Entry, Head, canonical, entry_after
from proxy.core.deeds import CallRefused, Deed, FlagsChanged, KeyMove, KeyMoved, OperatorActed, Refusal, Word

AT: Final = 1_800_000_000.0
DEEDS: Final[Sequence[Deed]] = (
    FlagsChanged(version=3, flags=(Word("elicitation_percentage"), Word("legacy_fallback"))),
    CallRefused(why=Refusal.IMPERSONATION, rule=None, calls=1),
    KeyMoved(move=KeyMove.ROTATED, keyid=Word("alice-2")),
    OperatorActed(action=Word("cache_cleared")),
)
NAMES: Final = ("operator", "alice", "агент 7", 'quote " and \\ slash', "sidecar")


def chain(length: int, *, head: Head | None = None) -> list[Entry]:
    """A chain of so many entries, all different."""
    entries: list[Entry] = []
    head = head or Head()
    for n in range(length):
        entry = entry_after(
            head, DEEDS[n % len(DEEDS)], who=NAMES[n % len(NAMES)], subject=NAMES[-n % len(NAMES)], at=AT + n / 8
        )
        entries.append(entry)
        head = entry.head
    return entries


def signed(entry: Entry) -> Entry:
    """The same entry with the digest that it should have: what a forger makes who knows the rule."""
    form = canonical(entry)
    assert form is not None
    return replace(entry, digest=hashlib.sha256(form).digest())
