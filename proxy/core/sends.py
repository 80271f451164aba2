"""Legacy sends that ask something: which they are, and the question that is made from one.

Every sidecar words the question of one event the same way. So the mark on a question is not taken at its word: it is
believed only where the question is, word for word, what the event asks of its addressee.

Source: ARCHITECTURE.md 2.4; docs/decisions/0006-dual-sends.md.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

import orjson

from proxy.core.answers import ADDRESS_KEYS, addressee_in
from proxy.core.asked_question import check_askable
from proxy.core.bus import MARK as BUS_MARK
from proxy.core.bus import MAX_LIFE_S, Ask
from proxy.core.elicitation import Elicitation, is_writable, question_item
from proxy.core.errors import InvalidInput, SchemaRefused
from proxy.core.ids import AgentId, parse_agent_id
from proxy.core.legacy import Message
from proxy.core.send_marks import MARK, marked, unmarked

MAX_MESSAGE_BYTES: Final = 16_384
"""Longest question that is made from a send. Source: ours; a longer one stays a message, as nothing may be cut off."""

_REPLY_SCHEMA: Final[Mapping[str, object]] = MappingProxyType(
    {"type": "object", "properties": {"reply": {"type": "string"}}}
)
"""What is asked for where the send does not say. It forbids nothing, so that any legacy reply is an answer to it."""

_WISHES: Final = ("expects_reply", "reply_requested", "requires_response")
"""Members of the data by which a send says whether it waits for a reply. Source: ours."""

_ASKING: Final = frozenset({"question", "request", "query", "ask"})
"""Last words of types that ask. Source: ours; `review_request` asks, `request_received` tells."""

_WORD: Final = re.compile(r"[a-z]+", re.ASCII)

UNKNOWN_TYPE: Final = "system_started"
"""What the Bridge stores an event as whose type it does not know. Source: BRIDGE.md 2.2."""

_TEXTS: Final = ("message", "text", "content")
_LIFE: Final = "timeout_seconds"
_NOT_TOLD: Final = frozenset({*ADDRESS_KEYS, *_WISHES, "schema", "type", _LIFE})
"""Members that say how to handle a send, not what it says."""

_NO_SENDS: Final = frozenset({"in_reply_to", "elicitation_id", "elicitation_type", BUS_MARK, MARK})
"""Members of events that answer, or keep the books of a question: whoever answers does not ask."""


class DualSends(StrEnum):
    """Which sends become questions."""

    OFF = "off"
    ASKING = "asking"
    """Those that ask for a reply."""
    ALL = "all"
    """Every send with an addressee that is no answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """An event with an addressee."""

    from_agent: AgentId
    to_agent: AgentId
    event_type: str
    data: Mapping[str, object]


def read_send(body: bytes) -> Send | None:
    """Read `POST /event/store` as a send; None for an event without an addressee, and for one to its own sender."""
    event = json_of(body)
    if not isinstance(event, dict):
        return None
    return _send(event.get("agent_id"), event.get("event_type"), event.get("data"))


def send_of(message: Message) -> Send | None:
    """The same for a message of the log."""
    return _send(message.source_agent, message.event_type, json_of(message.data))


