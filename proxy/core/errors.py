"""Every error the sidecar answers with, in one place.

An error knows its stable code, its HTTP status, whose mistake it is and whether a retry can help.
Only faults of the Bridge and our own count against a rollout; an agent's own mistake never does.
Texts say what was expected, what came and what to do; they hold no secret and no stack.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar

Fields = Mapping[str, str]
PROBLEM_TYPE_BASE = "https://elicit-sidecar.dev/errors/"
"""Prefix of the `type` member of a problem document. Source: RFC 9457 section 3.1.1."""

PROBLEM_MEDIA_TYPE = "application/problem+json"
"""Source: RFC 9457 section 6.1."""


class Fault(StrEnum):
    """Whose mistake an error is."""

    AGENT = "agent"
    BRIDGE = "bridge"
    OURS = "ours"


class SidecarError(Exception):
    """Root of all errors that reach a peer.

    `detail` is the human text, `retry_after_s` the wait in seconds that the peer should respect, or None.
    """

    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"
    status: ClassVar[int] = 500
    fault: ClassVar[Fault] = Fault.OURS
    retryable: ClassVar[bool] = False
    media_type: ClassVar[str] = PROBLEM_MEDIA_TYPE
    """Under which the document of this error is sent."""

    def __init__(self, detail: str, *, retry_after_s: float | None = None, **extra: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.extra: Mapping[str, object] = extra

    def problem(self) -> dict[str, object]:
        """The problem document of this error.

        `detail` is always a string, so that clients which read the Bridge's `{"detail": ...}` read ours too.

        Source: RFC 9457 section 3; members `code` and `retryable` are ours.
        """
        return {
            "type": PROBLEM_TYPE_BASE + self.code.replace("_", "-"),
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "retryable": self.retryable,
            **self.extra,
        }


class AgentFault(SidecarError):
    """The caller made the mistake; it never counts against a rollout."""

    code = "bad_request"
    title = "Bad request"
    status = 400
    fault = Fault.AGENT


class BridgeFault(SidecarError):
    """The Bridge failed us."""

    code = "bridge_error"
    title = "Bridge error"
    status = 502
    fault = Fault.BRIDGE
    retryable = True


class OurFault(SidecarError):
    """The sidecar itself failed."""

    code = "internal_error"
    title = "Internal error"


class InvalidInput(AgentFault):
    """A body, query or header that cannot be read."""

    code = "invalid_input"
    title = "Invalid input"


class BodyTooLarge(AgentFault):
    """A body beyond the bound of the door it came through."""

    code = "body_too_large"
    title = "Body too large"
    status = 413


class HostRefused(AgentFault):
    """Host or Origin is not one of ours (DNS rebinding)."""

    code = "host_refused"
    title = "Host or Origin refused"
    status = 403


class Unauthenticated(AgentFault):
    """No valid operator or viewer token."""

    code = "unauthenticated"
    title = "Authentication required"
    status = 401


class Forbidden(AgentFault):
    """A valid token whose role may not do this."""

    code = "forbidden"
    title = "Forbidden"
    status = 403


class NotFound(AgentFault):
    """No such resource on the admin port."""

    code = "not_found"
    title = "Not found"
    status = 404


class MethodNotAllowed(AgentFault):
    """A path of the admin port, but not with this method; `allow` names the methods it takes."""

    code = "method_not_allowed"
    title = "Method not allowed"
    status = 405

    def __init__(self, detail: str, *, allow: str = "") -> None:
        super().__init__(detail)
        self.allow = allow


class EvaluationRefused(AgentFault):
    """A flag evaluation whose body cannot be read; its members `errorCode` and `errorDetails` are OpenFeature's.

    Source: OFREP 0.3, evaluationFailure, which is sent as plain JSON.
    """

    code = "evaluation_refused"
    title = "Flags not evaluated"
    media_type = "application/json"


class FlagNotFound(AgentFault):
    """A flag evaluation that names no flag of ours; its members `key` and `errorCode` are OpenFeature's.

    Source: OFREP 0.3, flagNotFound, which is sent as plain JSON.
    """

    code = "flag_not_found"
    title = "Flag not found"
    status = 404
    media_type = "application/json"


class FlagConflict(AgentFault):
    """A patch was based on another version of the flag set."""

    code = "flag_conflict"
    title = "Version conflict"
    status = 409
    retryable = True


class InvalidFlags(AgentFault):
    """A flag patch with an unknown key or an impossible value."""

    code = "invalid_flags"
    title = "Invalid flags"


class InvalidState(InvalidInput):
    """A `requestState` that is not ours, was altered, has expired or was used before; it never says which."""

    code = "invalid_request_state"
    title = "Invalid or expired requestState"

    def __init__(
        self, detail: str = "expected the requestState of an open question, unchanged; call the tool again without it"
    ) -> None:
        super().__init__(detail)


class LegacyRemoved(AgentFault):
    """The legacy wait is gone for this agent."""

    code = "legacy_removed"
    title = "wait_for_messages was removed"
    status = 410


class TooManyWaits(OurFault):
    """The sidecar holds as many waits as it may."""

    code = "too_many_waits"
    title = "Too many parked waits"
    status = 503
    retryable = True


class TooManyQuestions(AgentFault):
    """As many questions are open to one agent, or in all, as may be; each answer makes room."""

    code = "too_many_questions"
    title = "Too many open questions"
    status = 429
    retryable = True


class SchemaRefused(AgentFault):
    """An elicitation asks with no schema, or a hostile one, or one beyond our bounds; `path` names the place."""

    code = "schema_refused"
    title = "Schema refused"
    status = 422

    def __init__(self, detail: str, *, path: str = "$") -> None:
        super().__init__(detail, path=path)


class AnswerInvalid(AgentFault):
    """An answer does not match the schema of its elicitation; `path` names the failing place."""

    code = "answer_invalid"
    title = "Answer does not match the requested schema"
    status = 422


class AnswerForbidden(AgentFault):
    """An agent answers an elicitation that is addressed to another, or comes with another's token."""

    code = "answer_forbidden"
    title = "Not yours to answer"
    status = 403


