"""How the answer to a question that was made from a send gets back to the sender.

It leaves two traces in the Bridge's log: the Bridge's own note of the answer, which names neither question nor asker,
and a message in the answering agent's name, which is what a legacy sender reads. Both carry what is missing, so that
whoever reads for the sender recognises them as one answer and hands it out once, whichever comes first.

Source: ARCHITECTURE.md 2.4; BRIDGE.md 2.5 (the note); docs/decisions/0006-dual-sends.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import orjson

from proxy.core.bus import is_bus_id
from proxy.core.elicitation import Answer, AnswerKind, Elicitation, is_writable
from proxy.core.errors import AgentFault, InvalidInput
from proxy.core.ids import ElicitationId, parse_elicitation_id
from proxy.core.legacy import Message
from proxy.core.schemas import compile_schema
from proxy.core.send_marks import MARK, marked_sequence

_QUOTED_MARK: Final = b'"' + MARK.encode() + b'"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What an answer in the log answers, as it says itself."""

    sequence: int
    """Of the sender's event, as the Bridge numbered it."""
    elicitation_id: ElicitationId
    asker: str
    """The sender."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentReply:
    """A message in which an agent answers a send, stored by its sidecar."""

    origin: Origin
    responder: str
    answer: Answer


def sealed(answer: Answer, question: Elicitation) -> Answer:
    """The answer as it goes to the Bridge, which copies its content into the note.

    Unchanged where the question was made from no send, where its schema forbids a member more, and on a bus, where an
    answer names its question by itself.
    """
    if question.made_from is None or is_bus_id(question.elicitation_id):
        return answer
    mark = {
        "sequence": question.made_from,
        "elicitation_id": question.elicitation_id,
        "to_agent": question.from_agent,
    }
    content = {**(answer.content or {}), MARK: mark}
    if answer.kind is AnswerKind.ACCEPT and not _is_allowed(content, question):
        return answer
    return replace(answer, content=content)


def _is_allowed(content: Mapping[str, object], question: Elicitation) -> bool:
    try:
        return compile_schema(question.schema).check(content) is None
    except AgentFault:
        return False


def unsealed(content: Mapping[str, object]) -> tuple[Mapping[str, object], Origin | None]:
    """The content of an answer as it was given, and what it answers, where it says so."""
    mark = content.get(MARK)
    origin = _origin(mark, mark) if isinstance(mark, dict) else None
    if origin is None:
        return content, None
    return {key: value for key, value in content.items() if key != MARK}, origin


def _origin(mark: object, named: Mapping[str, object]) -> Origin | None:
    sequence, asker = marked_sequence(mark), named.get("to_agent")
    if sequence is None or not isinstance(asker, str):
        return None
    try:
        elicitation_id = parse_elicitation_id(named.get("elicitation_id"))
    except InvalidInput:
        return None
    return Origin(sequence=sequence, elicitation_id=elicitation_id, asker=asker)


def reply_data(question: Elicitation, answer: Answer) -> dict[str, object]:
    """The data of the message that brings the answer to a legacy sender, worded as a legacy reply is."""
    data: dict[str, object] = {
        "in_reply_to": question.made_from,
        "to_agent": question.from_agent,
        "elicitation_id": question.elicitation_id,
        "response_type": answer.kind.value,
        MARK: {"sequence": question.made_from},
    }
    if answer.kind is AnswerKind.ACCEPT:
        data["content"] = answer.content or {}
    return data


def read_reply(message: Message) -> SentReply | None:
    """Read a message as one that a sidecar stored for an answer; None for every other message."""
    if _QUOTED_MARK not in message.data:
        return None
    try:
        data = orjson.loads(message.data)
        kind = AnswerKind(data["response_type"])
    except (ValueError, TypeError, KeyError):
        return None
    origin, content = _origin(data.get(MARK), data), data.get("content", {})
    if origin is None or not isinstance(content, dict) or not is_writable(content):
        return None
    answer = Answer(
        elicitation_id=origin.elicitation_id, kind=kind, content=content if kind is AnswerKind.ACCEPT else None
    )
    return SentReply(origin=origin, responder=message.source_agent, answer=answer)
