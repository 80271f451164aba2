"""A journal that a test can cut off at any write, as a crash does: what was not synced may be lost from its end."""

from dataclasses import dataclass, field

from proxy.core.journal import Change, Recovered
from proxy.core.replay import replay


@dataclass(slots=True)
class CrashJournal:
    """All changes in their order; `durable` of them outlive any crash."""

    changes: list[Change] = field(default_factory=list)
    durable: int = 0
    is_dead: bool = False
    """The process is gone, even if some of its code still runs here."""

    def write(self, change: Change) -> None:
        """Take a change."""
        if not self.is_dead:
            self.changes.append(change)

    async def synced(self) -> bool:
        """Everything so far is durable."""
        if not self.is_dead:
            self.durable = len(self.changes)
        return True

    def crash(self, *, lost: int) -> None:
        """Lose so many of the last changes, as far as they may be lost."""
        del self.changes[max(self.durable, len(self.changes) - lost) :]
        self.is_dead = True

    def begin(self) -> Recovered:
        """What the next process finds."""
        self.is_dead, self.durable = False, len(self.changes)
        return replay(self.changes)
