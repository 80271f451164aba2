"""The table of the admin port's operations, from which routes, rights and the OpenAPI document are made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from proxy.core.cohort import Cohort
from proxy.core.errors import PROBLEM_TYPE_BASE
from proxy.core.ofrep import ErrorCode
from proxy.downstream.admin_auth import Need

JSON: Final = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method on one path."""

    name: str
    method: str
    path: str
    need: Need
    summary: str
    body: str = ""
    """Name of the schema of its body, if it reads one."""
    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    """Headers it heeds besides Authorization."""
    answer: str = JSON
    status: int = 200
    also: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    """Further answers of its own: status to the name of their schema, if they have a body."""

    @property
    def document_path(self) -> str:
        """The path as OpenAPI writes it, without the patterns of its variables."""
        return self.path.replace(":.+}", "}")


def _get(name: str, path: str, need: Need, summary: str) -> Operation:
    return Operation(name=name, method="GET", path=path, need=need, summary=summary)


OPERATIONS: Final = (
    _get("health", "/health", Need.PROBE, "Health with reasons; 503 when unhealthy."),
    _get("livez", "/livez", Need.PROBE, "Whether the process answers at all."),
    _get("readyz", "/readyz", Need.PROBE, "Whether calls are taken; 503 with reasons when not."),
    Operation(
        name="metrics",
        method="GET",
        path="/metrics",
        need=Need.PROBE,
        summary="Metrics as Prometheus text, or OpenMetrics where Accept names it.",
        headers=("Accept",),
        answer="text/plain",
    ),
    _get("read_flags", "/feature_flags", Need.LOOK, "The flags and their version, also as ETag."),
    Operation(
        name="change_flags",
        method="POST",
        path="/feature_flags",
        need=Need.CHANGE,
        summary="Change flags whole or not at all; 409 when If-Match is not the current version.",
        body="FlagPatch",
        headers=("If-Match", "X-Author"),
    ),
    Operation(
        name="flag_history",
        method="GET",
        path="/feature_flags/history",
        need=Need.LOOK,
        summary="The latest changes of the flags, newest first.",
        query=("limit",),
    ),
    Operation(
        name="evaluate_flags",
        method="POST",
        path="/ofrep/v1/evaluate/flags",
        need=Need.LOOK,
        summary="Every flag for one agent (OpenFeature remote evaluation); 304 when If-None-Match is its ETag.",
        body="Evaluation",
        headers=("If-None-Match",),
        also=MappingProxyType({304: "", 400: "EvaluationFailure"}),
    ),
    Operation(
        name="evaluate_flag",
        method="POST",
        path="/ofrep/v1/evaluate/flags/{key:.+}",
        need=Need.LOOK,
        summary="One flag for one agent; besides the eight, `elicitation` tells whether it is in that cohort.",
        body="Evaluation",
        also=MappingProxyType({400: "EvaluationFailure", 404: "EvaluationFailure"}),
    ),
    Operation(
        name="clear_caches",
        method="POST",
        path="/cache/clear",
        need=Need.CHANGE,
        summary="Drop caches; never undelivered items.",
    ),
    _get("elicitation_metrics", "/elicitation/metrics", Need.LOOK, "Latency quantiles, rates and counters by cohort."),
    Operation(
        name="force",
        method="POST",
        path="/agent/force_elicitation",
        need=Need.CHANGE,
        summary="Force an agent to a cohort, for ttl_s seconds or until undone.",
        body="Force",
    ),
    Operation(
        name="unforce",
        method="DELETE",
        path="/agent/force_elicitation",
        need=Need.CHANGE,
        summary="Undo a forced cohort; the agent in the query or in the body.",
        body="Unforce",
        query=("agent_id",),
    ),
    Operation(
        name="agents",
        method="GET",
        path="/agents",
        need=Need.LOOK,
        summary="Agents that called within a day, the latest first, and the forced ones.",
        query=("limit",),
    ),
    _get("agent", "/agents/{agent_id:.+}", Need.LOOK, "Bucket, groups, cohort, route and reason of one agent now."),
    Operation(
        name="exchanges",
        method="GET",
        path="/exchanges",
        need=Need.LOOK,
        summary="Open questions, to one agent or to all, the oldest first; never what they ask.",
        query=("agent_id", "limit"),
    ),
    _get(
        "exchange",
        "/exchanges/{elicitation_id:.+}",
        Need.LOOK,
        "One question, also when it is over and still remembered.",
    ),
    _get("config_dump", "/config_dump", Need.LOOK, "The effective configuration, without secrets."),
    Operation(
        name="shutdown",
        method="POST",
        path="/shutdown",
        need=Need.CHANGE_HERE,
        summary="Answer parked waits and exit; from loopback only.",
        status=202,
    ),
    _get("openapi", "/openapi.json", Need.LOOK, "This document."),
)
"""Every operation of the admin port."""

