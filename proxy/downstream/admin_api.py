"""The table of the admin port's operations, from which routes, rights and the OpenAPI document are made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from proxy.core.cohort import Cohort
from proxy.core.errors import PROBLEM_TYPE_BASE
from proxy.core.flags import FLAG_PARSERS
from proxy.core.ids import MAX_AGENT_ID_CHARS, MAX_ELICITATION_ID_CHARS
from proxy.core.ofrep import ErrorCode
from proxy.downstream.admin_auth import MAX_AUTHOR_CHARS, Need
from proxy.downstream.audit_http import MAX_AFTER, MAX_ENTRIES
from proxy.downstream.exchanges_http import MAX_SHOWN
from proxy.downstream.reports_http import COMPONENTS, FORMS

JSON: Final = "application/json"

MAX_HISTORY: Final = 1_000
MAX_AGENTS_SHOWN: Final = 50_000
MAX_TTL_S: Final = 31_536_000.0
"""Longest time for which an agent is forced, in seconds. Source: ours; one year."""


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
    most: int = 0
    """Highest `limit` of its query, where that is one."""
    headers: tuple[str, ...] = ()
    """Headers it heeds besides Authorization."""
    answer: str = JSON
    also_as: tuple[str, ...] = ()
    """Further media types of the same answer."""
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
        most=MAX_HISTORY,
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
        headers=("X-Author",),
    ),
    _get("elicitation_metrics", "/elicitation/metrics", Need.LOOK, "Latency quantiles, rates and counters by cohort."),
    Operation(
        name="force",
        method="POST",
        path="/agent/force_elicitation",
        need=Need.CHANGE,
        summary="Force an agent to a cohort, for ttl_s seconds or until undone.",
        body="Force",
        headers=("X-Author",),
    ),
    Operation(
        name="unforce",
        method="DELETE",
        path="/agent/force_elicitation",
        need=Need.CHANGE,
        summary="Undo a forced cohort; the agent in the query or in the body.",
        body="Unforce",
        query=("agent_id",),
        headers=("X-Author",),
    ),
    Operation(
        name="agents",
        method="GET",
        path="/agents",
        need=Need.LOOK,
        summary="Agents that called within a day, the latest first, and the forced ones.",
        query=("limit",),
        most=MAX_AGENTS_SHOWN,
    ),
    _get("agent", "/agents/{agent_id:.+}", Need.LOOK, "Bucket, groups, cohort, route and reason of one agent now."),
    Operation(
        name="exchanges",
        method="GET",
        path="/exchanges",
        need=Need.LOOK,
        summary="Open questions, to one agent or to all, the oldest first; never what they ask.",
        query=("agent_id", "limit"),
        most=MAX_SHOWN,
    ),
    _get(
        "exchange",
        "/exchanges/{elicitation_id:.+}",
        Need.LOOK,
        "One question, also when it is over and still remembered.",
    ),
    Operation(
        name="audit",
        method="GET",
        path="/audit",
        need=Need.LOOK,
        summary="Entries of the audit trail, oldest first: those behind number `after`, or the last ones.",
        query=("after", "limit"),
        most=MAX_ENTRIES,
    ),
    Operation(
        name="security_report",
        method="GET",
        path="/reports/security",
        need=Need.LOOK,
        summary="What was refused, to whom and why, and how the sidecar is set up: `md`, `html` or `json`.",
        query=("format", "component"),
        answer="text/markdown",
        also_as=("text/html", JSON),
    ),
    _get("config_dump", "/config_dump", Need.LOOK, "The effective configuration, without secrets."),
    Operation(
        name="shutdown",
        method="POST",
        path="/shutdown",
        need=Need.CHANGE_HERE,
        summary="Answer parked waits and exit; from loopback only.",
        headers=("X-Author",),
        status=202,
    ),
    _get("openapi", "/openapi.json", Need.LOOK, "This document."),
)
"""Every operation of the admin port."""

_BOOL: Final = MappingProxyType({"type": "boolean"})


def _printable(most: int) -> dict[str, object]:
    """Text of at most so many printable characters, as `proxy.core.ids` takes it. Source: `str.isprintable`."""
    return {"type": "string", "minLength": 1, "maxLength": most, "pattern": r"^[\p{L}\p{M}\p{N}\p{P}\p{S} ]+$"}


_AGENT_ID: Final = MappingProxyType(_printable(MAX_AGENT_ID_CHARS))
_NAMES: Final = MappingProxyType({"type": "array", "items": dict(_AGENT_ID), "maxItems": 10_000})

_PARAMETERS: Final[Mapping[str, Mapping[str, object]]] = MappingProxyType(
    {
        "agent_id": _AGENT_ID,
        "format": MappingProxyType({"enum": list(FORMS)}),
        "component": MappingProxyType({"enum": list(COMPONENTS)}),
        "after": MappingProxyType({"type": "integer", "minimum": 0, "maximum": MAX_AFTER}),
        "elicitation_id": MappingProxyType(_printable(MAX_ELICITATION_ID_CHARS)),
        "X-Author": MappingProxyType(_printable(MAX_AUTHOR_CHARS)),
        "If-Match": MappingProxyType({"type": "string", "pattern": r'^(\*|[0-9]{1,18}|"[0-9]{1,18}")$'}),
    }
)
"""What is known of a parameter besides that it is text, by its name."""

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
            "anyOf": [{"required": [flag]} for flag in FLAG_PARSERS],
        },
        "Force": {
            "type": "object",
            "additionalProperties": False,
            "required": ["agent_id"],
            "properties": {
                "agent_id": dict(_AGENT_ID),
                "cohort": {"enum": [cohort.value for cohort in Cohort], "default": Cohort.ELICITATION.value},
                "ttl_s": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": MAX_TTL_S},
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
    content: dict[str, object] = {kind: {} for kind in (operation.answer, *operation.also_as)}
    success: dict[str, object] = {"description": operation.summary, "content": content}
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
        *(_parameter(operation, name, "path", is_required=True) for name in _variables(operation)),
        *(_parameter(operation, name, "query") for name in operation.query),
        *(_parameter(operation, name, "header") for name in operation.headers),
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


def _parameter(operation: Operation, name: str, where: str, *, is_required: bool = False) -> dict[str, object]:
    schema: dict[str, object] = {"type": "integer", "minimum": 1, "maximum": operation.most}
    if name != "limit":
        schema = dict(_PARAMETERS.get(name, {"type": "string"}))
    return {"name": name, "in": where, "required": is_required, "schema": schema}
