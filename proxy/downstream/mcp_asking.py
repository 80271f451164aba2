"""How the questions of a wait reach MCP clients themselves, and what is noted of them, whichever door it came through.

Source: PROTOCOL.md 3.5, 4.2 (A2 x B1, A3 x B1).
"""

from dataclasses import dataclass, replace
from itertools import zip_longest

from proxy.core.delivery import DeliveryRule
from proxy.downstream.mcp_reply import note_delivery
from proxy.downstream.served import Draft
from proxy.flows.asked_wait import AskedWaits, ToldWait
from proxy.flows.client_questions import ClientQuestions
from proxy.flows.suspended_wait import SuspendedWaits


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How questions reach clients themselves, and which of them."""

    rule: DeliveryRule
    questions: ClientQuestions
    asked: AskedWaits
    suspended: SuspendedWaits


def note_told(draft: Draft, told: ToldWait, *, wall: float) -> None:
    """Note that a result has reached the client, and when each of its questions was put to it."""
    served = told.waited.served
    ids = served.found.elicitation_ids
    # Those that were put to the client were noted then.
    rest = tuple(known for known, put_at in zip_longest(ids, told.put_at) if put_at is None)
    note_delivery(draft, replace(served, found=replace(served.found, elicitation_ids=rest)), wall=wall)
    seconds: list[float] = []
    for created, put_at in zip_longest(served.found.created_at, told.put_at):
        draft.delivered((created,), wall=wall if put_at is None else put_at)
        seconds.extend(draft.delivery_seconds)
    draft.delivery_seconds = tuple(seconds)
