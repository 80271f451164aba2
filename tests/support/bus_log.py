"""A log of the Bridge in memory, as pure tests of the bus read it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import orjson

from proxy.core.bus import Ask
from proxy.core.elicitation import Answer, AnswerKind, Elicitation
from proxy.core.ids import AgentId, ElicitationId
from proxy.core.legacy import ITEMS_PER_REPLY, Message, parse_wait_reply

WALL = 1_800_000_000.0
"""When these logs begin, seconds since the epoch."""

COLOUR: dict[str, object] = {
    "type": "object",
    "properties": {"colour": {"type": "string"}},
    "required": ["colour"],
}


def bus_id(number: int = 1) -> ElicitationId:
    """An id as it is minted for the bus."""
    return ElicitationId(f"{number:032x}")


def question(number: int = 1, *, life_s: float = 60.0, asker: str = "alice", to_agent: str = "bob") -> Elicitation:
    """A question put when the log begins."""
    return Elicitation(
        elicitation_id=bus_id(number),
        from_agent=asker,
        to_agent=AgentId(to_agent),
        message="Which colour?",
        schema=COLOUR,
        created_at=WALL,
        expires_at=WALL + life_s,
    )


def ask(*, asker: str = "alice", to_agent: str = "bob", timeout_s: float = 60.0, message: str = "Which colour?") -> Ask:
    """The same before it is put."""
    return Ask(
        from_agent=AgentId(asker), to_agent=AgentId(to_agent), message=message, schema=COLOUR, timeout_s=timeout_s
    )


def answer(colour: str = "red", *, number: int = 1) -> Answer:
    """An answer that fits."""
    return Answer(elicitation_id=bus_id(number), kind=AnswerKind.ACCEPT, content={"colour": colour})


def message(data: object, *, source: str = "alice", sequence: int = 1, at: float | None = WALL) -> Message:
    """One event as a wait delivers it; `at` in seconds since the epoch."""
    item = {
        "sequence": sequence,
        "event_type": "custom",
        "source_agent": source,
        "timestamp": "" if at is None else datetime.fromtimestamp(at, UTC).isoformat(),
        "data": data,
    }
    return parse_wait_reply(orjson.dumps({"events": [item]}))[0]


@dataclass(slots=True)
class Log:
    """Events numbered from 1."""

    events: list[Message] = field(default_factory=list)
    limit: int = ITEMS_PER_REPLY

    def store(self, data: object, *, source: str = "alice", at: float | None = WALL) -> Message:
        """Store one event."""
        stored = message(data, source=source, sequence=len(self.events) + 1, at=at)
        self.events.append(stored)
        return stored

    def after(self, since: int) -> tuple[Message, ...]:
        """What a wait delivers."""
        return tuple(self.events[since : since + self.limit])
