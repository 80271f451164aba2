"""The recorder: one outcome becomes metrics, a line and a sample."""

import logging
from dataclasses import dataclass, replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.core.cohort import Cohort
from proxy.core.errors import AnswerForbidden, Fault, HostRefused
from proxy.core.outcome import Door, ElicitationOutcome, Outcome, Result
from proxy.core.routing import Reason, Route
from proxy.core.suspicion import Breach, Suspicion
from proxy.observe.metrics import Metrics
from proxy.observe.recorder import OutcomeRecorder
from proxy.ports import Alarm, Recorder

WAIT = Outcome(
    door=Door.WAIT,
    result=Result.DELIVERED,
    seconds=2.0,
    status=200,
    agent_id="a",
    route=Route.ELICITATION,
    reason=Reason.SPLIT,
    cohort=Cohort.ELICITATION,
    items=2,
    delivery_seconds=(0.02, 0.04),
    elicitations=(ElicitationOutcome.OFFERED,),
    empty_wakes_saved=3,
    agent_kind="urllib",
)
RELAYED = Outcome(door=Door.RELAY, result=Result.RELAYED, seconds=0.001, status=200)


@dataclass
class _Clock:
    at: float = 0.0

    def now(self) -> float:
        return self.at

    def wall(self) -> float:
        return 1_000_000.0 + self.at

    def alarm(self, at: float, ring: object) -> Alarm:
        raise NotImplementedError(at, ring)


class _Stand:
    def __init__(self) -> None:
        self.clock = _Clock()
        self.metrics = Metrics(version="0")
        self.recorder = OutcomeRecorder(self.metrics, self.clock)

    def value(self, name: str, **labels: str) -> float:
        """The sum of all series of this name that carry these labels."""
        self.metrics.refresh()
        families = text_string_to_metric_families(self.metrics.render("")[0].decode())
        samples = [sample for family in families for sample in family.samples]
        wanted = [s.value for s in samples if s.name == "elicit_sidecar_" + name and labels.items() <= s.labels.items()]
        return sum(wanted)

    def part(self, *path: str) -> object:
        found: object = self.recorder.snapshot()
        for step in path:
            assert isinstance(found, dict)
            found = found[step]
        return found


@pytest.fixture
def stand() -> _Stand:
    return _Stand()


def test_it_is_the_recorder_that_the_flows_ask_for(stand: _Stand) -> None:
    recorder: Recorder = stand.recorder
    recorder.record(RELAYED)


def test_a_wait_is_counted_by_route_reason_and_door_and_timed(stand: _Stand) -> None:
    stand.recorder.record(WAIT)
    assert stand.value("waits_total", route="elicitation", reason="split", door="http_wait") == 1
    assert stand.value("calls_total", door="http_wait", result="delivered") == 1
    assert stand.value("wait_seconds_sum") == 2.0
    assert stand.value("delivery_seconds_count", cohort="elicitation") == 2
    assert stand.value("elicitations_total", outcome="offered") == 1
    assert stand.value("empty_wakes_saved_total") == 3
    assert stand.value("legacy_calls_total", agent_kind="urllib") == 1
    assert stand.value("cohort_agents", cohort="elicitation") == 1
    assert stand.value("fallbacks_total") == stand.value("errors_total") == stand.value("relayed_total") == 0


def test_a_wait_that_ended_before_its_route_was_known_is_counted_too(stand: _Stand) -> None:
    stand.recorder.record(replace(WAIT, route=None, reason=None, cohort=None, agent_kind="", result=Result.REFUSED))
    assert stand.value("waits_total", route="none", reason="none") == 1
    assert stand.value("legacy_calls_total", agent_kind="none") == 1
    assert stand.value("delivery_seconds_count") == 0


@pytest.mark.requirement("metrics.mcp_waits")
@pytest.mark.parametrize("door", [Door.MCP, Door.MCP_STDIO])
def test_a_wait_through_an_mcp_door_is_counted_as_one(stand: _Stand, door: Door) -> None:
    stand.recorder.record(replace(WAIT, door=door))
    assert stand.value("waits_total", route="elicitation", reason="split", door=door.value) == 1
    assert stand.value("calls_total", door=door.value, result="delivered") == 1
    assert stand.value("delivery_seconds_count", cohort="elicitation") == 2
    assert stand.part("cohorts", "elicitation", "waits") == 1


