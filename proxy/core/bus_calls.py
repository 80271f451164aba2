"""The calls of a Bridge that has elicitation, read and answered by the sidecar where questions travel over a bus.

Replies have the Bridge's shapes; what the Bridge takes without a look (no time to live, an empty name, a schema that
nobody can answer) is refused, as the asker would wait in vain.

Source: BRIDGE.md 2.5.
"""

from collections.abc import Iterable
from typing import Final

import orjson

from proxy.core.asked_question import check_askable
from proxy.core.bus import Ask, is_bus_id
from proxy.core.elicitation import BridgeStatus, Elicitation, is_writable
from proxy.core.errors import InvalidInput
from proxy.core.ids import AgentId, parse_agent_id
from proxy.core.mismatch import describe

DEFAULT_TIMEOUT_S: Final = 30
"""How long a question lives whose asker does not say. Source: BRIDGE.md 2.5."""


def parse_ask(body: bytes) -> Ask:
    """Read `POST /elicitation/create`.

    Raises:
        InvalidInput: not the Bridge's shape, or a question that could not be answered in any time.
        SchemaRefused: a schema that no answer is held to here.
    """
    call = _object(body)
    message, schema = call.get("message"), call.get("schema")
    if not isinstance(message, str):
        raise InvalidInput(f"message must be text, got {describe(message)}")
    if not isinstance(schema, dict) or not is_writable(schema):
        raise InvalidInput(f"schema must be an object that is not nested too deeply, got {describe(schema)}")
    check_askable(schema)
    timeout = call.get("timeout_seconds", DEFAULT_TIMEOUT_S)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise InvalidInput(f"timeout_seconds must be a number above 0, got {describe(timeout)}")
    return Ask(
        from_agent=_agent(call, "from_agent"),
        to_agent=_agent(call, "to_agent"),
        message=message,
        schema=schema,
        timeout_s=float(timeout),
    )


def names_bus_question(body: bytes) -> bool:
    """Whether `POST /elicitation/respond` is about a question on the bus, whatever else is in it."""
    try:
        named = _object(body).get("elicitation_id")
    except InvalidInput:
        return False
    return isinstance(named, str) and is_bus_id(named)


def created_reply(question: Elicitation) -> bytes:
    """What the asker reads."""
    return orjson.dumps(
        {
            "elicitation_id": question.elicitation_id,
            "status": BridgeStatus.PENDING.value,
            "expires_at": question.expires_at,
            "message": "Elicitation created successfully",
        }
    )


def pending_reply(questions: Iterable[Elicitation]) -> bytes:
    """The list of open questions."""
    items = [
        {
            "id": question.elicitation_id,
            "from_agent": question.from_agent,
            "message": question.message,
            "schema": question.schema,
            "created_at": question.created_at,
            "expires_at": question.expires_at,
        }
        for question in questions
    ]
    return orjson.dumps({"elicitations": items, "count": len(items)})


def status_reply(question: Elicitation, status: BridgeStatus) -> bytes:
    """How a question stands."""
    told: dict[str, object] = {"status": status.value, "created_at": question.created_at}
    if status is BridgeStatus.PENDING:
        told["expires_at"] = question.expires_at
    else:
        told["responded_at"] = None
    return orjson.dumps(told)


def _object(body: bytes) -> dict[str, object]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"expected a JSON object: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"expected a JSON object, got {describe(value)}")
    return value


def _agent(call: dict[str, object], name: str) -> AgentId:
    try:
        return parse_agent_id(call.get(name))
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error.detail}") from error
