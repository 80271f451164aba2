"""Legacy replies that name what they reply to by its number in the log, and the question that is meant.

In the legacy cohort a question is a message like any other: the Bridge's note of it, or the send it was made from. So
its answer is a legacy reply with `in_reply_to` a number. It is taken for an answer only where one question alone can
be meant; every other reply is a message, which is what its sender wrote.

Source: ARCHITECTURE.md 2.4; BRIDGE.md 2.2, 2.5.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from proxy.core.answers import GivenAnswer, addressee_in, parse_stored_answer
from proxy.core.bookkeeping import NoteKind, read_note
from proxy.core.elicitation import Elicitation
from proxy.core.errors import InvalidInput
from proxy.core.ids import MAX_SEQUENCE, AgentId, ElicitationId, parse_agent_id
from proxy.core.legacy import Message
from proxy.core.sends import is_made_from, json_of

_MAX_DIGITS = 19

SAME_S: Final = 0.001
"""Deadlines that differ by less are the same. Source: ours; decimal numbers on the way round them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedReply:
    """A legacy reply to the message with this number."""

    agent_id: AgentId
    number: int
    addressee: str | None
    data: Mapping[str, object]

    def may_answer(self, question: Elicitation) -> bool:
        """Whether it goes from whom this question was put to, back to who asked, as far as it says."""
        return question.to_agent == self.agent_id and self.addressee in {None, question.from_agent}

    def as_answer(self, elicitation_id: ElicitationId) -> GivenAnswer | None:
        """It as the answer to a question; None where it cannot be read as one."""
        data = {key: value for key, value in self.data.items() if key != "in_reply_to"}
        event = {"agent_id": self.agent_id, "data": {**data, "elicitation_id": elicitation_id}}
        try:
            return parse_stored_answer(orjson.dumps(event))
        except (InvalidInput, orjson.JSONEncodeError):
            return None


def read_numbered_reply(body: bytes) -> NumberedReply | None:
    """Read `POST /event/store` as a reply to a number; None for every other event."""
    event = json_of(body)
    data = event.get("data") if isinstance(event, dict) else None
    if not isinstance(event, dict) or not isinstance(data, dict):
        return None
    number = _number(data.get("in_reply_to"))
    if number is None or "elicitation_id" in data:
        return None
    try:
        agent_id = parse_agent_id(event.get("agent_id"))
    except InvalidInput:
        return None
    return NumberedReply(agent_id=agent_id, number=number, addressee=addressee_in(data), data=data)


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_SEQUENCE:
        return None
    return value


def question_meant(reply: NumberedReply, message: Message, pending: Iterable[Elicitation]) -> Elicitation | None:
    """The open question that a reply to this message of the log answers; None where there is none, or several."""
    mine = [question for question in pending if reply.may_answer(question)]
    made = [question for question in mine if is_made_from(question, message)]
    found = made or _noted(message, mine)
    return found[0] if len(found) == 1 else None


def _noted(message: Message, pending: Iterable[Elicitation]) -> list[Elicitation]:
    """The questions that a message can be the note of."""
    note, data = read_note(message), json_of(message.data)
    if note is None or note.kind is not NoteKind.QUESTION or not isinstance(data, dict):
        return []
    if note.elicitation_id is not None:
        return [question for question in pending if question.elicitation_id == note.elicitation_id]
    told = [data.get(key) for key in ("from_agent", "to_agent", "message", "schema")]
    alike = [
        question
        for question in pending
        if [question.from_agent, question.to_agent, question.message, question.wire_schema] == told
    ]
    # Of several that are worded alike the note tells by its times which it is of, also when that one is over.
    until = data.get("expires_at")
    if isinstance(until, int | float) and not isinstance(until, bool):
        return [question for question in alike if abs(question.expires_at - until) < SAME_S]
    timed = [question for question in alike if question.created_at == data.get("created_at")]
    return timed or alike
