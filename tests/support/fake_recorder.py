"""The Recorder port as a list of what it was told."""

from collections import Counter

from proxy.core.limits import LimitName
from proxy.core.outcome import ElicitationOutcome, Outcome
from proxy.core.suspicion import Suspicion


class FakeRecorder:
    """Keeps everything, in order."""

    __slots__ = ("defects", "elicitations", "limits", "lost", "outcomes", "suspicions")

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self.elicitations: list[tuple[ElicitationOutcome, str]] = []
        self.lost: list[tuple[str, int]] = []
        """Agent and number of messages that a restarted Bridge can no longer deliver."""
        self.defects: list[tuple[str, BaseException]] = []
        self.suspicions: list[Suspicion] = []
        self.limits: list[tuple[LimitName, bool]] = []
        """What limits said, and whether that was yes."""

    def record(self, outcome: Outcome) -> None:
        """Note one served call."""
        self.outcomes.append(outcome)

    def elicitation(self, outcome: ElicitationOutcome, agent_id: str) -> None:
        """Note what happened to an elicitation."""
        self.elicitations.append((outcome, agent_id))

    def lost_messages(self, agent_id: str, count: int) -> None:
        """Note a loss."""
        self.lost.append((agent_id, count))

    def suspect(self, suspicion: Suspicion) -> None:
        """Note a breach."""
        self.suspicions.append(suspicion)

    def limited(self, limit: LimitName, *, is_allowed: bool) -> None:
        """Note what a limit said."""
        self.limits.append((limit, is_allowed))

    def defect(self, where: str, error: BaseException) -> None:
        """Note a mistake of ours."""
        self.defects.append((where, error))

    def counted(self) -> Counter[ElicitationOutcome]:
        """How often each thing happened to an elicitation."""
        return Counter(outcome for outcome, _ in self.elicitations)
