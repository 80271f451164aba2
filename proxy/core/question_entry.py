"""What the book of questions knows of one question."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from proxy.core.elicitation import Elicitation
from proxy.core.journal import (
    AnswerClaimed,
    AnswerDoubted,
    AnswerPassedOn,
    AnswerSettled,
    Change,
    QuestionNoted,
    QuestionOffered,
)
from proxy.core.journal import QuestionState as State
from proxy.core.listed_question import Listed

NEVER: Final = float("-inf")
"""When a question that was never offered became due: long ago. Source: ours."""


@dataclass(slots=True)
class Entry:
    """One question, its state, and the answer that counts."""

    elicitation: Elicitation
    state: State = State.NEW
    due_at: float = NEVER
    """Monotonic time from which it is offered again, when it stays unanswered."""
    digest: bytes = b""
    """Of the answer that claims or settled it; empty where that answer did not pass here."""
    answered_at: float = 0.0
    passed_on: bool = False
    """The asker has been shown this answer."""
    doubted: bytes | None = None
    """Digest of an answer that may have reached the Bridge unseen, or SEVERAL."""
    is_over: bool = False
    """The Bridge has ended it while that was open: nobody is asked any more, and only the same answer counts."""

    def listed(self) -> Listed:
        """It as operators see it."""
        return Listed(
            elicitation_id=self.elicitation.elicitation_id,
            from_agent=self.elicitation.from_agent,
            to_agent=self.elicitation.to_agent,
            state=self.state,
            created_at=self.elicitation.created_at,
            expires_at=self.elicitation.expires_at,
            is_offered=self.due_at > NEVER,
        )

    def is_open(self, wall: float) -> bool:
        """Whether an answer can still come of it."""
        if self.is_unanswered():
            return wall < self.elicitation.expires_at
        return self.state is State.CLAIMED

    def is_unanswered(self) -> bool:
        """Whether no answer was given, and the Bridge has not ended it."""
        return self.state in {State.NEW, State.OFFERED} and not self.is_over

    def changes(self) -> Iterator[Change]:
        """What would bring it about."""
        elicitation_id = self.elicitation.elicitation_id
        yield QuestionNoted(self.elicitation)
        if self.doubted is not None:
            yield AnswerDoubted(elicitation_id, self.doubted)
        if self.state is State.OFFERED:
            yield QuestionOffered(elicitation_id)
        elif self.state is not State.NEW:
            yield AnswerClaimed(elicitation_id, self.digest)
        if self.state is State.ANSWERED:
            yield AnswerSettled(elicitation_id)
        if self.passed_on:
            yield AnswerPassedOn(elicitation_id)
