"""The report of security: what was refused, to whom and why, how the sidecar is set up, and what to do about it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from proxy.core.audit import Entry
from proxy.core.deeds import CallLetThrough, CallRefused
from proxy.reports.checks import RANK, Check, Component, Finding, Severity, Verdict
from proxy.reports.document import Block, Document, Paragraph, Section, Table
from proxy.reports.facts import DAY_S, Guarded, Posture, Refused, SecurityFacts, refused_in
from proxy.reports.posture_checks import POSTURE_CHECKS
from proxy.reports.trail_checks import TRAIL_CHECKS

CHECKS: Final = (*TRAIL_CHECKS, *POSTURE_CHECKS)
"""Every check, in the order of the report."""

ALWAYS: Final = "trail"
"""The check that is made whatever the report is about: without the trail nothing else is proved."""

DAYS: Final = 14
"""Days that the trend shows. Source: ours; two weeks side by side."""

MOST_SUBJECTS: Final = 50
MOST_DEEDS: Final = 50
"""Rows of the tables of subjects and of operators' deeds. Source: ours; the trail itself has all of them."""

_ADMIN_REASONS: Final = frozenset({"operator_token", "role"})
"""Refusals of the admin port alone."""

_PASSED: Final[Mapping[bool | None, str]] = {True: "yes", False: "no", None: Verdict.UNKNOWN.value}


@dataclass(frozen=True, slots=True)
class Judged:
    """One check and what it found."""

    check: Check
    findings: Sequence[Finding]
    is_blind: bool = False
    """Whether what it reads could not be had."""

    @property
    def passed(self) -> bool | None:
        """Whether nothing was found; None where that is not known."""
        if any(finding.severity is not Severity.UNKNOWN for finding in self.findings):
            return False
        return None if self.findings or self.is_blind else True


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityReport:
    """A report before it is put into any form."""

    facts: SecurityFacts
    component: Component | None
    """What it is about; None for everything."""
    judged: Sequence[Judged]

    @property
    def verdict(self) -> Verdict:
        """Failed with a finding of rank high; unknown where none is and something could not be read."""
        found = {finding.severity for _, finding in self.ranked()}
        if Severity.HIGH in found:
            return Verdict.FAILED
        return Verdict.UNKNOWN if Severity.UNKNOWN in found else Verdict.PASSED

    @property
    def has_failed(self) -> bool:
        """Whether anything was found that must not be."""
        return self.verdict is Verdict.FAILED

    def ranked(self) -> list[tuple[Check, Finding]]:
        """The findings, the most severe first."""
        found = [(judged.check, finding) for judged in self.judged for finding in judged.findings]
        return sorted(found, key=lambda pair: RANK.index(pair[1].severity))

    def refused(self) -> list[Refused]:
        """The refusals that it is about."""
        is_admin = {Component.ELICITATION: False, Component.ADMIN: True}
        wanted = None if self.component is None else is_admin.get(self.component)
        return [
            each
            for each in refused_in(self.facts.trail.entries)
            if wanted is None or (each.why in _ADMIN_REASONS) is wanted
        ]


def judge(facts: SecurityFacts, component: Component | None = None) -> SecurityReport:
    """Make every check, or those of one component and that of the trail."""
    wanted = [check for check in CHECKS if component in {None, check.component} or check.name == ALWAYS]
    judged = [
        Judged(check, tuple(check.find(facts)), is_blind=check.reads_trail and not facts.trail.is_known)
        for check in wanted
    ]
    return SecurityReport(facts=facts, component=component, judged=judged)