class ImpersonationRefused(AgentFault):
    """A call names another agent than the one that is vouched for."""

    code = "impersonation"
    title = "Not the agent that is named"
    status = 403


class SignatureRefused(AgentFault):
    """A call is not signed, or not as it has to be."""

    code = "signature_refused"
    title = "Signature refused"
    status = 401


class BodyNotSigned(SignatureRefused):
    """The body of a signed call is not the one that was signed."""

    code = "body_not_signed"
    title = "Body not the one that was signed"


class ReplayRefused(AgentFault):
    """A signed call came a second time."""

    code = "replay_refused"
    title = "Call replayed"
    status = 403


class RateLimited(AgentFault):
    """An agent has used up what a limit grants."""

    code = "rate_limited"
    title = "Too many calls"
    status = 429
    retryable = True

    def __init__(
        self, detail: str, *, fields: Fields | None = None, retry_after_s: float | None = None, **extra: object
    ) -> None:
        super().__init__(detail, retry_after_s=retry_after_s, **extra)
        self.fields = fields or {}
        """Header fields that say what is granted."""


class TokenRefused(AgentFault):
    """The Bridge does not accept the token that an agent answers with."""

    code = "token_refused"
    title = "Token refused by the Bridge"
    status = 403


class AnswerConflict(AgentFault):
    """A different answer was already given."""

    code = "answer_conflict"
    title = "Already answered differently"
    status = 409


class ElicitationExpired(AgentFault):
    """The deadline of the elicitation has passed."""

    code = "elicitation_expired"
    title = "Elicitation expired"
    status = 410


class ElicitationUnknown(AgentFault):
    """Neither the sidecar nor the Bridge knows this elicitation."""

    code = "elicitation_unknown"
    title = "Unknown elicitation"
    status = 404


class BridgeUnavailable(BridgeFault):
    """The Bridge cannot be reached or broke the connection."""

    code = "bridge_unavailable"
    title = "Bridge unavailable"
    status = 502


class BridgeUntrusted(BridgeUnavailable):
    """No trusted connection to the Bridge came about; its certificate, ours or a key has to be seen to first."""

    code = "bridge_untrusted"
    title = "No trusted connection to the Bridge"
    retryable = False


class BridgeTimeout(BridgeFault):
    """The Bridge did not answer in time."""

    code = "bridge_timeout"
    title = "Bridge did not answer in time"
    status = 504


class BridgeRefused(BridgeFault):
    """The Bridge answered with an error status; its reply is kept to be passed on verbatim."""

    code = "bridge_refused"
    title = "Bridge refused"

    def __init__(self, detail: str, *, bridge_status: int, body: bytes = b"", content_type: str = "") -> None:
        super().__init__(detail, bridge_status=bridge_status)
        self.bridge_status = bridge_status
        self.body = body
        self.content_type = content_type


class BadBridgeReply(BridgeFault):
    """The Bridge answered 200 with something that is not what it promises."""

    code = "bad_bridge_reply"
    title = "Unreadable reply from the Bridge"


class ElicitationUnavailable(BridgeFault):
    """The elicitation way cannot serve and the legacy fallback is switched off."""

    code = "elicitation_unavailable"
    title = "Elicitation unavailable"
    status = 503


class AnswerUndelivered(BridgeFault):
    """The Bridge did not take an answer; nothing was recorded here, so the same answer may be sent again."""

    code = "answer_undelivered"
    title = "Answer not delivered"
    status = 502


class StateUnavailable(OurFault):
    """The state store cannot be read or written."""

    code = "state_unavailable"
    title = "State store unavailable"
    status = 503
    retryable = True
