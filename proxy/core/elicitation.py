"""One question and one answer: their shapes on the Bridge's wire and in the legacy reply.

Everything read here comes from a peer and is narrowed once; beyond this file an elicitation is a typed value.
Ids and the shape of a reply are the Bridge's, and a mistake there refuses the reply. Texts, schemas, deadlines and
how many questions there are come from whoever asks: one asker's oddity must not take the other questions away.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import orjson

from proxy.core.errors import BadBridgeReply, InvalidInput
from proxy.core.ids import AgentId, ElicitationId, parse_agent_id, parse_elicitation_id
from proxy.core.mismatch import describe
from proxy.core.send_marks import marked, unmarked

REQUEST_MESSAGE: Final = "elicitation_request"
"""`event_type` of a question in a legacy reply. Source: ARCHITECTURE.md 2.2."""

RESPONSE_MESSAGE: Final = "elicitation_response"
"""`event_type` of an answer in a legacy reply. Source: PROTOCOL.md 4.2, A0 x B1."""

MAX_PENDING: Final = 1000
"""Most questions read from one reply of the Bridge; it lists the rest again later. Source: ours."""

LAST_STAMP_S: Final = 253_402_300_799.0
"""Latest time a time stamp is written for, 9999-12-31T23:59:59Z. Source: RFC 3339 section 1 (four-digit years)."""


class AnswerKind(StrEnum):
    """What an agent did with a question. Source: MCP 2025-06-18, elicitation, response actions."""

    ACCEPT = "accept"
    DECLINE = "decline"
    CANCEL = "cancel"


class BridgeStatus(StrEnum):
    """State of an elicitation at the Bridge. Source: BRIDGE.md 2.5."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Elicitation:
    """One question put to one agent; times in seconds since the epoch, on the Bridge's clock."""

    elicitation_id: ElicitationId
    from_agent: str
    """Who asks, as the Bridge says; empty where it does not."""
    to_agent: AgentId
    message: str
    schema: Mapping[str, object]
    """What the answer must look like; not judged yet."""
    created_at: float
    expires_at: float
    made_from: int | None = None
    """The Bridge's number of the legacy send that it was made from, as whoever asks says; see `send_marks`."""

    @property
    def wire_schema(self) -> Mapping[str, object]:
        """The schema as it goes over a wire, with the mark that says what the question was made from."""
        return self.schema if self.made_from is None else marked(self.schema, self.made_from)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back to an elicitation; only an accept has content."""

    elicitation_id: ElicitationId
    kind: AnswerKind
    content: Mapping[str, object] | None = None

    def digest(self) -> bytes:
        """SHA-256 over kind and content with sorted keys: equal for the same answer, whatever its key order."""
        canonical = orjson.dumps([self.kind.value, self.content], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(canonical).digest()


def is_writable(value: object) -> bool:
    """Whether a value read from JSON can be written again as part of an item or a call.

    The JSON library reads 1024 levels of nesting and writes 254, two of which are ours.
    """
    try:
        orjson.dumps([[value]])
    except orjson.JSONEncodeError:
        return False
    return True


def _object(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise BadBridgeReply(f"expected {what} to be an object, got {type(value).__name__}")
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _schema(value: object) -> tuple[Mapping[str, object], int | None]:
    return unmarked(value) if isinstance(value, dict) else ({}, None)


def _time(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadBridgeReply(f"expected {what} in seconds since the epoch, got {describe(value)}")
    return float(value)


def _json(body: bytes, what: str) -> dict[str, object]:
    try:
        return _object(orjson.loads(body), what)
    except orjson.JSONDecodeError as error:
        raise BadBridgeReply(f"expected {what} to be JSON: {error}") from error


def parse_pending(body: bytes, to_agent: AgentId) -> tuple[Elicitation, ...]:
    """Read the reply of `GET /elicitation/pending`: 1000 questions at most. Source: BRIDGE.md 2.5.

    A question whose schema is nested too deeply to be handed on is left out; it stays with the Bridge.

    Raises:
        BadBridgeReply: not the promised shape.
    """
    items = _json(body, "the pending reply").get("elicitations")
    if not isinstance(items, list):
        raise BadBridgeReply("expected a list `elicitations` in the pending reply")
    objects = [_object(item, "a pending elicitation") for item in items[:MAX_PENDING]]
    return tuple(_parse_question(item, to_agent) for item in objects if is_writable(item.get("schema")))


def _parse_question(item: dict[str, object], to_agent: AgentId) -> Elicitation:
    expires_at = _time(item.get("expires_at"), "expires_at")
    try:
        elicitation_id = parse_elicitation_id(item.get("id"))
    except InvalidInput as error:
        raise BadBridgeReply(f"pending elicitation: {error.detail}") from error
    schema, made_from = _schema(item.get("schema"))
    return Elicitation(
        elicitation_id=elicitation_id,
        from_agent=_text(item.get("from_agent")),
        to_agent=to_agent,
        message=_text(item.get("message")),
        schema=schema,
        made_from=made_from,
        # The fast manager of the real Bridge omits created_at (PROTOCOL.md 4.1).
        created_at=_time(item.get("created_at", expires_at), "created_at"),
        expires_at=expires_at,
    )


def parse_created(request_body: bytes, reply_body: bytes, *, now: float) -> Elicitation | None:
    """The question that a relayed `POST /elicitation/create` has just made, or None when it cannot be told.

    `now` is the wall clock in seconds; it stands in for `created_at`, which the reply does not carry.
    """
    try:
        asked = _json(request_body, "the create request")
        reply = _json(reply_body, "the create reply")
        if not is_writable(asked.get("schema")):
            return None
        schema, made_from = _schema(asked.get("schema"))
        return Elicitation(
            elicitation_id=parse_elicitation_id(reply.get("elicitation_id")),
            from_agent=_text(asked.get("from_agent")),
            to_agent=parse_agent_id(asked.get("to_agent")),
            message=_text(asked.get("message")),
            schema=schema,
            made_from=made_from,
            created_at=now,
            expires_at=_time(reply.get("expires_at"), "expires_at"),
        )
    except (InvalidInput, BadBridgeReply):
        return None


def parse_status(body: bytes) -> BridgeStatus:
    """Read the reply of `GET /elicitation/status/{id}`; it never carries the answer's content.

    Raises:
        BadBridgeReply: not the promised shape, or an unknown status.
    """
    status = _json(body, "the status reply").get("status")
    try:
        return BridgeStatus(_text(status))
    except ValueError as error:
        raise BadBridgeReply(f"expected a known elicitation status, got {describe(status)}") from error


def respond_body(answer: Answer, responding_agent: AgentId) -> bytes:
    """The body of `POST /elicitation/respond` for this answer.

    The Bridge lets only the asker cancel; the addressee's cancel (dismissed, no choice) therefore travels as a
    decline that says so in its metadata. Source: BRIDGE.md 2.5 ("Only c3 can cancel this elicitation").
    """
    sent = AnswerKind.DECLINE if answer.kind is AnswerKind.CANCEL else answer.kind
    body: dict[str, object] = {
        "elicitation_id": answer.elicitation_id,
        "responding_agent": responding_agent,
        "response_type": sent.value,
    }
    if answer.content is not None:
        body["data"] = answer.content
    if sent is not answer.kind:
        body["metadata"] = {"original_response_type": answer.kind.value}
    return orjson.dumps(body)


def _stamp(seconds: float) -> str:
    """The time stamp of a time in seconds since the epoch, or the nearest one that can be written."""
    return datetime.fromtimestamp(min(max(0.0, seconds), LAST_STAMP_S), UTC).isoformat()


def question_item(elicitation: Elicitation, *, sequence: int) -> bytes:
    """A question as one item of a legacy reply.

    `sequence` must not be above the highest real sequence the agent has seen, so that a cursor taken from this
    item skips nothing. Source: ARCHITECTURE.md 2.2.
    """
    return orjson.dumps(
        {
            "sequence": sequence,
            "event_type": REQUEST_MESSAGE,
            "source_agent": elicitation.from_agent,
            "timestamp": _stamp(elicitation.created_at),
            "data": {
                "elicitation_id": elicitation.elicitation_id,
                "message": elicitation.message,
                "schema": elicitation.schema,
                "expires_at": elicitation.expires_at,
            },
        }
    )
