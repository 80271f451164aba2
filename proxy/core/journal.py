"""What a sidecar writes down as it happens, so that after a crash it goes on where it was.

Every change is a fact about one question, one agent or the numbering, in the order they came about. Replayed, they
give the state again; deadlines are wall-clock seconds, as monotonic time does not outlive a process.

Source: ARCHITECTURE.md 2.6 (guarantees).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from proxy.core.elicitation import Elicitation
from proxy.core.ids import AgentId, ElicitationId

MAX_CURSORS: Final = 10_000
"""Most agents whose cursor is kept; the one that was shown longest ago goes first. Source: ours."""

MAX_NAMED: Final = 10_000
"""Most answers whose question is remembered, so that a repeated reading gives the same item. Source: ours."""

MAX_TOLD: Final = 10_000
"""Most questions of which it is remembered how they were told. Source: ours."""


class End(StrEnum):
    """How a question left the book without an answer of ours."""

    WITHDRAWN = "withdrawn"
    """The Bridge ended it, or its asker took it back."""
    EXPIRED = "expired"
    FORGOTTEN = "forgotten"
    """Answered, and remembered long enough."""


@dataclass(frozen=True, slots=True)
class QuestionNoted:
    """A question became known."""

    question: Elicitation


@dataclass(frozen=True, slots=True)
class QuestionOffered:
    """A reply with the question is on its way to its agent."""

    elicitation_id: ElicitationId


@dataclass(frozen=True, slots=True)
class QuestionTakenBack:
    """That reply did not arrive, or the answer to it did not: the question is to be offered again."""

    elicitation_id: ElicitationId


@dataclass(frozen=True, slots=True)
class AnswerClaimed:
    """This answer, by its digest, goes up to the Bridge and no other."""

    elicitation_id: ElicitationId
    digest: bytes


@dataclass(frozen=True, slots=True)
class AnswerSettled:
    """The question is answered: by the claimed answer where there is one."""

    elicitation_id: ElicitationId


@dataclass(frozen=True, slots=True)
class AnswerPassedOn:
    """The asker has been shown the answer."""

    elicitation_id: ElicitationId


@dataclass(frozen=True, slots=True)
class QuestionEnded:
    """The question left the book."""

    elicitation_id: ElicitationId
    how: End


@dataclass(frozen=True, slots=True)
class AnswerDoubted:
    """An answer with this digest may have reached the Bridge unseen; empty: several different ones may have.

    It stands until the question is settled or ends.
    """

    elicitation_id: ElicitationId
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberingChanged:
    """How the Bridge's numbers become the agents'; see core/sequences.py."""

    offset: int
    ended: int
    """The last number of the logs that are gone."""
    highest: int
    """The highest number that was read."""
    reserved: int
    """No agent has seen a number above this one."""
    first_sequence: int | None
    """Of the present log's first message, once known."""
    first_created_at: float | None


@dataclass(frozen=True, slots=True)
class CursorShown:
    """An agent's call showed that it has everything up to here; copies up to here are not kept any longer."""

    agent_id: AgentId
    cursor: int


@dataclass(frozen=True, slots=True)
class MessageKept:
    """A message on its way to an agent, in the agent's number."""

    agent_id: AgentId
    number: int
    body: bytes
    created_at: float | None


@dataclass(frozen=True, slots=True)
class CopiesDropped:
    """Copies of an agent's messages up to here went, because as many are kept as may be; the Bridge still has them."""

    agent_id: AgentId
    upto: int


@dataclass(frozen=True, slots=True)
class AnswerNamed:
    """A message of the log was matched to the question it answers, so that its asker reads it under that name."""

    agent_id: AgentId
    number: int
    elicitation_id: ElicitationId


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionTold:
    """How an agent was first told of a question; see `core/told_questions.py`."""

    agent_id: AgentId
    key: bytes
    """What the Bridge's note of it is known by."""
    number: int
    """The agent's number of that note; 0 until it was read."""
    is_note: bool
    """By the note; else as an elicitation."""


@dataclass(frozen=True, slots=True)
class TellingForgotten:
    """The agent can come to that note no more."""

    agent_id: AgentId
    key: bytes


Change = (
    QuestionNoted
    | QuestionOffered
    | QuestionTakenBack
    | AnswerClaimed
    | AnswerSettled
    | AnswerPassedOn
    | QuestionEnded
    | AnswerDoubted
    | NumberingChanged
    | CursorShown
    | MessageKept
    | CopiesDropped
    | AnswerNamed
    | QuestionTold
    | TellingForgotten
)


@dataclass(frozen=True, slots=True)
class Stamped:
    """A change and when it came about, in seconds since the epoch."""

    at: float
    change: Change


Write = Callable[[Change], None]
"""Takes note of a change; it never fails and never waits."""


def write_nothing(_change: Change) -> None:
    """A journal that keeps nothing."""


class QuestionState(StrEnum):
    """Life of one question in the book."""

    NEW = "new"
    OFFERED = "offered"
    CLAIMED = "claimed"
    ANSWERED = "answered"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptQuestion:
    """One question as a start finds it."""

    question: Elicitation
    state: QuestionState
    digest: bytes = b""
    """Of the answer that claims or settled it; empty while there is none."""
    passed_on: bool = False
    doubted: bytes | None = None
    """Digest of an answer that may have reached the Bridge unseen; empty: several different ones may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """All that a start finds."""

    questions: tuple[KeptQuestion, ...] = ()
    """In the order they became known."""
    numbering: NumberingChanged | None = None
    cursors: tuple[CursorShown, ...] = ()
    """In the order they were shown."""
    messages: tuple[MessageKept, ...] = ()
    """Those above their agent's cursor, ascending by number for each agent."""
    dropped: tuple[CopiesDropped, ...] = ()
    """Where it is above the agent's cursor; in the order it came about."""
    names: tuple[AnswerNamed, ...] = ()
    """In the order they were found."""
    told: tuple[QuestionTold, ...] = ()
    """In the order they were told."""