def json_of(text: bytes) -> object:
    """What a peer wrote as JSON; None where it cannot be read."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _send(sender: object, event_type: object, data: object) -> Send | None:
    if not isinstance(data, dict):
        return None
    try:
        from_agent, to_agent = parse_agent_id(sender), parse_agent_id(addressee_in(data))
    except InvalidInput:
        return None
    if from_agent == to_agent:
        return None
    kind = event_type if isinstance(event_type, str) else ""
    return Send(from_agent=from_agent, to_agent=to_agent, event_type=kind, data=data)


def becomes_question(send: Send, mode: DualSends) -> bool:
    """Whether a send becomes a question.

    An answer never does. Otherwise a send asks if it says so itself; if it does not say, it asks when it brings
    a schema, or when its type ends in a word that asks. A plain notification asks nothing: to make a question of each
    would use up the few that the Bridge allows an agent (13 a minute, BRIDGE.md 2.5), and be left unanswered.
    """
    if mode is DualSends.OFF or not _NO_SENDS.isdisjoint(send.data):
        return False
    return mode is DualSends.ALL or _asks(send)


def _asks(send: Send) -> bool:
    wishes = [send.data[key] for key in _WISHES if isinstance(send.data.get(key), bool)]
    if wishes:
        return any(wishes)
    if isinstance(send.data.get("schema"), dict):
        return True
    return any(_is_asking(kind) for kind in (send.event_type, send.data.get("type")))


def _is_asking(kind: object) -> bool:
    words = _WORD.findall(kind.lower()) if isinstance(kind, str) else []
    return bool(words) and words[-1] in _ASKING


def may_have_become_one(message: Message, agent_id: AgentId, mode: DualSends) -> bool:
    """Whether a message to this agent may have become a question at the sidecar of its sender.

    Of a type that the Bridge did not know only the sender's sidecar has seen the word.
    """
    send = send_of(message)
    if send is None or send.to_agent != agent_id:
        return False
    is_open = send.event_type == UNKNOWN_TYPE and not any(isinstance(send.data.get(key), bool) for key in _WISHES)
    return becomes_question(send, DualSends.ALL if is_open and mode is not DualSends.OFF else mode)


def ask_of(send: Send, sequence: int, *, life_s: float) -> Ask | None:
    """The question that is made from a send which the Bridge stored under this number.

    It lives for as long as the send says by `timeout_seconds`, else for `life_s` seconds. None where none can be made
    that says all the send says: too long, nested too deeply, or with a schema that no answer is held to here.
    """
    worded = _worded(send.data)
    if worded is None or len(worded[0].encode("utf-8", "replace")) > MAX_MESSAGE_BYTES:
        return None
    message, schema = worded
    try:
        check_askable(schema)
    except SchemaRefused:
        return None
    return Ask(
        from_agent=send.from_agent,
        to_agent=send.to_agent,
        message=message,
        schema=marked(schema, sequence),
        timeout_s=_life_s(send.data.get(_LIFE), life_s),
    )


def _life_s(wanted: object, otherwise: float) -> float:
    if isinstance(wanted, bool) or not isinstance(wanted, int | float) or math.isnan(wanted) or wanted < 1:
        return otherwise
    return min(float(wanted), MAX_LIFE_S)


def _worded(data: Mapping[str, object]) -> tuple[str, Mapping[str, object]] | None:
    """Text and schema of the question that the data of an event asks: all that it says."""
    schema = data.get("schema")
    key = next((name for name in _TEXTS if isinstance(data.get(name), str) and data[name]), "")
    rest = {name: value for name, value in data.items() if name != key and name not in _NOT_TOLD}
    if not is_writable(data):
        return None
    told = orjson.dumps(rest, option=orjson.OPT_SORT_KEYS).decode() if rest or not key else ""
    text = "\n\n".join(part for part in (data[key] if key else "", told) if isinstance(part, str) and part)
    return text, unmarked(schema)[0] if isinstance(schema, dict) else dict(_REPLY_SCHEMA)


def is_made_from(question: Elicitation, message: Message) -> bool:
    """Whether a question is the one that is made from this message of the log, as its mark says."""
    if question.made_from != message.sequence or question.from_agent != message.source_agent:
        return False
    send = send_of(message)
    if send is None or send.to_agent != question.to_agent or not _NO_SENDS.isdisjoint(send.data):
        return False
    return _worded(send.data) == (question.message, question.schema)


def sent_item(question: Elicitation, message: Message, *, sequence: int) -> bytes:
    """A question as the item at the place of the message that it was made from, whose data it repeats as `sent`."""
    item = orjson.loads(question_item(question, sequence=sequence))
    return orjson.dumps({**item, "data": {**item["data"], "sent": orjson.Fragment(message.data)}})
