"""What a killed agent knows of its earlier lives, read from its own lines."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bench.chaos_records import (
    Answered,
    AnyRecord,
    Asked,
    Asking,
    Heard,
    Odd,
    Received,
    Sending,
    Stored,
    Tick,
    Told,
    Unsent,
)


@dataclass(slots=True)
class Past:
    """One agent's memory."""

    cursor: int = 0
    last: dict[str, int] = field(default_factory=dict)
    """Number of the last message or question of each lane, by AGENT.LANE."""
    doubtful: set[str] = field(default_factory=set)
    """Messages that were being stored."""
    open: set[str] = field(default_factory=set)
    """Messages that are not in the log yet: of those no try is on its way."""
    unheard: dict[str, float] = field(default_factory=dict)
    """Questions without answer, and the second until which the last try may be answered (0 for unknown)."""
    untold: dict[str, Told] = field(default_factory=dict)
    """Questions that came and are not answered, by elicitation or number."""
    told: set[str] = field(default_factory=set)
    """Questions that came, the same way."""
    heard: set[str] = field(default_factory=set)
    """Own questions that were answered."""

    def note(self, record: AnyRecord) -> None:
        """Take one line in."""
        match record:
            case Sending(message=message):
                self._count(message)
                self.open.discard(message)
                self.doubtful.add(message)
            case Stored(message=message):
                self.open.discard(message)
                self.doubtful.discard(message)
                self.untold.pop(answered_by(message), None)
            case Unsent(message=message):
                self.doubtful.discard(message)
                self.open.add(message)
            case Received(mine=mine, spans=spans):
                self.cursor = max([self.cursor, *(last for _, last in spans), *(number for number, _ in mine)])
            case Asking() | Asked() | Heard():
                self._note_question(record)
            case Told():
                self.told.add(key_of(record))
                self.untold[key_of(record)] = record
            case Answered(elicitation=elicitation):
                self.untold.pop(elicitation, None)
            case _:
                pass

    def _note_question(self, record: Asking | Asked | Heard) -> None:
        match record:
            case Asking(question=question):
                self._count(question)
                if question not in self.heard:
                    self.unheard[question] = 0.0
            case Asked(question=question, expires_at=expires_at):
                if question not in self.heard:
                    self.unheard[question] = expires_at
            case Heard(question=question):
                self.heard.add(question)
                self.unheard.pop(question, None)

    def _count(self, known: str) -> None:
        lane, _, number = known.rpartition(".")
        if number.isdecimal():
            self.last[lane] = max(self.last.get(lane, 0), int(number))


def key_of(told: Told) -> str:
    """What an answer to a question names: the elicitation, or the number of the Bridge's note."""
    return told.elicitation or str(told.sequence)


def answer_id(agent: str, told: Told) -> str:
    """The id of the message that answers a note."""
    return f"{agent}.re{told.sequence}.1"


def answered_by(message: str) -> str:
    """The number of the note that a message answers, nothing for other messages."""
    lane = message.split(".")[1]
    return lane.removeprefix("re") if lane.startswith("re") else ""


def remember(records: Iterable[AnyRecord]) -> dict[str, Past]:
    """The memory of every agent of one crew."""
    known: dict[str, Past] = {}
    for record in records:
        if not isinstance(record, Odd | Tick):
            known.setdefault(record.agent, Past()).note(record)
    return known
