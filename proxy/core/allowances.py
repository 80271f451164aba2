"""How often each of many agents may do something that costs calls to the Bridge: one rate, and a plain yes or no."""

from typing import Final

from proxy.core.ids import AgentId
from proxy.core.limits import LimitName, LimitTable
from proxy.core.rate import Rate

MAX_AGENTS: Final = 10_000
"""Most agents that are counted at the same time; a further one is refused until one is at rest. Source: ours."""

_THIS: Final = LimitName("allowance")


class Allowances:
    """How often each of many agents may do something."""

    __slots__ = ("_table", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self._table = LimitTable(MAX_AGENTS)

    def take(self, agent_id: AgentId, now: float) -> bool:
        """Whether this agent may do it once more now; monotonic seconds."""
        return self._table.take(_THIS, agent_id, self.rate, now=now).allowed
