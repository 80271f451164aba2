"""The audit trail of a real sidecar, checked by the real command: while it runs, after it died, after a forger."""

import json
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from proxy.core.audit import Entry, Trail
from proxy.stores.audit_file import read_audit
from tests.support.processes import Children, until
from tests.support.stand import EVERYBODY, Stand, call

pytestmark = pytest.mark.e2e


def _verify(processes: Children, state: str, *words: str) -> tuple[int, Mapping[str, object]]:
    child = processes.run("audit", "verify", "--json", "--state", state, *words)
    code = child.code()
    return code, json.loads(child.lines[0])


def _act(stand: Stand, count: int) -> None:
    for number in range(count):
        stand.set_flags({**EVERYBODY, "elicitation_percentage": number + 1})
    assert call("POST", f"{stand.admin}/cache/clear", token=stand.token).status == 200
    assert call("POST", f"{stand.admin}/cache/clear", token="x" * 32).status == 401


def _until_written(stand: Stand, count: int) -> None:
    def are() -> bool:
        head = call("GET", f"{stand.admin}/audit?limit=1", token=stand.token).json["head"]
        assert isinstance(head, dict)
        return bool(head["number"] >= count)

    until(are, within_s=20, what=f"{count} entries")


def _spots(content: bytes, entry: Entry) -> dict[str, tuple[int, int]]:
    """Where each column of an entry stands in the file, and how long it is. Source: SQLite file format, 1.6 and 2.1."""
    texts = {name: str(getattr(entry, name)).encode() for name in ("who", "what", "subject", "details")}
    end = content.index(entry.previous + entry.digest)
    spots = {"previous": (end, 32), "digest": (end + 32, 32)}
    for name, text in reversed(texts.items()):
        end -= len(text)
        assert content[end : end + len(text)] == text
        spots[name] = (end, len(text))
    spots["at_ms"] = (end - 6, 6)
    sizes = [2 if 13 + 2 * len(text) > 127 else 1 for text in texts.values()]
    spots["number"] = (end - 6 - 5 - sum(sizes) - 1, 1)
    return spots


@pytest.mark.requirement("audit.tamper_located")
@pytest.mark.requirement("cli.audit_verify")
def test_a_byte_of_any_column_is_found_and_located(stand: Stand, processes: Children, tmp_path: Path) -> None:
    stand.start_bridge()
    sidecar = stand.start_sidecar()
    forced = {"agent_id": "alice", "cohort": "legacy", "ttl_s": 60}
    _act(stand, 2)
    assert call("POST", f"{stand.admin}/agent/force_elicitation", forced, token=stand.token).status == 200
    _act(stand, 2)
    _until_written(stand, 8)
    assert sidecar.end() == 0
    assert _verify(processes, stand.state)[0] == 0
    path = Path(stand.state.removeprefix("sqlite://"))
    content, trail = path.read_bytes(), read_audit(path)
    assert isinstance(trail, Trail)
    entry = next(entry for entry in trail.entries if entry.subject == "alice")
    spots = _spots(content, entry)
    assert set(spots) == {"number", "at_ms", "who", "what", "subject", "details", "previous", "digest"}
    bad = tmp_path / "bad.db"
    for column, (begin, size) in spots.items():
        for at in {begin, begin + size - 1}:
            altered = bytearray(content)
            altered[at] ^= 1
            bad.write_bytes(altered)
            code, told = _verify(processes, f"sqlite://{bad}")
            assert (code, told["intact"], told["damage"], told["number"]) == (1, False, "altered", entry.number), column


@pytest.mark.requirement("cli.audit_verify")
def test_it_can_be_checked_while_the_sidecar_runs_and_after_it_was_killed(stand: Stand, processes: Children) -> None:
    stand.start_bridge()
    sidecar = stand.start_sidecar()
    _act(stand, 3)
    _until_written(stand, 6)
    code, running = _verify(processes, stand.state)
    head = running["head"]
    assert isinstance(head, dict)
    assert (code, running["intact"], head["number"]) == (0, True, 6)
    _act(stand, 1)
    _until_written(stand, 8)
    sidecar.end(signal.SIGKILL)
    code, killed = _verify(processes, stand.state, "--head", f"{head['number']}:{head['digest']}")
    assert (code, killed["intact"]) == (0, True)
    stand.start_sidecar()
    _until_written(stand, 9)
    code, again = _verify(processes, stand.state, "--head", f"{head['number']}:{head['digest']}")
    assert (code, again["intact"], again["losses"]) == (0, True, [])


@pytest.mark.requirement("audit.flags")
def test_a_change_just_before_a_kill_has_its_entry_after_the_next_start(stand: Stand, processes: Children) -> None:
    stand.start_bridge()
    sidecar = stand.start_sidecar()
    stand.set_flags(EVERYBODY)
    sidecar.end(signal.SIGKILL)
    stand.start_sidecar()
    _until_written(stand, 2)
    entries = call("GET", f"{stand.admin}/audit", token=stand.token).json["entries"]
    assert isinstance(entries, list)
    assert [entry["details"]["version"] for entry in entries if entry["what"] == "flags_changed"] == [2]
    assert _verify(processes, stand.state)[0] == 0


@pytest.mark.requirement("cli.report")
def test_the_report_is_the_same_while_it_runs_and_after_it_was_killed(stand: Stand, processes: Children) -> None:
    def reported() -> Mapping[str, object]:
        child = processes.run("report", "security", "--json", "--state", stand.state)
        assert child.code() == 0, child.errors
        value = json.loads(child.lines[0])
        assert isinstance(value, dict)
        return value

    stand.start_bridge()
    sidecar = stand.start_sidecar()
    _act(stand, 2)
    _until_written(stand, 5)
    running = reported()
    by_door = call("GET", f"{stand.admin}/reports/security?format=json", token=stand.token)
    assert by_door.json["trail"] == running["trail"]
    sidecar.end(signal.SIGKILL)
    killed = reported()
    assert [killed[part] for part in ("trail", "refusals", "findings")] == [
        running[part] for part in ("trail", "refusals", "findings")
    ]
    refusals = killed["refusals"]
    assert isinstance(refusals, dict)
    assert refusals["by_subject"][0]["why"] == "operator_token"
