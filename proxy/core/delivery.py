"""How a question reaches an agent behind an MCP client, and what the result of its wait then tells of it.

By default a question is an item of the wait's result, which the agent's model reads. An elicitation of MCP addresses
the user of the client instead, so that way is for those whom the operator named.

Source: PROTOCOL.md 4.1 (delivery by elicitation is opt-in), 4.2 (A2 x B1, A3 x B1).
"""

from dataclasses import dataclass
from typing import Final

import orjson

from proxy.core.elicitation import Answer, Elicitation, question_item
from proxy.core.routing import Membership

ANSWERED_MESSAGE: Final = "elicitation_answered"
"""`event_type` of a question that was answered while the wait went on. Source: ours, beside `elicitation_request`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRule:
    """Whose questions are put to the client itself."""

    to_all: bool = False
    agents: frozenset[str] = frozenset()
    """Agents and groups."""
    clients: frozenset[str] = frozenset()
    """Names that clients give themselves, which nobody vouches for."""

    def elicits(self, member: Membership, client_name: str) -> bool:
        """Whether questions to this agent are put to this client of it, if it can be asked."""
        return self.to_all or member.is_listed(self.agents) or client_name in self.clients


def answered_item(question: Elicitation, answer: Answer, *, sequence: int) -> bytes:
    """A question that was answered, with its answer, as one item of the wait's reply.

    `sequence` as in `question_item`, so that a cursor taken from it skips nothing.
    """
    told: dict[str, object] = {
        "elicitation_id": question.elicitation_id,
        "message": question.message,
        "response_type": answer.kind.value,
    }
    if answer.content is not None:
        told["data"] = answer.content
    return _item_with(question_item(question, sequence=sequence), event_type=ANSWERED_MESSAGE, data=told)


def unanswered_item(question: Elicitation, *, sequence: int, error: str = "", code: str = "") -> bytes:
    """A question that is left to the agent, with what went wrong when it was asked, if anything did."""
    item = question_item(question, sequence=sequence)
    if not error:
        return item
    told = orjson.loads(item)["data"] | {"error": error}
    return _item_with(item, data=told | {"code": code} if code else told)


def lost_item(elicitation_id: str, *, sequence: int, error: str, code: str) -> bytes:
    """A question of which only the id is known any more."""
    return orjson.dumps(
        {
            "sequence": sequence,
            "event_type": ANSWERED_MESSAGE,
            "source_agent": "",
            "timestamp": None,
            "data": {"elicitation_id": elicitation_id, "error": error, "code": code},
        }
    )


def _item_with(item: bytes, **changes: object) -> bytes:
    return orjson.dumps({**orjson.loads(item), **changes})
