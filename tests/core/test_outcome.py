"""The record of a served call: its words are labels that dashboards rely on."""

import dataclasses

import pytest

from proxy.core.errors import (
    AnswerConflict,
    AnswerForbidden,
    AnswerInvalid,
    AnswerUndelivered,
    ElicitationExpired,
    SidecarError,
)
from proxy.core.outcome import Door, ElicitationOutcome, Outcome, Result, counted_as


@pytest.mark.requirement("outcome.words")
def test_the_words_of_an_outcome_are_the_ones_dashboards_know() -> None:
    over_http = {"http_wait", "http_store", "http_create", "http_respond", "http_relay", "http_admin"}
    over_mcp = {"mcp_http", "mcp_stdio"}
    results = {"delivered", "timed_out", "relayed", "answered", "refused", "failed", "gone"}
    of_questions = {"seen", "offered", "expired"}
    of_answers = {"accepted", "declined", "cancelled", "duplicate", "conflict", "forbidden", "invalid", "undelivered"}
    assert over_http | over_mcp <= {door.value for door in Door}
    assert results <= {result.value for result in Result}
    assert of_questions | of_answers <= {outcome.value for outcome in ElicitationOutcome}


def test_an_outcome_needs_door_result_and_duration_and_claims_nothing_else() -> None:
    outcome = Outcome(door=Door.RELAY, result=Result.GONE, seconds=0.25)
    claimed = {name: value for name, value in dataclasses.asdict(outcome).items() if value}
    assert claimed == {"door": Door.RELAY, "result": Result.GONE, "seconds": 0.25}


def test_an_outcome_cannot_be_changed_once_it_is_told() -> None:
    outcome = Outcome(door=Door.WAIT, result=Result.DELIVERED, seconds=1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        outcome.items = 1  # type: ignore[misc]  # that it is refused is the point


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (AnswerForbidden("no"), ElicitationOutcome.FORBIDDEN),
        (AnswerConflict("no"), ElicitationOutcome.CONFLICT),
        (ElicitationExpired("no"), ElicitationOutcome.EXPIRED),
        (AnswerUndelivered("no"), ElicitationOutcome.UNDELIVERED),
        (AnswerInvalid("no"), ElicitationOutcome.INVALID),
    ],
)
def test_an_answer_that_was_not_taken_counts_as_what_kept_it(error: SidecarError, counted: ElicitationOutcome) -> None:
    assert counted_as(error) is counted
