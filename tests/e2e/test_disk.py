"""What a disk in trouble does to the service: nothing to the agents, and operators are told what and for how long."""

import signal
import sqlite3
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.disk_faults import as_mortal, disk_full, locked, read_only, spoil_pages
from tests.support.processes import Child, until
from tests.support.stand import EVERYBODY, Reply, Stand, call, open_session, store, wait

pytestmark = [pytest.mark.e2e, pytest.mark.requirement("disk.trouble")]

WITHIN_S = 30.0
"""A store in trouble is tried again every ten seconds at the latest."""

_LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
hidden = [name for name in os.environ if name.startswith("COVERAGE_")]
for name in hidden:
    del os.environ[name]
os.execv(sys.argv[2], sys.argv[2:])
"""


def _as_full(words: Sequence[str]) -> list[str]:
    """A command whose process cannot write a byte to any file, nor what it covered.

    Source: setrlimit(2), RLIMIT_FSIZE.
    """
    return [sys.executable, "-c", _LIMITED, "0", *words]


@dataclass
class Day:
    """Agents and operators before one sidecar whose disk has its troubles."""

    stand: Stand
    asked: int = 0
    answered: int = 0
    cursor: int = 0

    def __post_init__(self) -> None:
        self.stand.start_bridge()
        self.bob = open_session(self.stand.bridge, "bob")
        self.alice = open_session(self.stand.bridge, "alice")
        self.carol = open_session(self.stand.bridge, "carol")

    @property
    def path(self) -> Path:
        """The state file."""
        return self.stand.folder / "state.db"

    def ask(self) -> str:
        """A question to bob; its id."""
        self.asked += 1
        body = {
            "from_agent": "alice",
            "to_agent": "bob",
            "message": f"Which colour has number {self.asked}?",
            "schema": {"type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]},
            "timeout_seconds": 600,
        }
        reply = call("POST", f"{self.stand.data}/elicitation/create", body, token=self.alice)
        return str(reply.json["elicitation_id"])

    def hear(self, wanted: str) -> None:
        """Bob waits until he hears of something."""
        for _ in range(10):
            found = wait(self.stand.data, "bob", self.bob, since=self.cursor, timeout_s=10).events
            self.cursor = max([self.cursor, *(int(str(each["sequence"])) for each in found)])
            if wanted in str(found):
                return
        raise AssertionError(f"bob never heard of {wanted}")

    def answer(self, question: str) -> Reply:
        """Bob answers."""
        body = {
            "elicitation_id": question,
            "responding_agent": "bob",
            "response_type": "accept",
            "data": {"colour": "red"},
        }
        return call("POST", f"{self.stand.data}/elicitation/respond", body, token=self.bob)

    def live(self) -> None:
        """What has to go on whatever the disk does: a message, a question, its answer, the same answer again."""
        question = self.ask()
        self.hear(question)
        assert [self.answer(question).status for _ in range(2)] == [200, 200]
        self.answered += 1
        taken = call("GET", f"{self.stand.bridge}/elicitation/status/{question}", token=self.bob).json
        assert taken["status"] == "accepted"
        arrived = call("GET", f"{self.stand.bridge}/dev/counters").json["requests"]
        assert isinstance(arrived, dict)
        assert arrived["POST /elicitation/respond"] == self.answered, "an answer went up twice"
        store(self.stand.bridge, "carol", {"text": f"word {self.answered}"}, token=self.carol)
        self.hear(f"word {self.answered}")

    def reasons(self) -> list[object]:
        """What /readyz has to say; it turns nobody away."""
        ready = call("GET", f"{self.stand.admin}/readyz")
        health = call("GET", f"{self.stand.admin}/health").json
        found = ready.json["reasons"]
        assert isinstance(found, list)
        assert (ready.status, health["status"]) == (200, "degraded" if found else "healthy")
        return found

    def metric(self, name: str) -> float:
        """One of our metrics without labels."""
        text = call("GET", f"{self.stand.admin}/metrics", token=self.stand.token).body.decode()
        return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"elicit_sidecar_{name} "))

    def until_in_trouble(self, words: str) -> None:
        """Wait until /readyz says that the state is in memory only, and why."""

        def is_said() -> bool:
            return any("state is in memory only" in str(each) and words in str(each) for each in self.reasons())

        until(is_said, within_s=WITHIN_S, what=f"{words} in /readyz")

    def until_whole(self) -> None:
        """Wait until the journal is whole again."""
        until(lambda: not self.metric("journal_trouble"), within_s=WITHIN_S, what="the end of the trouble")

    def refused_flags(self, **flags: object) -> Reply:
        """Change flags."""
        return call("POST", f"{self.stand.admin}/feature_flags", flags, token=self.stand.token)

    def _has(self, question: str) -> bool:
        connection = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        try:
            found = connection.execute(
                "SELECT count(*) FROM questions WHERE elicitation_id = ?", (question,)
            ).fetchone()
        except sqlite3.OperationalError:  # it is just being made
            return False
        finally:
            connection.close()
        return bool(found[0])

    def survives(self, question: str, sidecar: Child) -> None:
        """What was open before a kill, and written, is there after it."""
        until(lambda: self._has(question), within_s=WITHIN_S, what="the commit")
        assert sidecar.end(signal.SIGKILL) == -signal.SIGKILL
        self.stand.start_sidecar()
        assert self.reasons() == []
        assert self.stand.flags()["elicitation_percentage"] == 100
        known = call("GET", f"{self.stand.admin}/exchanges/{question}", token=self.stand.token)
        assert known.json["state"] in {"new", "offered"}
        self.hear(question)


@pytest.fixture(name="day")
def _day(stand: Stand) -> Day:
    """A Bridge and its agents."""
    return Day(stand)


def _used(day: Day, end: signal.Signals = signal.SIGTERM) -> None:
    """A sidecar that was in use before: flags, and a question that is open."""
    sidecar = day.stand.start_sidecar()
    day.stand.set_flags(EVERYBODY)
    day.live()
    sidecar.end(end)


def _full(day: Day, sidecar: Child) -> AbstractContextManager[None]:
    return disk_full(sidecar.pid, day.path.with_name("state.db-wal").stat().st_size)


def _locked(day: Day, _: Child) -> AbstractContextManager[None]:
    return locked(day.path)


@pytest.mark.parametrize(
    ("trouble", "words"), [(_full, "the disk is full, or failing"), (_locked, "another process holds it")]
)
def test_while_it_runs_the_service_goes_on_and_says_so_and_all_is_written_afterwards(
    day: Day, trouble: Callable[[Day, Child], AbstractContextManager[None]], words: str
) -> None:
    sidecar = day.stand.start_sidecar()
    day.stand.set_flags(EVERYBODY)
    day.live()
    assert day.reasons() == []
    with trouble(day, sidecar):
        day.live()
        day.until_in_trouble(words)
        assert (day.metric("journal_trouble"), day.metric("journal_troubles_total")) == (1, 1)
        refused = day.refused_flags(elicitation_percentage=50)
        assert (refused.status, refused.json["code"], refused.json["retryable"]) == (503, "state_unavailable", True)
        assert "nothing has changed" in str(refused.json["detail"])
        assert "--state memory: --set flags.elicitation_enabled=false" in str(refused.json["detail"])
        assert day.stand.flags()["elicitation_percentage"] == 100
        question = day.ask()
    day.until_whole()
    assert day.reasons() == []
    assert [sidecar.errors.count(line) for line in ("journal in trouble", "journal whole again")] == [1, 1]
    assert "Traceback" not in sidecar.errors
    assert day.refused_flags(elicitation_percentage=100).status == 200
    day.survives(question, sidecar)


def test_a_disk_that_is_full_at_the_start_is_read_and_written_when_it_has_room(day: Day) -> None:
    _used(day, signal.SIGKILL)
    sidecar = day.stand.start_sidecar(wrap=_as_full)
    day.until_in_trouble("the disk is full, or failing")
    assert day.stand.flags()["elicitation_percentage"] == 100
    day.live()
    assert day.refused_flags(elicitation_percentage=50).status == 503
    question = day.ask()
    with disk_full(sidecar.pid, 1 << 40):
        day.until_whole()
        assert sidecar.errors.count("journal in trouble") == 1
        day.survives(question, sidecar)


def test_what_may_not_be_written_at_the_start_is_read_and_written_when_it_may(day: Day) -> None:
    _used(day)
    with read_only(day.path):
        sidecar = day.stand.start_sidecar(wrap=as_mortal)
        day.until_in_trouble("Permission denied")
        assert day.stand.flags()["elicitation_percentage"] == 100
        day.live()
        question = day.ask()
    day.until_whole()
    day.survives(question, sidecar)


def test_a_file_that_another_process_holds_at_the_start_is_read_and_written_when_it_is_free(day: Day) -> None:
    _used(day)
    with locked(day.path):
        sidecar = day.stand.start_sidecar()
        day.until_in_trouble("another process holds it")
        assert day.stand.flags()["elicitation_percentage"] == 100
        day.live()
        question = day.ask()
    day.until_whole()
    day.survives(question, sidecar)


def test_without_a_state_file_and_without_room_for_one_it_does_not_start_and_says_why(day: Day) -> None:
    sidecar = day.stand.launch_sidecar(wrap=_as_full)
    assert sidecar.code() == 1
    assert "cannot start: the state file" in sidecar.errors
    assert "the disk is full, or failing" in sidecar.errors
    assert "Traceback" not in sidecar.errors


def test_a_file_of_a_newer_release_is_left_alone_and_it_does_not_start(day: Day) -> None:
    _used(day)
    newer = sqlite3.connect(day.path)
    newer.execute("PRAGMA user_version = 1000")
    newer.close()
    before = day.path.read_bytes()
    sidecar = day.stand.launch_sidecar()
    assert sidecar.code() == 1
    assert "use the newer release again or set state.url to another file" in sidecar.errors
    assert "Traceback" not in sidecar.errors
    assert day.path.read_bytes() == before


def test_a_damaged_file_is_set_aside_at_the_start_and_everybody_is_served(day: Day) -> None:
    _used(day)
    spoil_pages(day.path)
    sidecar = day.stand.start_sidecar()
    (reason,) = day.reasons()
    assert f"state was set aside: {day.path}.corrupt-" in str(reason)
    assert sidecar.errors.count("state was damaged and set aside") == 1
    assert day.metric("state_set_aside") == 1
    day.stand.set_flags(EVERYBODY)
    day.live()
    day.survives(day.ask(), sidecar)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()


def test_a_file_that_is_taken_away_while_it_runs_is_begun_anew_with_all_that_is_known(day: Day) -> None:
    sidecar = day.stand.start_sidecar()
    day.stand.set_flags(EVERYBODY)
    day.live()
    question = day.ask()
    _remove(day.path)
    day.live()
    until(lambda: "journal whole again" in sidecar.errors, within_s=WITHIN_S, what="a whole journal")
    assert sidecar.errors.count("the state file was taken away") == 1
    assert day.reasons() == []
    day.path.rename(day.path.with_name("elsewhere"))
    day.path.write_bytes(b"not a database")
    day.live()
    until(lambda: sidecar.errors.count("journal whole again") == 2, within_s=WITHIN_S, what="a whole journal")
    (reason,) = day.reasons()
    assert f"state was set aside: {day.path}.corrupt-" in str(reason)
    day.survives(question, sidecar)
