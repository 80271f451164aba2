"""What is noted when the result of a wait has reached its client, some of whose questions were put to it before."""

import pytest

from proxy.core.exchange import Exchange, Found
from proxy.core.ids import ElicitationId
from proxy.core.outcome import Door, ElicitationOutcome, Result
from proxy.core.routing import Reason, Route
from proxy.downstream.mcp_asking import note_told
from proxy.downstream.served import Draft
from proxy.flows.asked_wait import ToldWait
from proxy.flows.tool_call import ToolWaited
from proxy.flows.wait import WaitServed

pytestmark = pytest.mark.requirement("mcp.elicit.noted")

OFFERED = ElicitationOutcome.OFFERED


def _told(*put_at: float | None) -> ToldWait:
    """A wait that found two questions of 100 and 103 and a message of 104."""
    found = Found(
        items=(b"{}", b"{}", b"{}"),
        elicitation_ids=(ElicitationId("a"), ElicitationId("b")),
        created_at=(100.0, 103.0, 104.0),
    )
    served = WaitServed(
        exchange=Exchange(route=Route.ELICITATION, reason=Reason.SPLIT, deadline=60.0, may_fall_back=True),
        result=Result.DELIVERED,
        status=200,
        body=b"{}",
        found=found,
    )
    return ToldWait(waited=ToolWaited({}, served), put_at=put_at)


@pytest.mark.parametrize(
    ("put_at", "elicitations", "seconds"),
    [
        ((), [OFFERED, OFFERED], (10.0, 7.0, 6.0)),
        ((101.0, 105.0), [], (1.0, 2.0, 6.0)),
        ((101.0, None), [OFFERED], (1.0, 7.0, 6.0)),
    ],
)
def test_a_question_counts_when_it_was_put_and_once(
    put_at: tuple[float | None, ...], elicitations: list[ElicitationOutcome], seconds: tuple[float, ...]
) -> None:
    draft = Draft(Door.MCP)
    note_told(draft, _told(*put_at), wall=110.0)
    assert (draft.result, draft.status, draft.items) == (Result.DELIVERED, 200, 3)
    assert draft.elicitations == elicitations
    assert draft.delivery_seconds == seconds
