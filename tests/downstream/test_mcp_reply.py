"""What all MCP doors say, and what a call tells of its era."""

import orjson
import pytest

from proxy.core.errors import AnswerConflict, ElicitationUnavailable, LegacyRemoved, SidecarError, TooManyWaits
from proxy.downstream.mcp_reply import META, era_of_call, error_reply, result_reply
from proxy.mcp.revisions import Era

RESULT = {"content": [], "isError": False}


def test_a_result_of_the_envelope_era_is_complete() -> None:
    assert orjson.loads(result_reply("a", RESULT, Era.ENVELOPE)) == {
        "jsonrpc": "2.0",
        "id": "a",
        "result": {**RESULT, "resultType": "complete"},
    }
    assert orjson.loads(result_reply(1, RESULT, Era.HANDSHAKE))["result"] == RESULT


@pytest.mark.parametrize("era", Era)
@pytest.mark.parametrize("error", [AnswerConflict("no"), LegacyRemoved("gone", guide="https://x")])
def test_what_the_agent_can_mend_is_an_error_of_the_tool(error: SidecarError, era: Era) -> None:
    result = orjson.loads(error_reply(7, error, era))["result"]
    assert result["isError"] is True
    assert ("resultType" in result) is (era is Era.ENVELOPE)
    told = orjson.loads(result["content"][0]["text"])
    assert told == {"error": error.detail, "code": error.code, **error.extra}


@pytest.mark.parametrize("error", [TooManyWaits("full", retry_after_s=1.5), ElicitationUnavailable("away")])
def test_what_it_cannot_mend_is_an_error_of_the_request_with_a_code_of_our_own(error: SidecarError) -> None:
    told = orjson.loads(error_reply(7, error, Era.HANDSHAKE))["error"]
    assert told["code"] == 1503
    assert told["data"]["code"] == error.code
    assert told["data"].get("retryAfterMs") == (1500 if error.retry_after_s else None)


@pytest.mark.parametrize(
    ("params", "era"),
    [
        (None, Era.HANDSHAKE),
        ({}, Era.HANDSHAKE),
        ({"_meta": {"progressToken": 1}}, Era.HANDSHAKE),
        ({"_meta": {f"{META}protocolVersion": "2025-11-25"}}, Era.HANDSHAKE),
        (
            {"_meta": {f"{META}protocolVersion": "2026-07-28", f"{META}clientCapabilities": {"elicitation": {}}}},
            Era.ENVELOPE,
        ),
        ({"_meta": {f"{META}protocolVersion": "2026-07-28"}}, None),
        ({"_meta": {f"{META}protocolVersion": "2026-07-28", f"{META}clientCapabilities": []}}, None),
        ({"_meta": {f"{META}protocolVersion": "2099-01-01", f"{META}clientCapabilities": {}}}, None),
        ({"_meta": {f"{META}protocolVersion": 5}}, None),
        ({"_meta": []}, None),
        ([], None),
    ],
    ids=str,
)
def test_the_era_of_a_call_is_told_by_its_metadata(params: object, era: Era | None) -> None:
    assert era_of_call(None if params is None else orjson.dumps(params)) is era
