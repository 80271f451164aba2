"""A network between sidecar and Bridge that fails in every way: waits go on, and what was given counts once."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from proxy.devbridge.settings import Settings, Switches
from tests.support.fault_proxy import FINE, Fault, FaultProxy, fault_proxy
from tests.support.house import ON, Heard, House, fields, house, until, until_told
from tests.support.manual_bridge import Json, ManualBridge, start_bridge

pytestmark = pytest.mark.requirement("network.faults")

QUICK: Mapping[str, str] = {
    **ON,
    "bridge.hold_s": "1",
    "bridge.request_timeout_s": "0.5",
    "bridge.poll_idle_ms": "100",
    "bridge.poll_budget_per_min": "10000",
    "bridge.poll_burst": "1000",
    "breaker.cooldown_s": "0.1",
}

FAULTS = [
    pytest.param(Fault(cut_down=20), id="cut in the middle of a reply"),
    pytest.param(Fault(cut_up=20), id="cut in the middle of a request"),
    pytest.param(Fault(cut_down=0, is_reset=True), id="reset before a reply"),
    pytest.param(Fault(is_reset=True), id="reset at once"),
    pytest.param(Fault(is_black_hole=True), id="black hole"),
    pytest.param(Fault(is_half_open=True), id="half-open"),
    pytest.param(Fault(delay_s=0.05), id="delay"),
]


@dataclass
class Way:
    """A house whose way to the Bridge can fail, and the Bridge itself."""

    house: House
    bridge: ManualBridge
    network: FaultProxy
    alice: str
    bob: str
    cursor: int = 0

    async def store(self, text: str) -> None:
        """Alice stores a message, past the network."""
        body = {"event_type": "custom", "agent_id": "alice", "data": {"text": text}}
        status, _ = await self.bridge.call("POST", "/event/store", token=self.alice, body=body)
        assert status == 200

    async def wait(self, timeout_s: int = 5) -> list[Json]:
        """Bob waits once."""
        query = f"agent_id=bob&since_sequence={self.cursor}&timeout_seconds={timeout_s}"
        heard = await self.house.call("GET", f"/event/wait?{query}", token=self.bob)
        assert heard.status == 200, heard
        self.cursor = max([self.cursor, *(int(str(item["sequence"])) for item in heard.items)])
        return heard.items

    async def hear(self, wanted: str) -> list[str]:
        """Bob waits until he has heard a text; all that he heard."""
        heard: list[str] = []
        async with asyncio.timeout(20):
            while wanted not in heard:
                items = await self.wait()
                heard += [str(data["text"]) for item in items if "text" in (data := fields(item["data"]))]
        return heard

    async def answer(self, named: str) -> Heard:
        """Bob answers."""
        body = {"elicitation_id": named, "responding_agent": "bob", "response_type": "accept", "data": {"c": "red"}}
        return await self.house.call("POST", "/elicitation/respond", token=self.bob, body=body)

    async def standing(self, named: str) -> object:
        """How a question stands at the Bridge."""
        return (await self.bridge.call("GET", f"/elicitation/status/{named}", token=self.alice))[1]["status"]


@pytest.fixture(name="way")
async def _way() -> AsyncIterator[Way]:
    async with _opened() as made:
        yield made


@asynccontextmanager
async def _opened() -> AsyncIterator[Way]:
    bridge = await start_bridge(Settings(switches=Switches(rate_limits=False)))
    port = bridge.client.make_url("/").port or 0
    try:
        async with (
            fault_proxy("127.0.0.1", port) as network,
            house(f"http://127.0.0.1:{network.port}", QUICK) as made,
        ):
            yield Way(made, bridge, network, await bridge.token("alice"), await bridge.token("bob"))
    finally:
        await bridge.client.close()


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_wait_outlives_it_and_gets_its_message_once(way: Way, fault: Fault) -> None:
    await way.store("before")
    assert await way.hear("before") == ["before"]
    parked = asyncio.get_running_loop().create_task(way.hear("after"))
    await way.house.until_parked(1)
    await until(lambda: way.bridge.state.parked_waits > 0)
    made = way.network.accepted
    way.network.set(fault)
    await way.store("after")
    if not fault.delay_s:
        # Nothing comes through, and the sidecar has tried again.
        await until(lambda: parked.done() or way.network.accepted > made)
    way.network.set(FINE)
    assert await parked == ["after"]
    await way.store("last")
    assert await way.hear("last") == ["last"]


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_answer_that_it_met_counts_once_when_it_is_given_again(way: Way, fault: Fault) -> None:
    await way.store("before")
    await way.hear("before")
    body = {"from_agent": "alice", "to_agent": "bob", "message": "Which colour?", "schema": {"type": "object"}}
    asked = await way.house.call("POST", "/elicitation/create", token=way.alice, body=body)
    named = str(asked.json["elicitation_id"])
    way.network.set(fault)
    first = await way.answer(named)
    way.network.set(FINE)
    assert first.status == 200 or (first.status == 502 and first.problem["retryable"]), first

    async def stands() -> bool:
        return (await way.answer(named)).status == 200

    await until_told(stands)
    assert await way.standing(named) == "accepted"
    assert sum("elicitation_accepted" in str(event) for event in way.bridge.state.log.after(0, 1000)) == 1
