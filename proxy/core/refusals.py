"""Gathers refused calls for the audit trail, so that a flood of them makes few entries and hides nothing.

Calls of one subject that are refused for one reason make one entry: the first at once, what follows within an interval
together at its end. All such entries together keep to a budget, so that they cannot push what operators did out of the
trail; while it is spent, calls go on being counted. Where more subjects wait than may, the calls of further ones are
counted for the reason alone. No call is ever left out of the counts.
"""

from dataclasses import dataclass, replace
from typing import Final

from proxy.core.deeds import CallLetThrough, CallRefused, Refusal, Word, parse_word
from proxy.core.errors import InvalidInput
from proxy.core.ids import AgentId
from proxy.core.limits import LimitName, LimitTable
from proxy.core.rate import Rate
from proxy.core.suspicion import Suspicion

INTERVAL_S: Final = 60.0
"""In which calls of one kind make one entry. Source: ours."""

BUDGET: Final = Rate(count=480, period_s=86_400, burst=240)
"""Entries of refused calls that are written. Source: ours; 41,040 in the twelve weeks of a migration, of 50,000."""

MAX_SUBJECTS: Final = 256
"""Most subjects and reasons that wait at once with their names. Source: ours."""

_REFILL_S: Final = BUDGET.period_s / BUDGET.count
_BUDGET: Final = LimitName("audit")
_ALL: Final = AgentId("refusals")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Calls that make one entry."""

    subject: str
    """Whose calls; empty where that is not told."""
    why: Refusal
    rule: Word | None = None
    is_enforced: bool = True

    def deed(self, calls: int) -> CallRefused | CallLetThrough:
        """What the trail tells of them."""
        made = CallRefused if self.is_enforced else CallLetThrough
        return made(why=self.why, rule=self.rule, calls=calls)


def kind_of(suspicion: Suspicion, *, subject: str) -> Kind:
    """The kind of a call that a rule refuses or would refuse; `subject` is whose it is, in printable characters."""
    try:
        rule = parse_word(suspicion.rule)
    except InvalidInput:
        rule = None
    return Kind(subject=subject, why=Refusal(suspicion.breach.value), rule=rule, is_enforced=suspicion.is_enforced)


class RefusalBook:
    """Refused calls that have no entry yet. Times are monotonic seconds."""

    __slots__ = ("_budget", "_calls", "_poor_until", "_written_at")

    def __init__(self) -> None:
        self._calls: dict[Kind, int] = {}
        self._written_at: dict[Kind, float] = {}
        """When kinds had their last entry, as far as that still counts."""
        self._budget = LimitTable(1)
        self._poor_until = 0.0

    def __len__(self) -> int:
        return len(self._calls)

    def note(self, kind: Kind, now: float, calls: int = 1) -> bool:
        """Count calls; True where an entry for them is due now, as is one that nobody waits for yet."""
        if kind not in self._calls and len(self._calls) >= MAX_SUBJECTS:
            kind = replace(kind, subject="")
        is_first = kind not in self._calls
        self._calls[kind] = self._calls.get(kind, 0) + calls
        return is_first and self._due_at(kind) <= now

    def take(self, now: float) -> tuple[Kind, int] | None:
        """The calls of one kind, the longest waiting first, for which an entry is to be written now."""
        self._forget(now)
        kind = next((kind for kind in self._calls if self._due_at(kind) <= now), None)
        if kind is None:
            return None
        decision = self._budget.take(_BUDGET, _ALL, BUDGET, now=now)
        if not decision.allowed:
            self._poor_until = now + _REFILL_S
            return None
        self._written_at[kind] = now
        return kind, self._calls.pop(kind)

    def put_back(self, kind: Kind, calls: int) -> None:
        """Count calls again for which no entry could be written, before all others."""
        self._written_at.pop(kind, None)
        self._calls = {kind: calls + self._calls.pop(kind, 0), **self._calls}

    def take_last(self) -> tuple[Kind, int] | None:
        """The calls of one kind at the end of a process, when all are written; names go where too many wait."""
        if len(self._calls) > MAX_SUBJECTS // 4:
            waiting, self._calls = self._calls, {}
            for kind, calls in waiting.items():
                nameless = replace(kind, subject="")
                self._calls[nameless] = self._calls.get(nameless, 0) + calls
        return self._calls.popitem() if self._calls else None

    def due_at(self) -> float | None:
        """When the next entry is due; None where nothing waits."""
        return min((self._due_at(kind) for kind in self._calls), default=None)

    def _due_at(self, kind: Kind) -> float:
        return max(self._poor_until, self._written_at.get(kind, -INTERVAL_S) + INTERVAL_S)

    def _forget(self, now: float) -> None:
        for kind in [kind for kind, at in self._written_at.items() if at + INTERVAL_S <= now]:
            del self._written_at[kind]
