"""A question as it is shown to those who watch over the book of questions."""

from dataclasses import dataclass

from proxy.core.ids import AgentId, ElicitationId
from proxy.core.journal import QuestionState


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What is shown of a question to those who watch over it: neither what it asks nor what was answered."""

    elicitation_id: ElicitationId
    from_agent: str
    to_agent: AgentId
    state: QuestionState
    created_at: float
    expires_at: float
    is_offered: bool
    """A reply that carried it reached the agent, as far as is known."""

    def as_json(self) -> dict[str, object]:
        """This question as the admin port shows it; times in seconds since the epoch."""
        return {
            "id": self.elicitation_id,
            "from": self.from_agent,
            "to": self.to_agent,
            "state": self.state,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "offered": self.is_offered,
        }
