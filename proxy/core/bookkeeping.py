"""The Bridge's own notes about elicitations, as they appear in everybody's legacy stream.

The Bridge writes each question and each answer into its log, where every waiting agent reads them: without the
elicitation's id, but with nonces and keys. An agent in the elicitation cohort gets questions as items of their own
instead, so the notes are told apart here: an answer is translated for the agent who asked, the rest is left out.

Source: BRIDGE.md 2.3 and 2.5 (elicitation and audit events also appear in the legacy stream).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import orjson

from proxy.core.elicitation import RESPONSE_MESSAGE, Answer, AnswerKind, is_writable
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import Message
from proxy.core.send_marks import unmarked
from proxy.core.send_replies import SentReply, read_reply, unsealed

_TYPE_KEY: Final = "elicitation_type"
_QUESTION: Final = "elicitation_requested"
_ANSWER_KINDS: Final[Mapping[str, AnswerKind]] = {
    "elicitation_accepted": AnswerKind.ACCEPT,
    "elicitation_declined": AnswerKind.DECLINE,
    "elicitation_cancelled": AnswerKind.CANCEL,
}


class NoteKind(StrEnum):
    """What a note is about."""

    QUESTION = "question"
    ANSWER = "answer"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One bookkeeping message of the Bridge; `addressee` is set for a question, the rest for an answer only."""

    kind: NoteKind
    addressee: str = ""
    responding_agent: str = ""
    answer_kind: AnswerKind = AnswerKind.DECLINE
    content: Mapping[str, object] | None = None
    """As the Bridge noted it; None where it is no object."""
    elicitation_id: ElicitationId | None = None
    """Of the question; only on a bus and where a send was answered, as the Bridge's own notes do not tell."""
    asker: str = ""
    """Who asked that question; only where it is named."""
    made_from: int | None = None
    """The Bridge's number of the legacy send that the question was made from, if it was; see `send_replies`."""
    is_reply: bool = False
    """It is a message of the answering agent, and no note."""

    def as_answer(self, elicitation_id: ElicitationId) -> Answer:
        """The answer that this note reports, to the elicitation it belongs to."""
        content = (self.content or {}) if self.answer_kind is AnswerKind.ACCEPT else None
        return Answer(elicitation_id=elicitation_id, kind=self.answer_kind, content=content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked(Message):
    """A message that is part of an elicitation over a bus, as judged by whoever reads the whole log.

    Its bytes are those that came: on the legacy way it is a message like any other.
    """

    note: Note


def marked(message: Message, note: Note) -> Marked:
    """The message with what is known of it."""
    return Marked(
        sequence=message.sequence,
        event_type=message.event_type,
        source_agent=message.source_agent,
        raw=message.raw,
        data=message.data,
        created_at=message.created_at,
        timestamp=message.timestamp,
        note=note,
    )


def read_note(message: Message) -> Note | None:
    """Read a message as a note of the Bridge's elicitation manager; None for every other message.

    An answer without a responder, or with a content that cannot be written again, is None too: better raw than lost.
    """
    if isinstance(message, Marked):
        return message.note
    if message.event_type != "custom":
        return None
    reply = read_reply(message)
    return _noted(message) if reply is None else _reply_note(reply)


def _noted(message: Message) -> Note | None:
    if b'"elicitation_type"' not in message.data:
        return None
    try:
        data = orjson.loads(message.data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(data, dict) or not isinstance(data.get(_TYPE_KEY), str):
        return None
    kind = _ANSWER_KINDS.get(data[_TYPE_KEY])
    return _other_note(data) if kind is None else _answer_note(kind, data, message.source_agent)


def _reply_note(reply: SentReply) -> Note:
    return Note(
        kind=NoteKind.ANSWER,
        responding_agent=reply.responder,
        answer_kind=reply.answer.kind,
        content=reply.answer.content,
        elicitation_id=reply.origin.elicitation_id,
        asker=reply.origin.asker,
        made_from=reply.origin.sequence,
        is_reply=True,
    )


def _other_note(data: Mapping[str, object]) -> Note:
    addressee, asker, schema = data.get("to_agent"), data.get("from_agent"), data.get("schema")
    if data[_TYPE_KEY] != _QUESTION or not isinstance(addressee, str):
        return Note(kind=NoteKind.OTHER)
    made_from = unmarked(schema)[1] if isinstance(schema, dict) else None
    if made_from is None or not isinstance(asker, str):
        return Note(kind=NoteKind.QUESTION, addressee=addressee)
    return Note(kind=NoteKind.QUESTION, addressee=addressee, asker=asker, made_from=made_from)


def _answer_note(kind: AnswerKind, data: Mapping[str, object], source_agent: str) -> Note | None:
    responder, content = data.get("responding_agent"), data.get("response_data")
    if not isinstance(responder, str) or not is_writable(content):
        return None
    given = content if isinstance(content, dict) else None
    note = Note(kind=NoteKind.ANSWER, responding_agent=responder, answer_kind=kind, content=given)
    told, origin = ({}, None) if given is None else unsealed(given)
    if origin is None or source_agent != responder:
        return note
    return replace(
        note,
        content=told if kind is AnswerKind.ACCEPT else None,
        elicitation_id=origin.elicitation_id,
        asker=origin.asker,
        made_from=origin.sequence,
    )


def asks(message: Message, agent_id: AgentId) -> bool:
    """Whether the message is the Bridge's note that this agent has just been asked something."""
    note = read_note(message)
    return note is not None and note.kind is NoteKind.QUESTION and note.addressee == agent_id


def is_for_others(note: Note, agent_id: AgentId) -> bool:
    """Whether the note is nothing that this agent has to read: no answer, or an answer to somebody else.

    The Bridge's own notes do not tell the asker: there only the agent's own answer is known to be for others.
    """
    if note.is_reply:  # to all but the sender a message like any other
        return False
    if note.elicitation_id is not None:
        return note.kind is not NoteKind.ANSWER or note.asker != agent_id
    return note.kind is not NoteKind.ANSWER or note.responding_agent == agent_id


def answer_item(note: Note, message: Message, elicitation_id: ElicitationId, *, sequence: int) -> bytes:
    """An answer as one item of the asker's legacy reply, at the place that the Bridge's own note had.

    Who has sent an event and asked no question reads the event's own number in `in_reply_to`.
    """
    return orjson.dumps(
        {
            "sequence": sequence,
            "event_type": RESPONSE_MESSAGE,
            "source_agent": note.responding_agent,
            "timestamp": message.timestamp or None,
            "data": {
                "elicitation_id": elicitation_id,
                "in_reply_to": note.made_from or elicitation_id,
                "response_type": note.answer_kind.value,
                "data": note.content,
            },
        }
    )
