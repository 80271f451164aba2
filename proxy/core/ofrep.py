"""OpenFeature remote evaluation: what the flags are for one agent, in the words of OFREP.

The eight flags are the same for everybody. `elicitation` is the one that differs: whether the agent is in the
elicitation cohort, whatever state the Bridge is in.

Source: OFREP 0.3 (evaluationSuccess, evaluationFailure, flagNotFound); OpenFeature specification, types.
"""

import difflib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from proxy.core.cohort import Cohort
from proxy.core.errors import EvaluationRefused, FlagNotFound, InvalidInput
from proxy.core.flags import FLAG_PARSERS, FlagSet
from proxy.core.ids import AgentId, parse_agent_id
from proxy.core.mismatch import describe, quote
from proxy.core.routing import Membership, Reason, assign

ELICITATION_KEY: Final = "elicitation"
"""Flag that says whether an agent is in the elicitation cohort. Source: ours."""

KEYS: Final = (*FLAG_PARSERS, ELICITATION_KEY)
"""Every flag that can be evaluated."""


class EvaluationReason(StrEnum):
    """Why a flag has its value. Source: OpenFeature specification, types, resolution reason."""

    STATIC = "STATIC"
    DISABLED = "DISABLED"
    TARGETING_MATCH = "TARGETING_MATCH"
    SPLIT = "SPLIT"


class ErrorCode(StrEnum):
    """Why a flag has no value. Source: OpenFeature specification, types, error code."""

    PARSE_ERROR = "PARSE_ERROR"
    TARGETING_KEY_MISSING = "TARGETING_KEY_MISSING"
    INVALID_CONTEXT = "INVALID_CONTEXT"
    FLAG_NOT_FOUND = "FLAG_NOT_FOUND"


_REASONS: Final[Mapping[Reason, EvaluationReason]] = MappingProxyType(
    {
        Reason.FORCED: EvaluationReason.TARGETING_MATCH,
        Reason.DISABLED: EvaluationReason.DISABLED,
        Reason.WHITELIST: EvaluationReason.TARGETING_MATCH,
        Reason.DENIED: EvaluationReason.TARGETING_MATCH,
        Reason.SPLIT: EvaluationReason.SPLIT,
    }
)
"""Every reason for which an agent is in its cohort."""


def refusal(error_code: ErrorCode, detail: str, *, key: str | None = None) -> EvaluationRefused:
    """The error of a body that cannot be evaluated; `key` is the flag asked for, None where all are."""
    if key is None:
        return EvaluationRefused(detail, errorCode=error_code.value, errorDetails=detail)
    return EvaluationRefused(detail, key=key, errorCode=error_code.value, errorDetails=detail)


def parse_targeting_key(body: Mapping[str, object], *, key: str | None = None) -> AgentId:
    """The agent that a request is about: `{"context": {"targetingKey": "alice"}}`, whatever else the context holds.

    What is null or an empty text counts as missing, because that is how OpenFeature clients write an unset key.

    Raises:
        EvaluationRefused: there is no targeting key, or it is no agent id, or the context is no object.
    """
    context = body.get("context")
    if not isinstance(context, dict | None):
        raise refusal(ErrorCode.INVALID_CONTEXT, f"context: expected an object, got {describe(context)}", key=key)
    targeting_key = None if context is None else context.get("targetingKey")
    if targeting_key is None or targeting_key == "":
        raise refusal(
            ErrorCode.TARGETING_KEY_MISSING, "context.targetingKey: expected the id of an agent, got nothing", key=key
        )
    try:
        return parse_agent_id(targeting_key)
    except InvalidInput as error:
        raise refusal(ErrorCode.INVALID_CONTEXT, f"context.targetingKey: {error.detail}", key=key) from error


def evaluate(key: str, flags: FlagSet, member: Membership) -> dict[str, object]:
    """One flag for one agent.

    `metadata` tells the version of the flags, the agent's bucket, and the rule that put it into its cohort.

    Raises:
        FlagNotFound: there is no flag of this name.
    """
    if key not in KEYS:
        raise _unknown(key)
    return _evaluated([key], flags, member)[0]


def evaluate_all(flags: FlagSet, member: Membership) -> dict[str, object]:
    """Every flag for one agent, each as `evaluate` tells it."""
    return {"flags": _evaluated(KEYS, flags, member)}


def _evaluated(keys: Iterable[str], flags: FlagSet, member: Membership) -> list[dict[str, object]]:
    cohort, rule = assign(flags, member)
    metadata = {"version": flags.version, "bucket": member.bucket, "reason": rule.value}
    evaluated: list[dict[str, object]] = []
    for key in keys:
        value, reason, variant = _static(flags, key) if key in FLAG_PARSERS else _targeted(cohort, rule)
        told = {"key": key, "value": value, "reason": reason.value, "variant": variant, "metadata": metadata}
        evaluated.append(told)
    return evaluated


def _targeted(cohort: Cohort, rule: Reason) -> tuple[object, EvaluationReason, str]:
    return cohort is Cohort.ELICITATION, _REASONS[rule], cohort.value


def _static(flags: FlagSet, key: str) -> tuple[object, EvaluationReason, str]:
    """A flag of the set as OFREP's types hold it, with a short name for its value."""
    value = getattr(flags, key)
    match value:
        case bool():
            return value, EvaluationReason.STATIC, "on" if value else "off"
        case tuple():
            # OFREP has no lists: what is neither text, number nor truth value is an object.
            return {"names": list(value)}, EvaluationReason.STATIC, "listed" if value else "empty"
        case _:
            return value, EvaluationReason.STATIC, f"{value:g}"


def _unknown(key: str) -> FlagNotFound:
    near = difflib.get_close_matches(key[:100], KEYS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(KEYS)}"
    detail = f"unknown flag {quote(key)}; {hint}"
    return FlagNotFound(detail, key=key, errorCode=ErrorCode.FLAG_NOT_FOUND.value, errorDetails=detail)
