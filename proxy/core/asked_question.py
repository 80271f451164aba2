"""A question on its way to the Bridge, as far as it is judged before it is put: whom it asks, and with which schema.

The Bridge takes any object for a schema (BRIDGE.md 2.5). Where the question will be put to an agent by a sidecar, each
answer is held to that schema (ARCHITECTURE.md 2.3): one that is no schema, or that no answer can fit, would leave the
addressee with a question it cannot answer and the asker waiting in vain, so the asker is told at once. A question to an
agent on the legacy way, and every question while elicitation is off, goes to the Bridge untouched: there nobody holds
an answer to it, and the sidecar is a transparent proxy (ARCHITECTURE.md 2.6). A call without addressee or schema
is no question yet, and the Bridge's own words say what is missing.
"""

from dataclasses import dataclass

import orjson

from proxy.core.errors import InvalidInput, SchemaRefused
from proxy.core.ids import AgentId, parse_agent_id
from proxy.core.mismatch import describe, place
from proxy.core.schemas import compile_schema


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """What is judged of a question."""

    to_agent: AgentId
    schema: object


def read_asked(body: bytes) -> AskedQuestion | None:
    """Read the body of `POST /elicitation/create`; None where only the Bridge can say what is wrong with it."""
    try:
        call = orjson.loads(body)
        if not isinstance(call, dict) or "schema" not in call:
            return None
        return AskedQuestion(parse_agent_id(call.get("to_agent")), call["schema"])
    except (orjson.JSONDecodeError, InvalidInput):
        return None


def check_askable(schema: object) -> None:
    """Refuse a schema that an agent cannot be asked with.

    Raises:
        SchemaRefused: `path` names the failing place: no JSON Schema, beyond a bound, or one that no object can fit, as
            answers are objects. What is wrong more subtly than by its `type` shows when it is answered.
    """
    if isinstance(schema, dict):
        _check_members(schema)
    compile_schema(schema)


def _check_members(schema: dict[str, object]) -> None:
    kind, properties = schema.get("type", "object"), schema.get("properties")
    if isinstance(kind, str | list) and "object" not in ([kind] if isinstance(kind, str) else kind):
        raise SchemaRefused(f"$.type: expected 'object', as answers are objects, got {describe(kind)}", path="$.type")
    for name, rule in properties.items() if isinstance(properties, dict) else ():
        if not isinstance(rule, dict | bool):
            path = place("$.properties", name)
            raise SchemaRefused(f"{path}: expected a schema, got {describe(rule)}", path=path)
