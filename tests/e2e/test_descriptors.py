"""A process that runs out of file descriptors: new connections are turned away, what is parked stays, and it passes."""

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yarl

from tests.support.callers import callers
from tests.support.processes import until
from tests.support.stand import EVERYBODY, Stand, call, open_session, store, wait
from tests.support.waits import Crowd

pytestmark = [pytest.mark.e2e, pytest.mark.requirement("descriptors.short")]

LIMIT = 64
WITHIN_S = 20.0

_LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2)
os.execv(sys.argv[2], sys.argv[2:])
"""


def _with_few(words: Sequence[str]) -> list[str]:
    """A command whose process may have few descriptors. Source: setrlimit(2), RLIMIT_NOFILE."""
    return [sys.executable, "-c", _LIMITED, str(LIMIT), *words]


@contextmanager
def _connections(base: str, count: int) -> Iterator[None]:
    """So many connections that say nothing."""
    url = yarl.URL(base)
    with ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection((url.host or "", url.port or 0), 5))
        yield


def _cpu_s(pid: int) -> float:
    """Processor time that a process took. Source: proc(5), /proc/pid/stat fields 14 and 15."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_waits_that_are_parked_stay_new_ones_are_turned_away_and_then_all_is_as_before(stand: Stand) -> None:
    stand.start_bridge()
    sidecar = stand.start_sidecar(wrap=_with_few)
    stand.set_flags(EVERYBODY)
    bob, carol = open_session(stand.bridge, "bob"), open_session(stand.bridge, "carol")
    with Crowd(stand, 4) as crowd, callers() as begin:
        last = store(stand.bridge, "carol", {}, token=carol)
        parked = crowd.park(since=last, timeout_s=60)
        hearing = begin(lambda: wait(stand.data, "bob", bob, since=last, timeout_s=60))
        stand.until_parked(5)
        with _connections(stand.data, LIMIT):
            until(lambda: "short of file descriptors" in sidecar.errors, within_s=WITHIN_S, what="the log line")
            took_s = _cpu_s(sidecar.pid)
            # Operators come through, and see why; a new agent hears when to come again.
            reasons = call("GET", f"{stand.admin}/readyz").json["reasons"]
            assert reasons == ["short of file descriptors: new connections are turned away"]
            turned_away = begin(lambda: call("GET", f"{stand.data}/status")).result(10)
            assert turned_away is None or turned_away.status == 503
            assert not hearing.done()
            store(stand.bridge, "carol", {"text": "one"}, token=carol)
            heard = hearing.result(30)
            assert heard is not None
            assert "one" in str(heard.events)
            assert _cpu_s(sidecar.pid) - took_s < WITHIN_S / 4, "it spins"
        until(lambda: call("GET", f"{stand.admin}/readyz").json["reasons"] == [], within_s=WITHIN_S, what="the end")
        assert wait(stand.data, "bob", bob, since=last, timeout_s=10).events
        replies = [future.result(30).reply for future in parked]
    assert [reply.status for reply in replies] == [200] * 4
    assert [sidecar.errors.count(line) for line in ("short of file descr", "descriptors are free again")] == [1, 1]
    assert "Traceback" not in sidecar.errors
