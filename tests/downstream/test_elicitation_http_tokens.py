"""Answers that come with a token of somebody else, by every door: refused for good, at nobody's cost."""

from pathlib import Path

import pytest

from tests.support.asking import RED, answer, ask_bob
from tests.support.house import stand
from tests.support.mcp_stand import META, PLAIN, RESPOND, REVISION, told_by, tool

pytestmark = pytest.mark.requirement("answers.foreign_token")

BOTH_WAYS = pytest.mark.parametrize("way", ["store", "respond"])


@BOTH_WAYS
async def test_an_answer_with_another_agents_token_is_refused_for_good_and_the_question_stays_open(
    tmp_path: Path, way: str
) -> None:
    async with stand(tmp_path, {"breaker.failures": "1"}) as made:
        asked = await ask_bob(made)
        mallory = await made.bridge.token("mallory")
        heard = await answer(made, way, mallory, asked.named)
        assert heard.status == 403
        assert (heard.problem["code"], heard.problem["retryable"]) == ("answer_forbidden", False)
        assert "the token of this call is not bob's" in str(heard.problem["detail"])
        assert "Retry-After" not in heard.headers
        assert await asked.status() == "pending"
        assert (await asked.give(way)).status == 200
        samples = await made.house.metrics()
        assert samples['elicit_sidecar_breaker_state{state="closed"}'] == 1
        assert samples["elicit_sidecar_impersonations_total"] == 1
        assert samples['elicit_sidecar_errors_total{code="answer_forbidden",fault="agent"}'] == 1
        assert not [name for name in samples if 'fault="bridge"' in name]


@pytest.mark.requirement("mcp.answer")
async def test_by_the_respond_tool_it_is_refused_in_the_result_of_the_tool(tmp_path: Path) -> None:
    async with stand(tmp_path, {"breaker.failures": "1"}) as made:
        asked = await ask_bob(made)
        mallory = await made.bridge.token("mallory")
        call = {"elicitation_id": asked.named, "response_type": "accept", "data": RED}
        mirrored = {"MCP-Protocol-Version": REVISION, "Mcp-Method": "tools/call", "Mcp-Name": RESPOND}
        heard = await made.house.call(
            "POST", "/mcp", raw=tool(RESPOND, call, _meta=dict(META)), token=mallory, headers={**PLAIN, **mirrored}
        )
        told = told_by(heard, is_error=True)
        assert told["code"] == "answer_forbidden"
        assert "the token of this call is not bob's" in str(told["error"])
        assert await asked.status() == "pending"
        assert (await made.house.metrics())['elicit_sidecar_breaker_state{state="closed"}'] == 1
