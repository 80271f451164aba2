"""Elicitations as events of a log, for a Bridge that has no calls of its own for them.

A question, an answer and a withdrawal are one stored event each, whose data has our mark. They are worded so that an
agent which knows nothing of us can read a question, and its answer is any event of its own that names the question.
What is read here was stored by anybody: an event that has the mark and is not in order is an ordinary message.

Who stored an event is `source_agent`, and it must be who speaks in it. The Bridge writes there what the storing call
says, so this guards against mistakes and not against a forger; member `signature` is left free for what will.

Source: BRIDGE.md 2.2 (unknown event types are stored as another; spoofing allowed); ARCHITECTURE.md 2.2 and 2.3.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from proxy.core.answers import parse_stored_answer
from proxy.core.elicitation import REQUEST_MESSAGE, RESPONSE_MESSAGE, Answer, AnswerKind, Elicitation, is_writable
from proxy.core.errors import InvalidInput
from proxy.core.ids import AgentId, ElicitationId, parse_agent_id
from proxy.core.legacy import Message
from proxy.core.send_marks import unmarked

MARK: Final = "elicit_sidecar"
"""Member of the data that makes an event ours; its value is the revision of the wording."""

REVISION: Final = 1

READER: Final = AgentId("elicit-sidecar")
"""In whose name a sidecar reads the log: nobody's, so that the Bridge leaves out no events as the reader's own.

Source: BRIDGE.md 2.1 (wrong-identity reads pass) and 2.2 (gaps for the reader).
"""

WITHDRAWAL: Final = "elicitation_withdrawal"
"""`kind` of a withdrawal; questions and answers have the names that a legacy reply gives them."""

MAX_DATA_BYTES: Final = 65_536
"""Largest event that is taken for a part of an elicitation. Source: ours; a question is a text and a form."""

MAX_LIFE_S: Final = 86_400.0
"""Longest life of a question, in seconds. Source: ours; it is how far back a log is read after a start."""

_MARK_BYTES: Final = b'"elicit_sidecar"'
_NAMES: Final = (b'"elicitation_id"', b'"in_reply_to"')
_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A question before it is put."""

    from_agent: AgentId
    to_agent: AgentId
    message: str
    schema: Mapping[str, object]
    timeout_s: float
    """How long it is to live; above 0."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question was put."""

    question: Elicitation


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """Somebody answered a question."""

    answer: Answer
    responder: AgentId
    asker: str
    """Whom the event says it answers; empty where it does not say."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Somebody took a question back."""

    elicitation_id: ElicitationId
    asker: str


BusEvent = Asked | Answered | Withdrawn


def is_bus_id(elicitation_id: str) -> bool:
    """Whether an id is one of those that are minted for the bus; the Bridge's own look different.

    Source: BRIDGE.md 2.5 (`elicit_89ed0ddbe8fd492e`).
    """
    return _ID.fullmatch(elicitation_id) is not None


def question_data(question: Elicitation) -> dict[str, object]:
    """The data of the event that puts a question."""
    return {
        MARK: REVISION,
        "kind": REQUEST_MESSAGE,
        "elicitation_id": question.elicitation_id,
        "from_agent": question.from_agent,
        "to_agent": question.to_agent,
        "message": question.message,
        "schema": question.wire_schema,
        "created_at": question.created_at,
        "expires_at": question.expires_at,
    }


def answer_data(answer: Answer, question: Elicitation) -> dict[str, object]:
    """The data of the event that answers a question; also readable as a legacy answer."""
    data: dict[str, object] = {
        MARK: REVISION,
        "kind": RESPONSE_MESSAGE,
        "elicitation_id": answer.elicitation_id,
        "in_reply_to": question.made_from or answer.elicitation_id,
        "from_agent": question.to_agent,
        "to_agent": question.from_agent,
        "response_type": answer.kind.value,
    }
    if answer.kind is AnswerKind.ACCEPT:
        data["data"] = answer.content or {}
    return data


