"""The table of errors is a contract: codes, statuses, fault sides and the problem document."""

import inspect

import orjson
import pytest

from proxy.core import errors
from proxy.core.errors import (
    PROBLEM_TYPE_BASE,
    AgentFault,
    BridgeFault,
    BridgeRefused,
    Fault,
    FlagConflict,
    MethodNotAllowed,
    OurFault,
    SidecarError,
    TooManyWaits,
)

TABLE = {
    "AgentFault": ("bad_request", 400, Fault.AGENT, False),
    "AnswerConflict": ("answer_conflict", 409, Fault.AGENT, False),
    "AnswerForbidden": ("answer_forbidden", 403, Fault.AGENT, False),
    "BodyNotSigned": ("body_not_signed", 401, Fault.AGENT, False),
    "ImpersonationRefused": ("impersonation", 403, Fault.AGENT, False),
    "RateLimited": ("rate_limited", 429, Fault.AGENT, True),
    "ReplayRefused": ("replay_refused", 403, Fault.AGENT, False),
    "SignatureRefused": ("signature_refused", 401, Fault.AGENT, False),
    "TokenRefused": ("token_refused", 403, Fault.AGENT, False),
    "AnswerInvalid": ("answer_invalid", 422, Fault.AGENT, False),
    "AnswerUndelivered": ("answer_undelivered", 502, Fault.BRIDGE, True),
    "BadBridgeReply": ("bad_bridge_reply", 502, Fault.BRIDGE, True),
    "BodyTooLarge": ("body_too_large", 413, Fault.AGENT, False),
    "BridgeFault": ("bridge_error", 502, Fault.BRIDGE, True),
    "BridgeRefused": ("bridge_refused", 502, Fault.BRIDGE, True),
    "BridgeTimeout": ("bridge_timeout", 504, Fault.BRIDGE, True),
    "BridgeUnavailable": ("bridge_unavailable", 502, Fault.BRIDGE, True),
    "BridgeUntrusted": ("bridge_untrusted", 502, Fault.BRIDGE, False),
    "ElicitationExpired": ("elicitation_expired", 410, Fault.AGENT, False),
    "ElicitationUnavailable": ("elicitation_unavailable", 503, Fault.BRIDGE, True),
    "ElicitationUnknown": ("elicitation_unknown", 404, Fault.AGENT, False),
    "EvaluationRefused": ("evaluation_refused", 400, Fault.AGENT, False),
    "FlagConflict": ("flag_conflict", 409, Fault.AGENT, True),
    "FlagNotFound": ("flag_not_found", 404, Fault.AGENT, False),
    "Forbidden": ("forbidden", 403, Fault.AGENT, False),
    "HostRefused": ("host_refused", 403, Fault.AGENT, False),
    "InvalidFlags": ("invalid_flags", 400, Fault.AGENT, False),
    "InvalidInput": ("invalid_input", 400, Fault.AGENT, False),
    "InvalidState": ("invalid_request_state", 400, Fault.AGENT, False),
    "LegacyRemoved": ("legacy_removed", 410, Fault.AGENT, False),
    "MethodNotAllowed": ("method_not_allowed", 405, Fault.AGENT, False),
    "NotFound": ("not_found", 404, Fault.AGENT, False),
    "OurFault": ("internal_error", 500, Fault.OURS, False),
    "SchemaRefused": ("schema_refused", 422, Fault.AGENT, False),
    "SidecarError": ("internal_error", 500, Fault.OURS, False),
    "StateUnavailable": ("state_unavailable", 503, Fault.OURS, True),
    "TooManyQuestions": ("too_many_questions", 429, Fault.AGENT, True),
    "TooManyWaits": ("too_many_waits", 503, Fault.OURS, True),
    "Unauthenticated": ("unauthenticated", 401, Fault.AGENT, False),
}
KNOWN = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, SidecarError)}


def _made(kind: type[SidecarError]) -> SidecarError:
    return BridgeRefused("no", bridge_status=418) if kind is BridgeRefused else kind("no")


@pytest.mark.requirement("errors.stable_table")
def test_every_error_has_the_code_status_fault_and_retry_hint_that_clients_rely_on() -> None:
    assert {name: (kind.code, kind.status, kind.fault, kind.retryable) for name, kind in KNOWN.items()} == TABLE


def test_no_two_errors_share_a_code_but_the_root_and_our_own_fault() -> None:
    codes = [kind.code for name, kind in KNOWN.items() if name != "SidecarError"]
    assert len(codes) == len(set(codes))


@pytest.mark.requirement("errors.fault_sides")
@pytest.mark.parametrize("name", sorted(TABLE))
def test_the_branch_of_an_error_tells_its_fault_and_its_class_of_status(name: str) -> None:
    kind = KNOWN[name]
    branch = {Fault.AGENT: AgentFault, Fault.BRIDGE: BridgeFault, Fault.OURS: SidecarError}[kind.fault]
    assert issubclass(kind, branch)
    assert kind.status // 100 == (4 if kind.fault is Fault.AGENT else 5)


@pytest.mark.requirement("errors.problem_document")
@pytest.mark.parametrize("name", sorted(TABLE))
def test_an_error_writes_a_problem_document_with_text_as_detail(name: str) -> None:
    error = _made(KNOWN[name])
    document = orjson.loads(orjson.dumps(error.problem()))
    assert document["type"] == PROBLEM_TYPE_BASE + error.code.replace("_", "-")
    assert "_" not in document["type"]
    assert document["title"] == error.title != ""
    assert document["status"] == error.status
    assert document["detail"] == "no" == str(error)
    assert document["code"] == error.code
    assert document["retryable"] is error.retryable


def test_an_error_is_sent_as_a_problem_but_for_the_two_that_openfeature_wants_as_plain_json() -> None:
    plain = {name for name, kind in KNOWN.items() if kind.media_type != "application/problem+json"}
    assert plain == {"EvaluationRefused", "FlagNotFound"}


def test_a_refused_method_names_those_that_are_taken() -> None:
    assert MethodNotAllowed("no", allow="GET, POST").allow == "GET, POST"


def test_what_an_error_adds_stands_beside_the_members_of_every_problem() -> None:
    document = FlagConflict("expected version 3, the flags are at version 4", version=4).problem()
    assert document["version"] == 4
    assert set(document) == {"type", "title", "status", "detail", "code", "retryable", "version"}


def test_an_error_carries_the_wait_it_asks_for() -> None:
    assert TooManyWaits("full", retry_after_s=1.5).retry_after_s == 1.5
    assert OurFault("broken").retry_after_s is None


def test_a_refusal_of_the_bridge_keeps_its_reply_and_shows_only_its_status() -> None:
    refused = BridgeRefused("no", bridge_status=403, body=b'{"detail":"secret"}', content_type="application/json")
    assert (refused.bridge_status, refused.body, refused.content_type) == (
        403,
        b'{"detail":"secret"}',
        "application/json",
    )
    assert refused.problem()["bridge_status"] == 403
    assert b"secret" not in orjson.dumps(refused.problem())
