"""Facts for reports of security: a sidecar in order, and the changes that a test makes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from proxy.core.audit import Entry, Head, entry_after
from proxy.core.audit_check import describe, verify
from proxy.core.deeds import CallLetThrough, CallRefused, Deed, Refusal, Word
from proxy.core.key_ring import KeyState
from proxy.reports.facts import (
    DAY_S,
    BridgeWay,
    Guarded,
    KeyFact,
    Listener,
    Posture,
    SecurityFacts,
    Shown,
    TrailFacts,
)

NOW: Final = 1_800_000_000.0

GOOD: Final = Posture(
    listeners=(
        Listener(name="data", address="127.0.0.1:8766", is_loopback=True, is_tls=False),
        Listener(name="admin", address="127.0.0.1:8767", is_loopback=True, is_tls=False),
    ),
    bridge=BridgeWay(
        url="https://bridge.example", is_loopback=False, is_tls=True, has_own_authorities=True, shows_certificate=False
    ),
    identity="enforce",
    signatures="enforce",
    signs=True,
    has_key_file=True,
    agent="alice",
    limits=[(name, "10/min+3") for name in ("questions", "answers", "waits", "calls", "bytes")],
    keys=[KeyFact(key_id="k1", agent_id="alice", state=KeyState.ACTIVE, age_s=3 * DAY_S)],
    certificates=[Shown(by="bridge.client_cert_file", not_after=NOW + 100 * DAY_S)],
    files=[Guarded(what="state file", path="/var/lib/state.db", mode=0o600, allowed=0o600)],
    operators=1,
    viewers=1,
    state="sqlite:///var/lib/state.db",
)
"""Nothing to be found."""

Told = tuple[Deed, str, float]
"""A deed, its subject, and how many days ago."""


def trail(*told: Told) -> tuple[Entry, ...]:
    """The entries of a trail."""
    entries: list[Entry] = []
    head = Head()
    for deed, subject, days_ago in told:
        entries.append(entry_after(head, deed, who="sidecar", subject=subject, at=NOW - days_ago * DAY_S))
        head = entries[-1].head
    return tuple(entries)


def refused(why: Refusal, calls: int, *, rule: str = "", is_enforced: bool = True) -> Deed:
    """Calls that were refused, or let through."""
    kind = CallRefused if is_enforced else CallLetThrough
    return kind(why=why, rule=Word(rule) if rule else None, calls=calls)


def facts(entries: Sequence[Entry] = (), **posture: object) -> SecurityFacts:
    """Facts of a sidecar in order, but for what is named."""
    head = entries[-1].head if entries else Head()
    told = TrailFacts(entries=entries, verdict=describe(verify(entries, head)), is_whole=True)
    changed = replace(GOOD, **posture)  # type: ignore[arg-type]  # names and values of its fields
    return SecurityFacts(made_at=NOW, version="1.0", posture=changed, trail=told)