@pytest.mark.requirement("metrics.mcp_waits")
@pytest.mark.parametrize("door", [Door.MCP, Door.MCP_STDIO])
def test_what_else_comes_through_an_mcp_door_is_no_wait(stand: _Stand, door: Door) -> None:
    answered = Outcome(door=door, result=Result.ANSWERED, seconds=0.5, status=200, agent_id="a")
    for outcome in (answered, replace(answered, result=Result.RELAYED), replace(answered, result=Result.REFUSED)):
        stand.recorder.record(outcome)
    assert stand.value("calls_total", door=door.value) == 3
    assert stand.value("waits_total") == stand.value("wait_seconds_count") == stand.value("legacy_calls_total") == 0


def test_a_fallback_is_counted_by_its_reason(stand: _Stand) -> None:
    stand.recorder.record(replace(WAIT, fell_back=Reason.INCAPABLE))
    stand.recorder.record(replace(WAIT, fell_back=Reason.SPLIT))
    assert stand.value("fallbacks_total", reason="incapable") == 1
    assert stand.value("fallbacks_total", reason="other") == 1


@pytest.mark.parametrize(("status", "shown"), [(200, "2xx"), (101, "1xx"), (504, "5xx"), (0, "none"), (999, "none")])
def test_a_relayed_call_is_counted_by_class_of_its_status(stand: _Stand, status: int, shown: str) -> None:
    stand.recorder.record(replace(RELAYED, status=status))
    assert stand.value("relayed_total", status_class=shown) == 1
    assert stand.value("relay_seconds_count") == 1
    assert stand.value("waits_total") == 0


def test_an_error_is_counted_by_code_and_fault(stand: _Stand) -> None:
    stand.recorder.record(replace(RELAYED, error_code="bridge_unavailable", fault=Fault.BRIDGE, result=Result.FAILED))
    assert stand.value("errors_total", code="bridge_unavailable", fault="bridge") == 1


def test_peers_cannot_make_new_series(stand: _Stand) -> None:
    stand.recorder.record(replace(WAIT, agent_kind="evil-1", error_code="evil-2", fault=None))
    assert stand.value("legacy_calls_total", agent_kind="other") == 1
    assert stand.value("errors_total", code="other", fault="ours") == 1
    assert b"evil" not in stand.metrics.render("")[0]


def test_speaking_as_another_agent_is_one_impersonation_however_it_is_told(stand: _Stand) -> None:
    refused = replace(WAIT, door=Door.RESPOND, result=Result.REFUSED, error_code="answer_forbidden", fault=Fault.AGENT)
    stand.recorder.record(replace(refused, elicitations=(ElicitationOutcome.FORBIDDEN,)))
    assert stand.value("impersonations_total") == 1
    stand.recorder.record(replace(refused, elicitations=()))
    stand.recorder.elicitation(ElicitationOutcome.FORBIDDEN, "a")
    assert stand.value("impersonations_total") == 3
    assert stand.part("security", "impersonations") == 3


@pytest.mark.parametrize(
    ("outcome", "level"),
    [
        (ElicitationOutcome.SEEN, logging.INFO),
        (ElicitationOutcome.CONFLICT, logging.WARNING),
        (ElicitationOutcome.UNDELIVERED, logging.WARNING),
    ],
)
def test_what_happens_to_an_elicitation_outside_of_a_call_is_counted_and_told(
    stand: _Stand, caplog: pytest.LogCaptureFixture, outcome: ElicitationOutcome, level: int
) -> None:
    caplog.set_level(logging.INFO, "proxy")
    stand.recorder.elicitation(outcome, "a")
    assert stand.value("elicitations_total", outcome=outcome.value) == 1
    assert [record.levelno for record in caplog.records] == [level]


