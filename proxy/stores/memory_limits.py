"""Rate limits of one sidecar, counted in memory: they begin anew with each start, as every allowance is short."""

from proxy.core.ids import AgentId
from proxy.core.limits import MAX_KEYS, Decision, LimitName, LimitTable
from proxy.core.rate import Rate


class MemoryLimitStore:
    """The LimitStore port in memory, for one event loop."""

    __slots__ = ("_table",)

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        self._table = LimitTable(max_keys)

    async def take(self, name: LimitName, agent_id: AgentId, rate: Rate, *, now: float, cost: int = 1) -> Decision:
        """Take from an allowance; see the port."""
        return self._table.take(name, agent_id, rate, now=now, cost=cost)
