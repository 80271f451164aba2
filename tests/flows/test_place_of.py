"""Under which number a question stands in the reply to a wait."""

from dataclasses import replace

import pytest

from proxy.core.elicitation import Elicitation
from proxy.flows.agent_sessions import AgentSessions
from proxy.flows.tool_call import ToolCalls
from tests.support.flow_stand import FlowStand, flow_stand


def _calls(stand: FlowStand) -> ToolCalls:
    return ToolCalls(
        stand.feeds, stand.answers, stand.board, AgentSessions(stand.bridge, stand.feeds.parts.errands.begin)
    )


def _asked(stand: FlowStand, made_from: int | None) -> Elicitation:
    question = replace(stand.bridge.ask("bob"), made_from=made_from)
    stand.feeds.question_created(question)
    return question


@pytest.mark.requirement("dual.one_copy")
async def test_one_that_was_made_from_a_send_has_its_place_and_every_other_the_cursor() -> None:
    async with flow_stand() as stand:
        calls = _calls(stand)
        plain, doubtful, made = _asked(stand, None), _asked(stand, 7), _asked(stand, 8)
        stand.feeds.parts.sent.believe(made.elicitation_id)
        assert [calls.place_of(question, 3) for question in (plain, doubtful, made)] == [3, 3, 8]
        assert calls.place_of(made, 9) == 9, "it must not lead back"
        stand.feeds.parts.sequences.offset = 100
        assert calls.place_of(made, 3) == 108