def test_lost_messages_count_against_the_cohort_of_their_agent(stand: _Stand, caplog: pytest.LogCaptureFixture) -> None:
    stand.recorder.record(WAIT)
    stand.recorder.lost_messages("a", 2)
    stand.recorder.lost_messages("unknown", 5)
    assert stand.value("messages_lost_total") == 7
    assert stand.part("messages_lost") == 7
    assert stand.part("cohorts", "elicitation", "delivery_rate") == 0.5
    warned = [record.msg for record in caplog.records if record.levelno == logging.WARNING]
    assert [isinstance(said, dict) and said["at_most"] for said in warned] == [2, 5]


def test_a_defect_is_counted_and_told_with_its_traceback(stand: _Stand, caplog: pytest.LogCaptureFixture) -> None:
    planted = ValueError("planted")
    stand.recorder.defect("GET /x", planted)
    assert stand.value("defects_total") == 1
    (record,) = caplog.records
    assert isinstance(record.msg, dict)
    assert (record.levelno, record.msg["where"], record.msg["exc_info"]) == (logging.ERROR, "GET /x", planted)


def test_the_snapshot_shows_each_cohort_and_what_is_open_now(stand: _Stand) -> None:
    stand.metrics.bind({"parked_waits": lambda: 4.0, "elicitations_pending": lambda: 2.0})
    stand.recorder.record(WAIT)
    stand.recorder.record(replace(WAIT, agent_id="b", cohort=Cohort.LEGACY, result=Result.TIMED_OUT))
    stand.recorder.record(replace(RELAYED, door=Door.ADMIN, error_code="host_refused", fault=Fault.AGENT))
    stand.clock.at = 60.0
    assert stand.part("uptime_seconds") == 60.0
    assert (stand.part("active_waits"), stand.part("pending_elicitations")) == (4.0, 2.0)
    assert stand.part("cohorts", "elicitation", "delivery_seconds", "p50") == 0.02
    assert stand.part("cohorts", "legacy", "timeout_rate") == 1.0
    assert stand.part("agents") == {"elicitation": 1.0, "legacy": 1.0}
    assert stand.part("elicitations", "offered") == 2
    assert stand.part("errors") == {"host_refused": 1}
    assert stand.part("security", "hosts_refused") == 1
    assert stand.part("defects") == 0


class TestWatchers:
    @staticmethod
    def _heard(stand: _Stand) -> list[Suspicion]:
        heard: list[Suspicion] = []
        stand.recorder.watch(heard.append)
        return heard

    @pytest.mark.parametrize("breach", Breach)
    def test_they_hear_of_every_suspicion(self, stand: _Stand, breach: Breach) -> None:
        heard = self._heard(stand)
        suspicion = Suspicion(breach=breach, rule="absent", agent_id="a", is_enforced=True)
        stand.recorder.suspect(suspicion)
        assert heard == [suspicion]

    @pytest.mark.parametrize(
        ("outcome", "breach"),
        [
            (replace(RELAYED, error_code=HostRefused.code), Breach.HOST),
            (replace(RELAYED, error_code=AnswerForbidden.code), Breach.FOREIGN_ANSWER),
            (replace(RELAYED, elicitations=(ElicitationOutcome.FORBIDDEN,)), Breach.FOREIGN_ANSWER),
            (
                replace(RELAYED, error_code=AnswerForbidden.code, elicitations=(ElicitationOutcome.FORBIDDEN,)),
                Breach.FOREIGN_ANSWER,
            ),
        ],
    )
    def test_they_hear_once_of_calls_with_a_foreign_answer_or_name(
        self, stand: _Stand, outcome: Outcome, breach: Breach
    ) -> None:
        heard = self._heard(stand)
        stand.recorder.record(replace(outcome, agent_id="mallory"))
        assert heard == [Suspicion(breach=breach, rule="", agent_id="mallory", is_enforced=True)]

    def test_they_hear_of_foreign_answers_outside_of_calls_and_of_no_others(self, stand: _Stand) -> None:
        heard = self._heard(stand)
        stand.recorder.elicitation(ElicitationOutcome.FORBIDDEN, "mallory")
        stand.recorder.elicitation(ElicitationOutcome.CONFLICT, "alice")
        stand.recorder.record(WAIT)
        stand.recorder.record(replace(RELAYED, door=Door.ADMIN, error_code=HostRefused.code))
        assert [each.agent_id for each in heard] == ["mallory"]
