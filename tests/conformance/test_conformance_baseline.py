"""Our conformance server passes the official suite, so that whatever fails through the sidecar is the sidecar's."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.compare import REVISIONS, Check, difference, run_suite
from tests.support.peers import Room

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

BASELINE = {"2025-06-18": (27, 56), "2025-11-25": (33, 84), "2026-07-28": (40, 152)}
"""Scenarios and passed checks. Source: PROTOCOL.md 5.3, the same as with the SDK's own server."""

REBINDING = "dns-rebinding-protection"


@pytest.mark.parametrize("revision", REVISIONS)
def test_our_server_passes_all_checks_of_a_revision(direct: Callable[[str], Counter[Check]], revision: str) -> None:
    found = direct(revision)
    assert [check for check in found if check.status != "SUCCESS"] == []
    assert (len({check.scenario for check in found}), found.total()) == BASELINE[revision]


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
def test_without_its_host_check_our_server_fails_dns_rebinding(room: Room, revision: str, tmp_path: Path) -> None:
    url = room.server("conformance", "--no-host-check").url
    found = run_suite(url, revision, tmp_path, scenario=REBINDING)
    assert {check.scenario for check in found} == {REBINDING}
    assert "FAILURE" in {check.status for check in found}


def test_a_vanished_check_and_a_changed_status_are_both_seen() -> None:
    same, gone = Check("a", "same", "SUCCESS"), Check("a", "gone", "SUCCESS")
    passed, failed = Check("b", "turned", "SUCCESS"), Check("b", "turned", "FAILURE")
    found = difference(Counter([same, gone, gone, passed]), Counter([same, gone, failed]))
    assert (found.lost, found.gained) == (Counter([gone, passed]), Counter([failed]))
    assert "lost   1 x a / gone / SUCCESS" in str(found)
    assert not difference(Counter([same]), Counter([same]))
