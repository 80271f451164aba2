"""Experts, tasks and collaborations: just enough of them that calls which pass through get the Bridge's replies."""

import secrets
from dataclasses import dataclass, field

from proxy.devbridge.wire import WireError, wrapped


@dataclass(slots=True)
class ExpertBook:
    """Who is registered, and who is busy: an expert takes one task and is not free again."""

    registered: set[str] = field(default_factory=set)
    busy: set[str] = field(default_factory=set)

    def register(self, agent_id: str, by_agent: str) -> dict[str, object]:
        """Register an expert; whoever registers another is registered too."""
        self.registered |= {agent_id, by_agent}
        return {
            "success": True,
            "message": "Registration successful",
            "token": secrets.token_hex(32),
            "agent_id": agent_id,
        }

    def dispatch(self, target: object) -> dict[str, object]:
        """Give a task to an expert.

        Raises:
            WireError: 500 with the Bridge's text; no target, unknown or busy.
        """
        if not isinstance(target, str):
            raise WireError(500, f"argument of type '{type(target).__name__}' is not iterable")
        if target not in self.registered:
            raise wrapped(400, f"Target expert {target} not found")
        if target in self.busy:
            raise wrapped(400, f"Target expert {target} is not available")
        self.busy.add(target)
        message = f"Command delegated to {target}"
        return {"task_id": secrets.token_hex(16), "status": "dispatched", "message": message}

    def collaborate(self, agent_id: str, participants: object) -> dict[str, object]:
        """Start a collaboration.

        Raises:
            WireError: 500, the caller is not registered.
        """
        if agent_id not in self.registered:
            raise wrapped(400, "Coordinator authentication failed")
        invited = participants if isinstance(participants, list) else []
        return {
            "session_id": secrets.token_hex(16),
            "status": "started",
            "message": f"Session created with {len(invited)} participants",
            "participants": invited,
        }
