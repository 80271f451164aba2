"""What is left of a sidecar that is killed, and how one ends that is asked to."""

import signal
import time

import pytest

from tests.support.stand import EVERYBODY, Stand
from tests.support.waits import Crowd

pytestmark = pytest.mark.e2e

WAITS = 50

DRAIN_S = 5.0
"""Generous: an idle machine takes well below the 2 s that are promised, a busy one must not fail."""


def test_flags_survive_a_kill(stand: Stand) -> None:
    stand.start_bridge()
    sidecar = stand.start_sidecar()
    before = stand.set_flags(EVERYBODY | {"elicitation_whitelist": ["bob"], "reason": "before the kill"})
    assert sidecar.end(signal.SIGKILL) == -signal.SIGKILL
    stand.start_sidecar()
    assert stand.flags() == before


def test_asked_to_end_it_answers_50_parked_waits_and_exits_with_nought(stand: Stand) -> None:
    stand.start_bridge()
    sidecar = stand.start_sidecar()
    stand.set_flags(EVERYBODY)
    with Crowd(stand, WAITS) as crowd:
        parked = crowd.park(since=1, timeout_s=60)
        stand.until_parked(WAITS)
        began = time.monotonic()
        assert sidecar.end(signal.SIGTERM) == 0
        took_s = time.monotonic() - began
        replies = [future.result(10).reply for future in parked]
    assert [reply.status for reply in replies] == [200] * WAITS
    timed_out = {"events": [], "count": 0, "waited_seconds": 60, "status": "timeout"}
    assert all(reply.json == timed_out for reply in replies)
    assert took_s < DRAIN_S
    assert "Traceback" not in sidecar.errors


def test_asked_to_end_it_answers_waits_that_the_bridge_holds_for_the_legacy_cohort(stand: Stand) -> None:
    stand.start_bridge()
    sidecar = stand.start_sidecar()
    with Crowd(stand, 5) as crowd:
        parked = crowd.park(since=1, timeout_s=60)
        stand.until_polled(5)
        assert sidecar.end(signal.SIGTERM) == 0
        replies = [future.result(10).reply for future in parked]
    timed_out = {"events": [], "count": 0, "waited_seconds": 60, "status": "timeout"}
    assert [(reply.status, reply.json) for reply in replies] == [(200, timed_out)] * 5