def withdrawal_data(question: Elicitation) -> dict[str, object]:
    """The data of the event by which the asker takes a question back."""
    return {
        MARK: REVISION,
        "kind": WITHDRAWAL,
        "elicitation_id": question.elicitation_id,
        "from_agent": question.from_agent,
        "to_agent": question.to_agent,
    }


def size_of(data: Mapping[str, object]) -> int:
    """Bytes that the data of an event takes on the wire."""
    return len(orjson.dumps(data))


def read_event(message: Message) -> BusEvent | None:
    """Read a message as a part of an elicitation; None for every other message.

    An event without the mark is an answer when it names a question of the bus as a legacy answer does.
    """
    data = message.data
    if len(data) > MAX_DATA_BYTES:
        return None
    if _MARK_BYTES not in data and not any(name in data for name in _NAMES):
        return None
    try:
        members = orjson.loads(data)
        if not isinstance(members, dict):
            return None
        if MARK in members:
            return _read_marked(message, members)
        return _read_legacy(message)
    except (orjson.JSONDecodeError, InvalidInput):
        return None


def _read_marked(message: Message, members: Mapping[str, object]) -> BusEvent | None:
    revision, named = members[MARK], members.get("elicitation_id")
    if isinstance(revision, bool) or revision != REVISION or not isinstance(named, str) or not is_bus_id(named):
        return None
    speaker = parse_agent_id(members.get("from_agent"))
    if speaker != message.source_agent:
        return None
    addressee = parse_agent_id(members.get("to_agent"))
    match members.get("kind"):
        case str(kind) if kind == REQUEST_MESSAGE:
            question = _read_question(message, members, addressee)
            return None if question is None else Asked(question)
        case str(kind) if kind == RESPONSE_MESSAGE:
            answer = _read_answer(ElicitationId(named), members)
            return None if answer is None else Answered(answer=answer, responder=speaker, asker=addressee)
        case str(kind) if kind == WITHDRAWAL:
            return Withdrawn(ElicitationId(named), speaker)
        case _:
            return None


def _read_question(message: Message, members: Mapping[str, object], addressee: AgentId) -> Elicitation | None:
    text, schema = members.get("message"), members.get("schema")
    created_at, expires_at = _seconds(members.get("created_at")), _seconds(members.get("expires_at"))
    if not isinstance(text, str) or not isinstance(schema, dict) or not is_writable(schema):
        return None
    if created_at is None or expires_at is None or not 0 < expires_at - created_at <= MAX_LIFE_S:
        return None
    # By the Bridge's stamp, so that all who read the event agree how long it lives, whatever their own clocks say.
    born_at = created_at if message.created_at is None else message.created_at
    schema, made_from = unmarked(schema)
    return Elicitation(
        elicitation_id=ElicitationId(str(members["elicitation_id"])),
        from_agent=message.source_agent,
        to_agent=addressee,
        message=text,
        schema=schema,
        made_from=made_from,
        created_at=born_at,
        expires_at=born_at + (expires_at - created_at),
    )


def _read_answer(elicitation_id: ElicitationId, members: Mapping[str, object]) -> Answer | None:
    try:
        kind = AnswerKind(str(members.get("response_type")))
    except ValueError:
        return None
    if kind is not AnswerKind.ACCEPT:
        return Answer(elicitation_id=elicitation_id, kind=kind)
    content = members.get("data")
    if not isinstance(content, dict) or not is_writable(content):
        return None
    return Answer(elicitation_id=elicitation_id, kind=kind, content=content)


def _read_legacy(message: Message) -> Answered | None:
    # The very rule by which the door reads what an agent stores, on what that agent must have stored.
    stored = b'{"agent_id":' + orjson.dumps(message.source_agent) + b',"data":' + message.data + b"}"
    given = parse_stored_answer(stored)
    if given is None or not is_bus_id(given.answer.elicitation_id):
        return None
    return Answered(answer=given.answer, responder=given.agent_id, asker="")


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    seconds = float(value)
    return seconds if math.isfinite(seconds) else None
