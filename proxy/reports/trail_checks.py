"""Checks of what the audit trail tells."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from proxy.core.deeds import Refusal
from proxy.reports.checks import Check, Component, Finding, Severity
from proxy.reports.facts import DAY_S, Refused, SecurityFacts, refused_in

RECENT_DAYS: Final = 7
"""What counts as recent. Source: ours; the runsheets look back a week."""

EVENTS_PER_DAY: Final = 5
"""So many security events within a day are critical. Source: RUNSHEETS.md, key metrics: security events, critical."""

GUESSES: Final = 10
"""So many wrong tokens within the recent days are no slip of a hand. Source: ours."""

SURGE: Final = 3
SURGE_FROM: Final = 20
"""A day has a surge with so many times the refusals of the mean of the days before, and at least so many.

Source: ours.
"""

_BY_AGENTS: Final = {
    Refusal.IMPERSONATION.value,
    Refusal.SIGNATURE.value,
    Refusal.REPLAY.value,
    Refusal.FOREIGN_ANSWER.value,
}
"""Refusals that are security events, as none happens by load alone."""


def _recent(facts: SecurityFacts, days: float = RECENT_DAYS) -> Iterator[Refused]:
    begin = facts.made_at - days * DAY_S
    return (each for each in refused_in(facts.trail.entries) if each.at_s >= begin)


def _whole(facts: SecurityFacts) -> Iterator[Finding]:
    trail = facts.trail
    if trail.is_whole is False:
        yield Finding(
            Severity.HIGH,
            f"the audit trail is not whole: {trail.verdict}",
            "keep the state file as it is for whoever looks into this; see `elicit-sidecar audit verify`",
        )
    elif trail.is_whole is None:
        told = f"there is no audit trail to be read, so nobody knows what was refused: {trail.verdict}"
        yield Finding(
            Severity.UNKNOWN, told, "see state.url; a sidecar that runs tells more by `GET /reports/security`"
        )
    if trail.losses:
        yield Finding(
            Severity.MEDIUM,
            f"entries were lost with a state file, {trail.losses} times, as the trail itself tells",
            "look for the file that was set aside beside the state file",
        )


def _let_through(facts: SecurityFacts) -> Iterator[Finding]:
    counts = Counter[str]()
    for each in _recent(facts):
        if not each.is_enforced:
            counts[each.why] += each.calls
    for why, calls in counts.most_common():
        yield Finding(
            Severity.MEDIUM,
            f"{calls} calls of the last {RECENT_DAYS} days were let through that a rule would refuse ({why})",
            "find out who makes them and why; then enforce the rule",
        )


def _events(facts: SecurityFacts) -> Iterator[Finding]:
    calls = sum(each.calls for each in _recent(facts, 1) if each.is_enforced and each.why in _BY_AGENTS)
    if calls:
        severity = Severity.MEDIUM if calls >= EVENTS_PER_DAY else Severity.LOW
        yield Finding(severity, f"{calls} calls of the last day were refused as attacks", "see who was refused, below")


def _surge(facts: SecurityFacts) -> Iterator[Finding]:
    last, before = 0, 0
    for each in _recent(facts, RECENT_DAYS + 1):
        if each.at_s >= facts.made_at - DAY_S:
            last += each.calls
        else:
            before += each.calls
    if last >= max(SURGE_FROM, SURGE * before / RECENT_DAYS):
        yield Finding(
            Severity.MEDIUM,
            f"{last} calls were refused within a day, against {before / RECENT_DAYS:.1f} a day in the week before",
            "see who was refused, below",
        )


def _guesses(facts: SecurityFacts) -> Iterator[Finding]:
    counts = Counter[str]()
    for each in _recent(facts):
        if each.why in {Refusal.OPERATOR_TOKEN.value, Refusal.ROLE.value}:
            counts[each.subject] += each.calls
    for subject, calls in counts.most_common():
        severity = Severity.MEDIUM if calls >= GUESSES else Severity.LOW
        told = f"{calls} calls from {subject or 'somewhere'} to the admin port had no token that suffices"
        yield Finding(severity, told, "a script without its token, or somebody who tries")


TRAIL_CHECKS: Final = tuple(
    Check(name=name, component=component, question=question, find=find, reads_trail=True)
    for name, component, question, find in (
        ("trail", Component.STATE, "the audit trail is whole", _whole),
        ("let_through", Component.ELICITATION, "nothing is let through that a rule would refuse", _let_through),
        ("events", Component.ELICITATION, "nobody tries to speak as another", _events),
        ("surge", Component.ELICITATION, "no more is refused than usual", _surge),
        ("guesses", Component.ADMIN, "nobody tries tokens on the admin port", _guesses),
    )
)
"""In the order of the report."""
