"""Each check of the audit trail: what it finds, and how it ranks."""

from dataclasses import replace

import pytest

from proxy.core.deeds import Refusal
from proxy.reports.checks import Severity
from proxy.reports.facts import SecurityFacts, TrailFacts
from proxy.reports.trail_checks import TRAIL_CHECKS
from tests.support.security_facts import Told, facts, refused, trail

pytestmark = pytest.mark.requirement("report.findings")

HIGH, MEDIUM, LOW = Severity.HIGH, Severity.MEDIUM, Severity.LOW


def _found(told: SecurityFacts) -> dict[str, list[Severity]]:
    found = {check.name: [finding.severity for finding in check.find(told)] for check in TRAIL_CHECKS}
    return {name: ranks for name, ranks in found.items() if ranks}


def test_a_quiet_trail_has_no_finding() -> None:
    assert _found(facts()) == {}


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ([(refused(Refusal.IMPERSONATION, 4), "alice", 0.5)], {"events": [LOW]}),
        ([(refused(Refusal.FOREIGN_ANSWER, 5), "alice", 0.5)], {"events": [MEDIUM]}),
        ([(refused(Refusal.REPLAY, 50), "alice", 2)], {}),
        ([(refused(Refusal.LIMIT, 19), "alice", 0.5)], {}),
        ([(refused(Refusal.LIMIT, 20), "alice", 0.5)], {"surge": [MEDIUM]}),
        ([(refused(Refusal.LIMIT, 70), "alice", 3), (refused(Refusal.LIMIT, 29), "alice", 0.5)], {}),
        ([(refused(Refusal.LIMIT, 70), "a", 3), (refused(Refusal.LIMIT, 30), "a", 0.5)], {"surge": [MEDIUM]}),
        ([(refused(Refusal.SIGNATURE, 2, is_enforced=False), "alice", 6)], {"let_through": [MEDIUM]}),
        ([(refused(Refusal.SIGNATURE, 2, is_enforced=False), "alice", 8)], {}),
        ([(refused(Refusal.OPERATOR_TOKEN, 9), "127.0.0.1", 5)], {"guesses": [LOW]}),
        (
            [(refused(Refusal.OPERATOR_TOKEN, 9), "10.0.0.9", 5), (refused(Refusal.ROLE, 1), "10.0.0.9", 4)],
            {"guesses": [MEDIUM]},
        ),
    ],
)
def test_what_was_refused_is_weighed(told: list[Told], found: dict[str, list[Severity]]) -> None:
    assert _found(facts(trail(*told))) == found


def test_a_trail_that_is_not_whole_is_the_worst() -> None:
    good = facts()
    assert _found(replace(good, trail=TrailFacts(verdict="broken", is_whole=False))) == {"trail": [HIGH]}
    assert _found(replace(good, trail=TrailFacts(verdict="no such file"))) == {"trail": [Severity.UNKNOWN]}
    assert _found(replace(good, trail=replace(good.trail, losses=1))) == {"trail": [MEDIUM]}
