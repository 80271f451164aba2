"""A Bridge that dies and comes back under parked waits, and one that does not come back."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.stand import EVERYBODY, Stand, open_session, store
from tests.support.waits import Crowd, numbers, words

pytestmark = pytest.mark.e2e

WAITS = 50


def _stored_before(stand: Stand) -> int:
    """Fill the log, so that cursors are far above what a new log begins with; the highest sequence."""
    token = open_session(stand.bridge, "carol")
    return max(store(stand.bridge, "carol", {"word": f"before {number}"}, token=token) for number in range(12))


@pytest.mark.parametrize("keeps_log", [False, True], ids=["log lost", "log kept"])
def test_50_waits_outlive_a_killed_bridge_and_get_what_is_stored_after(
    stand: Stand, tmp_path: Path, *, keeps_log: bool
) -> None:
    words_of_bridge = ["--state", str(tmp_path / "log.jsonl")] if keeps_log else []
    bridge = stand.start_bridge(*words_of_bridge)
    stand.start_sidecar()
    stand.set_flags(EVERYBODY)
    cursor = _stored_before(stand)
    with Crowd(stand, WAITS) as crowd:
        seeking = crowd.seek("after", since=cursor, timeout_s=20, within_s=40)
        stand.until_parked(WAITS)
        # Only a token that the Bridge has accepted is renewed behind its agent's back.
        stand.until_polled(WAITS)
        assert bridge.end(signal.SIGKILL) == -signal.SIGKILL
        stand.start_bridge(*words_of_bridge)
        after = store(stand.bridge, "carol", {"word": "after"})
        # Without its log the Bridge numbers from 1 again, far below every cursor.
        assert (after > cursor) is keeps_log
        for future in seeking:
            waited = future.result(60)
            assert {one.reply.status for one in waited} == {200}
            assert words(waited, "after") == 1
            seen = numbers(waited)
            assert seen == sorted(set(seen)), "nothing twice, nothing out of order"
            assert min(seen) > cursor
    stand.until_parked(0)


def test_a_bridge_that_is_back_before_anybody_looked_has_its_waits_again(stand: Stand) -> None:
    bridge = stand.start_bridge()
    sidecar = stand.start_sidecar()
    stand.set_flags(EVERYBODY)
    cursor = _stored_before(stand)
    with Crowd(stand, 3) as crowd:
        seeking = crowd.seek("after", since=cursor, timeout_s=20, within_s=40)
        stand.until_parked(3)
        stand.until_polled(3)
        os.kill(sidecar.pid, signal.SIGSTOP)
        bridge.end(signal.SIGKILL)
        stand.start_bridge()
        os.kill(sidecar.pid, signal.SIGCONT)
        store(stand.bridge, "carol", {"word": "after"})
        for future in seeking:
            waited = future.result(60)
            assert {one.reply.status for one in waited} == {200}
            assert words(waited, "after") == 1


def test_50_waits_end_in_time_with_the_legacy_reply_when_the_bridge_stays_away(stand: Stand) -> None:
    bridge = stand.start_bridge()
    stand.start_sidecar()
    stand.set_flags(EVERYBODY)
    with Crowd(stand, WAITS) as crowd:
        parked = crowd.park(since=1, timeout_s=3)
        stand.until_parked(WAITS)
        stand.until_polled(WAITS)
        bridge.end(signal.SIGKILL)
        for future in parked:
            waited = future.result(30)
            assert waited.reply.status == 200
            assert waited.reply.json == {"events": [], "count": 0, "waited_seconds": 3, "status": "timeout"}
            assert waited.seconds >= 3
    stand.until_parked(0)