def to_plain(report: SecurityReport) -> dict[str, object]:
    """The report as JSON has it."""
    facts, posture = report.facts, report.facts.posture
    trail = facts.trail
    refused = report.refused()
    return {
        "report": "security",
        "component": report.component,
        "made_at": facts.made_at,
        "version": facts.version,
        "verdict": report.verdict,
        "failed": report.has_failed,
        "findings": [
            {"check": check.name, "component": check.component, **asdict(finding)} for check, finding in report.ranked()
        ],
        "checks": [
            {"check": judged.check.name, "holds": judged.check.question, "passed": judged.passed}
            for judged in report.judged
        ],
        "trail": {"whole": trail.is_whole, "verdict": trail.verdict, "entries": len(trail.entries)},
        "refusals": {
            "by_day": [{"day": day.isoformat(), **counts} for day, counts in _by_day(facts, refused).items()],
            "by_subject": [_subject(key, calls, last) for key, calls, last in _by_subject(refused)],
        },
        "posture": asdict(posture),
    }


def _subject(key: "_Key", calls: int, last: float) -> dict[str, object]:
    subject, why, rule, is_enforced = key
    told = {"subject": subject, "why": why, "rule": rule, "refused": is_enforced}
    return {**told, "calls": calls, "last_at": last}


_Key = tuple[str, str, str, bool]


def _by_day(facts: SecurityFacts, refused: Sequence[Refused]) -> Mapping[date, Counter[str]]:
    """Calls by day and reason, the last days without a gap."""
    today = datetime.fromtimestamp(facts.made_at, UTC).date()
    days = {today - timedelta(days=back): Counter[str]() for back in reversed(range(DAYS))}
    for each in refused:
        if each.day in days:
            days[each.day][each.why if each.is_enforced else f"{each.why} (let through)"] += each.calls
    return days


def _by_subject(refused: Sequence[Refused]) -> list[tuple[_Key, int, float]]:
    """Calls of each subject by reason, the most first, and when the last of them were told of."""
    calls, last = Counter[_Key](), dict[_Key, float]()
    for each in refused:
        key = (each.subject, each.why, each.rule, each.is_enforced)
        calls[key] += each.calls
        last[key] = max(each.at_s, last.get(key, 0.0))
    return [(key, count, last[key]) for key, count in calls.most_common()]


def to_document(report: SecurityReport) -> Document:
    """The report for people."""
    about = "" if report.component is None else f": {report.component.value}"
    sections = [
        Section("Verdict", list(_verdict(report))),
        Section("Findings", [_findings(report)]),
        Section("Trend", [_trend(report)]),
        Section("Who was refused", list(_who(report))),
        Section("How the sidecar is set up", list(_posture(report.facts.posture))),
        Section("Keys", [_keys(report.facts.posture)]),
        Section("Files", [_files(report.facts.posture)]),
        Section("What else the trail tells", [_deeds(report.facts)]),
        Section("Checks", [Table(("check", "what holds", "passed"), [_row(judged) for judged in report.judged])]),
    ]
    return Document(f"Security report{about}", sections)


def _verdict(report: SecurityReport) -> Iterator[Block]:
    facts = report.facts
    counts = Counter(finding.severity for _, finding in report.ranked())
    ranks = ", ".join(f"{counts[severity]} {severity.value}" for severity in RANK)
    yield Paragraph(f"{report.verdict.value.capitalize()}. Findings: {ranks}.")
    yield Paragraph(f"elicit-sidecar {facts.version}, {_time(facts.made_at)}. Audit trail: {facts.trail.verdict}.")


def _findings(report: SecurityReport) -> Block:
    rows = [(finding.severity.value, finding.told, finding.advice) for _, finding in report.ranked()]
    return Table(("rank", "finding", "what to do"), rows) if rows else Paragraph("None.")


def _trend(report: SecurityReport) -> Block:
    days = _by_day(report.facts, report.refused())
    reasons = sorted({why for counts in days.values() for why in counts})
    if not reasons:
        return _none_told(report.facts, f"No call was refused in the last {DAYS} days.")
    rows = [(day.isoformat(), *(str(counts[why]) for why in reasons)) for day, counts in days.items()]
    return Table(("day (UTC)", *reasons), rows)


