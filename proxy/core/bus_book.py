"""What stands on the bus: every question seen in the log, and the one answer or withdrawal that ended it.

Events are taken in whatever order they are read, as a log is read from several places at once; what counts is their
order in the log. The first event of an id is its question, the first fitting answer of its addressee ends it. What
does not count stays an ordinary message, so that an agent can still read it; a repeated answer is left out.

Bounds: a full book gives up what is over, the oldest first, never what is open, and then takes no more questions:
who would put one here is refused before it is stored, and one of others stays an ordinary message.
Deadlines are seconds since the epoch.
"""

from dataclasses import dataclass, replace
from typing import Final

from proxy.core.bookkeeping import Marked, Note, NoteKind, marked
from proxy.core.bus import Answered, Asked, BusEvent, Withdrawn, read_event
from proxy.core.elicitation import Answer, AnswerKind, BridgeStatus, Elicitation
from proxy.core.errors import InvalidInput, SchemaRefused
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import Message
from proxy.core.schemas import compile_schema

MAX_QUESTIONS: Final = 10_000
"""Most questions kept. Source: ours; ten minutes of the Bridge's limit of 1000 events a minute."""

MAX_PER_AGENT: Final = 1_000
"""Most open questions to one agent. Source: ours, equal to the book of the sidecar itself."""

MAX_BYTES: Final = 16 * 1024 * 1024
"""Most bytes of questions kept. Source: ours."""

MAX_STRAYS: Final = 1_000
"""Most answers and withdrawals kept whose question has not been read yet. Source: ours."""

MAX_STRAY_BYTES: Final = 2 * 1024 * 1024
"""Most bytes of these. Source: ours."""

_STATUS: Final = {
    AnswerKind.ACCEPT: BridgeStatus.ACCEPTED,
    AnswerKind.DECLINE: BridgeStatus.DECLINED,
    AnswerKind.CANCEL: BridgeStatus.CANCELLED,
}

Order = tuple[int, int]
"""Place of an event: the number of its log, and its sequence there."""


@dataclass(frozen=True, slots=True)
class End:
    """What ended a question."""

    order: Order
    timestamp: str
    status: BridgeStatus
    digest: bytes = b""
    """Of the answer; empty for a withdrawal."""


@dataclass(slots=True)
class _Entry:
    question: Elicitation
    order: Order
    size: int
    end: End | None = None


@dataclass(frozen=True, slots=True)
class _Stray:
    order: Order
    message: Message
    event: Answered | Withdrawn


def fits(question: Elicitation, answer: Answer) -> bool:
    """Whether an answer is one that the question asks for."""
    if answer.kind is not AnswerKind.ACCEPT:
        return True
    try:
        return compile_schema(question.schema).check(answer.content or {}) is None
    except (SchemaRefused, InvalidInput):
        return False


