"""Up to which number each agent has been shown everything: by its own last cursor, or by our last reply that arrived.

An agent may take the number in the reply to a call of its own for its next cursor. Where we write such a reply in the
Bridge's place, as to an answer that is no event in the log, this is the number that skips nothing and repeats nothing.

Bound: as many agents as there are cursors in the journal; the one that was served longest ago goes.
"""

from dataclasses import dataclass, field

from proxy.core.ids import AgentId
from proxy.core.journal import MAX_CURSORS


@dataclass(slots=True)
class AgentPlaces:
    """The places of all agents, in the numbers that they see."""

    _places: dict[AgentId, int] = field(default_factory=dict)
    """The agent that was served last comes last."""

    def stands(self, agent_id: AgentId, number: int) -> None:
        """The agent has come with this cursor, or was shown everything up to it; its last word counts."""
        self._places.pop(agent_id, None)
        self._places[agent_id] = number
        if len(self._places) > MAX_CURSORS:
            del self._places[next(iter(self._places))]

    def of(self, agent_id: AgentId) -> int | None:
        """The agent's place; None where it has not waited since the start."""
        return self._places.get(agent_id)