_BOOL: Final = MappingProxyType({"type": "boolean"})
_NAMES: Final = MappingProxyType({"type": "array", "items": {"type": "string", "maxLength": 300}, "maxItems": 10_000})
_AGENT_ID: Final = MappingProxyType({"type": "string", "minLength": 1, "maxLength": 300})

SCHEMAS: Final[Mapping[str, Mapping[str, object]]] = MappingProxyType(
    {
        "FlagPatch": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "elicitation_enabled": dict(_BOOL),
                "elicitation_percentage": {"type": "number", "minimum": 0, "maximum": 100, "multipleOf": 0.001},
                "elicitation_whitelist": dict(_NAMES),
                "elicitation_denylist": dict(_NAMES),
                "ab_testing_enabled": dict(_BOOL),
                "legacy_fallback": dict(_BOOL),
                "legacy_support": dict(_BOOL),
                "deprecation_warnings": dict(_BOOL),
                "reason": {"type": "string", "maxLength": 500},
                "force": {"type": "boolean", "description": "Apply to whatever version is current."},
            },
        },
        "Force": {
            "type": "object",
            "additionalProperties": False,
            "required": ["agent_id"],
            "properties": {
                "agent_id": dict(_AGENT_ID),
                "cohort": {"enum": [cohort.value for cohort in Cohort], "default": Cohort.ELICITATION.value},
                "ttl_s": {"type": "number", "exclusiveMinimum": 0, "maximum": 31_536_000},
            },
        },
        "Unforce": {
            "type": "object",
            "additionalProperties": False,
            "required": ["agent_id"],
            "properties": {"agent_id": dict(_AGENT_ID)},
        },
        "Evaluation": {
            "type": "object",
            "required": ["context"],
            "properties": {
                "context": {
                    "type": "object",
                    "required": ["targetingKey"],
                    "properties": {"targetingKey": {**_AGENT_ID, "description": "The id of the agent."}},
                },
            },
        },
        "EvaluationFailure": {
            "type": "object",
            "required": ["errorCode"],
            "properties": {
                "key": {"type": "string"},
                "errorCode": {"enum": [code.value for code in ErrorCode]},
                "errorDetails": {"type": "string"},
            },
        },
        "Problem": {
            "type": "object",
            "required": ["type", "title", "status", "detail", "code", "retryable"],
            "properties": {
                "type": {"type": "string", "description": f"about:blank, or below {PROBLEM_TYPE_BASE}"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
                "code": {"type": "string"},
                "retryable": {"type": "boolean"},
            },
        },
    }
)
"""The shapes of bodies and of the problem document. Source: RFC 9457 for the latter, OFREP 0.3 for Evaluation."""


def openapi_document(version: str) -> dict[str, object]:
    """The OpenAPI description of the admin port of this release. Source: OpenAPI Specification 3.1.0."""
    paths: dict[str, dict[str, object]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.document_path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "elicit-sidecar admin port", "version": version},
        "paths": paths,
        "components": {
            "schemas": {name: dict(schema) for name, schema in SCHEMAS.items()},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _described(operation: Operation) -> dict[str, object]:
    success: dict[str, object] = {"description": operation.summary, "content": {operation.answer: {}}}
    described: dict[str, object] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "security": [{"token": []}, {}] if operation.need in {Need.PROBE, Need.LOOK} else [{"token": []}],
        "responses": {
            str(operation.status): success,
            **{str(status): _answer(status, schema) for status, schema in operation.also.items()},
            "default": _problem(),
        },
    }
    parameters = [
        *(_parameter(name, "path", is_required=True) for name in _variables(operation)),
        *(_parameter(name, "query") for name in operation.query),
        *(_parameter(name, "header") for name in operation.headers),
    ]
    if parameters:
        described["parameters"] = parameters
    if operation.body:
        schema = {"$ref": f"#/components/schemas/{operation.body}"}
        # A body that the query can replace is not required.
        described["requestBody"] = {"required": not operation.query, "content": {JSON: {"schema": schema}}}
    return described


def _answer(status: int, schema: str) -> dict[str, object]:
    described: dict[str, object] = {"description": HTTPStatus(status).phrase}
    if schema:
        described["content"] = {JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return described


def _problem() -> dict[str, object]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": "An error.", "content": {"application/problem+json": {"schema": schema}}}


def _variables(operation: Operation) -> list[str]:
    return [part[1:-1] for part in operation.document_path.split("/") if part.startswith("{")]


def _parameter(name: str, where: str, *, is_required: bool = False) -> dict[str, object]:
    return {"name": name, "in": where, "required": is_required, "schema": {"type": "string"}}