class BusBook:
    """All questions of one bus, by id."""

    __slots__ = ("_bytes", "_entries", "_open", "_stray_bytes", "_stray_count", "_strays")

    def __init__(self) -> None:
        self._entries: dict[ElicitationId, _Entry] = {}
        self._open: dict[AgentId, dict[ElicitationId, None]] = {}
        self._bytes = 0
        self._strays: dict[ElicitationId, list[_Stray]] = {}
        self._stray_count = 0
        self._stray_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, elicitation_id: ElicitationId) -> Elicitation | None:
        """The question of this id, if it is known."""
        entry = self._entries.get(elicitation_id)
        return entry.question if entry else None

    def end_of(self, elicitation_id: ElicitationId) -> End | None:
        """What ended a question before its deadline, as far as is known."""
        entry = self._entries.get(elicitation_id)
        return entry.end if entry else None

    def status(self, elicitation_id: ElicitationId, *, wall: float) -> BridgeStatus | None:
        """How a question stands; None when it is not known."""
        entry = self._entries.get(elicitation_id)
        return None if entry is None else _status(entry, wall)

    def open_for(self, agent_id: AgentId, *, wall: float) -> tuple[Elicitation, ...]:
        """The questions that wait for this agent, in the order they became known."""
        mine = (self._entries[key].question for key in self._open.get(agent_id, ()))
        return tuple(question for question in mine if wall < question.expires_at)

    def has_open(self, *, wall: float) -> bool:
        """Whether any question waits for anybody."""
        return any(wall < self._entries[key].question.expires_at for mine in self._open.values() for key in mine)

    def take(self, message: Message, *, log: int, wall: float) -> Message:
        """Take note of a message of the log; it comes back marked where it is a part of an elicitation that counts."""
        event = read_event(message)
        if event is None:
            return message
        judged = self._judge(event, (log, message.sequence), message, wall)
        return message if judged is None else judged

    def put(self, question: Elicitation, *, log: int, sequence: int, size: int, wall: float) -> None:
        """Take note of a question that was just stored, before it is read."""
        self._put(question, (log, sequence), size, wall)

    def _judge(self, event: BusEvent, order: Order, message: Message, wall: float) -> Marked | None:
        if isinstance(event, Asked):
            return self._asked(event.question, order, message, wall)
        named = event.answer.elicitation_id if isinstance(event, Answered) else event.elicitation_id
        entry = self._entries.get(named)
        if entry is None:
            self._keep_stray(named, _Stray(order, message, event))
            return None
        return self._ended(entry, event, order, message)

    def _ended(self, entry: _Entry, event: Answered | Withdrawn, order: Order, message: Message) -> Marked | None:
        if isinstance(event, Withdrawn):
            note = _withdrawn(entry, event, order, message)
        else:
            note = _answered(entry, event, order, message)
        if entry.end is not None:
            self._close(entry.question)
        return None if note is None else marked(message, note)

    # Questions

    def _asked(self, question: Elicitation, order: Order, message: Message, wall: float) -> Marked | None:
        if not self._put(question, order, len(message.data), wall):
            return None
        entry = self._entries[question.elicitation_id]
        is_open = _status(entry, wall) is BridgeStatus.PENDING
        return marked(message, _note(question, NoteKind.QUESTION if is_open else NoteKind.OTHER))

    def _put(self, question: Elicitation, order: Order, size: int, wall: float) -> bool:
        """Keep a question; False when its id is another's, or there is no room."""
        named = question.elicitation_id
        known = self._entries.get(named)
        if known is not None:
            if order == known.order:
                known.question = question  # as read it has the Bridge's time stamp
                return True
            if question == known.question:  # the same event, in a log that was taken for another
                return True
            if order > known.order:
                return False
            self._drop(named)
        if not self.has_room(question, size, wall):
            return False
        self._entries[named] = _Entry(question, order, size)
        self._bytes += size
        if wall < question.expires_at:
            self._open.setdefault(question.to_agent, {})[named] = None
        for stray in self._strays_of(named):
            self._ended(self._entries[named], stray.event, stray.order, stray.message)
        return True

    def has_room(self, question: Elicitation, size: int, wall: float) -> bool:
        """Whether a question of so many bytes may be kept; what is over goes where that makes room."""
        mine = self._open.get(question.to_agent, {})
        if len(mine) >= MAX_PER_AGENT:
            for known in [self._entries[key].question for key in mine]:
                if wall >= known.expires_at:
                    self._close(known)
        if len(self._open.get(question.to_agent, {})) >= MAX_PER_AGENT:
            return False
        if self._is_full(size):
            for oldest in self._over(wall):
                self._drop(oldest)
                if not self._is_full(size):
                    break
        return not self._is_full(size)

    def _is_full(self, size: int) -> bool:
        return len(self._entries) >= MAX_QUESTIONS or self._bytes + size > MAX_BYTES

    def _over(self, wall: float) -> list[ElicitationId]:
        return [key for key, entry in self._entries.items() if _status(entry, wall) is not BridgeStatus.PENDING]

    def _drop(self, named: ElicitationId) -> None:
        entry = self._entries.pop(named)
        self._bytes -= entry.size
        self._close(entry.question)

    def _close(self, question: Elicitation) -> None:
        mine = self._open.get(question.to_agent, {})
        mine.pop(question.elicitation_id, None)
        if not mine:
            self._open.pop(question.to_agent, None)

    # Answers that are read before their question

    def _keep_stray(self, named: ElicitationId, stray: _Stray) -> None:
        known = self._strays.setdefault(named, [])
        if any(other.order == stray.order for other in known):
            return
        known.append(stray)
        self._stray_count += 1
        self._stray_bytes += len(stray.message.data)
        while self._stray_count > MAX_STRAYS or self._stray_bytes > MAX_STRAY_BYTES:
            self._strays_of(next(iter(self._strays)))

    def _strays_of(self, named: ElicitationId) -> list[_Stray]:
        found = self._strays.pop(named, [])
        self._stray_count -= len(found)
        self._stray_bytes -= sum(len(stray.message.data) for stray in found)
        return sorted(found, key=lambda stray: stray.order)


def _note(question: Elicitation, kind: NoteKind) -> Note:
    named, asker = question.elicitation_id, question.from_agent
    return Note(kind=kind, addressee=question.to_agent, elicitation_id=named, asker=asker, made_from=question.made_from)


def _status(entry: _Entry, wall: float) -> BridgeStatus:
    if entry.end is not None:
        return entry.end.status
    return BridgeStatus.PENDING if wall < entry.question.expires_at else BridgeStatus.EXPIRED


def _withdrawn(entry: _Entry, event: Withdrawn, order: Order, message: Message) -> Note | None:
    if event.asker != entry.question.from_agent or order <= entry.order:
        return None
    if entry.end is None or order < entry.end.order:
        entry.end = End(order, message.timestamp, BridgeStatus.CANCELLED)
    return _note(entry.question, NoteKind.OTHER)


def _answered(entry: _Entry, event: Answered, order: Order, message: Message) -> Note | None:
    question, answer, known = entry.question, event.answer, entry.end
    if event.responder != question.to_agent or event.asker not in {"", question.from_agent}:
        return None
    end = End(order, message.timestamp, _STATUS[answer.kind], answer.digest())
    if known is not None and _is_same(known, end):
        entry.end = min(known, end, key=lambda each: each.order)
    else:
        if order <= entry.order or _is_late(question, message):
            return None
        if known is not None and order > known.order:
            return _note(question, NoteKind.OTHER) if known.digest == end.digest else None
        if not fits(question, answer):
            return None
        entry.end = end
    note = _note(question, NoteKind.ANSWER)
    return replace(note, responding_agent=event.responder, answer_kind=answer.kind, content=answer.content)


def _is_same(known: End, end: End) -> bool:
    """Whether both are one event, be it in a log that was taken for another."""
    return known.order == end.order or (known.digest == end.digest and known.timestamp == end.timestamp)


def _is_late(question: Elicitation, message: Message) -> bool:
    """Whether it came after the deadline, by the Bridge's clock for both."""
    return message.created_at is not None and message.created_at > question.expires_at
