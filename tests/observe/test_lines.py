"""The log line of an outcome: level, words and fields."""

import logging
from dataclasses import replace

import pytest

from proxy.core.cohort import Cohort
from proxy.core.errors import Fault
from proxy.core.outcome import Door, Outcome, Result
from proxy.core.routing import Reason, Route
from proxy.observe.lines import level_of, write_outcome
from proxy.observe.logs import logger

WAIT = Outcome(door=Door.WAIT, result=Result.DELIVERED, seconds=0.12345678, agent_id="a", status=200)
LOG = logger("proxy.lines")


@pytest.mark.parametrize(
    ("outcome", "level"),
    [
        (WAIT, logging.INFO),
        (replace(WAIT, result=Result.GONE), logging.INFO),
        (replace(WAIT, result=Result.REFUSED), logging.WARNING),
        (replace(WAIT, result=Result.FAILED), logging.WARNING),
        (replace(WAIT, door=Door.RELAY, result=Result.RELAYED), logging.DEBUG),
        (replace(WAIT, door=Door.RELAY, result=Result.FAILED), logging.WARNING),
        (replace(WAIT, door=Door.ADMIN, method="GET"), logging.DEBUG),
        (replace(WAIT, door=Door.ADMIN, method="POST"), logging.INFO),
        (replace(WAIT, door=Door.ADMIN, method="POST", path="/ofrep/v1/evaluate/flags"), logging.DEBUG),
    ],
)
def test_refusals_and_failures_warn_and_what_passes_by_is_for_debugging(outcome: Outcome, level: int) -> None:
    assert level_of(outcome) == level


def test_a_line_has_the_fields_that_hold_something(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "proxy")
    outcome = replace(
        WAIT,
        route=Route.LEGACY,
        reason=Reason.BREAKER_OPEN,
        cohort=Cohort.ELICITATION,
        error_code="not_found",
        fault=Fault.AGENT,
        delivery_seconds=(0.0000004, 0.5),
    )
    write_outcome(LOG, outcome)
    (record,) = caplog.records
    line = record.msg
    assert isinstance(line, dict)
    del line["timestamp"]
    assert line == {
        "event": "delivered",
        "level": "info",
        "logger": "proxy.lines",
        "door": "http_wait",
        "seconds": 0.123457,
        "agent_id": "a",
        "status": 200,
        "route": "legacy",
        "reason": "breaker_open",
        "cohort": "elicitation",
        "error_code": "not_found",
        "fault": "agent",
        "delivery_seconds": [0.0, 0.5],
    }


def test_a_line_below_the_level_is_not_written(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "proxy")
    write_outcome(LOG, WAIT)
    assert caplog.records == []
