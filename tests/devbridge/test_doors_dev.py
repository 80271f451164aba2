"""Switches and counters over HTTP."""

from proxy.devbridge.settings import Switches
from tests.support.manual_bridge import ManualBridge


async def test_an_unknown_switch_is_refused_by_name(bridge: ManualBridge) -> None:
    status, answer = await bridge.call("POST", "/dev/switches", body={"slow": 1})
    assert status == 400
    assert "did you mean slow_ms" in str(answer["detail"])


async def test_a_changed_switch_is_read_back_and_the_others_stay(bridge: ManualBridge) -> None:
    expected = Switches(slow_ms=5).as_json()
    assert await bridge.call("POST", "/dev/switches", body={"slow_ms": 5}) == (200, expected)
    assert await bridge.call("GET", "/dev/switches") == (200, expected)


async def test_counters_start_empty(bridge: ManualBridge) -> None:
    assert await bridge.call("GET", "/dev/counters") == (200, {"requests": {}, "parked_waits": 0})
