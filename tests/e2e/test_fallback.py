"""Bridges on which the elicitation way does not work: the wait is served the legacy way, in the same call."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.stand import EVERYBODY, Stand, call, open_session, store, wait

pytestmark = pytest.mark.e2e

TIMED_OUT = {"events": [], "count": 0, "waited_seconds": 1, "status": "timeout"}

ON_TIME_S = 6.0
"""Generous for a wait of one second on a busy machine, and far from the ten of a call that hangs."""


@pytest.mark.parametrize("source", ["auto", "rest"])
@pytest.mark.parametrize("switch", ["elicitation=off", "fail_elicitation=on", "hang_elicitation=on"])
def test_a_wait_still_gets_its_message_and_its_time_out(stand: Stand, switch: str, source: str) -> None:
    stand.start_bridge("--set", switch)
    stand.start_sidecar("--set", f"bridge.source={source}")
    stand.set_flags(EVERYBODY)
    token = open_session(stand.data, "bob")
    began = time.monotonic()
    assert wait(stand.data, "bob", token, since=1, timeout_s=1).json == TIMED_OUT
    assert 1 <= time.monotonic() - began < ON_TIME_S
    with ThreadPoolExecutor(1) as pool:
        parked = pool.submit(wait, stand.data, "bob", token, since=1, timeout_s=20)
        store(stand.bridge, "carol", {"word": "hello"})
        [message] = parked.result(25).events
    assert (message["source_agent"], message["data"]) == ("carol", {"word": "hello"})


def test_a_bridge_that_is_down_at_the_start_is_said_so_and_nothing_hangs(stand: Stand) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        address = f"http://127.0.0.1:{reserved.getsockname()[1]}"
    stand.start_sidecar(bridge=address)
    relayed = call("GET", f"{stand.data}/health", timeout_s=10)
    assert (relayed.status, relayed.content_type) == (502, "application/problem+json")
    assert relayed.json["code"] == "bridge_unavailable"
    assert isinstance(relayed.json["detail"], str)
    legacy = wait(stand.data, "bob", "a-token-of-long-ago", since=0, timeout_s=1)
    assert (legacy.status, legacy.content_type) == (502, "application/problem+json")
    stand.set_flags(EVERYBODY)
    began = time.monotonic()
    in_cohort = wait(stand.data, "bob", "a-token-of-long-ago", since=0, timeout_s=1)
    assert time.monotonic() - began < ON_TIME_S
    assert in_cohort.status in {200, 502}
    if in_cohort.status == 200:
        assert in_cohort.json == TIMED_OUT