def _none_told(facts: SecurityFacts, text: str) -> Paragraph:
    """What is said where the trail tells of nothing: the text only where it would tell."""
    return Paragraph(text if facts.trail.is_known else f"Unknown. Audit trail: {facts.trail.verdict}.")


def _who(report: SecurityReport) -> Iterator[Block]:
    found = _by_subject(report.refused())
    if not found:
        yield _none_told(report.facts, "Nobody.")
        return
    rows = [
        (subject or "(not told)", why, rule, "refused" if is_enforced else "let through", str(calls), _time(last))
        for (subject, why, rule, is_enforced), calls, last in found[:MOST_SUBJECTS]
    ]
    yield Table(("who", "why", "rule", "what became of it", "calls", "last"), rows)
    if len(found) > MOST_SUBJECTS:
        yield Paragraph(f"And {len(found) - MOST_SUBJECTS} more; `audit export` has all of them.")


def _posture(posture: Posture) -> Iterator[Block]:
    bridge = posture.bridge
    rows = [
        ("agent", posture.agent or "taken from each call"),
        ("identity", posture.identity),
        ("signatures", f"{posture.signatures}; calls to the Bridge are {'' if posture.signs else 'not '}signed"),
        *((f"limit of {name}", rate or "none") for name, rate in posture.limits),
        *((f"{port.name} port", f"{port.address}, {_wire(is_tls=port.is_tls)}") for port in posture.listeners),
        ("Bridge", f"{bridge.url}, {_wire(is_tls=bridge.is_tls)}"),
        ("authorities for the Bridge", "its own" if bridge.has_own_authorities else "those of the system"),
        ("certificate shown to the Bridge", "yes" if bridge.shows_certificate else "none"),
        *((f"certificate of {shown.by}", f"until {_time(shown.not_after)}") for shown in posture.certificates),
        ("tokens of the admin port", f"{posture.operators} of operators, {posture.viewers} of viewers"),
        ("state", posture.state),
    ]
    yield Table(("what", "how"), rows)


def _wire(*, is_tls: bool) -> str:
    return "TLS" if is_tls else "plain"


def _keys(posture: Posture) -> Block:
    rows = [(key.agent_id, key.key_id, key.state.value, f"{key.age_s / DAY_S:.0f}") for key in posture.keys]
    return Table(("agent", "key", "state", "age in days"), rows) if rows else Paragraph("None.")


def _files(posture: Posture) -> Block:
    rows = [(file.what, file.path, _mode(file), _open(file)) for file in posture.files]
    return Table(("what", "where", "mode", "verdict"), rows) if rows else Paragraph("None.")


def _open(file: Guarded) -> str:
    if file.mode is None:
        return Verdict.UNKNOWN.value
    return "open to others" if file.is_open else "ok"


def _mode(file: Guarded) -> str:
    return "unknown" if file.mode is None else f"{file.mode & 0o7777:04o}"


def _deeds(facts: SecurityFacts) -> Block:
    told = [entry for entry in facts.trail.entries if entry.what not in {CallRefused.what, CallLetThrough.what}]
    rows = [_deed(entry) for entry in reversed(told[-MOST_DEEDS:])]
    return Table(("when", "who", "what", "to whom", "details"), rows) if rows else _none_told(facts, "Nothing.")


def _deed(entry: Entry) -> tuple[str, ...]:
    if not entry.is_true:
        return ("", "", "an entry that is not what it was", "", f"number {entry.number}")
    at = _time(entry.at_ms / 1000)
    return at, entry.who, entry.what, entry.subject, entry.details


def _row(judged: Judged) -> tuple[str, ...]:
    return judged.check.name, judged.check.question, _PASSED[judged.passed]


def _time(at: float) -> str:
    """A time for people; one beyond the calendar as its number."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (OverflowError, ValueError, OSError):
        return f"{at:.0f} s"
