"""What arrives outside every door: unknown ways, wrong methods, the counting."""

import pytest

from tests.support.manual_bridge import ManualBridge


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/nowhere", 404, "Not Found"),
        ("GET", "/metrics", 404, "Not Found"),
        ("POST", "/event/wait", 405, "Method Not Allowed"),
    ],
)
async def test_unknown_ways_are_refused_in_the_bridges_words(
    bridge: ManualBridge, method: str, path: str, *, status: int, detail: str
) -> None:
    assert await bridge.call(method, path) == (status, {"detail": detail})


async def test_head_is_not_answered(bridge: ManualBridge) -> None:
    reply = await bridge.client.head("/health")
    assert (reply.status, reply.headers["Allow"]) == (405, "GET")


async def test_requests_are_counted_by_method_and_pattern_but_not_those_for_development(
    bridge: ManualBridge,
) -> None:
    token = await bridge.token("alice")
    for known in ("a", "b"):
        await bridge.call("GET", f"/elicitation/status/{known}", token=token)
    await bridge.call("GET", "/nowhere")
    assert await bridge.call("GET", "/dev/counters") == (
        200,
        {
            "requests": {
                "POST /session/create": 1,
                "GET /elicitation/status/{elicitation_id}": 2,
                "GET unmatched": 1,
            },
            "parked_waits": 0,
        },
    )
