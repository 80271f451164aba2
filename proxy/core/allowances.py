"""How often each of many agents may do something that costs calls to the Bridge."""

from dataclasses import dataclass, field
from typing import Final

from proxy.core.ids import AgentId
from proxy.core.pace import Pace
from proxy.core.rate import Rate

MAX_AGENTS: Final = 10_000
"""Most agents whose allowance is remembered; the one that was used longest ago goes first. Source: ours."""


@dataclass(slots=True)
class Allowances:
    """How often each of many agents may do something."""

    rate: Rate
    _paces: dict[AgentId, Pace] = field(default_factory=dict)

    def take(self, agent_id: AgentId, now: float) -> bool:
        """Whether this agent may do it once more now; monotonic seconds."""
        pace = self._paces.pop(agent_id, None) or self._fresh()
        self._paces[agent_id] = pace
        if len(self._paces) > MAX_AGENTS:
            del self._paces[next(iter(self._paces))]
        if pace.gap(now):
            return False
        pace.spend(now)
        return True

    def _fresh(self) -> Pace:
        rate = self.rate
        return Pace(per_minute=rate.count * 60 / rate.period_s, burst=float(rate.capacity), fast_s=0.0, idle_s=0.0)
