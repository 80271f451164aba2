"""How one message of the log is shown to an agent, on the legacy way and on the elicitation way.

A send that became a question is the one or the other to its addressee, at the very place of the send: the event on the
legacy way, the question on the elicitation way while it can be answered. So a cursor tells which of the two was had,
and nothing has to be remembered for it. What keeps the books of such an exchange is shown to neither of its parties as
a second copy. A question of any other kind stays what its agent was told first, see `told_questions`.

Source: ARCHITECTURE.md 2.4; docs/decisions/0006-dual-sends.md.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, assert_never

from proxy.core.bookkeeping import NoteKind, read_note
from proxy.core.elicitation import Elicitation, question_item
from proxy.core.errors import BridgeFault
from proxy.core.ids import AgentId
from proxy.core.journal import QuestionState
from proxy.core.legacy import Message
from proxy.core.second_copies import events_to_compare, second_copies
from proxy.core.secret import Secret
from proxy.core.sends import may_have_become_one, send_of, sent_item
from proxy.core.told_questions import Telling, key_of_note
from proxy.flows.feed_parts import FeedParts
from proxy.flows.waiter import Parcel

LOOK_S: Final = 1.0
"""Shortest wait that looks into the log. Source: BRIDGE.md 2.3."""

MAX_COMPARED: Final = 5
"""Most events that are read again for one batch of messages. Source: ours."""


def show(parts: FeedParts, agent_id: AgentId, raw: Parcel, message: Message) -> tuple[Parcel | None, Parcel | None]:
    """A message as the legacy way shows it, and as the elicitation way does; None where there is nothing to read.

    `raw` is the message as it came, under the agent's number.
    """
    number = raw.sequence
    key = key_of_note(message, agent_id)
    if key is not None:
        return _show_note(parts, agent_id, raw, key)
    told = parts.names.translate(agent_id, message, raw.body, sequence=number)
    translated = None if told is None else replace(raw, body=told)
    if not parts.sent.is_party(agent_id) or number != parts.sequences.to_agent(message.sequence):
        return raw, translated  # of a log that is gone nothing can be answered any more
    if _is_second_copy(parts, agent_id, message, number):
        return None, translated
    question = parts.sent.made_from(agent_id, message)
    return raw, translated if question is None else _asked(parts, question, message, raw)


def _show_note(parts: FeedParts, agent_id: AgentId, raw: Parcel, key: bytes) -> tuple[Parcel | None, Parcel | None]:
    """The Bridge's note that this agent is asked something: on the elicitation way the question comes by itself."""
    note = replace(raw, note_key=key)
    match parts.told.was_told(agent_id, key):
        case Telling.NOTE:
            return note, note
        case Telling.ELICITATION:
            parts.told.stands_at(agent_id, key, raw.sequence)
            return _asked_again(parts, agent_id, raw, key), None
        case None:
            parts.told.stands_at(agent_id, key, raw.sequence)
            return note, None
        case telling:
            assert_never(telling)


def as_told(parts: FeedParts, agent_id: AgentId, parcel: Parcel) -> Parcel | None:
    """A parcel of the legacy way as it is to be handed out now: another wait may have been asked meanwhile."""
    key = parcel.note_key
    if key is None or parts.told.was_told(agent_id, key) is not Telling.ELICITATION:
        return parcel
    return _asked_again(parts, agent_id, parcel, key)


def _asked_again(parts: FeedParts, agent_id: AgentId, raw: Parcel, key: bytes) -> Parcel | None:
    """What is told as an elicitation stays one on the legacy way, until it is over."""
    named = parts.told.open_as(agent_id, key)
    question = None if named is None else parts.book.get(named)
    if question is None or not parts.book.still_asks(question.elicitation_id, wall=parts.clock.wall()):
        return None
    return replace(raw, body=question_item(question, sequence=raw.sequence), elicitation_id=named)


def _is_second_copy(parts: FeedParts, agent_id: AgentId, message: Message, number: int) -> bool:
    note = read_note(message)
    if note is None or note.made_from is None:
        return False
    if note.kind is not NoteKind.ANSWER:  # on a bus the note of a question that is over is another
        if parts.sent.is_copy(agent_id, message.sequence):
            return True
        return note.addressee == agent_id and parts.sent.is_told(agent_id, note.asker, note.made_from)
    return parts.names.was_given(agent_id, note, number)


def _asked(parts: FeedParts, question: Elicitation, message: Message, raw: Parcel) -> Parcel | None:
    """The question in the event's stead; nothing once it is answered, the event where it no longer can be."""
    listed = parts.book.listed(question.elicitation_id)
    if listed is not None and listed.state in {QuestionState.CLAIMED, QuestionState.ANSWERED}:
        return None
    if not parts.book.still_asks(question.elicitation_id, wall=parts.clock.wall()):
        return raw
    body = sent_item(question, message, sequence=raw.sequence)
    return replace(raw, body=body, elicitation_id=question.elicitation_id)


async def see_second_copies(parts: FeedParts, agent_id: AgentId, secret: Secret, messages: Sequence[Message]) -> None:
    """Recognise notes that tell an agent on the legacy way what it reads, or has read, as messages.

    A note whose event cannot be read now is shown: better twice than not at all.
    """
    parts.sent.saw_copies(agent_id, second_copies(messages, agent_id))
    named = events_to_compare(messages, agent_id)
    for note, event in list(named.items())[:MAX_COMPARED]:
        if parts.sent.is_copy(agent_id, note) or parts.sent.known_by(agent_id, (event,)):
            continue
        try:
            found = await parts.bridge.wait(agent_id, secret, since=event - 1, hold_s=LOOK_S)
        except BridgeFault:
            return
        parts.sent.saw_copies(agent_id, second_copies([*found[:1], *messages], agent_id))


async def sends_settled(parts: FeedParts, agent_id: AgentId, messages: Iterable[Message]) -> None:
    """Wait until the questions that are being made here from these messages are made, or it takes too long."""
    if not parts.under_way.is_any(agent_id):
        return
    senders = {send.from_agent for send in map(send_of, messages) if send is not None and send.to_agent == agent_id}
    await parts.under_way.settled(agent_id, senders, parts.clock)


def may_have_been_asked(parts: FeedParts, agent_id: AgentId, messages: Iterable[Message]) -> bool:
    """Whether one of these messages may have become a question elsewhere that has not been heard of here."""
    mode = parts.under_way.mode
    # Most messages are for somebody else: to name an agent takes its name. Escapes are not looked for.
    naming = [message for message in messages if not agent_id.isascii() or agent_id.encode() in message.data]
    return any(
        may_have_become_one(message, agent_id, mode) and parts.sent.made_from(agent_id, message) is None
        for message in naming
    )
