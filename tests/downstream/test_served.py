"""One outcome for every served call, whatever ends it."""

import asyncio

import pytest
from aiohttp.test_utils import make_mocked_request

from proxy.core.cohort import Cohort
from proxy.core.errors import AnswerForbidden, BridgeTimeout, Fault, SidecarError
from proxy.core.outcome import Door, Outcome, Result
from proxy.core.routing import Decision, Reason, Route
from proxy.downstream.relay import RELAY_OUTCOME, RelayOutcome
from proxy.downstream.served import Draft, served
from proxy.ports import Alarm
from tests.support.fake_recorder import FakeRecorder


class _Clock:
    """One second passes whenever somebody looks."""

    def __init__(self) -> None:
        self._at = 0.0

    def now(self) -> float:
        self._at += 1
        return self._at

    def wall(self) -> float:
        return self._at

    def alarm(self, at: float, ring: object) -> Alarm:
        raise NotImplementedError(at, ring)


def _serve(ends: BaseException | None, *, decision: Decision | None = None) -> Outcome:
    recorder = FakeRecorder()
    request = make_mocked_request("POST", "/event/store?token=secret", headers={"User-Agent": "curl/8.5"})
    request[RELAY_OUTCOME] = RelayOutcome(status=200, bytes_up=3, bytes_down=5, complete=True)
    with served(request, Door.STORE, recorder, _Clock()) as draft:
        draft.status = 200
        if decision is not None:
            draft.decided(decision)
        if ends is not None:
            raise ends
    (outcome,) = recorder.outcomes
    return outcome


def _ended(ends: BaseException) -> Outcome:
    recorder = FakeRecorder()
    request = make_mocked_request("GET", "/event/wait")
    with pytest.raises(type(ends)), served(request, Door.WAIT, recorder, _Clock()):
        raise ends
    (outcome,) = recorder.outcomes
    return outcome


def test_a_call_that_ends_well_is_recorded_with_what_the_door_noted() -> None:
    outcome = _serve(None)
    assert outcome == Outcome(
        door=Door.STORE,
        result=Result.RELAYED,
        seconds=1.0,
        status=200,
        agent_kind="curl",
        method="POST",
        path="/event/store",
        bytes_up=3,
        bytes_down=5,
    )


def test_the_query_of_a_call_is_not_recorded() -> None:
    assert "secret" not in repr(_serve(None))


@pytest.mark.parametrize(
    ("error", "result", "status", "fault"),
    [
        (AnswerForbidden("not yours"), Result.REFUSED, 403, Fault.AGENT),
        (BridgeTimeout("late"), Result.FAILED, 504, Fault.BRIDGE),
        (SidecarError("broken"), Result.FAILED, 500, Fault.OURS),
    ],
)
def test_an_error_of_ours_is_recorded_with_its_code_and_fault(
    error: SidecarError, result: Result, status: int, fault: Fault
) -> None:
    outcome = _ended(error)
    assert (outcome.result, outcome.status, outcome.error_code, outcome.fault) == (result, status, error.code, fault)


@pytest.mark.parametrize("ends", [asyncio.CancelledError(), ConnectionResetError("Cannot write")])
def test_a_caller_that_left_is_gone(ends: BaseException) -> None:
    outcome = _ended(ends)
    assert (outcome.result, outcome.status, outcome.error_code) == (Result.GONE, 0, "")


@pytest.mark.parametrize("ends", [ValueError("a defect"), KeyboardInterrupt()])
def test_whatever_else_ends_a_call_is_a_failure(ends: BaseException) -> None:
    outcome = _ended(ends)
    assert (outcome.result, outcome.status) == (Result.FAILED, 500)


@pytest.mark.parametrize(
    ("reason", "fell_back"),
    [(Reason.INCAPABLE, Reason.INCAPABLE), (Reason.BREAKER_OPEN, Reason.BREAKER_OPEN), (Reason.SPLIT, None)],
)
def test_a_wait_that_could_not_take_its_way_has_fallen_back(reason: Reason, fell_back: Reason | None) -> None:
    decision = Decision(route=Route.LEGACY, reason=reason, cohort=Cohort.ELICITATION, bucket=0)
    outcome = _serve(None, decision=decision)
    assert (outcome.route, outcome.reason, outcome.cohort) == (Route.LEGACY, reason, Cohort.ELICITATION)
    assert outcome.fell_back is fell_back


def test_a_draft_begins_as_a_relayed_call_of_nobody() -> None:
    draft = Draft(Door.RELAY)
    assert (draft.result, draft.status, draft.agent_id, draft.elicitations) == (Result.RELAYED, 0, "", [])
