"""Notes of questions that tell an agent on the legacy way only what it reads as a message anyway.

When a send becomes a question the Bridge writes a note of that as well. Who is on the legacy way when it comes, though
the sender's sidecar took it for an agent of the other cohort, would read both: as flags do not change everywhere in
one moment, and a wait that is held at the Bridge is not called back.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from proxy.core.bookkeeping import NoteKind, read_note
from proxy.core.bus import Asked, read_event
from proxy.core.elicitation import Elicitation
from proxy.core.errors import BadBridgeReply
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import Message, parse_wait_reply
from proxy.core.send_marks import MARK, unmarked
from proxy.core.sends import is_made_from, json_of

_QUOTED_MARK: Final = b'"' + MARK.encode() + b'"'
_MEMBERS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def second_copies(messages: Sequence[Message], agent_id: AgentId) -> frozenset[int]:
    """The numbers of notes whose events are among the same messages, and ask this agent the very same."""
    by_number = {message.sequence: message for message in messages}
    found = set()
    for message, question in _asking(messages, agent_id):
        event = by_number.get(question.made_from or 0)
        if event is not None and is_made_from(question, event):
            found.add(message.sequence)
    return frozenset(found)


def events_to_compare(messages: Sequence[Message], agent_id: AgentId) -> dict[int, int]:
    """The numbers of notes for this agent whose events are not among the messages, each with its event's number."""
    known = {message.sequence for message in messages}
    return {
        message.sequence: question.made_from
        for message, question in _asking(messages, agent_id)
        if question.made_from is not None and question.made_from not in known
    }


def _asking(messages: Sequence[Message], agent_id: AgentId) -> Iterator[tuple[Message, Elicitation]]:
    """Notes of questions to this agent that say they were made from events."""
    for message in messages:
        question = _asked(message) if _QUOTED_MARK in message.data else None
        if question is not None and question.to_agent == agent_id and question.made_from is not None:
            yield message, question


def _asked(message: Message) -> Elicitation | None:
    """The question that a message tells of, as far as it says what is asked; its id and times mean nothing."""
    event = read_event(message)
    if isinstance(event, Asked):
        return event.question
    note, data = read_note(message), json_of(message.data)
    if note is None or note.kind is not NoteKind.QUESTION or not isinstance(data, dict):
        return None
    text, schema = data.get("message"), data.get("schema")
    if not isinstance(text, str) or not isinstance(schema, dict):
        return None
    return Elicitation(
        elicitation_id=ElicitationId(""),
        from_agent=note.asker,
        to_agent=AgentId(note.addressee),
        message=text,
        schema=unmarked(schema)[0],
        made_from=note.made_from,
        created_at=0.0,
        expires_at=0.0,
    )


def without_second_copies(body: bytes, agent_id: AgentId) -> tuple[bytes, frozenset[int]]:
    """A reply to a legacy wait without such notes, and their numbers; the very same bytes where there are none."""
    if _QUOTED_MARK not in body:
        return body, frozenset()
    try:
        messages, members = parse_wait_reply(body), _MEMBERS.decode(body)
    except (BadBridgeReply, msgspec.DecodeError, RecursionError):
        return body, frozenset()
    copies = second_copies(messages, agent_id)
    if not copies:
        return body, copies
    kept = [message.raw for message in messages if message.sequence not in copies]
    members["events"] = msgspec.Raw(b"[" + b",".join(kept) + b"]")
    members["count"] = msgspec.Raw(b"%d" % len(kept))
    return msgspec.json.encode(members), copies
