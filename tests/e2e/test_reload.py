"""A configuration that changes while the sidecar runs."""

import os
import signal
from pathlib import Path

import pytest

from tests.support.processes import Child, until
from tests.support.stand import EVERYBODY, Stand, store
from tests.support.waits import Crowd, words

pytestmark = [pytest.mark.e2e, pytest.mark.requirement("config.reload")]

WITHIN_S = 20.0


def _started(stand: Stand, folder: Path, text: str) -> tuple[Child, Path]:
    file = folder / "config.toml"
    file.write_text(text)
    stand.start_bridge()
    return stand.start_sidecar("--config", str(file)), file


def _says(sidecar: Child, *words: str) -> None:
    until(
        lambda: any(all(word in line for word in words) for line in sidecar.errors.splitlines()),
        within_s=WITHIN_S,
        what=f"a log line with {words}",
    )


def test_a_changed_file_is_taken_up_and_what_needs_a_restart_is_said(stand: Stand, tmp_path: Path) -> None:
    sidecar, file = _started(stand, tmp_path, "[breaker]\nfailures = 5\n")
    changed = tmp_path / "new.toml"
    changed.write_text("[breaker]\nfailures = 7\n[wait]\nmcp_hold_s = 9\n[flags]\nelicitation_percentage = 5\n")
    changed.rename(file)
    _says(sidecar, "configuration read again", '"applied":["breaker.failures"]', '"needs_restart":["wait.mcp_hold_s"]')
    assert stand.flags()["elicitation_percentage"] == 0.0
    assert sidecar.end() == 0


def test_a_hangup_reads_the_file_again_and_one_that_is_not_in_order_changes_nothing(
    stand: Stand, tmp_path: Path
) -> None:
    sidecar, file = _started(stand, tmp_path, "[log]\nlevel = 'info'\n")
    os.kill(sidecar.pid, signal.SIGHUP)
    _says(sidecar, "nothing has changed")
    file.write_text("[log]\nlevel = 'loud'\n")
    os.kill(sidecar.pid, signal.SIGHUP)
    _says(sidecar, "configuration refused", "config.toml:2: log.level: expected")
    assert sidecar.end() == 0
    assert "Traceback" not in sidecar.errors


@pytest.mark.requirement("drain.hangup")
@pytest.mark.parametrize("has_file", [True, False], ids=["with a file", "without one"])
def test_a_hangup_ends_no_wait_that_is_parked(stand: Stand, tmp_path: Path, *, has_file: bool) -> None:
    if has_file:
        sidecar, _ = _started(stand, tmp_path, "[breaker]\nfailures = 5\n")
    else:
        stand.start_bridge()
        sidecar = stand.start_sidecar()
    stand.set_flags(EVERYBODY)
    last = store(stand.bridge, "carol", {"word": "before"})
    with Crowd(stand, 4) as crowd:
        parked = crowd.park(since=last, timeout_s=60)
        stand.until_parked(4)
        os.kill(sidecar.pid, signal.SIGHUP)
        _says(sidecar, "nothing has changed")
        stand.until_parked(4)
        store(stand.bridge, "carol", {"word": "after"})
        heard = [future.result(30) for future in parked]
    assert [one.reply.status for one in heard] == [200] * 4
    assert words(heard, "after") == 4
    assert sidecar.end() == 0
