"""The report of security as a whole: ranks, trend, who was refused, one component of it."""

from dataclasses import replace

import orjson
import pytest

from proxy.core.audit import Entry
from proxy.core.deeds import AgentForced, Refusal
from proxy.core.printable import printable_json
from proxy.reports.checks import Component
from proxy.reports.facts import Guarded, TrailFacts
from proxy.reports.forms import Form, write
from proxy.reports.render import to_markdown
from proxy.reports.security import ALWAYS, CHECKS, DAYS, MOST_SUBJECTS, judge, to_document, to_plain
from tests.support.security_facts import facts, refused, trail

pytestmark = pytest.mark.requirement("report.security")


def _entries() -> tuple[Entry, ...]:
    return trail(
        (AgentForced(cohort=None, until=None), "alice", 9),
        (refused(Refusal.IMPERSONATION, 3, rule="claim"), "mallory", 2.1),
        (refused(Refusal.IMPERSONATION, 2, rule="claim"), "mallory", 0),
        (refused(Refusal.OPERATOR_TOKEN, 4), "127.0.0.1", 0),
        (refused(Refusal.SIGNATURE, 1, is_enforced=False), "", 0),
    )


def test_names_of_checks_are_their_own() -> None:
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    assert ALWAYS in names


def test_it_fails_with_a_high_finding_and_passes_with_others() -> None:
    assert not judge(facts()).has_failed
    assert not judge(facts(identity="off", operators=0)).has_failed
    assert judge(facts(files=[Guarded(what="x", path="/x", mode=0o666, allowed=0o600)])).has_failed


def test_findings_stand_in_the_order_of_their_rank() -> None:
    report = judge(facts(identity="off", operators=0, problems=["broken"]))
    assert [finding.severity.value for _, finding in report.ranked()] == ["high", "medium", "low"]
    told = to_markdown(to_document(report))
    assert "Failed. Findings: 1 high, 0 unknown, 1 medium, 1 low." in told
    assert told.index("| high | broken |") < told.index("| medium |") < told.index("| low |")


def test_json_tells_who_was_refused_why_and_on_which_day() -> None:
    plain = orjson.loads(printable_json(to_plain(judge(facts(_entries())))))
    assert plain["refusals"]["by_subject"][0] == {
        "subject": "mallory", "why": "impersonation", "rule": "claim", "refused": True, "calls": 5,
        "last_at": 1_800_000_000.0,
    }  # fmt: skip
    days = plain["refusals"]["by_day"]
    assert len(days) == DAYS
    assert days[-1] == {"day": "2027-01-15", "impersonation": 2, "operator_token": 4, "signature (let through)": 1}
    assert days[-3]["impersonation"] == 3
    assert days[-2] == {"day": "2027-01-14"}
    assert plain["trail"] == {"whole": True, "verdict": plain["trail"]["verdict"], "entries": 5}
    assert plain["posture"]["keys"][0]["state"] == "active"
    assert [check["holds"] for check in plain["checks"]] == [check.question for check in CHECKS]


def test_people_read_the_same() -> None:
    told = write(to_document(judge(facts(_entries()))), {}, Form.MARKDOWN)
    assert "| mallory | impersonation | claim | refused | 5 | 2027-01-15 08:00 UTC |" in told
    assert "| (not told) | signature |  | let through | 1 |" in told
    assert "| 2027-01-15 | 2 | 4 | 1 |" in told
    assert "agent\\_forced | alice |" in told
    quiet = write(to_document(judge(facts(keys=[], files=[]))), {}, Form.MARKDOWN)
    assert "Nobody." in quiet
    assert f"No call was refused in the last {DAYS} days." in quiet


def test_a_component_has_its_own_checks_and_refusals_and_always_the_trail() -> None:
    told = facts(_entries(), problems=["broken"])
    report = judge(told, Component.ELICITATION)
    assert {judged.check.component for judged in report.judged} == {Component.ELICITATION, Component.STATE}
    assert [judged.check.name for judged in report.judged if judged.check.component is Component.STATE] == [ALWAYS]
    assert {each.why for each in report.refused()} == {"impersonation", "signature"}
    assert {each.why for each in judge(told, Component.ADMIN).refused()} == {"operator_token"}
    assert len(judge(told, Component.TRANSPORT).refused()) == 4
    assert "Security report: elicitation" in to_markdown(to_document(report))
    assert not report.has_failed
    broken = judge(replace(told, trail=TrailFacts(verdict="broken", is_whole=False)), Component.ELICITATION)
    assert broken.has_failed


def test_long_lists_are_cut_and_say_so() -> None:
    many = trail(*((refused(Refusal.LIMIT, 1), f"agent{n}", 0) for n in range(MOST_SUBJECTS + 3)))
    told = to_markdown(to_document(judge(facts(many))))
    assert "And 3 more" in told


def test_entries_that_are_not_what_they_were_and_dates_beyond_the_calendar_are_shown_as_such() -> None:
    first, second = trail(
        (AgentForced(cohort=None, until=None), "alice", 1), (AgentForced(cohort=None, until=None), "bob", -10_000_000)
    )
    told = to_markdown(to_document(judge(facts((replace(first, subject="mallory"), second)))))
    assert "an entry that is not what it was" in told
    assert "mallory" not in told
    assert "865800000000 s | sidecar" in told


def test_a_file_that_cannot_be_looked_at_is_unknown_and_passes_nothing() -> None:
    unknown = Guarded(what="key file", path="/gone", mode=None, allowed=0o600)
    report = judge(facts(files=[unknown]))
    told = to_markdown(to_document(report))
    assert "| key file | /gone | unknown | unknown |" in told
    assert "Unknown. Findings: 0 high, 1 unknown" in told
    assert (report.verdict, to_plain(report)["failed"]) == ("unknown", False)
    open_too = judge(facts(files=[unknown, Guarded(what="x", path="/x", mode=0o666, allowed=0o600)]))
    assert open_too.verdict == "failed"


@pytest.mark.parametrize("is_whole", [None, False])
def test_a_trail_that_cannot_be_read_tells_of_nobody_that_nothing_was_refused(*, is_whole: bool | None) -> None:
    report = judge(replace(facts(), trail=TrailFacts(verdict="not to be read", is_whole=is_whole)))
    told = to_markdown(to_document(report))
    for claim in ("No call was refused", "Nobody.", "Nothing."):
        assert claim not in told
    assert told.count("Unknown. Audit trail: not to be read.") == 3
    passed = {judged.check.name: judged.passed for judged in report.judged}
    assert (passed["trail"], passed["events"], passed["identity"]) == (is_whole, None, True)
    assert report.verdict == ("unknown" if is_whole is None else "failed")
