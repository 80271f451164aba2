"""Two real sidecars on one state file: the second starts, says that it is not alone, and follows when it is."""

import pytest

from tests.support.processes import Child, Children, until
from tests.support.stand import Stand, call

pytestmark = [pytest.mark.e2e, pytest.mark.requirement("state.shared")]

IN_USE = "the state file is in use by another process: flags changed there are not seen here"
WITHIN_S = 20.0


def _reasons(stand: Stand, path: str) -> object:
    return call("GET", f"{stand.admin}{path}", token=stand.token).json["reasons"]


def test_the_second_says_so_until_the_first_has_ended_and_then_has_its_flags(stand: Stand, processes: Children) -> None:
    stand.start_bridge()
    first: Child = stand.start_sidecar()
    assert _reasons(stand, "/readyz") == []
    second = Stand(processes, stand.folder, stand.state)
    second.bridge = stand.bridge
    later = second.start_sidecar()
    until(lambda: "state file in use by another process" in later.errors, within_s=WITHIN_S, what="its log line")
    assert _reasons(second, "/readyz") == [IN_USE]
    assert IN_USE in str(_reasons(second, "/health"))
    assert _reasons(stand, "/readyz") == []
    stand.set_flags({"elicitation_percentage": 25})
    assert second.flags()["elicitation_percentage"] != 25
    assert first.end() == 0
    until(lambda: _reasons(second, "/readyz") == [], within_s=WITHIN_S, what="the file being its alone")
    assert second.flags()["elicitation_percentage"] == 25
    assert later.end() == 0
