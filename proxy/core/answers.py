"""The legacy way to answer: an event whose data names an elicitation, and the Bridge's own respond call.

A body that names no elicitation is no answer and reads as None; the caller relays it. So does one that only looks
like an answer: `in_reply_to` is a word of other conversations too, and an id that no elicitation can have names none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from proxy.core.elicitation import Answer, AnswerKind, is_writable
from proxy.core.errors import InvalidInput
from proxy.core.ids import AgentId, ElicitationId, parse_agent_id, parse_elicitation_id
from proxy.core.mismatch import describe

_CONTROL_KEYS: Final = frozenset({"elicitation_id", "in_reply_to", "response_type"})
"""What says which answer it is. Source: ARCHITECTURE.md 2.3."""
_CONTENT_KEYS: Final = ("content", "data")
ADDRESS_KEYS: Final = ("to_agent", "target_agent", "target", "to")
"""Where a legacy send names its addressee. Source: ARCHITECTURE.md 2.4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenAnswer:
    """An answer and the agent that it says it comes from."""

    answer: Answer
    agent_id: AgentId


def parse_stored_answer(body: bytes) -> GivenAnswer | None:
    """Read `POST /event/store` as an answer; None when its data names no elicitation.

    The content is `data.content` or `data.data` where that is an object, else every other key of `data`.

    Raises:
        InvalidInput: it has an `elicitation_id`, but its `response_type`, content or agent cannot be read.
    """
    event = _json_object(body)
    data = event.get("data") if event else None
    if event is None or not isinstance(data, dict):
        return None
    explicit, implicit = _id_of(data.get("elicitation_id")), _id_of(data.get("in_reply_to"))
    if explicit is not None:
        return _stored_answer(explicit, event, data)
    if implicit is None:
        return None
    try:
        return _stored_answer(implicit, event, data)
    except InvalidInput:  # another conversation's reply, which is the Bridge's business
        return None


def _id_of(value: object) -> ElicitationId | None:
    try:
        return parse_elicitation_id(value)
    except InvalidInput:
        return None


def _stored_answer(
    elicitation_id: ElicitationId, event: Mapping[str, object], data: Mapping[str, object]
) -> GivenAnswer:
    kind = _kind(data.get("response_type", AnswerKind.ACCEPT.value))
    content = _writable(_content(data)) if kind is AnswerKind.ACCEPT else None
    answer = Answer(elicitation_id=elicitation_id, kind=kind, content=content)
    return GivenAnswer(answer=answer, agent_id=parse_agent_id(event.get("agent_id")))


def _writable(content: Mapping[str, object]) -> Mapping[str, object]:
    if not is_writable(content):
        raise InvalidInput("expected an answer that is nested less deeply")
    return content


def _content(data: Mapping[str, object]) -> Mapping[str, object]:
    for key in _CONTENT_KEYS:
        inner = data.get(key)
        if isinstance(inner, dict):
            return inner
    return {key: value for key, value in data.items() if key not in _CONTROL_KEYS and key not in ADDRESS_KEYS}


def parse_respond(body: bytes) -> GivenAnswer | None:
    """Read `POST /elicitation/respond`; None when only the Bridge can say what is wrong with it.

    Raises:
        InvalidInput: an unknown `response_type`, a responding agent without a name, or an accept whose data is no
            object or nested too deeply.
    """
    call = _json_object(body)
    elicitation_id = _id_of(call.get("elicitation_id")) if call else None
    if call is None or elicitation_id is None or "responding_agent" not in call:
        return None
    kind = _kind(call.get("response_type"))
    content = _accepted_data(call.get("data")) if kind is AnswerKind.ACCEPT else None
    answer = Answer(elicitation_id=elicitation_id, kind=kind, content=content)
    return GivenAnswer(answer=answer, agent_id=parse_agent_id(call["responding_agent"]))


def _accepted_data(data: object) -> Mapping[str, object]:
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise InvalidInput(f"data must be an object, got {describe(data)}")
    return _writable(data)


def addressee_of(body: bytes) -> str | None:
    """The agent that a legacy send is addressed to, if it names one."""
    event = _json_object(body)
    data = event.get("data") if event else None
    return addressee_in(data) if isinstance(data, dict) else None


def addressee_in(data: Mapping[str, object]) -> str | None:
    """The agent that the data of an event is addressed to, if it names one; the first of the four names counts."""
    named = (data.get(key) for key in ADDRESS_KEYS)
    return next((name for name in named if isinstance(name, str) and name), None)


def stored_reply(answer: Answer, *, sequence: int, timestamp_ns: int) -> bytes:
    """What an agent that answered with `POST /event/store` reads: the shape of a stored event.

    Source: BRIDGE.md 2.2; `elicitation_id` and `response_type` are added by us.
    """
    return orjson.dumps(
        {
            "event_id": {"timestamp_ns": timestamp_ns, "sequence": 0, "node_id": "elicit-sidecar"},
            "status": "stored",
            "message": f"Elicitation {answer.elicitation_id} answered: {answer.kind.value}",
            "sequence": sequence,
            "elicitation_id": answer.elicitation_id,
            "response_type": answer.kind.value,
        }
    )


def responded_reply(answer: Answer) -> bytes:
    """What an agent that answered with the respond call reads. Source: BRIDGE.md 2.5."""
    verb = {AnswerKind.ACCEPT: "accepted", AnswerKind.DECLINE: "declined", AnswerKind.CANCEL: "cancelled"}[answer.kind]
    return orjson.dumps({"status": "success", "message": f"Elicitation {answer.elicitation_id} {verb}"})


def _json_object(body: bytes) -> dict[str, object] | None:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _kind(value: object) -> AnswerKind:
    try:
        return AnswerKind(value if isinstance(value, str) else "")
    except ValueError as error:
        raise InvalidInput(f"response_type must be accept, decline or cancel, got {describe(value)}") from error
