"""The agents that called lately, in a bounded list ordered by their last call.

An agent is forgotten a day after its last call, or when the list is full and it is the one that called longest ago.
Ages run on the monotonic clock; the dates shown are wall clock, seconds since the epoch.
"""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice
from typing import Final

from proxy.core.cohort import Cohort
from proxy.core.outcome import Outcome
from proxy.core.routing import Reason, Route
from proxy.ports import Clock

MAX_AGENTS: Final = 50_000
"""Most agents remembered. Source: ours; about 15 MB."""

MEMORY_S: Final = 86_400.0
"""How long an agent counts as present after its last call, in seconds. Source: ours; one day."""


@dataclass(slots=True)
class _Seen:
    at: float
    wall: float
    calls: int = 0
    cohort: Cohort | None = None
    route: Route | None = None
    reason: Reason | None = None

    def as_json(self, agent_id: str) -> dict[str, object]:
        return {
            "agent_id": agent_id,
            "cohort": self.cohort,
            "route": self.route,
            "reason": self.reason,
            "last_seen": self.wall,
            "calls": self.calls,
        }


class AgentList:
    """Who called, when, and which way; not thread safe."""

    __slots__ = ("_clock", "_limit", "_per_cohort", "_seen")

    def __init__(self, clock: Clock, *, limit: int = MAX_AGENTS) -> None:
        self._clock = clock
        self._limit = limit
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._per_cohort = dict.fromkeys(Cohort, 0)

    def note(self, outcome: Outcome) -> None:
        """Remember the caller of one served call; cohort, route and reason are those of its last wait."""
        if not outcome.agent_id:
            return
        now = self._clock.now()
        seen = self._seen.get(outcome.agent_id)
        if seen is None:
            if len(self._seen) >= self._limit:
                self._forget_oldest()
            seen = self._seen[outcome.agent_id] = _Seen(now, 0.0)
        self._seen.move_to_end(outcome.agent_id)
        seen.at, seen.wall = now, self._clock.wall()
        seen.calls += 1
        if outcome.cohort is not None:
            self._move(seen, outcome.cohort)
            seen.route, seen.reason = outcome.route, outcome.reason

    def _move(self, seen: _Seen, cohort: Cohort | None) -> None:
        if seen.cohort is not None:
            self._per_cohort[seen.cohort] -= 1
        if cohort is not None:
            self._per_cohort[cohort] += 1
        seen.cohort = cohort

    def _forget_oldest(self) -> None:
        _, seen = self._seen.popitem(last=False)
        self._move(seen, None)

    def _expire(self) -> None:
        horizon = self._clock.now() - MEMORY_S
        while self._seen and next(iter(self._seen.values())).at < horizon:
            self._forget_oldest()

    def __len__(self) -> int:
        self._expire()
        return len(self._seen)

    def per_cohort(self) -> dict[str, float]:
        """Agents whose last wait was in each cohort."""
        self._expire()
        return {cohort.value: float(count) for cohort, count in self._per_cohort.items()}

    def cohort_of(self, agent_id: str) -> Cohort | None:
        """The cohort of the agent's last wait, if it is remembered."""
        seen = self._seen.get(agent_id)
        return seen.cohort if seen else None

    def latest(self, limit: int) -> list[dict[str, object]]:
        """The agents that called last, the latest first."""
        self._expire()
        return [seen.as_json(agent_id) for agent_id, seen in islice(reversed(self._seen.items()), limit)]

    def one(self, agent_id: str) -> dict[str, object] | None:
        """What is remembered of one agent."""
        self._expire()
        seen = self._seen.get(agent_id)
        return seen.as_json(agent_id) if seen else None
